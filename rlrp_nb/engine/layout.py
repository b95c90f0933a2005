"""The order in which the numbers of a tensor lie in memory, chosen where a convolution is run."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

PICTURE = 4
"""Axes of a batch of pictures: samples, channels, height, width."""
_MANY = 2**20
"""From so many numbers on a weight is slow to copy, since it does not fit into the cache next to a core."""


def laid_out(signal: Tensor, weight: Tensor, count: int) -> Tensor:
    """Return what a convolution reads, with channels last where it is then computed faster, else contiguous.

    Parameters
    ----------
    signal
        ``(samples, channels, height, width)``; of any other rank it is returned as it is.
    weight
        Of the convolution.
    count
        How many values the larger side of the convolution has, so that both ways choose the same order.

    Notes
    -----
    oneDNN copies what it reads and writes into an order of its own, unless the channels lie last. With channels last it
    is the weight that is copied, and slowly where it is large. So a large weight decides, if it is larger than the
    signal. Only float32 on the CPU gains; anything else is returned as it is.
    """
    if signal.dim() != PICTURE or not is_single(signal):
        return signal
    if weight.numel() >= max(_MANY, count):
        return signal.contiguous()
    return channels_last(signal)


def is_single(tensor: Tensor) -> bool:
    """Tell a tensor of float32 on the CPU, where oneDNN is at work."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and _has_onednn()


@cache
def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def channels_last(tensor: Tensor) -> Tensor:
    """Return the tensor ``(samples, channels, height, width)`` with channels last, a view where it has them there."""
    _, channels, height, width = tensor.shape
    strides = (channels * height * width, 1, channels * width, channels)
    if tensor.stride() == strides:
        return tensor
    # the stride of a single sample can be anything, and PyTorch takes an odd one for another order
    return tensor.contiguous(memory_format=torch.channels_last).as_strided(tensor.shape, strides)


def channels_first(tensor: Tensor) -> Tensor:
    """Return the tensor with the strides of a new one, also where those of sides of length 1 could be others."""
    tensor = tensor.contiguous()
    return tensor.as_strided(tensor.shape, torch.empty(tensor.shape, device="meta").stride())


def order_of(tensor: Tensor) -> torch.memory_format:
    """Return the order for a tensor that is used together with this one."""
    last = tensor.dim() == PICTURE and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format
