"""Every classification CNN of torchvision with cheap seeded weights, cut from one pattern at different places.

A network of 645 million parameters is filled in a second, where drawing them would take half a minute.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from rlrp_nb.models import torchvision_cnn

_LENGTH = 1_000_003  # a prime, so that the rows of a matrix differ
_STRIDE = 7_919

# what the network takes at least, where that is more than 64 pixels
_SIZES = {"inception_v3": 96}


def size(name: str) -> int:
    """Return the height and width of a small picture that the network takes."""
    return _SIZES.get(name, 64)


def network(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Build a network whose weights, biases and batch-norm statistics are all random, in eval mode.

    The statistics are random around those of two pictures of noise: without these, signals grow from block to block
    until rounding decides about the result, in the network as in its explanation. Signals on their way into a ReLU6 are
    three times as large as elsewhere, so that some of them are clipped.
    """
    built = torchvision_cnn.build(name).to(dtype).to_empty(device="cpu").eval().requires_grad_(requires_grad=False)
    place, size_of_signals = 0, 3 if any(isinstance(module, nn.ReLU6) for module in built.modules()) else 1
    for module in built.modules():
        for key, parameter in module.named_parameters(recurse=False):
            place += _STRIDE
            if parameter.dim() > 1 and key != "layer_scale":
                _fill(parameter, place, 0, math.sqrt(2 / parameter[0].numel()))  # keeps the variance through ReLU
            else:
                _fill(parameter, place, 0 if key == "bias" else size_of_signals, 0.1)
    norms = [module for module in built.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            built(_pattern(dtype)[: 6 * size(name) ** 2].reshape(2, 3, size(name), size(name)))
    for norm in norms:
        place += _STRIDE
        factor, shift = torch.empty_like(norm.running_var), torch.empty_like(norm.running_mean)
        _fill(factor, place, 1, 0.2)
        _fill(shift, place + 1, 0, 0.2)
        norm.running_var += 0.5 * norm.running_var.mean()
        norm.running_mean += shift * norm.running_var.sqrt()
        norm.running_var *= factor.clamp(0.5)
    return built.eval()


@functools.cache
def _pattern(dtype: torch.dtype) -> Tensor:
    return torch.randn(_LENGTH, generator=torch.Generator().manual_seed(0)).to(dtype)


def _fill(tensor: Tensor, place: int, mean: float, deviation: float) -> None:
    flat, pattern, filled = tensor.view(-1), _pattern(tensor.dtype), 0
    middle = torch.tensor(mean, dtype=tensor.dtype)
    while filled < flat.numel():
        start = (place + filled) % _LENGTH
        part = pattern[start : start + flat.numel() - filled]
        torch.add(middle, part, alpha=deviation, out=flat[filled : filled + len(part)])
        filled += len(part)
