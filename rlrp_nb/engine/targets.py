"""From what a user asks to explain to the sensitivity of the logits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlrp_nb.engine.transforms import check_untransformed
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COUNTABLE = 10**30  # Python writes no number of thousands of digits
_ACCEPTED = (
    "accepted are None (the most probable class), a class index, a list of them, 'top5', a (positive, negative) pair "
    "for a contrast, a list of pairs, or an integer tensor of shape (B,) or (B, K)"
)


@dataclass(frozen=True)
class Targets:
    """What is explained.

    Attributes
    ----------
    positive
        int64 ``(B, K)``: the class index of each target (for an output of more axes, the flat index); -1 for a seed
        given as numbers.
    negative
        int64 ``(B, K)``: the class it is contrasted with, -1 where there is none.
    seeds
        The sensitivity of the logits, ``(K, B, *logits.shape[1:])``.
    """

    positive: Tensor
    negative: Tensor
    seeds: Tensor


def resolve_targets(targets: Any, logits: Tensor, dtype: torch.dtype) -> Targets:  # noqa: ANN401 - all forms are told apart here
    """Return the seeds that a user's `targets` stand for.

    Parameters
    ----------
    targets
        See ``rlrp_nb.explain``.
    logits
        ``(B, classes)``, or ``(B, …)`` with more axes, where a target is a tuple with one index per axis.
    dtype
        Of the seeds.

    Raises
    ------
    InputError
        The targets are of no accepted form or out of range.
    """
    samples, shape = logits.shape[0], logits.shape[1:]
    if isinstance(targets, Tensor) and (targets.layout != torch.strided or targets.is_meta or targets.is_nested):
        raise InputError("targets is a tensor that is sparse, nested or on the meta device; accepted is a dense one.")
    if isinstance(targets, Tensor):
        check_untransformed(targets, "targets")
    if isinstance(targets, Tensor) and targets.is_floating_point():
        return _explicit(targets, logits, dtype)
    check_unmasked(targets, "targets")
    negative = None
    scores = logits.reshape(samples, -1)
    if targets is None:
        positive = scores.argmax(1, keepdim=True)
    elif isinstance(targets, str):
        positive = scores.topk(_count(targets, prod(shape)), dim=1).indices
    elif hasattr(targets, "ndim") and hasattr(targets, "dtype") and getattr(targets, "ndim", 0) > 0:
        if len(shape) > 1:
            raise InputError(
                f"targets is a tensor, but the network's output has {len(shape)} axes; pass a tuple or tuples."
            )
        positive = _tensor(targets, samples, prod(shape))
    else:
        items = list(targets) if isinstance(targets, list | range) else [targets]
        if not items:
            raise InputError(f"targets is empty; {_ACCEPTED}.")
        pairs = [_item(item, shape) for item in items]
        positive = torch.tensor([p for p, _ in pairs], device="cpu").expand(samples, -1)
        if any(n >= 0 for _, n in pairs):
            negative = torch.tensor([n for _, n in pairs], device="cpu").expand(samples, -1)
    return _named(positive.to("cpu", torch.int64).contiguous(), negative, logits, dtype)


def _named(positive: Tensor, negative: Tensor | None, logits: Tensor, dtype: torch.dtype) -> Targets:
    """Return the targets for classes ``(B, K)`` and those that they are contrasted with, -1 where there is none."""
    seeds = _ones(positive, max(1, prod(logits.shape[1:])), dtype)
    if negative is None:
        negative = torch.full_like(positive, -1)
    else:
        negative = negative.contiguous()
        seeds -= _ones(negative.clamp(min=0), seeds.shape[2], dtype) * (negative >= 0)[..., None]
    return Targets(positive, negative, seeds.transpose(0, 1).reshape(-1, *logits.shape).to(logits.device))


def _ones(indices: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return ``(B, K, classes)`` with a 1 at each of the indices ``(B, K)``."""
    zeros = torch.zeros(*indices.shape, classes, dtype=dtype, device="cpu")
    return zeros.scatter_(2, indices[..., None], 1.0)


