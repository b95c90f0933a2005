"""A graph that is run forward alone gives the network's logits, whatever is left out, moved or written over."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rlrp_nb.engine import inference
from rlrp_nb.engine.inference import Inference, can_infer
from rlrp_nb.engine.layout import channels_last
from rlrp_nb.engine.registry import graph_of
from tests.reference import zoo
from tests.reference.networks import randomised
from tests.reference.test_odd_networks import NETWORKS, Odd

ODD = sorted(NETWORKS.keys() - {"shuffled_channels", "dense_with_batch_norm"})  # these hold for one batch size


def ready(network, inputs):
    return Inference(network, graph_of(network, inputs[:2]), channels_last(inputs[:2]), len(inputs))


@torch.no_grad()
def check(network, inputs, tolerance=1e-5):
    """Compare with the network, for several inputs, for one, and again."""
    found = ready(network, inputs)
    expected, given = network(inputs.clone()), channels_last(inputs.clone())
    limit = tolerance * float(expected.abs().max())
    assert float((found(given) - expected).abs().max()) <= limit
    assert torch.equal(given, inputs), "what it is given is written over"
    assert float((found.logits - expected[:2]).abs().max()) <= limit
    assert float((found(channels_last(inputs[:1])) - expected[:1]).abs().max()) <= limit
    assert torch.equal(found(given), found(given)), "a run changes what the next one reads"


def test_one_channel_whose_windows_stand_in_one_column():
    """With the strides of channels last oneDNN reads beyond the end of such an input."""
    network = nn.Sequential(nn.Conv2d(1, 16, (5, 6), (1, 3)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    inputs = torch.randn(5, 1, 16, 8)
    network(inputs)
    check(network, inputs)


@pytest.mark.parametrize("name", ODD)
def test_odd_networks(name):
    body, modules, width = NETWORKS[name]
    check(Odd(body, modules, width).float().eval(), torch.randn(5, 3, 8, 8))


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "densenet121", "googlenet", "squeezenet1_1", "mobilenet_v2"),
        *("mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf"),
    ],
)
def test_networks_of_torchvision(name):
    check(zoo.network(name), torch.randn(3, 3, zoo.size(name), zoo.size(name)))


class Pooling(nn.Module):
    """A convolution, then whatever is given."""

    def __init__(self, after):
        super().__init__()
        self.convolution, self.after = nn.Conv2d(3, 4, 3, padding=1), after

    def forward(self, images):
        return self.after(self.convolution(images)).flatten(2).mean(2)


@pytest.mark.parametrize(
    "after",
    [
        lambda z: functional.max_pool2d(z.relu(), 2),
        lambda z: functional.max_pool2d(z.relu(), (3, 2)),  # of 11 rows and 13 columns some are left over
        lambda z: functional.max_pool2d(z.relu(), (1, 2)).relu(),
        lambda z: functional.max_pool2d(z.relu(), 2, ceil_mode=True),
        lambda z: functional.max_pool2d(z.relu(), 3, stride=2, padding=1),
        lambda z: functional.max_pool2d(z.relu(), 2, dilation=2),
        lambda z: functional.max_pool2d(z, 2) - 1,
        lambda z: functional.max_pool2d(z, 1).relu() + z,  # may not write over the convolution
        lambda z: functional.max_pool2d(a := z.relu(), 2).repeat(1, 1, 2, 2)[..., :5, :5] + a[..., :5, :5],
        lambda z: functional.adaptive_max_pool2d(z.relu(), (2, 2)),
        lambda z: functional.max_pool2d(functional.hardtanh(z, -0.1, 0.1), 2),
    ],
)
def test_max_pools_of_every_kind_give_the_same_numbers(after):
    network, inputs = Pooling(after).eval(), torch.randn(4, 3, 11, 13)
    check(network, inputs, tolerance=1e-6)


def test_a_relu_that_a_max_pool_alone_reads_comes_after_it():
    network = Pooling(lambda z: functional.max_pool2d(z.relu(), 2)).eval()
    graph = graph_of(network, torch.randn(2, 3, 8, 8))
    moved = [step.op for step in inference._pools_first(graph.steps)]
    assert [op for op in moved if op in {"aten.relu", "aten.max_pool2d"}] == ["aten.max_pool2d", "aten.relu"]
    assert [step.index for step in inference._pools_first(graph.steps)] == [step.index for step in graph.steps]


def test_convolutions_of_every_kind():
    layers = [
        nn.Conv2d(3, 8, 3, stride=2, padding=(1, 0), bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding="same", groups=8),
        nn.Hardswish(),
        nn.Conv2d(8, 6, 2, dilation=2, groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.ConvTranspose2d(6, 4, 3),
        nn.Hardtanh(-0.5, 0.5),
        nn.Conv2d(4, 5, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(3),
    ]
    network = nn.Sequential(*layers)
    inputs = torch.randn(4, 3, 16, 17)
    network.eval()(inputs)
    check(randomised(network), inputs)


def test_weights_and_biases_that_do_not_lie_in_one_piece():
    network = Pooling(nn.ReLU())
    network.convolution.weight = nn.Parameter(torch.randn(3, 3, 3, 4).permute(3, 0, 2, 1))
    network.convolution.bias = nn.Parameter(torch.randn(4, 2)[:, 0])
    check(network.eval(), torch.randn(3, 3, 7, 7))


def test_weights_beyond_the_limit_stay_in_their_order(monkeypatch):
    network, inputs = zoo.network("resnet18"), torch.randn(2, 3, 64, 64)
    packed = []
    own = torch.ops.mkldnn._reorder_convolution_weight
    monkeypatch.setattr(
        torch.ops.mkldnn, "_reorder_convolution_weight", lambda w, *rest: (packed.append(w.nbytes), own(w, *rest))[1]
    )
    monkeypatch.setattr(inference, "_PACKED", 2**20)
    check(network, inputs)
    assert 0 < sum(packed) <= 2**20


def test_what_is_no_number_stays_none():
    network = Pooling(nn.ReLU()).eval()
    with torch.no_grad():
        network.convolution.weight[1, 0, 0, 0] = torch.nan
    inputs = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        assert torch.equal(ready(network, inputs)(inputs).isnan(), network(inputs).isnan())
        assert network(inputs).isnan().any()


def test_weights_are_those_of_the_moment_when_it_was_made():
    network, inputs = Pooling(nn.ReLU()).eval(), torch.randn(2, 3, 6, 6)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    check(network, inputs)
    assert all(torch.equal(parameter, before[name]) for name, parameter in network.named_parameters())
    network.convolution.weight.data.mul_(2)
    check(network, inputs)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (torch.rand(1, 3, 4, 4), torch.backends.mkldnn.is_available()),
        (torch.rand(1, 3, 4, 4).double(), False),
        (torch.rand(1, 3, 4), False),
        (torch.rand(1, 3, 4, 4, device="meta"), False),
    ],
)
def test_only_what_was_measured_is_made_ready(inputs, expected):
    assert can_infer(inputs) == expected


def test_who_switches_onednn_off_gets_none_of_it():
    torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        assert not can_infer(torch.rand(1, 3, 4, 4))
    finally:
        torch.backends.mkldnn.set_flags(_enabled=True)
