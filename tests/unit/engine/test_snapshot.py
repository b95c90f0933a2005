import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torchvision import models

import rlrp_nb as rn
from rlrp_nb.engine.snapshot import check_mode, has_forward_hooks, unwrap
from rlrp_nb.errors import InputError, UnsupportedNetworkError


def test_unwrap(residual):
    assert unwrap(nn.DataParallel(residual)) is residual
    assert unwrap(torch.compile(residual)) is residual
    with pytest.raises(InputError, match="network is a type"):
        unwrap(nn.Linear)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda network: torch.compile(network, backend="eager")])
def test_hooks_on_a_wrapper_are_refused(residual, images, wrap):
    wrapper = wrap(residual)
    handle = wrapper.register_forward_hook(lambda _module, _inputs, output: -output)
    with pytest.raises(UnsupportedNetworkError, match="around the network carries forward hooks"):
        rn.explain(wrapper, images)
    handle.remove()
    assert torch.equal(rn.explain(wrapper, images).logits, rn.explain(residual, images).logits)


def test_has_forward_hooks_names_their_modules(residual):
    residual[0].register_forward_hook(lambda *_: None)
    assert has_forward_hooks(residual) == ["0"]


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


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated:DeprecationWarning")
def test_networks_that_are_to_be_quantised_are_explained_as_they_are():
    torch.manual_seed(0)
    network = models.quantization.resnet18(weights=None, quantize=False, num_classes=3).eval()
    same = models.resnet18(weights=None, num_classes=3).eval()
    same.load_state_dict(network.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(rn.explain(network, images, 1).relevance, rn.explain(same, images, 1).relevance)


def test_a_weak_proxy_holds_no_module():
    network = nn.Sequential(nn.Linear(2, 2))
    vars(network[0])["around"] = [weakref.proxy(network)]
    check_mode(network)
    network[0].hidden = [nn.Linear(2, 2)]
    with pytest.raises(UnsupportedNetworkError, match=r"0.hidden holds modules that PyTorch does not know of"):
        check_mode(network)
