"""Products of a few rows with a large matrix of weights, which take as long as it takes to read the matrix.

A dense layer is such a product: VGG16's first reads 411 MB for each picture. The libraries below PyTorch give it to one
core, or read it in an order that no core can keep up with, and take twice the time.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor

_LARGE = 2**18
"""From so many weights on, reading them takes longer than another call."""


def forward_product(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``a W^T + b``, each core computing a part of the columns.

    Parameters
    ----------
    a
        ``(…, in)``.
    weight
        ``(out, in)``.
    bias
        ``(out,)``.

    Returns
    -------
    Tensor
        ``(…, out)``, in memory of its own.
    """
    out, width = weight.shape
    parts = _parts(a, weight, out)
    if parts == 1:
        return torch.nn.functional.linear(a, weight, bias)
    rows = a.reshape(-1, width)
    by_part = torch.bmm(rows.expand(parts, *rows.shape), weight.view(parts, out // parts, width).transpose(1, 2))
    found = by_part.transpose(0, 1).reshape(*a.shape[:-1], out)
    return found if bias is None else found.add_(bias)


def backward_product(s: Tensor, weight: Tensor) -> Tensor:
    """Return ``s W``, each core computing a part of the columns; rows of the matrix that meet only zeros are not read.

    Parameters
    ----------
    s
        ``(…, out)``.
    weight
        ``(out, in)``.

    Returns
    -------
    Tensor
        ``(…, in)``, in memory of its own.
    """
    out, width = weight.shape
    parts = _parts(s, weight, width)
    if parts == 1:
        return s @ weight
    rows = s.reshape(-1, out)
    if len(rows) == 1:
        return _weighted_rows(rows[0], weight, parts).reshape(*s.shape[:-1], width)
    by_part = torch.bmm(rows.expand(parts, *rows.shape), weight.view(out, parts, width // parts).transpose(0, 1))
    return by_part.transpose(0, 1).reshape(*s.shape[:-1], width)


def _weighted_rows(factors: Tensor, weight: Tensor, parts: int) -> Tensor:
    """Return the sum of a matrix's rows, each times its factor, reading only those whose factor is not zero.

    Behind a ReLU many are: it is the sum of an embedding bag for each part of the columns.
    """
    rows = factors.nonzero().flatten()
    part = torch.arange(parts, device=rows.device)
    return torch.nn.functional.embedding_bag(
        (rows * parts + part[:, None]).flatten(),
        weight.view(-1, weight.shape[1] // parts),
        offsets=part * len(rows),
        mode="sum",
        per_sample_weights=factors[rows].repeat(parts),
    )


def _parts(rows: Tensor, weight: Tensor, columns: int) -> int:
    """Return into how many parts of equal size the columns are divided; 1 where that gains nothing."""
    if (
        weight.numel() < _LARGE
        or weight.dtype != torch.float32
        or rows.dtype != torch.float32
        or weight.device.type != "cpu"
        or not weight.is_contiguous()
    ):
        return 1
    return gcd(columns, torch.get_num_threads())
