"""The fingerprint changes with whatever decides a graph, so that no explanation is of a network that was."""

import copy
import sys
import weakref
from collections import deque
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, MethodType, ModuleType, SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

import rlrp_nb as rn
from rlrp_nb.engine.structure import named_tensors, structure_of, survey

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


def test_a_survey_finds_the_tensors_that_the_names_name():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network.add_module("again", network[2])
    network.register_buffer("root", torch.zeros(3))
    found = named_tensors(network)
    assert all(one is other for one, other in zip(found.values(), survey(network).tensors, strict=True))
    named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    assert len(found) == len(named) == 11
    assert all(found[name] is tensor for name, tensor in named)


@dataclass(slots=True)
class Slotted:
    factor: float


def factor_of_the_module():
    return FACTOR


class Settings:
    factor = 2.0


class Mixin:
    behind = 2.0


class Scaled(nn.Module, Mixin):
    __slots__ = ("slot",)
    """Multiplies by whatever a function says."""

    common = 2.0

    class Meta:
        factor = 2.0

    def __getitem__(self, name):
        return FACTOR

    table = (2.0, {"factor": 2.0})

    def __init__(self, factor, **held):
        super().__init__()
        self.factor = factor
        self.head = nn.Linear(3, 2)
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.head(x) * self.factor(self)


class Config(dict):
    common = 2.0


class Number(float):
    pass


def with_factor(value):
    value.factor = 2.0
    return value


def enclosed(cell):
    return lambda _: cell["factor"]


class Helper:
    factor = 2.0

    def __init__(self):
        self.own = 2.0

    def __call__(self):
        return FACTOR

    def get(self):
        return self.own

    @property
    def read(self):
        return FACTOR


def imported(_):
    from tests_settings import FACTOR as LOCAL  # noqa: PLC0415 - the very thing

    return LOCAL


