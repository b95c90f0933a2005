"""The bootstrap: how far a mean over images can be trusted, without any assumption about how the values are spread.

Images are drawn again from those there are, as many as there are and with replacement, and the statistic is taken each
time. The interval holds the middle of what comes out: the percentile interval of Efron and Tibshirani, "An introduction
to the bootstrap", 1993, chapter 13. Two methods are compared by the differences on the same images, which leaves out
how hard the images are.

Of few images that interval is too narrow: of two it excludes 0 half the time, where there is no difference. There a
difference has a sign only if a randomisation test says so too, which promises what it says for any number of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rlrp_nb.checks import LARGEST_SEED, check_whole, is_real
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats: TypeAlias = NDArray[np.float64]

FEW = 30
"""Below so many values the interval of a difference is checked by :func:`flips_agree`."""
_AT_ONCE = 1 << 22  # drawn values kept in memory: 32 MB
_ALL_FLIPS = 13  # of so many values all sign flips are tried, 4,096 but for those that only turn everything round


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Parameters
    ----------
    mean : float
        Over the values that are there, in their unit; NaN where there are none.
    low, high : float
        Ends of the interval, NaN for fewer than two values.
    count : int
        How many values there are.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; never for an interval that is not there.

        Of few values it does so by chance more often than the interval promises: see :func:`flips_agree`.
        """
        return self.low > 0 or self.high < 0


def bootstrap(values: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of values and its percentile bootstrap interval.

    Parameters
    ----------
    values : array_like of float
        Shape ``(N,)``, one value for each image; NaN for an image that has none, which is left out.
    resamples : int
        How often the images are drawn again, at least 1.
    confidence : float
        Share of the resampled means that lies inside, above 0 and below 1.
    seed : int
        Of the draws. The same seed and the same number of values draw the same images.

    Returns
    -------
    Interval
        The same on every machine, and for the same values.

    Raises
    ------
    InputError
        The values are no numbers, not one-dimensional or infinite, or a number is out of its range.
    """
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"values is a {type(values).__name__}; accepted are numbers, as a list or an array."
        ) from error
    (seed,) = check_whole(0, LARGEST_SEED, seed=seed)
    if numbers.ndim != 1 or np.isinf(numbers).any():
        raise InputError(f"values have shape {numbers.shape}: give (N,), finite, with NaN for what is missing.")
    resamples = check_resampling(resamples, confidence)
    there = numbers[~np.isnan(numbers)]
    count = len(there)
    mean = float(there.mean()) if count else math.nan
    if count < 2:  # noqa: PLR2004 - one value says nothing of how far values lie apart
        return Interval(mean, math.nan, math.nan, count)
    means = _means(there, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(mean, float(low), float(high), count)


def flips_agree(differences: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> bool:
    """Tell whether paired differences have a mean other than 0, by flipping their signs.

    If two methods were the same, each difference could as well have had the other sign. Counted is how many of all ways
    of giving them signs, of many values how many of some random ways, have a mean at least as large in size (Fisher,
    "The design of experiments", 1935, section 21). Below six values nothing can be told with 95 % confidence.

    Parameters
    ----------
    differences : array_like of float
        Shape ``(N,)``, finite; NaN is left out.
    resamples : int
        How many random ways are tried where there are too many for all of them.
    confidence : float
        Above 0 and below 1.
    seed : int
        Of the random ways.

    Returns
    -------
    bool
        Whether no more than ``1 - confidence`` of the ways have so large a mean.

    Raises
    ------
    InputError
        `resamples` or `confidence` is out of its range.
    """
    resamples = check_resampling(resamples, confidence)
    given = np.asarray(differences, np.float64)
    values = given[~np.isnan(given)]
    count = len(values)
    if not count:
        return False
    least = abs(values.sum()) * (1 - 1e-9)
    if count <= _ALL_FLIPS:  # the first sign stays: with all signs turned round the size is the same
        flipped = np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1
        return float((np.abs((1 - 2 * flipped) @ values) >= least).mean()) <= 1 - confidence
    generator, as_large = np.random.default_rng(seed), 1  # the signs as they are count as one way
    for part in _parts(resamples, count):
        signs = 1 - 2 * generator.integers(0, 2, (part, count))
        as_large += int((np.abs(signs @ values) >= least).sum())
    return as_large / (resamples + 1) <= 1 - confidence


def check_resampling(resamples: int, confidence: float) -> int:
    """Return the number of resamples as an int, or refuse numbers with which no interval can be drawn.

    Raises
    ------
    InputError
        `resamples` is no positive integer, or `confidence` is not between 0 and 1.
    """
    (resamples,) = check_whole(1, resamples=resamples)
    if not is_real(confidence) or not 0 < confidence < 1:
        raise InputError(f"confidence={confidence!r} has to lie between 0 and 1, such as 0.95.")
    return resamples


def _means(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Return the mean of each resample; drawn in parts of bounded size, which gives the same draws as all at once."""
    parts = _parts(resamples, len(values))
    return np.concatenate([values[generator.integers(0, len(values), (part, len(values)))].mean(1) for part in parts])


def _parts(resamples: int, count: int) -> list[int]:
    """Return how many resamples of so many values are drawn at a time."""
    rows = max(1, _AT_ONCE // count)
    return [min(rows, resamples - start) for start in range(0, resamples, rows)]
