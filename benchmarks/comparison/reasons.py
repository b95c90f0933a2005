"""Why R-LRP can lose under a metric, in words; shown only where the numbers say that it lost."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlrp_nb.evaluation.bootstrap import Interval
    from rlrp_nb.evaluation.comparison import Comparison

_FLIPPING = (
    "On a shallow network a gradient, or LRP-0, is to first order just what flipping asks for, and R-LRP weakens what "
    "passes through weakly active neurons, which costs more there than it filters. On a deep network a map that is "
    "coarse from the start ranks whole patches well, while R-LRP's mass lies on few edges."
)
_SMOOTH = (
    "A coarse or smoothed map moves little by construction: one that is blurred over a window, averaged over noisy "
    "copies or read from a layer of few pixels changes less than one that resolves pixels."
)
_LOCAL = (
    "R-LRP weighs by the size of activations, and strong edges make large ones wherever they lie. Rules that keep only "
    "positive contributions, and maps read from late layers, follow the object's outline less and its place more."
)

WHY = MappingProxyType(
    {
        "aopc": _FLIPPING,
        "abpc": _FLIPPING
        + " ABPC also asks which patches matter least, where a method that spreads over the whole object is right "
        "more often than one that marks edges.",
        "insertion": "Insertion starts from the fill, far from the image where relevance was taken. Methods with broad "
        "maps bring back whole regions early, and the network finds them easier to recognise than separate edges.",
        "deletion": _FLIPPING,
        "noise-similarity": _SMOOTH,
        "pointing-game": _LOCAL,
        "mass-accuracy": _LOCAL,
        "rank-accuracy": _LOCAL,
    }
)
"""A paragraph per metric."""


def losses(comparison: Comparison, metric: str) -> list[tuple[str, Interval]]:
    """Return the methods that are better than the reference, by title, with how far the reference is behind.

    Only those count whose paired difference from the reference has an interval without 0. The largest comes first.
    """
    return sorted(_ahead(comparison, metric, 1), key=lambda pair: -abs(pair[1].mean))


def wins(comparison: Comparison, metric: str) -> list[tuple[str, Interval]]:
    """Return the methods that are worse than the reference, likewise."""
    return sorted(_ahead(comparison, metric, -1), key=lambda pair: -abs(pair[1].mean))


def _ahead(comparison: Comparison, metric: str, sign: int) -> Iterator[tuple[str, Interval]]:
    better = {one.name: one.better for one in comparison.metrics}[metric]
    way = {"higher": sign, "lower": -sign}.get(str(better))
    titles = {contender.name: contender.title for contender in comparison.contenders}
    for name, gap in comparison.differences()[metric].items():
        if way is not None and gap.excludes_zero and gap.mean * way > 0:
            yield titles[name], gap
