"""Powers of two that keep sensitivities within the range of their dtype, however deep the network.

A walk back is linear: multiplying all sensitivities that are under way by one factor multiplies all that comes out by
it. In a network of hundreds of layers they would leave the range of float32. They are then multiplied by a power of
two, which costs no precision, and the exponent is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECK_EVERY = 4
"""Activations between two looks at the range."""
_COMFORT = 40
"""Exponents (of two) up to this size are left alone; float32 ends at 126."""
_EDGE = {torch.float32: 100, torch.float64: 1000}
"""The largest exponent with which relevance is returned, and the smallest, with room for its small values below."""


def rescale(under_way: Sequence[dict[int, Tensor]], batch_dims: Mapping[int, int], exponents: Tensor) -> Tensor:
    """Bring what is under way back into a comfortable range, in place of the dictionaries' values.

    Parameters
    ----------
    under_way
        Tensors ``(K, *shape)`` by value index.
    batch_dims
        The axis of each value that counts the samples.
    exponents
        ``(K, B)``: powers of two that the tensors have to be multiplied with to get the true numbers.

    Returns
    -------
    Tensor
        ``(K, B)``: the same for what the tensors are now.
    """
    tops = [_top(tensor, batch_dims[index]) for tensors in under_way for index, tensor in tensors.items()]
    if not tops:
        return exponents
    size = torch.frexp(torch.stack(tops).amax(0) if len(tops) > 1 else tops[0]).exponent
    if int(size.abs().max()) <= _COMFORT:
        return exponents
    shift = torch.where(size.abs() > _COMFORT, -size, 0).to(exponents.dtype)
    for tensors in under_way:
        for index, tensor in tensors.items():
            tensors[index] = _multiply(tensor, shift, batch_dims[index])
    return exponents - shift


def unscale(relevance: Tensor, exponents: Tensor, batch_dim: int) -> Tensor:
    """Multiply by ``2 ** exponents``, or by as much of it as the range of the dtype allows for each sample.

    Parameters
    ----------
    relevance
        ``(K, *shape)``.
    exponents
        ``(K, B)``.
    """
    if not bool(exponents.any()):
        return relevance
    top = _top(relevance, batch_dim)
    total = torch.frexp(top).exponent.to(exponents.dtype) + exponents
    nothing = torch.iinfo(exponents.dtype).min
    # one shift for all targets of a sample, so that contrasts remain differences
    total = torch.where(top > 0, total, nothing).amax(0, keepdim=True)
    edge = _EDGE[relevance.dtype]
    shift = torch.where(total > nothing, total.clamp(-edge, edge) - total, 0)
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
