import copy
import pickle

import numpy as np
import pytest
import torch

import rlrp_nb as rn


@pytest.fixture
def explanation(residual, images):
    return rn.explain(residual, images, [0, (1, 2), 4], layers=["1.0"])


def test_heatmap_is_the_sum_over_channels(explanation):
    assert explanation.heatmap(2, 1).shape == (8, 8)
    assert torch.equal(explanation.heatmap(2, 1), explanation.relevance[1, 2].sum(0))
    assert torch.equal(explanation.heatmap(-1, -1), explanation.heatmap(2, 1))
    assert torch.equal(explanation.heatmap(torch.tensor(2), np.int64(1)), explanation.heatmap(2, 1))


def test_heatmap_of_a_dense_network_is_its_relevance():
    explanation = rn.explain(torch.nn.Linear(5, 2), torch.randn(3, 5), 1)
    assert torch.equal(explanation.heatmap(0, 2), explanation.relevance[2, 0])


def test_heatmap_of_channels_last_is_the_sum_over_the_last_axis():
    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x.permute(0, 3, 1, 2)).relu().mean((2, 3))

    explanation = rn.explain(Last().eval(), torch.rand(2, 10, 12, 3), 1)
    assert torch.equal(explanation.heatmap(0, 1), explanation.relevance[1, 0].sum(2))
    assert explanation.heatmap().shape == (10, 12)


def test_heatmap_of_a_picture_without_channels_is_its_relevance():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120, 4))
    explanation = rn.explain(network, torch.rand(2, 10, 12), 1)
    assert torch.equal(explanation.heatmap(0, 1), explanation.relevance[1, 0])


def test_labels(explanation):
    assert [explanation.label(k) for k in range(3)] == ["class 0", "class 1 − class 2", "class 4"]  # noqa: RUF001
    explanation.categories = ("cat", "dog", "cup", "car", "bus", "tea")
    assert [explanation.label(k) for k in range(3)] == ["cat", "dog − cup", "bus"]  # noqa: RUF001


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_what_was_asked_is_kept_whatever_its_owner_does(residual, images, make):
    classes, seeds = make([[3], [1]]), torch.eye(6)[None, :1].expand(2, 1, 6).clone()
    by_class, by_seed = rn.explain(residual, images, classes), rn.explain(residual, images, seeds)
    rows = by_seed.ledger(0, 0)
    classes[:] = 0
    seeds.zero_()
    assert [by_class.label(0, sample) for sample in (0, 1)] == ["class 3", "class 1"]
    assert torch.equal(by_seed.seeds[:, 0], torch.eye(6)[:1].expand(2, 6))
    assert by_seed.ledger(0, 0) == rows


def test_a_note_among_the_versions_is_of_one_explanation_alone(residual, images):
    rn.explain(residual, images, 1).versions["mine"] = "1.2"
    assert "mine" not in rn.explain(residual, images, 1).versions


def test_labels_of_namesakes_have_their_numbers(explanation):
    explanation.categories = ("crane", "crane", "cup", "cat", "bus")
    assert [explanation.label(k) for k in range(3)] == ["crane (0)", "crane (1) − cup", "bus"]  # noqa: RUF001


@pytest.mark.parametrize("method", ["heatmap", "label", "ledger"])
@pytest.mark.parametrize(
    ("target", "sample", "what"), [(3, 0, "target 3"), (0, 2, "sample 2"), (True, 0, "target True")]
)
def test_positions_that_are_not_there_are_refused(explanation, method, target, sample, what):
    with pytest.raises(rn.InputError, match=f"{what} is not there; this explanation has"):
        getattr(explanation, method)(target, sample)


def test_probabilities(explanation):
    torch.testing.assert_close(explanation.probabilities, explanation.logits.softmax(1))


@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 3, 4, 4)])
def test_outputs_that_are_not_several_classes_have_no_probabilities(explanation, shape):
    assert explanation.has_probabilities
    explanation.logits = torch.zeros(shape)
    assert not explanation.has_probabilities
    with pytest.raises(rn.InputError, match=r"a softmax takes several classes.*torch\.sigmoid\(explanation\.logits\)"):
        _ = explanation.probabilities


def test_repr_says_what_it_is(explanation):
    assert repr(explanation) == (
        "<Explanation by rlrp of Sequential: class 0, class 1 − class 2, class 4; 2 samples, 3 targets, 1 layers>"  # noqa: RUF001
    )


def test_repr_of_samples_with_classes_of_their_own_names_none(residual, images):
    assert "class 3; 2 samples" in repr(rn.explain(residual, images, torch.tensor([3, 3])))
    assert "classes of each sample's own; 2 samples" in repr(rn.explain(residual, images, torch.tensor([3, 1])))


def test_no_name_in_a_repr_tells_the_terminal_what_to_do(explanation, tmp_path):
    explanation.categories = ("\x1b]0;owned\x07cat\u202e", "dog", "cup", "car", "bus", "tea")
    explanation.network, explanation.method = "net\x1b[2J", "by\rhand"
    shown = str(rn.Explanation.load(explanation.save(tmp_path / "stranger.safetensors")))
    assert shown.isprintable()
    assert r"<Explanation by by\rhand of net\x1b[2J: \x1b]0;owned\x07cat\u202e, dog" in shown


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301 - our own bytes
def test_copies_hold_the_same_and_no_network(explanation, clone):
    other = clone(explanation)
    assert torch.equal(other.relevance, explanation.relevance)
    assert torch.equal(other.layers["1.0"], explanation.layers["1.0"])
    assert other.ledger(1, 1) == explanation.ledger(1, 1)


def test_a_copy_without_a_ledger_says_so(residual, images):
    with pytest.raises(rn.InputError, match="has no ledger"):
        copy.deepcopy(rn.explain(residual, images)).ledger()
