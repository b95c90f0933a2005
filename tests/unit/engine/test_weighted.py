import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.weighted import pull_by_phases

small = st.integers(1, 3)


@settings(max_examples=25)
@given(
    rank=small,
    kernel=small,
    stride=small,
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
    transposed=st.booleans(),
    bias=st.booleans(),
)
def test_convolution_of_any_kind_hands_back_its_transpose(
    rank, kernel, stride, padding, dilation, groups, transposed, bias
):
    kinds = {
        False: (nn.Conv1d, nn.Conv2d, nn.Conv3d),
        True: (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    }
    layer = kinds[transposed][rank - 1](
        2, 4, kernel, stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    ).double()
    x = torch.randn(2, 2, *[6] * rank, dtype=torch.float64, requires_grad=True)
    output = layer(x)
    seeds = torch.randn(2, 2, *output.shape[1:], dtype=torch.float64)
    relevance = rn.explain(layer, x, seeds).relevance
    for k in range(2):
        (gradient,) = torch.autograd.grad(output, x, seeds[:, k], retain_graph=True)
        torch.testing.assert_close(relevance[:, k], (x * gradient).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=50)
@given(
    kernel=st.tuples(small, small),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.one_of(st.sampled_from(["valid", "same"]), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    groups=st.sampled_from([1, 1, 5]),
    last=st.booleans(),
)
@example(kernel=(2, 3), stride=(1, 1), padding="same", dilation=(1, 1), size=(7, 6), groups=1, last=False)
@example(kernel=(3, 2), stride=(3, 4), padding=(2, 0), dilation=(1, 2), size=(11, 10), groups=1, last=True)
def test_a_convolution_of_pictures_in_single_precision_hands_back_its_transpose(
    kernel, stride, padding, dilation, size, groups, last
):
    stride = (1, 1) if padding == "same" else stride
    layer = nn.Conv2d(5, 10, kernel, stride, padding, dilation, groups)
    x = torch.randn(2, 5, *size).to(memory_format=torch.channels_last if last else torch.contiguous_format)
    exact = x.double().requires_grad_()
    output = copy.deepcopy(layer).double()(exact)
    seeds = torch.randn(2, 3, *output.shape[1:])
    relevance = rn.explain(layer, x, seeds).relevance
    for k in range(3):
        (gradient,) = torch.autograd.grad(output, exact, seeds[:, k].double(), retain_graph=True)
        torch.testing.assert_close(relevance[:, k].double(), (exact * gradient).detach(), rtol=1e-4, atol=1e-4)


@given(
    channels=small,
    outputs=small,
    kernel=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    stride=st.integers(2, 6),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    size=st.tuples(st.integers(7, 14), st.integers(7, 14)),
)
def test_phases_of_a_strided_convolution_make_its_transpose(channels, outputs, kernel, stride, padding, size):
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, channels, *kernel, dtype=torch.float64)
    output = torch.conv2d(x, weight, stride=stride, padding=padding)
    seeds = torch.randn(3, *output.shape, dtype=torch.float64)
    pulled = pull_by_phases(seeds, weight, stride, list(padding), x.shape[2:])
    for k in range(3):
        (expected,) = torch.autograd.grad(output, x, seeds[k], retain_graph=True)
        torch.testing.assert_close(pulled[k], expected, rtol=1e-10, atol=1e-12)


def test_the_first_convolution_of_a_network_is_pulled_by_phases(monkeypatch):
    called = []

    def spy(*arguments):
        called.append(arguments[1].shape)
        return pull_by_phases(*arguments)

    monkeypatch.setattr("rlrp_nb.engine.weighted.pull_by_phases", spy)
    network = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, 2), nn.Flatten()).eval()
    x = torch.randn(2, 3, 15, 15)
    relevance = rn.explain(network, x, [0, (1, 2)]).relevance
    assert set(called) == {(8, 3, 7, 7)}
    torch.testing.assert_close(relevance, rn.explain(network.double(), x.double(), [0, (1, 2)]).relevance.float())


def test_weights_in_other_memory_formats(images):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    expected = rn.explain(network, images, 1).relevance
    network.to(memory_format=torch.channels_last)
    for x in (
        images,
        images.to(memory_format=torch.channels_last),
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        torch.testing.assert_close(rn.explain(network, x, 1).relevance, expected)


class ByBatch(nn.Module):
    """A convolution of which one setting is the number of samples."""

    def __init__(self, setting):
        super().__init__()
        self.conv, self.head, self.setting = nn.Conv2d(5, 6, 3), nn.Linear(6, 3), setting

    def forward(self, x):
        found = functional.conv2d(x, self.conv.weight, self.conv.bias, **{self.setting: x.shape[0]})
        return self.head(found.relu().mean((2, 3)))


@pytest.mark.parametrize(("setting", "size"), [("padding", 6), ("stride", 9), ("stride", 3), ("dilation", 9)])
def test_a_setting_that_depends_on_the_batch_is_not_kept_for_the_next(setting, size):
    network = ByBatch(setting).eval()
    for samples in (2, 3, 1, 2):
        x = torch.randn(samples, 5, size, size)
        found = rn.explain(network, x, [0, 1]).relevance
        exact = rn.explain(copy.deepcopy(network).double(), x.double(), [0, 1]).relevance
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-6)


def dirty():
    """Leave large numbers in the memory that is given out next."""
    _ = [torch.full((k,), 1e3) for k in range(1, 200)]


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("method", ["rlrp", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat"])
@pytest.mark.parametrize("hidden", [False, True])
def test_one_channel_whose_windows_stand_in_one_column(hidden, method, order):
    """With the strides of channels last oneDNN reads beyond the end of such an input."""
    before = [nn.Conv2d(2, 1, 1), nn.ReLU()] if hidden else []
    network = nn.Sequential(*before, nn.Conv2d(1, 16, (5, 6), (1, 3)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(2, 2 if hidden else 1, 16, 8)
    network.eval()(x)
    expected = rn.explain(copy.deepcopy(network).double(), x.double(), 1, method)
    dirty()
    found = rn.explain(network, x.to(memory_format=order), 1, method)
    torch.testing.assert_close(found.logits.double(), expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.relevance.double(), expected.relevance, rtol=1e-4, atol=1e-5)
