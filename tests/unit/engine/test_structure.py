"""The fingerprint changes with whatever decides a graph, so that no explanation is of a network that was."""

from dataclasses import dataclass
from functools import partial
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

import rlrp_nb as rn
from rlrp_nb.engine.structure import structure_of

FACTOR = 2.0
SETTINGS = {"deep": {"factor": 2.0}}


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.__setitem__(2, nn.AdaptiveMaxPool2d(1)),
        lambda n: setattr(n[0][0], "stride", (2, 2)),
        lambda n: n[0][1].train(),
        lambda n: setattr(n[4], "bias", None),
        lambda n: n[1].register_forward_hook(lambda *_: None),
        lambda n: setattr(n[0][2], "forward", torch.tanh),
        lambda n: setattr(n[0][2], "forward", MethodType(lambda _, x: x, n[0][2])),
    ],
)
def test_structure_tells_a_changed_network(residual, change):
    before = structure_of(residual)
    assert structure_of(residual) == before
    change(residual)
    assert structure_of(residual) != before


def test_structure_does_not_depend_on_values(residual):
    before = structure_of(residual)
    with torch.no_grad():
        residual[4].weight.zero_()
    assert structure_of(residual) == before


def test_the_structure_of_a_lazy_layer_is_no_error():
    lazy = nn.LazyLinear(2)
    before = structure_of(lazy)
    lazy(torch.zeros(1, 3))
    assert structure_of(lazy) != before


@dataclass(slots=True)
class Slotted:
    factor: float


def factor_of_the_module():
    return FACTOR


class Scaled(nn.Module):
    """Multiplies by whatever a function says."""

    common = 2.0
    table = (2.0, {"factor": 2.0})

    def __init__(self, factor, **held):
        super().__init__()
        self.factor = factor
        self.head = nn.Linear(3, 2)
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.head(x) * self.factor(self)


def enclosed(cell):
    return lambda _: cell["factor"]


CELL = {"factor": 2.0}
OBJECT = SimpleNamespace(factor=2.0)

# a way to hold a factor, and how it is changed from 2 to 3
HELD = {
    "a global": (lambda _: FACTOR, lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0)),
    "a global read by a function that is called": (
        lambda _: factor_of_the_module(),
        lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0),
    ),
    "within a global": (
        lambda _: SETTINGS["deep"]["factor"],
        lambda _, patch: patch.setitem(SETTINGS["deep"], "factor", 3.0),
    ),
    "a global object": (lambda _: OBJECT.factor, lambda _, patch: patch.setattr(OBJECT, "factor", 3.0)),
    "a variable of an enclosing function": (enclosed(CELL), lambda _, patch: patch.setitem(CELL, "factor", 3.0)),
    "an attribute of the class": (lambda n: n.common, lambda _, patch: patch.setattr(Scaled, "common", 3.0)),
    "within an attribute of the class": (
        lambda n: n.table[1]["factor"],
        lambda _, patch: patch.setitem(Scaled.table[1], "factor", 3.0),
    ),
    "a method of the class": (
        lambda _: 2.0,
        lambda _, patch: patch.setattr(Scaled, "forward", lambda self, x: 3.0 * self.head(x)),
    ),
    "an attribute": (lambda n: n.held, lambda n, _: setattr(n, "held", 3.0)),
    "a set": (lambda n: len(n.several), lambda n, _: n.several.add("c")),
    "an array": (lambda n: float(n.array[1]), lambda n, _: n.array.put(1, 3.0)),
    "an object": (lambda n: n.object.inner.factor, lambda n, _: setattr(n.object.inner, "factor", 3.0)),
    "an object with slots": (lambda n: n.slotted.factor, lambda n, _: setattr(n.slotted, "factor", 3.0)),
    "a partial": (
        partial(lambda holder, _: holder["factor"], {"factor": 2.0}),
        lambda n, _: n.factor.args[0].update(factor=3.0),
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_a_factor_that_was_changed_is_seen_wherever_it_is_held(name, monkeypatch):
    factor, change = HELD[name]
    torch.manual_seed(0)
    network = Scaled(
        factor,
        held=2.0,
        several={"a", "b"},
        array=np.array([1.0, 2.0]),
        object=SimpleNamespace(inner=SimpleNamespace(factor=2.0)),
        slotted=Slotted(2.0),
    ).eval()
    x = torch.randn(2, 3)
    first = rn.explain(network, x)
    torch.testing.assert_close(first.logits, 2 * network.head(x))
    before = structure_of(network)
    assert structure_of(network) == before
    change(network, monkeypatch)
    assert structure_of(network) != before
    second = rn.explain(network, x)
    torch.testing.assert_close(second.logits, 3 * network.head(x))
    torch.testing.assert_close(second.relevance, 1.5 * first.relevance)


def test_a_method_of_pytorch_s_own_layers_that_was_exchanged_is_seen(monkeypatch):
    network, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), torch.randn(2, 3)
    rn.explain(network, x)
    monkeypatch.setattr(nn.ReLU, "forward", lambda _, x: functional.relu(x) * 2)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


def double(_module, _inputs, output):
    return output * 2 if isinstance(output, torch.Tensor) else None


@pytest.mark.parametrize("traced_before", [True, False])
def test_hooks_on_all_modules_count_while_they_are_there(traced_before):
    x = torch.randn(2, 3)
    network, other = (nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval() for _ in range(2))
    other.load_state_dict(network.state_dict())
    expected = rn.explain(other, x)
    if traced_before:
        rn.explain(network, x)
    handle, seen = register_module_forward_hook(double), []
    try:
        found = rn.explain(network, x)
        torch.testing.assert_close(found.logits, network(x))
        torch.testing.assert_close(found.relevance, 8 * expected.relevance)
    finally:
        handle.remove()
    handle = register_module_forward_hook(lambda *_: seen.append(1))
    try:
        assert torch.equal(rn.explain(network, x).relevance, expected.relevance)
    finally:
        handle.remove()
    assert seen
    assert torch.equal(rn.explain(network, x).relevance, expected.relevance)


def test_what_holds_itself_has_a_mark(monkeypatch):
    network = Scaled(lambda _: 2.0)
    network.loop, network.object, network.table = [], SimpleNamespace(), {}
    network.loop.append(network.loop)
    network.table["self"] = network.table
    network.object.self = network.object
    network.factor = lambda _: network.factor and 2.0
    monkeypatch.setitem(globals(), "FACTOR", network.loop)
    before = structure_of(network)
    assert structure_of(network) == before
    network.loop.append(1)
    assert structure_of(network) != before
