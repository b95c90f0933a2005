import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.layout import channels_first, channels_last, laid_out, order_of


def strides(tensor):
    return tensor.stride()


@pytest.mark.parametrize("samples", [1, 3])
def test_channels_last_is_what_pytorch_takes_for_it(samples):
    x = torch.randn(samples, 4, 5, 6)
    last = channels_last(x)
    assert torch.equal(last, x)
    assert strides(last) == strides(x.to(memory_format=torch.channels_last))
    odd = last.as_strided(last.shape, (4, *strides(last)[1:])) if samples == 1 else last
    assert strides(channels_last(odd)) == strides(last)
    assert channels_last(odd).data_ptr() == last.data_ptr()


@pytest.mark.parametrize("shape", [(2, 1, 5, 4), (1, 3, 1, 1), (1, 1, 1, 1), (2, 3, 4, 5), (0, 1, 2, 2)])
def test_channels_first_is_what_a_new_tensor_has(shape):
    x = torch.randn(shape)
    for given in (x, channels_last(x)):
        assert torch.equal(channels_first(given), x)
        assert strides(channels_first(given)) == strides(torch.randn(shape))
    assert channels_first(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    ("outputs", "kernel", "size", "last"),
    [
        (64, (4, 4), 2, True),  # 2**16 weights
        (1024, (4, 4), 2, False),  # 2**20
        (1023, (4, 4), 2, True),
        (1024, (4, 4), 128, False),  # as many values
        (1024, (4, 4), 129, True),
        (16384, (1, 1), 2, False),
    ],
)
def test_a_large_weight_that_is_larger_than_the_signal_decides(outputs, kernel, size, last):
    signal, weight = torch.randn(1, 64, size, size), torch.randn(outputs, 64, *kernel)
    out = laid_out(signal, weight, signal.numel())
    assert torch.equal(out, signal)
    assert out.is_contiguous(memory_format=torch.channels_last) is last
    assert order_of(out) == (torch.channels_last if last else torch.contiguous_format)


@pytest.mark.parametrize("signal", [torch.randn(1, 4, 8), torch.randn(1, 4, 8, 8).double(), torch.randn(1, 4, 2, 8, 8)])
def test_what_gains_nothing_is_left_alone(signal):
    weight = torch.randn(8, 4, *[1] * (signal.dim() - 2))
    assert laid_out(signal, weight, signal.numel()) is signal
    assert order_of(signal) == torch.contiguous_format


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_results_are_in_the_usual_order_whatever_the_input_is_in(order):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(2, 3, 9, 9)
    given = x.to(memory_format=order)
    before = given.clone()
    explanation = rn.explain(network, given, (0, 1, 2), layers="all")
    assert torch.equal(given, before)
    assert given.stride() == before.stride()
    assert explanation.logits.is_contiguous()
    assert all(t.is_contiguous() for t in (explanation.relevance, *explanation.layers.values()))
    torch.testing.assert_close(
        explanation.relevance, rn.explain(network.double(), x.double(), (0, 1, 2)).relevance.float()
    )
