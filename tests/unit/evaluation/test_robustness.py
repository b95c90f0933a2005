"""Tests of robustness against loops that are written out; see also tests/reference/test_quantus_robustness.py."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.perturbation import Brightness, Noise, Shift, uniform
from rlrp_nb.evaluation.robustness import cosine, max_sensitivity, similarity, spearman
from tests.reference.networks import images, small_vgg
from tests.unit.evaluation.untouched import untouched

TARGETS = torch.tensor([0, 3, 4])
RLRP = engine_attribute("rlrp")


def square(_, inputs, targets):
    """A heatmap that knows its input and target only."""
    return (inputs**2).sum(1) + targets[:, None, None]


def test_max_sensitivity_equals_the_loop_that_is_written_out():
    network, inputs = small_vgg(), images(3, 12)
    with untouched(network, inputs):
        found = max_sensitivity(RLRP, network, inputs, TARGETS, radius=0.1, samples=4, seed=2)
    draws = list(uniform(inputs, radius=0.1, samples=4, seed=2))
    for n in range(3):
        target = TARGETS[n : n + 1]
        before = RLRP(network, inputs[n : n + 1], target)
        changes = [float(((RLRP(network, draw[n : n + 1], target) - before) ** 2).sum()) ** 0.5 for draw in draws]
        assert found[n].item() == pytest.approx(max(changes) / float((before**2).sum()) ** 0.5, rel=1e-9)
    assert found.dtype == torch.float64


def test_max_sensitivity_of_nothing():
    network, inputs = small_vgg(), images(3, 12)
    sensitivity = [
        max_sensitivity(attribute, network, inputs, TARGETS, samples=2).tolist()
        for attribute in (
            lambda _, x, __: torch.ones_like(x[:, 0]),
            lambda _, x, __: torch.zeros_like(x[:, 0]),
            lambda _, x, __: torch.where((x == inputs).all(), 0, x[:, 0]),
        )
    ]
    assert sensitivity == [[0, 0, 0], [0, 0, 0], [np.inf] * 3]


def test_more_samples_can_only_raise_it_and_no_radius_gives_none():
    network, inputs = small_vgg(), images(3, 12)
    # another seed than that of the images, whose numbers would be like those of the first draw
    few, many = (max_sensitivity(square, network, inputs, TARGETS, samples=count, seed=1) for count in (1, 8))
    assert (many >= few).all()
    assert (many > few).any()
    assert max_sensitivity(square, network, inputs, TARGETS, radius=0).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("measure", "compare"), [("cosine", cosine), ("spearman", spearman)])
def test_similarity_compares_before_and_after_for_the_same_target(measure, compare):
    network, inputs = small_vgg(), images(3, 12)
    noise = Noise(0.5, seed=3)
    targets = network(inputs).argmin(1)  # no target is the most probable class, before or after
    with untouched(network, inputs):
        found = similarity(RLRP, network, inputs, targets, noise, measure=measure)
    expected = compare(RLRP(network, inputs, targets), RLRP(network, noise(inputs), targets))
    torch.testing.assert_close(found, expected)
    assert (found < 0.999).all()
    assert similarity(RLRP, network, inputs, targets, Noise(0)).tolist() == pytest.approx([1, 1, 1])


def test_cosine_is_the_default():
    network, inputs = small_vgg(), images(3, 12)
    expected = cosine(square(network, inputs, TARGETS), square(network, inputs * 3 - 1, TARGETS))
    torch.testing.assert_close(similarity(square, network, inputs, TARGETS, Brightness(3, -1)), expected)
    torch.testing.assert_close(similarity(square, network, inputs, TARGETS, lambda x: x * 3 - 1), expected)


@pytest.mark.parametrize("shift", [Shift(3, 0), Shift(-2, 4), Shift(0, -5)])
def test_a_heatmap_that_moves_with_the_picture_is_robust_to_a_shift(shift):
    network, inputs = small_vgg(), images(3, 12)
    assert similarity(square, network, inputs, TARGETS, shift).tolist() == pytest.approx([1, 1, 1])

    def fixed(_, inputs, __):
        return torch.arange(144.0).reshape(12, 12).cos().expand(len(inputs), 12, 12)

    assert (similarity(fixed, network, inputs, TARGETS, shift) < 0.9).all()


# squares of smaller numbers would leave the range in which NumPy can compare
numbers = st.floats(-1e3, 1e3).map(lambda number: round(number, 6)) | st.sampled_from([0.0, 1.0])
values = arrays.arrays(np.float64, (2, 2, 4), elements=numbers)


@given(values, values)
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_both_measures_equal_scipy(first, second):
    pair = torch.from_numpy(first), torch.from_numpy(second)
    for n in range(2):
        a, b = first[n].flatten(), second[n].flatten()
        rank = scipy.stats.spearmanr(a, b).statistic
        if np.isnan(rank):
            rank = float(np.ptp(a) == 0 and np.ptp(b) == 0)
        assert spearman(*pair)[n].item() == pytest.approx(rank, abs=1e-12)
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        angle = a @ b / lengths if lengths else float(not a.any() and not b.any())
        assert cosine(*pair)[n].item() == pytest.approx(angle, abs=1e-12)


def test_measures_hold_for_very_large_and_very_small_heatmaps():
    first, second = images(2, 5)[:, 0], images(2, 5, seed=1)[:, 0]
    for measure in (cosine, spearman):
        torch.testing.assert_close(measure(first * 1e-300, second * 1e300), measure(first, second))


def test_bad_input_is_named():
    network, inputs = small_vgg(), images(3, 12)
    case = network, inputs, TARGETS
    for call, words in (
        (lambda: max_sensitivity(square, network, inputs, TARGETS + 5), "target 5 of input 0"),
        (lambda: max_sensitivity(square, *case, radius=-0.1), "radius is -0.1"),
        (lambda: max_sensitivity(square, *case, samples=0), "samples=0"),
        (lambda: max_sensitivity(lambda *_: torch.full((3, 12, 12), torch.nan), *case), "heatmap 0 has"),
        (lambda: similarity(square, network, inputs[0], TARGETS, Noise(0.1)), "inputs has shape"),
        (lambda: similarity(square, *case, 0.1), "perturbation is 0.1"),
        (lambda: similarity(square, *case, Noise(0.1), measure="kendall"), "measure='kendall' is not known: choose"),
        (lambda: similarity("rlrp", *case, Noise(0.1)), "attribute is 'rlrp'; accepted is a function"),
        (lambda: max_sensitivity("rlrp", *case), "attribute is 'rlrp'; accepted is a function"),
        (lambda: cosine(inputs[:, 0], inputs[:2, 0]), "cannot be compared"),
        (lambda: spearman(inputs[:, 0], None), "heatmaps is a NoneType"),
        (lambda: similarity(square, *case, lambda x: x[:, :, 1:]), r"it has to keep torch.float64 \(3, 3, 12, 12\)"),
        (lambda: similarity(square, *case, lambda x: x.tolist()), "returned list"),
        (lambda: similarity(square, *case, lambda x: x / 0), "NaN or infinite values"),
        (lambda: similarity(square, *case, Shift(12)), "leaves nothing"),
        (lambda: similarity(lambda *_: torch.zeros(3, 12), *case, Noise(0.1)), "the attribute returned"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    network.train()
    for call in (
        lambda: max_sensitivity(square, *case),
        lambda: similarity(square, *case, Noise(0.1)),
    ):
        with pytest.raises(UnsupportedNetworkError, match="training mode"):
            call()


def test_a_perturbation_cannot_write_into_the_inputs():
    network, inputs = small_vgg(), images(3, 12)
    with untouched(network, inputs):
        similarity(square, network, inputs, TARGETS, lambda x: x.mul_(2))
