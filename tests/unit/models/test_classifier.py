"""A classifier that cannot be explained is refused when it is made, with the reason."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess

PREPROCESS = Preprocess(size=8)


def tiny(classes=2):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)).eval()


def wrap(network, **changes):
    arguments = {"categories": ("cat", "dog"), "preprocess": PREPROCESS, "weights": "random numbers"}
    return Classifier("tiny", network, **(arguments | changes))


def test_a_network_of_ones_own():
    network = tiny()
    model = wrap(network, categories=["cat", "dog"])
    assert wrap(network, categories=np.array(["cat", "dog"])).categories == ("cat", "dog")
    assert model.network is network
    assert model.categories == ("cat", "dog")
    assert repr(model) == "Classifier('tiny', 2 categories, input (3, 8, 8))"


def test_the_network_is_left_as_it_was():
    network = tiny()
    network[4].weight.requires_grad_(False)  # noqa: FBT003 - torch's own signature
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(network.state_dict())
    wrap(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == [True] * 4 + [False, True]
    assert not any(parameter.is_meta for parameter in network.parameters())
    assert not any(module.training for module in network.modules())


def test_double_precision():
    assert wrap(tiny().double()).network[0].weight.dtype == torch.float64


class NeedsNumbers(nn.Module):
    """Cannot run on shapes alone."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 2)

    def forward(self, images):
        scale = float(images.abs().max()) + 1
        return self.linear(images.flatten(1) / scale)


def test_a_network_that_needs_numbers():
    assert len(wrap(NeedsNumbers().eval()).categories) == 2


class Counting(nn.Module):
    """Notes in a buffer that it was run, draws a random number, and needs real numbers to be run at all."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 2)
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x):
        self.runs += 1
        self.noise = torch.rand(1)
        return self.head(x.flatten(1)) * float(self.runs > 0)


def test_a_network_that_needs_numbers_is_left_as_it_was():
    network, state = Counting().eval(), torch.get_rng_state()
    wrap(network)
    assert network.runs == 0
    assert not hasattr(network, "noise")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_without_parameters():
    network = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()).eval()
    assert wrap(network, categories=["r", "g", "b"]).categories == ("r", "g", "b")


@pytest.mark.parametrize("part", [(), (1,)])
def test_training_mode(part):
    network = tiny()
    (network[part[0]] if part else network).train()
    with pytest.raises(UnsupportedNetworkError, match=r"training mode \((the network|1).*network.eval\(\)"):
        wrap(network)


def test_number_of_categories():
    with pytest.raises(InputError, match="tiny has 3 outputs, but 2 categories"):
        wrap(tiny(3))


@pytest.mark.parametrize(
    ("network", "returned"),
    [
        (nn.Identity(), r"\(1, 3, 8, 8\)"),
        (nn.Flatten(0), r"\(192,\)"),
        (nn.LSTM(8, 2), "does not accept"),
        (nn.Linear(5, 2), r"does not accept an input of shape \(1, 3, 8, 8\).*RuntimeError"),
    ],
)
def test_no_logits(network, returned):
    with pytest.raises(UnsupportedNetworkError, match=returned):
        wrap(network.eval())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": "cat"}, "categories is a str"),
        ({"categories": 2}, "categories is a int"),
        ({"categories": np.array([["cat", "dog"]])}, "categories is a ndarray"),
        ({"categories": np.array([0, 1])}, "not a str"),
        ({"categories": ("cat", 2)}, "not a str"),
        ({"categories": ("cat", "d" * 1001)}, "categories has a name of 1,001 characters: give names of at most 1,000"),
        ({"weights": 5}, "weights is 5"),
        ({"preprocess": lambda image: image}, "preprocess is a function"),
    ],
)
def test_wrong_types(changes, message):
    with pytest.raises(InputError, match=message):
        wrap(tiny(), **changes)


def test_not_a_network():
    with pytest.raises(InputError, match="network is a function"):
        wrap(lambda images: images)


GRIDS = {}


class Placed(nn.Module):
    """Keeps what it makes for a size in a global."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        if x.shape not in GRIDS:
            GRIDS[x.shape] = torch.ones(x.shape[2:], device=x.device)
        return self.head((x * GRIDS[x.shape]).mean((2, 3)))


@pytest.mark.parametrize("where", ["class", "function", "hook"])
def test_what_a_network_keeps_elsewhere_has_values(where):
    GRIDS.clear()
    network = Placed().eval()
    if where == "function":
        network = nn.Sequential(v2.Lambda(network.forward), nn.Identity()).eval()
    if where == "hook":
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
        network[0].register_forward_hook(lambda _, __, output: GRIDS.update(kept=output))
    Classifier("small", network, ("cat", "dog"), Preprocess(size=8), "")
    assert GRIDS
    assert all(kept.device.type == "cpu" for kept in GRIDS.values())
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 2)