settings = ModuleType("tests_settings")
settings.FACTOR = 2.0
sys.modules["tests_settings"] = settings
factor_of_the_module.factor = 2.0
MODULE = nn.LeakyReLU(2.0)
VARIABLE = ContextVar("VARIABLE", default=2.0)
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
    "a slot": (lambda n: n.slot, lambda n, _: setattr(n, "slot", 3.0)),
    "an object with slots": (lambda n: n.slotted.factor, lambda n, _: setattr(n.slotted, "factor", 3.0)),
    "a global read by a function within a function": (
        lambda _: sum(factor * FACTOR for factor in (0.5, 0.5)),
        lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0),
    ),
    "a value of a Python module": (lambda _: settings.FACTOR, lambda _, patch: patch.setattr(settings, "FACTOR", 3.0)),
    "a value imported by the function": (imported, lambda _, patch: patch.setattr(settings, "FACTOR", 3.0)),
    "a value of a class": (lambda _: Helper.factor, lambda _, patch: patch.setattr(Helper, "factor", 3.0)),
    "a value of an object's class": (lambda n: n.helper.factor, lambda _, patch: patch.setattr(Helper, "factor", 3.0)),
    "what an object reads that is called": (
        lambda n: n.helper(),
        lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0),
    ),
    "a property of an object": (
        lambda n: n.helper.read,
        lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0),
    ),
    "an object whose method is held": (lambda n: n.method(), lambda n, _: setattr(n.method.__self__, "own", 3.0)),
    "an attribute of a function": (
        lambda _: factor_of_the_module.factor,
        lambda _, patch: patch.setattr(factor_of_the_module, "factor", 3.0),
    ),
    "a module that is no part of the network": (
        lambda _: MODULE.negative_slope,
        lambda _, patch: patch.setattr(MODULE, "negative_slope", 3.0),
    ),
    "a context variable": (lambda _: VARIABLE.get(), lambda *_: VARIABLE.set(3.0)),
    "a deque": (lambda n: n.deque[0], lambda n, _: n.deque.__setitem__(0, 3.0)),
    "bytes": (lambda n: float(n.bytes[0]), lambda n, _: n.bytes.__setitem__(0, 3)),
    "many numbers": (lambda n: n.many[-1], lambda n, _: n.many.__setitem__(-1, 3.0)),
    "a large array": (lambda n: float(n.large[-1]), lambda n, _: n.large.put(-1, 3.0)),
    "a number taken out of a tensor": (lambda n: n.tensor.item(), lambda n, _: n.tensor.data.fill_(3.0)),
    "a number taken out of a large tensor": (
        lambda n: n.large_tensor.mean().item(),
        lambda n, _: n.large_tensor.data.fill_(3.0),
    ),
    "the type of a number": (
        lambda n: 3.0 if n.one is True else 2.0,
        lambda n, _: setattr(n, "one", True),
    ),
    "an object deep within": (
        lambda n: n.deep.a.b.c.factor,
        lambda n, _: setattr(n.deep.a.b.c, "factor", 3.0),
    ),
    "an object very deep within": (
        lambda n: innermost(n.deeper).factor,
        lambda n, _: setattr(innermost(n.deeper), "factor", 3.0),
    ),
    "a widget": (lambda n: n.widget.value, lambda n, _: setattr(n.widget, "value", 3.0)),
    "a weak reference": (lambda n: n.weak().own, lambda n, _: setattr(n.weak(), "own", 3.0)),
    "a weak table": (lambda n: n.weak_table[n.helper], lambda n, _: n.weak_table.update({n.helper: 3.0})),
    "a table by tensors": (
        lambda n: next(iter(n.by_tensor.values())),
        lambda n, _: setattr(n, "by_tensor", {torch.ones(2): 3.0}),
    ),
    "an object in a set": (
        lambda n: next(iter(n.objects)).own,
        lambda n, _: setattr(next(iter(n.objects)), "own", 3.0),
    ),
    "other numbers of a large tensor": (
        lambda n: n.large_tensor.mean(),
        lambda n, _: setattr(n.large_tensor, "data", torch.full((100,), 3.0)),
    ),
    "an attribute of a dict": (lambda n: n.config.factor, lambda n, _: setattr(n.config, "factor", 3.0)),
    "an attribute of a number": (lambda n: n.number.factor, lambda n, _: setattr(n.number, "factor", 3.0)),
    "an attribute of a tensor": (lambda n: n.tagged.factor, lambda n, _: setattr(n.tagged, "factor", 3.0)),
    "a class in an attribute": (
        lambda n: n.namespace.factor,
        lambda _, patch: patch.setattr(Settings, "factor", 3.0),
    ),
    "a Python module in an attribute": (
        lambda n: n.kept_module.FACTOR,
        lambda _, patch: patch.setattr(settings, "FACTOR", 3.0),
    ),
    "a class within a class": (
        lambda n: n.Meta.factor,
        lambda _, patch: patch.setattr(Scaled.Meta, "factor", 3.0),
    ),
    "what brackets read": (lambda n: n["factor"], lambda _, patch: patch.setitem(globals(), "FACTOR", 3.0)),
    "a class behind Module": (lambda n: n.behind, lambda _, patch: patch.setattr(Mixin, "behind", 3.0)),
    "the class of a dict": (lambda n: n.config.common, lambda _, patch: patch.setattr(Config, "common", 3.0)),
    "a partial": (
        partial(lambda holder, _: holder["factor"], {"factor": 2.0}),
        lambda n, _: n.factor.args[0].update(factor=3.0),
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_a_factor_that_was_changed_is_seen_wherever_it_is_held(name, monkeypatch):
    copy_context().run(see_a_change, *HELD[name], monkeypatch)


def innermost(holder):
    while hasattr(holder, "inner"):
        holder = holder.inner
    return holder


def nested(depth):
    return SimpleNamespace(inner=nested(depth - 1)) if depth else SimpleNamespace(factor=2.0)


def see_a_change(factor, change, monkeypatch):
    torch.manual_seed(0)
    helper = Helper()
    network = Scaled(
        factor,
        held=2.0,
        several={"a", "b"},
        array=np.array([1.0, 2.0]),
        object=SimpleNamespace(inner=SimpleNamespace(factor=2.0)),
        slot=2.0,
        slotted=Slotted(2.0),
        helper=helper,
        weak=weakref.ref(helper),
        weak_table=weakref.WeakKeyDictionary({helper: 2.0}),
        method=Helper().get,
        deque=deque([2.0]),
        bytes=bytearray([2]),
        many=[2.0] * 1200,
        large=np.full(1200, 2.0),
        tensor=torch.tensor(2.0),
        one=1,
        deeper=nested(20),
        widget=ipywidgets.FloatSlider(value=2.0),
        by_tensor={torch.ones(2): 2.0},
        objects={Helper()},
        large_tensor=torch.full((100,), 2.0),
        config=with_factor(Config(width=4)),
        number=with_factor(Number(1)),
        tagged=with_factor(torch.ones(2)),
        namespace=Settings,
        kept_module=settings,
        deep=SimpleNamespace(a=SimpleNamespace(b=SimpleNamespace(c=SimpleNamespace(factor=2.0)))),
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


class Twice(nn.Module):
    """Two convolutions in a row, whose parts the tests share or replace, and a buffer that may be there."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), *map(nn.BatchNorm2d, (3, 3))
        self.register_buffer("mask", None)

    def forward(self, x):
        x = self.other(self.b(self.norm(self.a(x)).relu()))
        return (x if self.mask is None else x * self.mask).mean((2, 3))


SHARED = {
    "a weight": (lambda n: setattr(n.b, "weight", n.a.weight), lambda n: setattr(n.b, "weight", fresh_weight())),
    "the first weight": (
        lambda n: setattr(n.b, "weight", n.a.weight),
        lambda n: setattr(n.a, "weight", fresh_weight()),
    ),
    "a layer": (lambda n: setattr(n, "b", n.a), lambda n: setattr(n, "b", fresh_layer())),
    "the first layer": (lambda n: setattr(n, "b", n.a), lambda n: setattr(n, "a", fresh_layer())),
    "statistics": (
        lambda n: setattr(n.other, "running_var", n.norm.running_var),
        lambda n: setattr(n.other, "running_var", torch.tensor([2.0, 3.0, 4.0])),
    ),
    "no buffer": (lambda _: None, lambda n: setattr(n, "mask", torch.tensor([2.0, 3.0, 4.0]).view(3, 1, 1))),
    "a buffer": (
        lambda n: setattr(n, "mask", torch.tensor([2.0, 3.0, 4.0]).view(3, 1, 1)),
        lambda n: setattr(n, "mask", None),
    ),
}


def fresh_weight():
    return nn.Parameter(torch.randn(3, 3, 1, 1, generator=torch.Generator().manual_seed(5)))


def fresh_layer():
    layer = nn.Conv2d(3, 3, 1)
    layer.weight = fresh_weight()
    return layer


@pytest.mark.parametrize("name", SHARED)
def test_tensors_and_layers_that_were_shared_or_absent_and_are_no_longer(name):
    before, change = SHARED[name]
    torch.manual_seed(0)
    network, x = Twice().eval(), torch.randn(2, 3, 4, 4)
    before(network)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    change(network)
    found = rn.explain(network, x, layers="all")
    torch.testing.assert_close(found.logits, network(x))
    expected = rn.explain(copy.deepcopy(network), x, layers="all")
    torch.testing.assert_close(found.relevance, expected.relevance)
    assert list(found.layers) == list(expected.layers)


@pytest.mark.parametrize(
    "keep",
    [
        lambda layer: (layer.weight,),
        lambda layer: dict(layer.named_parameters()),
        lambda layer: SimpleNamespace(weight=layer.weight),
        lambda layer: partial(nn.functional.linear, weight=layer.weight),
    ],
)
def test_a_weight_that_is_kept_elsewhere_too_and_then_replaced_goes_on_there(keep):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3, bias=False)
            self.kept = keep(self.layer)

        def forward(self, x):
            kept = self.kept
            if isinstance(kept, partial):
                return kept(x)
            weight = kept["weight"] if isinstance(kept, dict) else getattr(kept, "weight", None)
            return nn.functional.linear(x, kept[0] if weight is None else weight)

    network, x = Keeping().eval(), torch.randn(2, 3)
    rn.explain(network, x)
    network.layer.weight = nn.Parameter(-network.layer.weight.detach())
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


def test_a_proxy_of_what_is_no_more_is_no_error():
    class Parent:
        pass

    network, parent = nn.Linear(3, 2).eval(), Parent()
    network.parent = weakref.proxy(parent)
    before = structure_of(network)
    del parent
    assert structure_of(network) != before


def test_a_view_of_a_dict_that_changed_is_seen():
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * self.scales["all"]

    scales = {"all": 1.0}
    network, x = Scaled(3, 2).eval(), torch.ones(1, 3)
    network.scales = MappingProxyType(scales)
    rn.explain(network, x)
    scales["all"] = 2.0
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


def test_of_several_views_of_dicts_each_is_seen():
    network = nn.Linear(3, 2).eval()
    network.first, network.second = MappingProxyType({"a": [1.0]}), MappingProxyType(second := {"a": [2.0]})
    before = structure_of(network)
    assert structure_of(network) == before
    second["a"] = [3.0]
    assert structure_of(network) != before


def test_tuples_of_one_and_the_same_tuple_many_times_over_are_looked_at_once():
    network, held = nn.Linear(3, 2).eval(), [1.0]
    nested = (held,)
    for _ in range(60):  # 2**60 tuples, were each looked at
        nested = (nested, nested)
    network.nested = nested
    before = structure_of(network)
    assert structure_of(network) == before
    held[0] = 2.0
    assert structure_of(network) != before


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


def test_what_lies_too_deep_to_be_seen_is_refused_by_module():
    network, deep = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), []
    for _ in range(5000):
        deep = [deep]
    network[1].deep = deep
    with pytest.raises(rn.UnsupportedNetworkError, match=r"an attribute of 1 holds things within things"):
        rn.explain(network.eval(), torch.zeros(1, 3))
    network[1].deep = {"list": nested(30), "again": [[[1.0]]]}
    rn.explain(network, torch.zeros(1, 3))
