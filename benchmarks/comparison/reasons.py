"""Why R-LRP can lose under a metric, in words; shown only where the numbers say that it lost.

What is more than a guess was measured by `benchmarks.comparison.causes`, whose page these words point to.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlrp_nb.evaluation.bootstrap import Interval
    from rlrp_nb.evaluation.comparison import Comparison

_MEASURED = "[measured](comparison-causes.md)"
_FLIPPING = (
    "Probably R-LRP's own weight, the relative activation, costs here: on digits the same map with this weight to a "
    f"lower power ranks patches better or no worse ({_MEASURED}). On photographs that was not taken apart."
)
_INSERTION = (
    "The reason was not found. It is not how fine R-LRP's maps are: on digits, the same maps averaged over squares do "
    f"worse ({_MEASURED})."
)
_SMOOTH = f"A coarse map moves less by construction: averaged over squares, R-LRP's own does ({_MEASURED})."
_LOCAL = (
    "Probably because R-LRP's map of one class is much like its map of another but for a factor, more than the maps of "
    f"most others are; on mosaics of digits that was {_MEASURED}. With a single object it says nothing: "
    "there the reason is not known."
)

WHY = MappingProxyType(
    {
        "aopc": _FLIPPING,
        "abpc": _FLIPPING,
        "insertion": _INSERTION,
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
