"""Localisation: how much of a heatmap lies where the truth is known to lie.

The truth is a mask: the pixels of the object that gave a picture its class. A heatmap that lies elsewhere can be right
about a network that looks elsewhere, so these measures say most where nothing but the object tells the class.

- The Pointing Game asks whether the highest pixel lies in the mask (Zhang, Lin, Brandt, Shen and Sclaroff, "Top-down
  neural attention by excitation backprop", 2016).
- Relevance Mass Accuracy is the share of the relevance that lies in the mask, and Relevance Rank Accuracy the share of
  the K highest pixels that do, K being the size of the mask (Arras, Osman and Samek, "CLEVR-XAI: a benchmark dataset
  for the ground truth evaluation of neural network explanations", 2022).

All of them look at positive relevance alone: relevance below 0 speaks against the class, wherever it lies. A heatmap
without positive relevance localises nothing and has 0 in each measure. None of them depends on the scale of a heatmap.
"""

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.checks import check_heatmaps, check_tensors, check_whole
from rlrp_nb.errors import InputError


def pointing_game(heatmaps: Tensor, masks: Tensor, *, tolerance: int = 0) -> Tensor:
    """Ask whether the highest pixel of each heatmap is in its mask.

    Parameters
    ----------
    heatmaps : Tensor
        Real ``(B, H, W)``.
    masks : Tensor
        bool ``(B, H, W)``, at least one pixel each.
    tolerance : int
        How many pixels away from the mask still count, in a straight line: the paper takes 15 for large photographs.

    Returns
    -------
    Tensor
        bool ``(B,)``; the mean over samples is the score of the game. Of several highest pixels all have to hit, so
        that a heatmap which is the same everywhere does not win.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit.
    """
    values, inside = _checked(heatmaps, masks)
    (tolerance,) = check_whole(0, tolerance=tolerance)
    if tolerance:
        inside = _grown(inside, tolerance)
    peak = values.flatten(1).amax(1)
    highest = values == peak[:, None, None]
    return (peak > 0) & (inside | ~highest).flatten(1).all(1)


def mass_accuracy(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of the positive relevance that lies in the mask.

    The paper pools the channels of the relevance so that no heatmap has negative values; where some has, they are left
    out above and below the line of the fraction.

    Parameters
    ----------
    heatmaps : Tensor
        Real ``(B, H, W)``.
    masks : Tensor
        bool ``(B, H, W)``, at least one pixel each.

    Returns
    -------
    Tensor
        float64 ``(B,)``, from 0 to 1. A heatmap of one positive value everywhere has the share of the mask in the
        image, and that is what chance reaches.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit.
    """
    values, inside = _checked(heatmaps, masks)
    positive = values.clamp_min(0)
    # Divided by the highest value first, so that no sum is too large for the numbers or vanishes.
    peak = positive.flatten(1).amax(1)[:, None, None]
    positive = torch.where(peak > 0, positive / peak, 0)
    mass = positive.sum((1, 2))
    return torch.where(mass > 0, (positive * inside).sum((1, 2)) / mass, 0)


def rank_accuracy(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of the K highest pixels that lie in the mask, K being the number of pixels in the mask.

    Parameters
    ----------
    heatmaps : Tensor
        Real ``(B, H, W)``.
    masks : Tensor
        bool ``(B, H, W)``, at least one pixel each.

    Returns
    -------
    Tensor
        float64 ``(B,)``, from 0 to 1. Where pixels are equal to the K-th highest, those within the first K are not
        known: they count by the share of such pixels that is in the mask, which is the mean over all orders of the
        equal ones. Pixels without positive relevance are no hits.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit.
    """
    values, inside = _checked(heatmaps, masks)
    flat, mask = values.clamp_min(0).flatten(1), inside.flatten(1)
    size = mask.sum(1)
    last = flat.sort(1, descending=True).values.gather(1, size[:, None] - 1)
    above, equal = flat > last, (flat == last) & (last > 0)
    places = size - above.sum(1)
    share = (equal & mask).sum(1) / equal.sum(1).clamp_min(1).double()
    return ((above & mask).sum(1) + places * share) / size


def _grown(masks: Tensor, tolerance: int) -> Tensor:
    """Add all pixels whose centre is at most so far from the centre of a pixel of the mask."""
    height, width = masks.shape[1:]
    # Nothing is farther away than the opposite edge.
    down, across = min(tolerance, height - 1), min(tolerance, width - 1)
    padded = functional.pad(masks, (across, across, down, down))
    grown = torch.zeros_like(masks)
    for top in range(-down, down + 1):
        reach = min(across, isqrt(tolerance**2 - top**2))
        rows = padded[:, down + top : down + top + height].double()
        window = functional.max_pool1d(rows, 2 * reach + 1, stride=1).bool()
        grown |= window[..., across - reach : across - reach + width]
    return grown


def _checked(heatmaps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return heatmaps in float64 and masks on the same device, or name what is wrong with which sample."""
    check_heatmaps(heatmaps)
    check_tensors(masks=masks)
    if heatmaps.dtype == torch.bool:  # they were given one in the place of the other
        raise InputError("heatmaps is torch.bool: give the heatmaps first, real (B, H, W), and the masks after them.")
    if masks.dtype != torch.bool or masks.shape != heatmaps.shape:
        raise InputError(
            f"masks are {masks.dtype} of shape {tuple(masks.shape)}: for these heatmaps they have to be torch.bool of "
            f"shape {tuple(heatmaps.shape)}."
        )
    empty = ~masks.flatten(1).any(1)
    if empty.any():
        raise InputError(
            f"mask {int(empty.nonzero()[0])} is empty: without a pixel that is right there is nothing to measure. "
            "Leave the sample out."
        )
    return heatmaps.double(), masks.to(heatmaps.device)
