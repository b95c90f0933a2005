"""A twin computes what its network does, and whatever is done to it or by it leaves the network as it was."""

import collections
import gc
import tempfile
import types
import weakref
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.twins import separate, twin_of


def test_a_twin_shares_numbers_and_nothing_else(residual):
    x = torch.randn(1, 3, 8, 8)
    with twin_of(residual) as twin:
        assert torch.equal(twin(x), residual(x))
        mine, theirs = (network.state_dict(keep_vars=True) for network in (residual, twin))
        assert mine.keys() == theirs.keys()
        assert not set(twin.modules()) & set(residual.modules())
        for name, tensor in mine.items():
            assert tensor.data_ptr() == theirs[name].data_ptr(), name
            assert tensor is not theirs[name], name
            assert tensor.requires_grad == theirs[name].requires_grad, name
        first = next(twin.parameters())
        first.data = torch.zeros_like(first)
    assert next(residual.parameters()).abs().min() > 0


def test_a_separate_twin_needs_no_gradients(residual):
    with separate(residual) as twin:
        assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in residual.parameters())


def test_tied_weights_stay_tied_in_a_twin():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    with twin_of(network) as twin:
        assert twin[0].weight is twin[1].weight


def test_twin_keeps_one_module_used_twice_one_module():
    relu = nn.ReLU()
    with twin_of(nn.Sequential(relu, nn.Linear(2, 2), relu)) as twin:
        assert twin[0] is twin[2]


def test_twin_has_no_hooks_and_takes_none_away(residual):
    residual[0].register_forward_hook(lambda *_: pytest.fail("the hook was called"))
    with twin_of(residual) as twin:
        twin(torch.zeros(1, 3, 8, 8))
    assert len(residual[0]._forward_hooks) == 1


def test_a_traced_module_of_fx_has_a_twin():
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    x = torch.randn(4, 2)
    with twin_of(traced) as twin:
        assert torch.equal(twin(x), traced(x))


def test_a_module_with_a_slot_has_a_twin_with_the_same_in_it():
    class Scaled(nn.Module):
        __slots__ = ("__factor",)

        def __init__(self):
            super().__init__()
            self.layer, self.__factor = nn.Linear(3, 2), 3.0

        def forward(self, x):
            return self.layer(x) * self.__factor

    network, x = Scaled().eval(), torch.randn(2, 3)
    assert torch.equal(rn.explain(network, x).logits, network(x))


@pytest.mark.parametrize(
    ("store", "keep"),
    [
        (collections.deque(maxlen=3), lambda store, found: store.append(found)),
        (collections.defaultdict(list), lambda store, found: store["features"].append(found)),
        (collections.Counter(), lambda store, _: store.update(["runs"])),
        (types.SimpleNamespace(last=None), lambda store, found: setattr(store, "last", found)),
        (np.zeros(1), lambda store, _: store.fill(1)),
        (bytearray(), lambda store, _: store.append(1)),
    ],
)
def test_what_a_network_keeps_in_its_own_containers_is_left_as_it_was(store, keep):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.store = store
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            found = self.head(x)
            keep(self.store, found)
            return found

    before = repr(store)
    rn.explain(Keeping().eval(), torch.ones(1, 3), 0)
    assert repr(store) == before


class Layers(NamedTuple):
    conv: nn.Module
    fc: nn.Module


class Listed(list):
    """A list of a user's own class."""


