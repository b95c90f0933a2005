"""Powers of two that keep sensitivities within the range of their dtype, however deep the network.

A walk back is linear: multiplying a sensitivity that is under way by a factor multiplies all that comes of it. In a
network of hundreds of layers it would leave the range of float32. It is then multiplied by a power of two, which costs
no precision, and the exponent is remembered. Each has its own, since one that waits for a deep branch to be walked
stays as it is while the others shrink or grow.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHECK_EVERY = 12
"""Maps and activations between two looks at the range."""
_COMFORT = 30
"""Exponents (of two) up to this size are left alone; float32 ends at 126."""
_EDGE = {torch.float32: 100, torch.float64: 1000}
"""The largest exponent with which relevance is returned, and the smallest, with room for its small values below."""
_NOTHING = torch.iinfo(torch.int32).min
"""Stands for the exponent of 0."""


class Scale(NamedTuple):
    """What a tensor under way is multiplied by.

    Attributes
    ----------
    exponents
        int32 ``(K, B)``: powers of two that it has to be multiplied with to get the true numbers; None where all are 0.
    passed
        How many maps and activations it has passed since its range was looked at.
    """

    exponents: Tensor | None
    passed: int


UNSCALED = Scale(None, 0)


def passed_on(tensor: Tensor, scale: Scale, batch_dim: int) -> tuple[Tensor, Scale]:
    """Return what has passed a map or an activation, in a comfortable range again if it is time to look.

    Parameters
    ----------
    tensor
        ``(K, *shape)``.
    scale
        Before it passed.
    batch_dim
        The axis of the value that counts the samples.
    """
    if scale.passed + 1 < CHECK_EVERY:
        return tensor, Scale(scale.exponents, scale.passed + 1)
    top, low, high = _top(tensor, batch_dim), 2.0 ** (-_COMFORT - 1), 2.0**_COMFORT
    if all(low <= size < high or size == 0 for size in top.flatten().tolist()):
        return tensor, Scale(scale.exponents, 0)
    size = torch.frexp(top).exponent
    shift = torch.where(size.abs() > _COMFORT, -size, 0)
    exponents = -shift if scale.exponents is None else scale.exponents - shift
    return _multiply(tensor, shift, batch_dim), Scale(exponents, 0)


def added(one: tuple[Tensor, Scale], other: tuple[Tensor, Scale], batch_dim: int) -> tuple[Tensor, Scale]:
    """Return the sum of two tensors ``(K, *shape)`` of different scale, so scaled that the larger is about 1."""
    tops = torch.stack([_top(tensor, batch_dim) for tensor, _ in (one, other)])
    exponents = torch.stack([exponents_or_zeros(scale.exponents, tops[0]) for _, scale in (one, other)])
    largest = torch.where(tops > 0, torch.frexp(tops).exponent + exponents, _NOTHING).amax(0)
    shifts = torch.where(tops > 0, exponents - largest, 0)
    first, second = (
        _multiply(tensor, shift, batch_dim) for (tensor, _), shift in zip((one, other), shifts, strict=True)
    )
    total = torch.where(largest > _NOTHING, largest, 0)
    return first + second, Scale(total, max(one[1].passed, other[1].passed))


def exponents_or_zeros(exponents: Tensor | None, like: Tensor) -> Tensor:
    """Return exponents ``(K, B)``, which are 0 where there are none, of the shape of `like`."""
    return torch.zeros_like(like, dtype=torch.int32) if exponents is None else exponents


def unscale(relevance: Tensor, exponents: Tensor | None, batch_dim: int) -> Tensor:
    """Multiply by ``2 ** exponents``, or by as much of it as the range of the dtype allows for each sample.

    Parameters
    ----------
    relevance
        ``(K, *shape)``.
    exponents
        ``(K, B)``; None where all are 0.
    """
    if exponents is None:
        return relevance
    top = _top(relevance, batch_dim)
    total = torch.frexp(top).exponent + exponents
    # one shift for all targets of a sample, so that contrasts remain differences
    total = torch.where(top > 0, total, _NOTHING).amax(0, keepdim=True)
    edge = _EDGE[relevance.dtype]
    shift = torch.where(total > _NOTHING, total.clamp(-edge, edge) - total, 0)
    return _multiply(relevance, exponents + shift, batch_dim)


def _top(tensor: Tensor, batch_dim: int) -> Tensor:
    """Return the largest absolute value for each target and sample, ``(K, B)``."""
    axes = tuple(axis for axis in range(1, tensor.dim()) if axis != 1 + batch_dim)
    return torch.maximum(tensor.amax(axes), -tensor.amin(axes)) if axes else tensor.abs()


def _multiply(tensor: Tensor, exponent: Tensor, batch_dim: int) -> Tensor:
    """Multiply by powers of two in two halves, since the power itself can be out of range where the product is not."""
    shape = [tensor.shape[0], *[1] * (tensor.dim() - 1)]
    shape[1 + batch_dim] = exponent.shape[1]
    half = exponent // 2
    first, second = (torch.exp2(e.to(tensor.dtype)).reshape(shape) for e in (half, exponent - half))
    return tensor * first * second
