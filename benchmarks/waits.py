"""How long a click waits for its picture, beside what the engine alone takes: ratios, and their table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOWED = 50.0  # milliseconds for the way to the kernel and back, and for the picture
MOST = 1.15

HEADER = ("Network", "Layers kept", "Clicks", "Click, ms", "Engine, ms", "(click - 50 ms) / engine", f"At most {MOST}")


@dataclass(frozen=True)
class Waits:
    """Clicks on new classes, each with the engine's own time for the same request.

    Attributes
    ----------
    network
        What was explained.
    layers
        Which layers the explanations keep, in words.
    pairs
        Milliseconds from a click to its picture, and of ``rlrp_nb.explain`` right after it.
    """

    network: str
    layers: str
    pairs: Sequence[tuple[float, float]]

    @property
    def ratios(self) -> list[float]:
        """What each click took beyond the 50 ms, over the engine's time."""
        return [(click - ALLOWED) / engine for click, engine in self.pairs]

    @property
    def met(self) -> bool:
        """Whether the median of the ratios is at most 1.15."""
        return median(self.ratios) <= MOST


def rows(found: Sequence[Waits]) -> list[str]:
    """Return the lines of a Markdown table: medians, and the first and third quartile in brackets."""
    lines = [HEADER, ("---", "---", *["---:"] * (len(HEADER) - 2))]
    for waits in found:
        clicks, engine = zip(*waits.pairs, strict=True)
        figures = (str(len(clicks)), _spread(clicks, 0), _spread(engine, 0), _spread(waits.ratios, 2))
        lines.append((waits.network, waits.layers, *figures, "yes" if waits.met else "no"))
    return [f"| {' | '.join(line)} |" for line in lines]


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