class Holder:
    def __init__(self, **held):
        vars(self).update(held)

    def run(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


class Small(nn.Module):
    """A network that counts its runs and whose steps a test keeps where it likes."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)
        self.register_buffer("runs", torch.zeros(()))
        self.log = []
        self.steps = self.plain

    def plain(self, x):
        self.runs += 1
        self.log.append("run")
        return self.fc(torch.relu(self.conv(x)).flatten(1))

    def forward(self, x):
        return self.steps(x)


def run_of(network, x):
    return network.plain(x)


def closing_over(network):
    return lambda x: network.plain(x) * 1.0


def closing_over_itself(network):
    def run(x, *, again=True):
        return run(x, again=False) if again else network.plain(x)

    return run


def closing_over_a_table(network):
    names = {module: name for name, module in network.named_modules()}
    return lambda x: network.plain(x) * (2.0 if names[network.conv] == "conv" else 1.0)


def weakly(network):
    reference = weakref.ref(network)
    return lambda x: reference().plain(x)


def by_default(network):
    def run(x, *, network=network):
        return network.plain(x)

    return run


GLOBAL = []


def from_a_global(network):
    GLOBAL[:] = [network]
    return lambda x: GLOBAL[0].plain(x) * 1.0


def original_forward(network):
    before = network.forward
    network.forward = lambda x: 2 * before(x)
    return network.plain


KEPT = {
    "a method": lambda n: n.plain,
    "a lambda": closing_over,
    "a function that calls itself": closing_over_itself,
    "a table of modules": closing_over_a_table,
    "a partial": lambda n: partial(run_of, n),
    "a weak reference": weakly,
    "a default": by_default,
    "a global": from_a_global,
    "a forward that was replaced": original_forward,
    "an object": lambda n: Holder(conv=n.conv, fc=n.fc).run,
    "objects within objects": lambda n: Holder(steps=Listed([{"run": closing_over(n)}]), conv=None).steps[0]["run"],
    "a list of functions": lambda n: partial(lambda steps, x: steps[0](x), Listed([closing_over(n)])),
}


@pytest.mark.parametrize("kept", KEPT)
def test_weights_that_were_replaced_are_seen_however_the_code_reaches_them(kept):
    network, x = Small().eval(), torch.randn(2, 3, 6, 6)
    network.steps = KEPT[kept](network)

    def replaced():
        yield
        network.fc.bias.data = torch.randn(3)
        yield
        network.conv.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        yield
        network.load_state_dict({k: torch.randn_like(v) for k, v in network.state_dict().items()}, assign=True)
        yield

    for _ in replaced():
        before = network.runs.clone(), len(network.log)
        found = rn.explain(network, x, 1)
        assert (network.runs, len(network.log)) == before
        torch.testing.assert_close(found.logits, network(x))


def test_a_named_tuple_of_layers_leads_to_the_twins():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    network.kept = Layers(network[0], network[2])
    with twin_of(network) as twin:
        assert type(twin.kept) is Layers
        assert twin.kept.conv is twin[0]
        assert twin.kept.fc is twin[2]


def test_hooks_that_know_modules_by_identity_are_run():
    network, x, found = Small().eval(), torch.randn(2, 3, 6, 6), {}
    names = {module: name for name, module in network.named_modules()}

    def look(module, _inputs, output):
        if module is network.conv or module is network.fc:
            found[names[module]] = output.shape

    for module in network.modules():
        module.register_forward_hook(look)
    assert torch.equal(rn.explain(network, x).logits, network(x))
    assert found.keys() == {"conv", "fc"}


class Looking(nn.Module):
    """A network that finds a factor of its own in a table."""

    def __init__(self, table):
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3), table

    def forward(self, x):
        return self.conv(x).flatten(1) * self.factor()

    def factor(self):
        return self.table.get(self, 1.0) * self.table.get(self.conv, 1.0)


class LookingAround(Looking):
    def factor(self):
        return TABLE.get(self, 1.0)


TABLE = weakref.WeakKeyDictionary()


@pytest.mark.parametrize("table", [{}, collections.OrderedDict(), weakref.WeakKeyDictionary(), None])
def test_a_network_that_finds_itself_in_a_table_is_found_there(table):
    network, x = (LookingAround(None) if table is None else Looking(table)).eval(), torch.randn(2, 3, 6, 6)
    (TABLE if table is None else table).update({network: 3.0, network.conv: 2.0})
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    assert network(x).abs().max() > 2 * network.conv(x).abs().max()


class SetOfMine(set):
    """A set of a user's own class."""


class QueueOfMine(collections.deque):
    """A queue of a user's own class."""


class DefaultsOfMine(collections.defaultdict):
    """A dict with defaults of a user's own class."""


CONTAINERS = {
    "a WeakSet": lambda m: weakref.WeakSet([m]),
    "a view that cannot be written to": lambda m: types.MappingProxyType({m: 1}),
    "keys": lambda m: {m: 1}.keys(),
    "values": lambda m: {1: m}.values(),
    "keys in an order": lambda m: collections.OrderedDict({m: 1}).keys(),
    "a set of one's own": lambda m: SetOfMine([m]),
    "a queue of one's own": lambda m: QueueOfMine([m], maxlen=2),
    "a dict with defaults of one's own": lambda m: DefaultsOfMine(list, {m: 1}),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_layer_is_found_in_containers_of_all_kinds(container):
    class Asking(Small):
        def forward(self, x):
            return super().forward(x) * (3.0 if self.conv in self.held else 1.0)

    network, x = Asking().eval(), torch.randn(2, 3, 6, 6)
    network.held = CONTAINERS[container](network.conv)
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))
    with twin_of(network) as twin:
        assert type(twin.held) is type(network.held)
        assert twin.conv in twin.held
        assert network.conv not in twin.held
        assert getattr(twin.held, "maxlen", None) == getattr(network.held, "maxlen", None)
        assert getattr(twin.held, "default_factory", None) is getattr(network.held, "default_factory", None)


