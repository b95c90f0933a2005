import collections
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import rlrp_nb as rn
from rlrp_nb.engine.snapshot import check_mode, has_forward_hooks, separate, twin_of, unwrap
from rlrp_nb.errors import InputError, UnsupportedNetworkError


def test_twin_shares_tensors_and_no_module(residual):
    twin = twin_of(residual)
    assert dict(twin.named_parameters()).keys() == dict(residual.named_parameters()).keys()
    for (_, a), (_, b) in zip(twin.named_parameters(), residual.named_parameters(), strict=True):
        assert a is b
    assert not set(twin.modules()) & set(residual.modules())


def test_a_separate_twin_shares_numbers_and_nothing_else(residual):
    x = torch.randn(1, 3, 8, 8)
    twin = separate(residual)
    assert torch.equal(twin(x), residual(x))
    for (name, mine), theirs in zip(
        residual.state_dict(keep_vars=True).items(), twin.state_dict(keep_vars=True).values(), strict=True
    ):
        assert mine.data_ptr() == theirs.data_ptr(), name
        assert mine is not theirs, name
        assert not theirs.requires_grad, name
    first = next(twin.parameters())
    first.data = torch.zeros_like(first)
    assert next(residual.parameters()).abs().min() > 0


def test_tied_weights_stay_tied_in_a_separate_twin():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    twin = separate(network)
    assert twin[0].weight is twin[1].weight


def test_twin_keeps_one_module_used_twice_one_module():
    relu = nn.ReLU()
    twin = twin_of(nn.Sequential(relu, nn.Linear(2, 2), relu))
    assert twin[0] is twin[2]


def test_twin_has_no_hooks_and_takes_none_away(residual):
    residual[0].register_forward_hook(lambda *_: pytest.fail("the hook was called"))
    twin_of(residual)(torch.zeros(1, 3, 8, 8))
    assert has_forward_hooks(residual) == ["0"]


def test_a_traced_module_of_fx_has_a_twin():
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    x = torch.randn(4, 2)
    assert torch.equal(twin_of(traced)(x), traced(x))


def test_stored_bound_methods_lead_to_the_twin():
    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.run = self.work

        def work(self):
            return self

    twin = twin_of(Bound())
    assert twin.run() is twin


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


def test_unwrap(residual):
    assert unwrap(nn.DataParallel(residual)) is residual
    assert unwrap(torch.compile(residual)) is residual
    with pytest.raises(InputError, match="network is a type"):
        unwrap(nn.Linear)


def test_a_network_with_the_names_of_a_wrapper_is_no_wrapper(residual, images):
    class DataParallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = self._orig_mod = residual

        def forward(self, x):
            return 2 * self.module(x)

    network = DataParallel().eval()
    assert unwrap(network) is network
    torch.testing.assert_close(rn.explain(network, images).logits, 2 * residual(images))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()])
def test_training_mode_is_refused_by_layer(layer):
    network = nn.Sequential(nn.Linear(3, 3), layer).train()
    with pytest.raises(UnsupportedNetworkError, match=rf"1 \({type(layer).__name__}\).*network.eval\(\)"):
        check_mode(network)
    check_mode(network.eval())


def test_training_mode_without_such_layers_is_no_problem():
    check_mode(nn.Sequential(nn.Linear(3, 3), nn.ReLU()).train())


def test_networks_without_values_are_refused():
    with pytest.raises(UnsupportedNetworkError, match=r"weight.*meta device"):
        check_mode(nn.Linear(2, 2, device="meta"))
    lazy = nn.LazyLinear(2)
    with pytest.raises(UnsupportedNetworkError, match="lazy layer"):
        check_mode(lazy)


@pytest.mark.filterwarnings("ignore:.*torch.jit.:FutureWarning", "ignore:.*torch.jit.:DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.jit.script, lambda layer: torch.jit.trace(layer, torch.zeros(1, 2))])
def test_a_scripted_layer_is_refused_by_name(compiled):
    network = nn.Sequential(nn.Linear(2, 2), compiled(nn.Linear(2, 2))).eval()
    with pytest.raises(UnsupportedNetworkError, match=r"1 is a TorchScript module.*Put the original"):
        rn.explain(network, torch.zeros(1, 2))


def test_parametrised_weights_that_are_cached_are_refused():
    class Mirrored(nn.Module):
        def forward(self, weight):
            return weight + weight.flip(-1)

    network, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(2, 4)
    parametrize.register_parametrization(network[0], "weight", Mirrored())
    with parametrize.cached():
        own = network(x)
        for _ in range(2):
            with pytest.raises(UnsupportedNetworkError, match=r"0 has parametrised weights.*outside of it"):
                rn.explain(network, x)
        assert torch.equal(network(x), own)
    rn.explain(network, x)
    with parametrize.cached(), pytest.raises(UnsupportedNetworkError, match="parametrised weights"):
        rn.explain(network, torch.randn(2, 5, 4))  # for which it is traced again
    with parametrize.cached():
        assert torch.equal(rn.explain(network, x).logits, network(x))


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*deprecated:UserWarning")
def test_quantised_layers_are_refused_by_name():
    network = nn.Sequential(nn.ReLU(), torch.ao.nn.quantized.dynamic.Linear(2, 2))
    with pytest.raises(UnsupportedNetworkError, match=r"1 \(Linear\) is quantised.*floating point"):
        check_mode(network)


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
