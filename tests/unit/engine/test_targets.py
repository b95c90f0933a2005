import numpy as np
import pytest
import torch

from rlrp_nb.engine.targets import resolve_targets
from rlrp_nb.errors import InputError

LOGITS = torch.tensor([[0.1, 0.5, 0.2, -1.0], [3.0, 1.0, 2.0, 0.0]])


def resolve(targets, logits=LOGITS):
    found = resolve_targets(targets, logits, torch.float32)
    return found.positive.tolist(), found.negative.tolist(), found.seeds


class Column:
    """Like a column of a table of which rows were chosen: an array, with an index that does not count from 0."""

    ndim, dtype = 1, np.dtype(np.int64)

    def __len__(self):
        return 2

    def __getitem__(self, row):
        return {4: 2, 1: 3}[row]

    def __array__(self, dtype=None, copy=None):
        values = np.array([2, 3])
        values.flags.writeable = False
        return values


@pytest.mark.parametrize(
    ("targets", "positive"),
    [
        (None, [[1], [0]]),
        ("top1", [[1], [0]]),
        ("top3", [[1, 2, 0], [0, 2, 1]]),
        ("TOP-2", [[1, 2], [0, 2]]),
        (3, [[3], [3]]),
        (np.int64(3), [[3], [3]]),
        (torch.tensor(3), [[3], [3]]),
        ([3, 0], [[3, 0], [3, 0]]),
        (range(2), [[0, 1], [0, 1]]),
        (torch.tensor([2, 3]), [[2], [3]]),
        (np.array([2, 3]), [[2], [3]]),
        (Column(), [[2], [3]]),
        (LOGITS.numpy().argsort(1)[:, ::-1][:, :2], [[1, 2], [0, 2]]),
        (np.array([2, 3], dtype=">i8"), [[2], [3]]),
        (np.ma.masked_array([2, 3]), [[2], [3]]),  # of which nothing is hidden
        (torch.tensor([[2, 0, 1], [3, 1, 2]], dtype=torch.int32), [[2, 0, 1], [3, 1, 2]]),
    ],
)
def test_classes(targets, positive):
    found, negative, seeds = resolve(targets)
    assert found == positive
    assert all(n == -1 for row in negative for n in row)
    assert seeds.shape == (len(positive[0]), 2, 4)
    for sample, row in enumerate(positive):
        for k, index in enumerate(row):
            assert seeds[k, sample].tolist() == [float(c == index) for c in range(4)]


def test_contrast():
    positive, negative, seeds = resolve([(2, 0), 1])
    assert (positive, negative) == ([[2, 1]] * 2, [[0, -1]] * 2)
    assert seeds[0, 1].tolist() == [-1, 0, 1, 0]
    assert resolve((2, 0))[2][0, 0].tolist() == [-1, 0, 1, 0]


def test_seeds_as_numbers():
    given = torch.randn(2, 3, 4)
    positive, _, seeds = resolve(given)
    assert positive == [[-1] * 3] * 2
    assert torch.equal(seeds, given.transpose(0, 1))


def test_outputs_of_more_axes_take_a_tuple():
    logits = torch.randn(2, 3, 5)
    positive, _, seeds = resolve([(2, 4), (0, 1)], logits)
    assert positive == [[14, 1]] * 2
    assert seeds[0, 0].nonzero().tolist() == [[2, 4]]
    assert resolve(None, logits)[2].shape == (1, 2, 3, 5)


def test_one_output_per_sample():
    assert resolve(0, torch.randn(2))[2].tolist() == [[1.0, 1.0]]
    assert resolve(None, torch.randn(2))[0] == [[0], [0]]


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (4, "target 4 is out of range; the network has 4 outputs: accepted is 0 to 3"),
        (-1, "target -1 is out of range"),
        (torch.tensor([1, 9]), "target 9 is out of range"),
        ([], "targets is empty"),
        (True, "target True is a bool"),
        (1.0, "target 1.0 is a float"),
        ("cat", "targets is 'cat'; accepted are"),
        ("top5", "'top5', but the network has 4 outputs"),
        ("top0", "top1 to top4"),
        ("top" + "9" * 5000, "accepted are None"),
        ((1, 1), "contrasts class 1 with itself"),
        ((1, 2, 3), "3 entries; a contrast is a pair"),
        ([1, "a"], "target 'a' is a str"),
        (torch.tensor([1, 2, 3]), r"shape \(3,\) for 2 samples.*pass a list"),
        (torch.zeros(2, 0, dtype=torch.int64), r"shape \(2, 0\)"),
        (torch.zeros(2, 1, 1, dtype=torch.int64), r"shape \(2, 1, 1\)"),
        (torch.tensor([True, False]), "dtype torch.bool"),
        (np.array([0.5, 1.0]), "dtype torch.float64"),
        (torch.zeros(2, 4), "taken as seeds"),
        (torch.full((2, 1, 4), float("nan")), "NaN"),
        (torch.tensor([1, 2], device="meta"), "on the meta device"),
        (torch.zeros(2, 1, 4, device="meta"), "on the meta device"),
        (torch.zeros(2, 1, 4).to_sparse(), "is sparse"),
        (np.ma.masked_array([0, 1], mask=[True, False]), "targets is a masked array"),
        ([1, np.ma.masked_array(0, mask=True)], "a target is a masked array"),
        (10**5000, "target of so many digits is out of range"),
        ({1: 2}, "is a dict"),
        (object(), "is a object"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_not_accepted_is_refused_with_the_reason(targets, reason):
    with pytest.raises(InputError, match=reason):
        resolve(targets)


def test_one_hot_numbers_are_no_classes():
    marked = torch.nn.functional.one_hot(torch.tensor([3, 1]), 4)
    for targets in (marked, marked.numpy(), marked[:, :, None].squeeze(2).to(torch.uint8)):
        with pytest.raises(InputError, match=r"one-hot.*targets\.argmax\(1\)"):
            resolve_targets(targets, LOGITS, torch.float32)
    assert resolve_targets(torch.tensor([[0, 1], [1, 0]]), LOGITS[:, :2], torch.float32).positive.tolist() == [
        [0, 1],
        [1, 0],
    ]
    assert resolve_targets(torch.tensor([[0, 1], [1, 1]]), LOGITS, torch.float32).positive.tolist() == [[0, 1], [1, 1]]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_classes_are_refused():
    with pytest.raises(InputError, match=r"dtype torch.quint8"):
        resolve(torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8))


def test_a_single_index_for_an_output_of_more_axes_is_refused():
    with pytest.raises(InputError, match=r"2 axes besides the samples, of lengths \(3, 5\)"):
        resolve(1, torch.randn(2, 3, 5))


def test_classes_for_each_sample_do_not_follow_the_default_device():
    with torch.device("meta"):
        assert resolve(np.array([2, 3]))[0] == [[2], [3]]