def test_layers_that_are_known_by_their_settings_are_found():
    class Square(nn.Linear):
        def __eq__(self, other):
            return isinstance(other, Square) and self.sizes == other.sizes

        def __hash__(self):
            return hash((*self.sizes, self.weight.shape))

    class Asking(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * self.factors[self[0]]

    first, second = Square(3, 4), Square(4, 2)
    first.sizes, second.sizes = [3, 4], [4, 2]
    network, x = Asking(first, second).eval(), torch.randn(2, 3)
    first.factors = network.factors = {first: 3.0, second: 2.0}  # before the sizes of the second are filled in
    torch.testing.assert_close(rn.explain(network, x).logits, network(x))


def test_a_method_whose_results_are_kept_is_called():
    class Weighting(Small):
        def __init__(self):
            super().__init__()
            self.grid = lru_cache(maxsize=4)(self.make_grid)

        def make_grid(self, height, width):
            return torch.full((height, width), self.scale)

        def forward(self, x):
            return super().forward(x * self.grid(*x.shape[2:]))

    network, x = Weighting().eval(), torch.randn(2, 3, 6, 6)
    network.scale = 2.0
    network(x)
    network.scale = 5.0  # too late for what is kept
    for _ in range(2):
        torch.testing.assert_close(rn.explain(network, x).logits, network(x))
        network.fc.bias.data = torch.randn(3)


def test_a_weak_proxy_of_the_network_stands_for_the_twin():
    class Child(nn.Module):
        def __init__(self, parent):
            super().__init__()
            vars(self)["parent"] = weakref.proxy(parent)

        def forward(self, x):
            return x * self.parent.factors[self]

    class Parent(Small):
        def forward(self, x):
            return self.child(super().forward(x)) + self.child.parent.fc.bias

    network, x = Parent().eval(), torch.randn(2, 3, 6, 6)
    network.child = Child(network)
    network.factors = {network.child: 3.0}
    for _ in range(2):
        torch.testing.assert_close(rn.explain(network, x).logits, network(x))
        network.fc.bias = nn.Parameter(torch.randn(3))


def test_a_table_by_the_identity_of_modules_is_refused_in_words():
    class Identified(Looking):
        def factor(self):
            return self.table[id(self.conv)]

    network = Identified({}).eval()
    network.table[id(network.conv)] = 2.0
    with pytest.raises(rn.InputError, match=r"If it works by itself.*table by id\(\)"):
        rn.explain(network, torch.randn(2, 3, 6, 6))


def test_layers_that_are_compiled_show_weights_that_were_replaced():
    network, x = Small().eval(), torch.randn(2, 3, 6, 6)
    network.conv = torch.compile(network.conv, backend="eager")
    network.fc.compile(backend="eager")
    for _ in range(2):
        found = rn.explain(network, x, 1)
        torch.testing.assert_close(
            found.logits, network.fc.forward(torch.relu(network.conv._orig_mod(x)).flatten(1)), rtol=1e-4, atol=1e-5
        )
        network.conv._orig_mod.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        network.fc.weight = nn.Parameter(torch.randn(3, 64))


class Ending(Small):
    def __init__(self, events):
        super().__init__()
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it is to be open
        self.handle = self.conv.register_forward_hook(lambda *_: None)
        self.events = events

    def __del__(self):
        self.file.close()
        self.handle.remove()
        self.events.append("end")


class Events(list):
    """One list for all, also for copies."""

    def __copy__(self):
        return self


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_network_does_at_its_end_is_not_done_for_its_twin(fails):
    events = Events()
    network, x = Ending(events).eval(), torch.randn(2, 3, 6, 6)
    if fails:
        network.steps = lambda x: network.plain(x) @ network.plain(x)
        with pytest.raises(rn.InputError):
            rn.explain(network, x)
    else:
        rn.explain(network, x)
    gc.collect()
    assert not events
    assert not network.file.closed
    assert len(network.conv._forward_hooks) == 1


def test_an_object_that_does_something_at_its_end_is_left_in_peace():
    ended = []

    class Owner:
        def __init__(self, network):
            self.network = network

        def __del__(self):
            ended.append(self)

    network = Small().eval()
    network.owner = Owner(network)
    rn.explain(network, torch.randn(2, 3, 6, 6))
    gc.collect()
    assert not ended


def test_a_twin_whose_end_cannot_be_kept_quiet_is_refused():
    class Slotted(Small):
        __slots__ = ("slot",)

        def __del__(self):
            pytest.fail("it was called")

    network = Slotted().eval()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"the network \(Slotted\) has both __del__ and __slots__"):
        rn.explain(network, torch.randn(2, 3, 6, 6))
    object.__setattr__(network, "__class__", Slotted)
    type(network).__del__ = lambda _: None


