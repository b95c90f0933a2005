"""Who is asked: a network's graph where that is known to answer as the network does, else the network itself."""

import pytest
import torch
from torch import nn

from rlrp_nb.engine.inference import Inference
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation import respondent as module
from rlrp_nb.evaluation.faithfulness import flip, road
from rlrp_nb.evaluation.respondent import respondent


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)).eval()


INPUTS = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def asked(network, inputs=INPUTS):
    return respondent(network, inputs, 2)[0]


@pytest.mark.parametrize("measure", [flip, road])
def test_measures_are_the_same_through_the_graph_and_through_the_network(measure):
    network, heatmaps, targets = convolutions(), torch.rand(3, 8, 8), torch.tensor([0, 1, 2])
    assert isinstance(asked(network), Inference)
    quick = measure(network, INPUTS, heatmaps, targets)
    network.register_forward_hook(lambda *_: None)
    assert asked(network) is network
    slow = measure(network, INPUTS, heatmaps, targets)
    for one, other in zip(*((m.morf, m.lerf) if measure is flip else (m,) for m in (quick, slow)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_that_were_changed_and_layers_that_were_replaced_are_seen():
    network = convolutions()
    for change in (
        lambda: network[0].weight.data.mul_(-1),
        lambda: network.__setitem__(1, nn.Tanh()),
        lambda: setattr(network[2], "stride", 1) or network.__setitem__(4, nn.Linear(150, 4)),
    ):
        before = asked(network)(INPUTS)
        change()
        network.eval()
        answer = asked(network)
        assert isinstance(answer, Inference)
        with torch.no_grad():
            torch.testing.assert_close(answer(INPUTS), network(INPUTS))
        assert not torch.allclose(answer(INPUTS), before)


class Other(nn.Module):
    """Does something else with a single input."""

    def __init__(self):
        super().__init__()
        self.network = convolutions()

    def forward(self, images):
        return self.network(images) * (2 if len(images) == 1 else 1)


class Deciding(Other):
    """Decides by what it sees, which no graph can show."""

    def forward(self, images):
        return self.network(images if float(images.sum()) > 0 else -images)


class Squashing(Other):
    """Ends in a product of two signals, for which the engine has no rule."""

    squared = True

    def forward(self, images):
        logits = self.network(images)
        return logits * logits if self.squared else logits


@pytest.mark.parametrize("kind", [Other, Deciding, Squashing])
def test_a_network_whose_graph_is_not_the_network_is_asked_itself(kind):
    network = kind().eval()
    assert asked(network) is network


def test_a_network_that_answers_otherwise_than_its_graph_is_asked_itself(monkeypatch):
    network = convolutions()
    answer = Inference.__init__

    def init(self, *given):
        answer(self, *given)
        self.logits = self.logits + 0.01 * self.logits.abs().max()

    monkeypatch.setattr(Inference, "__init__", init)
    assert asked(network) is network


def test_that_a_network_has_no_graph_is_found_out_once(monkeypatch):
    network, tried = Squashing().eval(), []
    own = module.graph_of
    monkeypatch.setattr(module, "graph_of", lambda *given: (tried.append(1), own(*given))[1])
    for _ in range(3):
        assert asked(network) is network
    assert len(tried) == 1
    network.squared = False  # from now on it has one
    assert isinstance(asked(network), Inference)


def test_modes_of_pytorch_and_wrappers_are_left_to_the_network():
    network = convolutions()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert asked(network) is network
    wrapped = nn.DataParallel(network)
    assert asked(wrapped) is wrapped
    double = convolutions().double()
    assert asked(double, INPUTS.double()) is double
    with torch.inference_mode():
        assert isinstance(asked(network), Inference)


def test_what_the_network_refuses_is_said():
    with pytest.raises(UnsupportedNetworkError, match="training mode"):
        flip(convolutions().train(), INPUTS, torch.rand(3, 8, 8), torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match="shapes cannot be multiplied"):
        flip(convolutions(), torch.rand(1, 1, 9, 12), torch.rand(1, 9, 12), torch.tensor([0]))
