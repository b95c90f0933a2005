"""Convolutions that look at one pixel at a time, as matrix products.

With the channels of a pixel side by side, such a convolution is the product of a matrix of pixels and the weight.
oneDNN computes it with the weight as it lies. For a convolution it first copies the weight into an order of its own,
which takes up to as long as the convolution itself where there are few pixels and many channels, as in the last layers
of a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlrp_nb.engine.layout import PICTURE, channels_last

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 2**9
"""Up to so many pixels the copy of the weight is worth to be spared."""


def is_pointwise(signal: Tensor, weight: Tensor, padding: Sequence[int], groups: int) -> bool:
    """Tell whether a convolution of pictures looks at one pixel at a time, and is faster as a product.

    Parameters
    ----------
    signal
        The one of input and output that has fewer pixels, ``(B, channels, H, W)``.
    weight
        ``(channels out, channels in, height, width)``.
    padding
        Of the convolution, in both directions; its stride can be any.
    groups
        Of the convolution.
    """
    return (
        weight.dim() == PICTURE
        and weight.shape[2] == weight.shape[3] == 1
        and groups == 1
        and max(padding) == 0
        and signal.numel() <= _FEW * signal.shape[1]
        and signal.dtype == weight.dtype == torch.float32
        and signal.device.type == "cpu"
        and weight.is_contiguous()
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def strided(signal: Tensor, stride: Sequence[int]) -> Tensor:
    """Return the pixels of ``(B, channels, H, W)`` at which a pointwise convolution looks."""
    return signal if max(stride) == 1 else signal[..., :: stride[0], :: stride[1]]


def forward_pointwise(signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of ``(B, channels in, H, W)``, with channels last."""
    return _by_pixel(signal, weight.flatten(1), bias)


def backward_pointwise(s: Tensor, weight: Tensor, stride: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return the transpose of the convolution, with channels last.

    Parameters
    ----------
    s
        ``(B, channels out, H out, W out)``.
    size
        Height and width of the input.

    Returns
    -------
    Tensor
        ``(B, channels in, *size)``.
    """
    found = _by_pixel(s, weight.flatten(1).t(), None)
    if max(stride) == 1:
        return found
    whole = found.new_zeros(len(found), *size, found.shape[1]).permute(0, 3, 1, 2)
    strided(whole, stride).copy_(found)
    return whole


def _by_pixel(signal: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    count, channels, height, width = signal.shape
    pixels = channels_last(signal).permute(0, 2, 3, 1).reshape(-1, channels)
    bias = None if bias is None else bias.contiguous()  # its numbers are read one after the other, whatever its strides
    product: Tensor = torch.ops.mkldnn._linear_pointwise(pixels, matrix, bias, "none", [], "")  # noqa: SLF001 - see above
    return product.view(count, height, width, len(matrix)).permute(0, 3, 1, 2)