def drop_gradients(network):
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)


WRITES = {
    "other numbers": lambda n: setattr(n.fc.bias, "data", n.fc.bias.data + 1),
    "numbers of an attribute": lambda n: setattr(n.fc.bias, "data", n.fc.bias.original + 1),
    "other parameters": lambda n: setattr(n.fc, "bias", nn.Parameter(n.fc.bias + 1)),
    "no gradients": drop_gradients,
    "a gradient": lambda n: setattr(n.fc.bias, "grad", torch.ones(3)),
    "an attribute": lambda n: setattr(n.fc.bias, "original", torch.ones(3)),
}


@pytest.mark.parametrize("write", WRITES)
def test_parameters_stay_as_they_are_whatever_the_network_does_to_them(write):
    network = Small().eval()
    bias, original = network.fc.bias, network.fc.bias.detach().clone()
    bias.original = original
    network.steps = lambda x: (WRITES[write](network), network.plain(x))[1]
    try:
        found = rn.explain(network, torch.randn(2, 3, 6, 6))
    except rn.UnsupportedNetworkError as error:
        assert "writes into its own weights" in str(error)  # noqa: PT017 - or it is explained
    else:
        assert found.logits.shape == (2, 3)
    assert network.fc.bias is bias
    assert torch.equal(bias, original)
    assert bias.original is original
    assert bias.grad is None
    assert bias.requires_grad


def test_a_tensor_in_an_attribute_is_not_written_into():
    class Remembering(Small):
        def forward(self, x):
            self.last += 1
            return super().forward(x)

    network = Remembering().eval()
    network.last = torch.zeros(100)
    with pytest.raises(rn.UnsupportedNetworkError, match=r"writes into its own.*\(last\).*a buffer"):
        rn.explain(network, torch.randn(2, 3, 6, 6))
    assert not network.last.any()


@pytest.mark.parametrize(
    "overridden",
    [
        {"parameters": lambda self, *_, **__: self.fc.parameters()},
        {"named_parameters": lambda self, *_, **__: self.fc.named_parameters()},
        {"buffers": lambda *_, **__: iter(())},
        {"named_buffers": lambda *_, **__: iter(())},
        {"modules": lambda self: iter([self])},
        {"named_modules": lambda self, *_, **__: iter([("", self)])},
        {"children": lambda _: iter(())},
    ],
    ids=lambda overridden: next(iter(overridden)),
)
def test_a_network_that_shows_only_some_of_its_parts_is_explained_with_all(overridden):
    network, x = type("Partly", (Small,), overridden)().eval(), torch.randn(2, 3, 6, 6)
    for _ in range(2):
        torch.testing.assert_close(rn.explain(network, x).logits, network(x))
        network.conv.weight = nn.Parameter(torch.randn(4, 3, 3, 3))


def test_attributes_that_hold_themselves_have_a_twin():
    network = nn.Linear(3, 2)
    network.loop, network.tree = [1], {"name": "root", "children": []}
    network.loop.append(network.loop)
    network.tree["children"].append({"parent": network.tree, "layer": network})
    with twin_of(network) as twin:
        assert twin.loop[1] is twin.loop
        assert twin.tree["children"][0]["parent"] is twin.tree
        assert twin.tree["children"][0]["layer"] is twin
