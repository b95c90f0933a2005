import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rlrp_nb as rn

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