def check_unmasked(value: object, name: str) -> None:
    """Refuse a NumPy array that hides some of its values, which PyTorch would read all the same.

    Raises
    ------
    InputError
        It is one.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(
            f"{name} is a masked array, some of whose values are hidden; accepted are arrays that are whole, such as "
            "array.filled(0) or array.compressed()."
        )


def tensor_of(values: Any) -> Tensor:  # noqa: ANN401 - a tensor, an array or a list
    """Return the numbers on the CPU, wherever new tensors are put by default.

    PyTorch reads no array that runs backwards, such as one sorted and reversed, or of another byte order.
    """
    if hasattr(values, "__array__") and not isinstance(values, Tensor):  # a column of a table has an index of its own
        values = np.asarray(values)
        values = np.require(values, values.dtype.newbyteorder("="), ["C", "W"])
    return torch.as_tensor(values, device="cpu")


def _explicit(seeds: Tensor, logits: Tensor, dtype: torch.dtype) -> Targets:
    wanted = (logits.shape[0], "K", *logits.shape[1:])
    if (
        seeds.dim() != logits.dim() + 1
        or not seeds.shape[1]
        or seeds.shape[0] != logits.shape[0]
        or seeds.shape[2:] != logits.shape[1:]
    ):
        raise InputError(
            f"targets is a float tensor of shape {tuple(seeds.shape)}, taken as seeds for the logits; accepted is the "
            f"shape {wanted}. For class indices pass an integer tensor."
        )
    cast = seeds.detach().to(logits.device, dtype, copy=True)  # an explanation keeps it, whatever its owner does
    if not bool(torch.isfinite(cast).all()):
        raise InputError(
            f"targets, taken as seeds for the logits, holds NaN or infinite numbers, or some beyond {dtype}; accepted "
            "are finite ones."
        )
    none = torch.full(seeds.shape[:2], -1, device="cpu")
    return Targets(none, none.clone(), cast.transpose(0, 1))


def _count(text: str, classes: int) -> int:
    match = re.fullmatch(r"top-?(\d{1,18})", text.strip().lower())
    if match is None:
        raise InputError(f"targets is {text!r}; {_ACCEPTED}.")
    count = int(match[1])
    if not 1 <= count <= classes:
        raise InputError(
            f"targets is {text!r}, but the network has {classes} outputs; accepted is top1 to top{classes}."
        )
    return count


def _tensor(targets: Any, samples: int, classes: int) -> Tensor:  # noqa: ANN401 - a tensor or an array
    try:
        indices = tensor_of(targets)
    except (TypeError, ValueError) as error:
        raise InputError(f"targets is an array of {targets.dtype}; {_ACCEPTED}.") from error
    if indices.is_floating_point() or indices.is_complex() or indices.is_quantized or indices.dtype == torch.bool:
        raise InputError(f"targets has dtype {indices.dtype}; {_ACCEPTED}.")
    if indices.dim() > 2 or indices.shape[0] != samples or 0 in indices.shape:  # noqa: PLR2004 - (B,) or (B, K)
        raise InputError(
            f"targets is a tensor of shape {tuple(indices.shape)} for {samples} samples; accepted is one class per "
            f"sample, ({samples},), or K classes per sample, ({samples}, K). For the same classes on every sample "
            "pass a list."
        )
    for index in indices.flatten().tolist():
        _in_range(index, classes)
    if tuple(indices.shape[1:]) == (classes,) and classes > 2 and int(indices.max()) < 2:  # noqa: PLR2004 - two may be meant
        raise InputError(
            "targets looks like classes of which each is marked by a 1 (one-hot); accepted are their numbers, "
            "targets.argmax(1), or seeds of a floating-point dtype, (B, K, classes)."
        )
    return indices.reshape(samples, -1).clone()  # likewise


def _item(item: Any, shape: Sequence[int]) -> tuple[int, int]:  # noqa: ANN401 - an index, a pair or a position
    """Return one target as a flat index and the flat index it is contrasted with, or -1."""
    if len(shape) > 1:
        return _position(item, shape), -1
    if isinstance(item, tuple):
        if len(item) != 2:  # noqa: PLR2004 - a pair
            raise InputError(f"target {item!r} has {len(item)} entries; a contrast is a pair (positive, negative).")
        positive, negative = (_position(i, shape) for i in item)
        if positive == negative:
            raise InputError(f"target {item!r} contrasts class {positive} with itself, which explains nothing.")
        return positive, negative
    return _position(item, shape), -1


def _position(item: Any, shape: Sequence[int]) -> int:  # noqa: ANN401 - an index or a tuple of them
    entries = item if isinstance(item, tuple) else (item,)
    lengths = shape or (1,)
    if len(entries) != len(lengths):
        raise InputError(
            f"target {item!r} has {len(entries)} entries; the network's output has {len(lengths)} axes besides the "
            f"samples, of lengths {tuple(lengths)}: accepted is a tuple with one index for each."
        )
    flat = 0
    for entry, length in zip(entries, lengths, strict=True):
        check_unmasked(entry, "a target")
        value = entry.item() if hasattr(entry, "item") and getattr(entry, "ndim", 1) == 0 else entry
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InputError(f"target {item!r} is a {type(value).__name__}; {_ACCEPTED}.")
        flat = flat * length + _in_range(int(value), length)
    return flat


def _in_range(index: int, length: int) -> int:
    if not 0 <= index < length:
        shown = str(index) if abs(index) < _COUNTABLE else "of so many digits"
        raise InputError(
            f"target {shown} is out of range; the network has {length} outputs: accepted is 0 to {length - 1}."
        )
    return index
