"""Tests of the sanity check by random weights; see also tests/reference/test_quantus_robustness.py."""

import copy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torchvision.ops import FrozenBatchNorm2d

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.randomisation import Randomised, randomised_similarity, similarity_after_randomisation
from rlrp_nb.evaluation.robustness import cosine, spearman
from tests.reference.networks import images, small_vgg
from tests.unit.evaluation.untouched import untouched

TARGETS = torch.tensor([0, 3, 4])
RLRP = engine_attribute("rlrp")
LAYERS = [str(place) for place, module in enumerate(small_vgg()) if hasattr(module, "reset_parameters")]


def edges(_, inputs, __):
    """An edge detector, which ignores the network."""
    grey = inputs.mean(1)
    return (grey - grey.roll(1, 1)).abs() + (grey - grey.roll(1, 2)).abs()


def drawn(network, names, seed):
    """Return a copy in which the layers of these names are drawn anew, by PyTorch's own hand."""
    copied = copy.deepcopy(network)
    for name in names:
        torch.manual_seed(seed + 1)
        copied.get_submodule(name).reset_parameters()
    return copied


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
@pytest.mark.parametrize("cascading", [True, False])
def test_rows_equal_the_networks_drawn_by_hand(order, cascading):
    network, inputs = small_vgg(), images(3, 12)
    with untouched(network, inputs):
        names, rows = randomised_similarity(RLRP, network, inputs, TARGETS, seed=5, order=order, cascading=cascading)
    layers = LAYERS[::-1] if order == "top_down" else LAYERS
    assert names == ("original", *layers)
    original = RLRP(network, inputs, TARGETS).abs()
    expected = [spearman(original, original)]
    for place, name in enumerate(layers):
        changed = drawn(network, layers[: place + 1] if cascading else [name], 5)
        expected.append(spearman(original, RLRP(changed, inputs, TARGETS).abs()))
    torch.testing.assert_close(rows, torch.stack(expected))
    assert rows[0].tolist() == pytest.approx([1, 1, 1])
    assert (rows[1:] < 0.999).any(1).all()


def test_stages_draw_several_layers_at_once():
    network, inputs = small_vgg(), images(3, 12)
    every = randomised_similarity(RLRP, network, inputs, TARGETS)
    some = randomised_similarity(RLRP, network, inputs, TARGETS, stages=np.int64(4), seed=np.int64(0))
    top = LAYERS[::-1]
    assert len(top) == 10
    assert some.names == (
        "original",
        f"{top[0]} to {top[2]}",
        f"{top[3]} to {top[5]}",
        f"{top[6]} to {top[7]}",
        f"{top[8]} to {top[9]}",
    )
    torch.testing.assert_close(some.similarities, every.similarities[[0, 3, 6, 8, 10]])


def test_one_number_is_that_of_the_wholly_random_network():
    network, inputs = small_vgg(), images(3, 12)
    every = randomised_similarity(RLRP, network, inputs, TARGETS, seed=2)
    with untouched(network, inputs):
        found = similarity_after_randomisation(RLRP, network, inputs, TARGETS, seed=2)
    torch.testing.assert_close(found, every.similarities[-1])
    # nothing is left of the trained network, its batch-norm statistics included
    first, other = (drawn(small_vgg(seed=seed), LAYERS, 2).state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], other[name]) for name in first)


def test_a_picture_of_the_input_alone_is_found_out():
    network, inputs = small_vgg(), images(3, 12)
    names, rows = randomised_similarity(edges, network, inputs, TARGETS)
    torch.testing.assert_close(rows, torch.ones(len(names), 3).double())
    reacting = similarity_after_randomisation(RLRP, network, inputs, TARGETS)
    assert (reacting < 0.9).all()


def test_the_measure_and_the_sign_can_be_chosen():
    network, inputs = small_vgg(), images(3, 12)
    before, after = (RLRP(one, inputs, TARGETS) for one in (network, drawn(network, LAYERS, 0)))
    for measure, compare in (("cosine", cosine), ("spearman", spearman)):
        for absolute in (True, False):
            found = similarity_after_randomisation(RLRP, network, inputs, TARGETS, measure=measure, absolute=absolute)
            expected = compare(before.abs(), after.abs()) if absolute else compare(before, after)
            torch.testing.assert_close(found, expected)


