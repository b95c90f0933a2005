"""Mosaics for the Grid Pointing Game: pictures of different classes side by side, and one of them asked for.

Böhle, Fritz and Schiele, "Convolutional dynamic alignment networks for interpretable classifications", 2021. A heatmap
of a class has to lie in the cell that shows it. That gives known truth to any network, trained anywhere, on pictures of
which nothing but the class is known.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlrp_nb.checks import check_tensors, check_whole
from rlrp_nb.errors import InputError

_BATCH_CHANNELS_PLANE = 4


class Mosaics(NamedTuple):
    """Grids of n x n pictures.

    Attributes
    ----------
    images
        ``(M, C, n * H, n * W)``, dtype and device of the pictures.
    targets
        int64 ``(M,)``: the class that is asked for.
    masks
        bool ``(M, n * H, n * W)``: the cell that shows it.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor


def mosaics(images: Tensor, labels: Tensor, *, cells: int = 2, count: int, seed: int = 0) -> Mosaics:
    """Put pictures of different classes together.

    Parameters
    ----------
    images : Tensor
        ``(N, C, H, W)``, as the network gets them. A network of fixed input size needs them at ``1 / cells`` of that
        size. The paper takes pictures of which the network is sure, so that a miss is the heatmap's.
    labels : Tensor
        int64 ``(N,)``: the class of each picture.
    cells : int
        Cells along each side, 2 or more.
    count : int
        How many mosaics. Mosaic i is the same for every count.
    seed : int
        From 0 on.

    Returns
    -------
    Mosaics
        Images, targets and masks. The classes in one mosaic are all different, every class is as likely as any other,
        however many pictures it has, and so is every cell.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit, or there are too few classes to fill the cells.
    """
    _check(images, labels)
    (cells,), (count,), (seed,) = check_whole(2, cells=cells), check_whole(1, count=count), check_whole(0, seed=seed)
    known = labels.cpu().numpy()
    classes = np.unique(known)
    if len(classes) < cells**2:
        raise InputError(
            f"{cells} x {cells} cells need pictures of {cells**2} different classes, but labels have {len(classes)}: "
            "give pictures of more classes, or take fewer cells."
        )
    members = {int(label): np.flatnonzero(known == label) for label in classes}
    chosen = np.empty((count, cells**2), np.int64)
    asked = np.empty(count, np.int64)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        shown = random.permutation(classes)[: cells**2]
        chosen[number] = [random.choice(members[int(label)]) for label in shown]
        asked[number] = random.integers(cells**2)
    targets = torch.from_numpy(known[chosen[np.arange(count), asked]])
    height, width = images.shape[2:]
    rows = images[torch.from_numpy(chosen.reshape(count, cells, cells)).to(images.device)]
    grid = rows.permute(0, 3, 1, 4, 2, 5).reshape(count, images.shape[1], cells * height, cells * width)
    numbers = torch.arange(cells**2, device="cpu").reshape(cells, cells)
    cell = numbers.repeat_interleave(height, 0).repeat_interleave(width, 1)
    masks = cell == torch.from_numpy(asked)[:, None, None]
    return Mosaics(grid, targets.to(images.device), masks.to(images.device))


def _check(images: Tensor, labels: Tensor) -> None:
    check_tensors(images=images, labels=labels)
    if images.ndim != _BATCH_CHANNELS_PLANE or images.numel() == 0:
        raise InputError(f"images have shape {tuple(images.shape)}: give (N, C, H, W), not empty.")
    if tuple(labels.shape) != (len(images),) or labels.dtype != torch.int64:
        raise InputError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: give int64 ({len(images)},), a class each."
        )
    unusable = (~images.isfinite()).flatten(1).any(1)
    if unusable.any():
        raise InputError(f"image {int(unusable.nonzero()[0])} has values that are NaN or infinite.")
