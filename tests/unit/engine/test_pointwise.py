import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine import weighted
from rlrp_nb.engine.pointwise import backward_pointwise, forward_pointwise, is_pointwise, strided


def near(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1), (3, 5)])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (6, 9)])
@pytest.mark.parametrize(("samples", "bias"), [(1, True), (3, False)])
def test_both_ways_equal_the_convolution_in_float64(order, stride, size, samples, bias):
    torch.manual_seed(0)
    x, weight = torch.randn(samples, 20, *size).to(memory_format=order), torch.randn(30, 20, 1, 1)
    shift = torch.randn(30) if bias else None
    leaf = x.double().requires_grad_()
    expected = functional.conv2d(leaf, weight.double(), None if shift is None else shift.double(), stride)
    found = forward_pointwise(strided(x, stride), weight, shift)
    near(found, expected.detach())
    assert found.is_contiguous(memory_format=torch.channels_last)
    s = torch.randn_like(found).contiguous(memory_format=order)
    back = backward_pointwise(s, weight, stride, size)
    near(back, torch.autograd.grad(expected, leaf, s.double())[0])
    assert back.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("signal", "weight", "padding", "groups", "expected"),
    [
        (torch.empty(2, 8, 16, 16), torch.empty(4, 8, 1, 1), [0, 0], 1, True),  # 512 pixels
        (torch.empty(2, 8, 16, 17), torch.empty(4, 8, 1, 1), [0, 0], 1, False),
        (torch.empty(1, 8, 4, 4), torch.empty(4, 8, 1, 3), [0, 0], 1, False),
        (torch.empty(1, 8, 4, 4), torch.empty(4, 8, 1, 1), [0, 1], 1, False),
        (torch.empty(1, 8, 4, 4), torch.empty(4, 4, 1, 1), [0, 0], 2, False),
        (torch.empty(1, 8, 4, 4).double(), torch.empty(4, 8, 1, 1).double(), [0, 0], 1, False),
        (torch.empty(1, 8, 4), torch.empty(4, 8, 1), [0], 1, False),
        (torch.empty(1, 8, 4, 4), torch.empty(8, 4, 1, 1).transpose(0, 1), [0, 0], 1, False),
    ],
)
def test_few_pixels_and_plain_weights_are_multiplied(signal, weight, padding, groups, expected):
    assert is_pointwise(signal, weight, padding, groups) is expected


class Bottlenecks(nn.Module):
    """Convolutions of one pixel before and behind others, one that strides, one whose weight the batch-norm scales."""

    def __init__(self):
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.wide = nn.Sequential(nn.Conv2d(4, 12, 1), nn.BatchNorm2d(12))
        self.skip = nn.Sequential(nn.Conv2d(6, 12, 1, 2, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(12, 300, 1), nn.Flatten(), nn.Linear(300 * 4, 5))

    def forward(self, x):
        inner = self.wide(self.conv(self.narrow(x).relu()).relu())[..., ::2, ::2]
        return self.head((inner + self.skip(x)).relu())


@pytest.mark.parametrize("samples", [1, 3])
def test_an_explanation_equals_the_one_without_it_and_in_float64(samples, monkeypatch):
    torch.manual_seed(0)
    network = Bottlenecks().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
    x = torch.randn(samples, 6, 8, 8)
    used = []
    monkeypatch.setattr(weighted, "is_pointwise", lambda *given: used.append(is_pointwise(*given)) or used[-1])
    found = rn.explain(network, x, [0, (1, 2)], layers="all")
    assert sum(used) >= 6
    monkeypatch.setattr(weighted, "is_pointwise", lambda *_: False)
    plain = rn.explain(network, x, [0, (1, 2)], layers="all")
    exact = rn.explain(network.double(), x.double(), [0, (1, 2)], layers="all")
    near(found.relevance, exact.relevance)
    near(plain.relevance, exact.relevance)
    for name, relevance in exact.layers.items():
        near(found.layers[name], relevance)
    assert found.ledger().worst_residual < 1e-4


@pytest.mark.parametrize("bias", [torch.arange(128.0)[::2], torch.ones(1).expand(64)])
def test_a_bias_that_does_not_lie_in_one_piece_is_read_by_its_strides(bias):
    signal, weight = torch.randn(1, 32, 2, 2), torch.randn(64, 32, 1, 1)
    torch.testing.assert_close(forward_pointwise(signal, weight, bias), torch.conv2d(signal, weight, bias))