def test_the_seed_decides():
    network, inputs = small_vgg(), images(3, 12)
    first, again, other = (
        similarity_after_randomisation(RLRP, network, inputs, TARGETS, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


class Scaled(nn.Module):
    """A weight that no module knows how to draw."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.inner(x.flatten(1)) * self.scale


def test_what_cannot_be_drawn_is_refused():
    inputs, targets = torch.rand(1, 1, 2, 2), torch.tensor([0])
    with pytest.raises(UnsupportedNetworkError, match=r"^scale cannot be drawn anew"):
        randomised_similarity(edges, Scaled().eval(), inputs, targets)
    with pytest.raises(UnsupportedNetworkError, match="has no weights"):
        randomised_similarity(edges, nn.Flatten().eval(), inputs, targets)


class Listed(nn.Module):
    """Layers in a list, of which PyTorch does not know."""

    def __init__(self, inside):
        super().__init__()
        self.blocks = inside(nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    "inside",
    [
        lambda m: [m],
        lambda m: {"a": [m]},
        lambda m: (m.weight,),
        lambda m: [nn.ReLU(), m],
        lambda m: [[m.bias]],
        lambda m: {m},
        lambda m: SimpleNamespace(layer=m),
        lambda m: m.forward,
        lambda m: partial(m.forward),
        lambda m: lambda x: m(x) + 1,
        lambda m: [m.weight.detach().requires_grad_()],
    ],
)
def test_weights_elsewhere_are_not_taken_for_drawn(inside):
    inputs, targets = torch.rand(1, 1, 2, 2), torch.tensor([0])
    with pytest.raises(
        UnsupportedNetworkError, match=r"^blocks leads to weights that are not registered with the netw"
    ):
        randomised_similarity(edges, Listed(inside).eval(), inputs, targets)
    registered = Listed(lambda m: nn.ModuleList([m])).eval()
    registered.parents = (registered, [registered.head.weight])
    assert len(randomised_similarity(edges, registered, inputs, targets).names) == 3


def test_a_module_that_is_the_whole_network_has_a_name():
    class Dense(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1))

    found = randomised_similarity(edges, Dense(4, 2).eval(), torch.rand(1, 1, 2, 2), torch.tensor([0]))
    assert isinstance(found, Randomised)
    assert found.names == ("original", "the network")


def test_bad_input_is_named():
    network, inputs = small_vgg(), images(3, 12)
    for options, words in (
        ({"order": "independent"}, "order='independent' is not known"),
        ({"measure": "ssim"}, "measure='ssim' is not known"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"seed": 2**70}, "seed=1180591620717411303424 has to be an integer from 0"),
        ({"stages": 0}, "stages is 0; accepted is None, or 1 to 10"),
        ({"stages": 11}, "stages is 11"),
        ({"stages": 2.0}, "stages is 2.0"),
    ):
        with pytest.raises(InputError, match=words):
            randomised_similarity(RLRP, network, inputs, TARGETS, **options)
    with pytest.raises(InputError, match="target 5 of input 0"):
        randomised_similarity(RLRP, network, inputs, TARGETS + 5)
    with pytest.raises(InputError, match="heatmap 0 has"):
        randomised_similarity(lambda _, x, __: x[:, 0] / 0, network, inputs, TARGETS)
    with pytest.raises(UnsupportedNetworkError, match="training mode"):
        similarity_after_randomisation(RLRP, network.train(), inputs, TARGETS)


@pytest.mark.parametrize(
    "computed",
    [nn.utils.weight_norm, nn.utils.spectral_norm, lambda layer: prune.l1_unstructured(layer, "weight", 0.2)],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_weights_that_are_computed_from_others_are_not_taken_for_drawn(computed):
    network, inputs = small_vgg(), images(3, 12)
    computed(network[-1])
    with pytest.raises(
        UnsupportedNetworkError, match=r"weight_\w+.* cannot be drawn anew: reset_parameters\(\) of Linear"
    ):
        randomised_similarity(edges, network, inputs, TARGETS)


def test_frozen_statistics_are_not_taken_for_drawn():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.Flatten(), nn.Linear(400, 5)).double().eval()
    with pytest.raises(
        UnsupportedNetworkError, match=r"1\.weight, 1\.bias, 1\.running_mean and 1 more cannot be drawn"
    ):
        randomised_similarity(edges, network, images(3, 12), TARGETS)
