import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.windows import Windows, is_product


def near(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (6, 9)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((1, 1), (1, 1), (0, 0), (1, 1)),
        ((1, 1), (2, 1), (0, 0), (1, 1)),
        ((1, 1), (3, 5), (0, 0), (1, 1)),
        ((1, 1), (2, 2), (1, 0), (1, 1)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 3), (2, 2), (1, 1), (1, 1)),
        ((3, 2), (1, 3), (2, 1), (1, 1)),
        ((2, 4), (3, 2), (2, 3), (2, 1)),
        ((3, 3), (2, 1), (4, 3), (3, 2)),
        ((5, 5), (4, 4), (6, 5), (1, 1)),
    ],
)
@pytest.mark.parametrize(("samples", "bias"), [(1, True), (3, False)])
def test_both_ways_equal_the_convolution_in_float64(order, size, kernel, stride, padding, dilation, samples, bias):
    torch.manual_seed(0)
    x, weight = torch.randn(samples, 20, *size).to(memory_format=order), torch.randn(30, 20, *kernel)
    shift = torch.randn(30) if bias else None
    leaf = x.double().requires_grad_()
    exact = None if shift is None else shift.double()
    expected = functional.conv2d(leaf, weight.double(), exact, stride, padding, dilation)
    windows = Windows(kernel, stride, padding, dilation)
    assert windows.grid(size) == expected.shape[2:]
    found = windows.convolve(x, weight, shift)
    near(found, expected.detach())
    assert found.is_contiguous(memory_format=torch.channels_last)
    s = torch.randn_like(found).contiguous(memory_format=order)
    back = windows.pull(s, weight, size)
    near(back, torch.autograd.grad(expected, leaf, s.double())[0])
    assert back.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (torch.empty(4, 8, 1, 1), True),
        (torch.empty(4, 8, 1, 3), True),
        (torch.empty(4, 8, 1, 1).double(), False),
        (torch.empty(8, 4, 1, 1).transpose(0, 1), False),
    ],
)
def test_plain_weights_in_single_precision_are_multiplied(weight, expected):
    assert is_product(torch.empty(1, 8, 2, 2, dtype=weight.dtype), weight) is expected


def test_another_dtype_or_device_than_the_weight_s_is_not_multiplied():
    weight = torch.empty(4, 8, 1, 1)
    assert not is_product(torch.empty(1, 8, 2, 2, dtype=torch.float64), weight)
    assert not is_product(torch.empty(1, 8, 2, 2, device="meta"), weight)


@pytest.mark.parametrize(
    ("kernel", "padding", "samples", "size", "channels", "expected"),
    [
        ((1, 1), (0, 0), 2, (16, 16), 4, True),  # 512 pixels
        ((1, 1), (0, 0), 2, (16, 17), 4, False),
        ((1, 1), (0, 1), 2, (16, 14), 512, False),  # its padding has to be written out
        ((3, 3), (1, 1), 1, (8, 8), 512, True),  # 64 windows
        ((3, 3), (1, 1), 2, (8, 4), 512, True),
        ((3, 3), (1, 1), 1, (8, 9), 512, False),
        ((3, 3), (1, 1), 1, (8, 8), 128, False),  # few weights
    ],
)
def test_few_windows_are_multiplied(kernel, padding, samples, size, channels, expected):
    windows = Windows(kernel, (1, 1), padding, (1, 1))
    assert windows.are_few(samples, size, torch.empty(channels, channels, *kernel)) is expected


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
    monkeypatch.setattr("rlrp_nb.engine.windows._LARGE", 1)
    rn.explain(network, x, [0])  # the first time, the network is traced and compared with its graph
    used = []
    pull, convolve = Windows.pull, Windows.convolve
    monkeypatch.setattr(Windows, "pull", lambda *given: used.append(given[0].kernel) or pull(*given))
    monkeypatch.setattr(Windows, "convolve", lambda *given: used.append(given[0].kernel) or convolve(*given))
    found = rn.explain(network, x, [0], layers="all")
    assert used.count((1, 1)) == 8
    assert used.count((3, 3)) == (2 if samples == 1 else 0)
    monkeypatch.setattr(Windows, "serve", lambda *_: False)
    plain = rn.explain(network, x, [0], layers="all")
    exact = rn.explain(network.double(), x.double(), [0], layers="all")
    near(found.relevance, exact.relevance)
    near(plain.relevance, exact.relevance)
    for name, relevance in exact.layers.items():
        near(found.layers[name], relevance)
    assert found.ledger().worst_residual < 1e-4


@pytest.mark.parametrize("bias", [torch.arange(128.0)[::2], torch.ones(1).expand(64)])
def test_a_bias_that_does_not_lie_in_one_piece_is_read_by_its_strides(bias):
    signal, weight = torch.randn(1, 32, 2, 2), torch.randn(64, 32, 1, 1)
    windows = Windows((1, 1), (1, 1), (0, 0), (1, 1))
    torch.testing.assert_close(windows.convolve(signal, weight, bias), torch.conv2d(signal, weight, bias))
