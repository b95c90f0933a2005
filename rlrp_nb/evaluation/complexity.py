"""How few pixels carry a heatmap: its Gini index and its entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlrp_nb.checks import check_heatmaps


def gini(heatmaps: Tensor) -> Tensor:
    """Return the Gini index of the absolute relevance: how unevenly it is spread.

    With the n absolute values in ascending order, ``G = sum_k (2 k - n - 1) |r|_k / (n sum_k |r|_k)``. It is 0 where
    all pixels are equal and ``1 - 1 / n`` where one pixel has everything. This is *sparseness* of Chalasani, Chen,
    Chowdhury, Jha and Wu, "Concise explanations of neural networks using adversarial training", 2020.

    Parameters
    ----------
    heatmaps : Tensor
        Real, finite ``(B, H, W)``.

    Returns
    -------
    Tensor
        float64 ``(B,)``, 0 for a heatmap of zeros, which is the same everywhere.

    Raises
    ------
    InputError
        The heatmaps are not real, finite ``(B, H, W)``.
    """
    masses = _masses(heatmaps).sort(1).values
    count = masses.shape[1]
    places = torch.arange(1, count + 1, dtype=torch.float64, device=masses.device)
    total = masses.sum(1)
    return ((2 * places - count - 1) * masses).sum(1) / (count * torch.where(total > 0, total, 1))


def entropy(heatmaps: Tensor) -> Tensor:
    """Return the entropy of the shares of absolute relevance, in nats: how many pixels it takes to tell the story.

    With ``p = |r| / sum |r|``, ``H = - sum p ln p``. It is 0 where one pixel has everything and ``ln n`` where all n
    pixels are equal. This is *complexity* of Bhatt, Weller and Moura, "Evaluating and aggregating feature-based model
    explanations", 2020.

    Parameters
    ----------
    heatmaps : Tensor
        Real, finite ``(B, H, W)``.

    Returns
    -------
    Tensor
        float64 ``(B,)``, in nats; ``ln n`` for a heatmap of zeros, which is the same everywhere.

    Raises
    ------
    InputError
        The heatmaps are not real, finite ``(B, H, W)``.
    """
    masses = _masses(heatmaps)
    total = masses.sum(1, keepdim=True)
    shares = masses / torch.where(total > 0, total, 1)
    return torch.where(total[:, 0] > 0, -torch.special.xlogy(shares, shares).sum(1), math.log(masses.shape[1]))


def _masses(heatmaps: Tensor) -> Tensor:
    """Return the absolute values of each heatmap as a row, float64 ``(B, n)``, with the largest at 1.

    Neither measure sees a factor, and sums of very large or very small values would leave the range.
    """
    check_heatmaps(heatmaps)
    masses = heatmaps.detach().double().flatten(1).abs()
    largest = masses.amax(1, keepdim=True)
    return masses / torch.where(largest > 0, largest, 1)
