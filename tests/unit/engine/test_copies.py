"""Copies have weights of their own, whatever else a network keeps."""

import threading

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.copies import copy_of
from rlrp_nb.errors import UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.randomisation import similarity_after_randomisation


class Penalised(nn.Module):
    """Keeps the penalty of its last training step, with the graph that leads to it."""

    def __init__(self):
        super().__init__()
        self.conv, self.head, self.log = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), {"penalties": []}

    def forward(self, x):
        x = self.conv(x).relu()
        if self.training:
            self.log["penalties"].append(x.abs().mean())
        return self.head(x.mean((2, 3)))


class Locked:
    """An object of the user's own with what cannot be copied in it, and a way back to the network."""

    def __init__(self, network):
        self.lock, self.network = threading.Lock(), network


def changed(network):
    """Whether writing into the weights of the copy leaves the network as it was."""
    copied = copy_of(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.fill_(7)
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return copied


def test_a_plain_network_is_copied_with_what_it_shares_within():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    network[2].weight = network[0].weight
    copied = changed(network)
    assert copied[2].weight is copied[0].weight
    assert {t.data_ptr() for t in copied.buffers()}.isdisjoint(t.data_ptr() for t in network.buffers())


def test_what_was_computed_with_gradients_is_copied_as_numbers(images):
    network = Penalised()
    (network(images).mean() + network.log["penalties"][0]).backward(retain_graph=True)
    network.eval()
    copied = changed(network)
    (kept,), (own,) = network.log["penalties"], copied.log["penalties"]
    assert kept.grad_fn is not None
    assert own.grad_fn is None
    assert torch.equal(own, kept)


def test_what_cannot_be_copied_is_shared_and_what_holds_it_leads_to_the_copy(tmp_path):
    network = nn.Sequential(nn.Linear(3, 3))
    network.locked = Locked(network)
    network.torch, network.numbers = torch, (n for n in range(3))
    with (tmp_path / "log").open("w") as log:
        network.log = [log]
        copied = changed(network)
        assert copied.log == [log]
    assert copied.locked is not network.locked
    assert copied.locked.network is copied
    assert copied.locked.lock is network.locked.lock
    assert copied.torch is torch
    assert copied.numbers is network.numbers


def test_a_class_that_lets_nothing_be_copied_is_said():
    class Alone:
        def __deepcopy__(self, memo):
            raise TypeError("there is but one")

    network = nn.Sequential(nn.Linear(3, 3))
    network.alone = Alone()
    with pytest.raises(UnsupportedNetworkError, match=r"Sequential cannot be copied \(TypeError: there is but one\)"):
        copy_of(network)


def test_such_a_network_can_be_drawn_anew(images):
    network = Penalised()
    network(images)
    network.eval().lock = threading.Lock()
    targets = rn.explain(network, images).targets[:, 0]
    found = similarity_after_randomisation(engine_attribute("rlrp"), network, images, targets)
    del network.lock
    network.log["penalties"].clear()
    expected = similarity_after_randomisation(engine_attribute("rlrp"), network, images, targets)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
