"""A comparison as a still figure, the same numbers as in its table: a panel per metric, a dot per method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from rlrp_nb.plots.ranking import CONTROLS, OTHERS, REFERENCE, colour_of

if TYPE_CHECKING:
    from pathlib import Path

    from rlrp_nb.evaluation.comparison import Comparison

_MARKERS = {REFERENCE: "D", OTHERS: "o", CONTROLS: "x"}
_COLUMNS = 4
_WAYS = {"higher": "higher is better", "lower": "lower is better", None: "neither way is better"}


def draw(comparison: Comparison, path: Path) -> Path:
    """Write an SVG that is the same in every run."""
    judged = [metric for metric in comparison.metrics if not metric.timed]
    columns = min(_COLUMNS, len(judged))
    rows = math.ceil(len(judged) / columns)
    table = {(row.method, row.metric): row for row in comparison.table() if row.images}
    contenders = comparison.contenders
    with mpl.rc_context({"svg.hashsalt": "rlrp_nb", "font.size": 8, "svg.fonttype": "none"}):
        drawn = Figure(figsize=(2.3 * columns + 1.4, rows * (0.17 * len(contenders) + 0.8)), layout="constrained")
        panels = drawn.subplots(rows, columns, squeeze=False, sharey=True)
        for panel in panels.flat[len(judged) :]:
            panel.set_visible(False)
        for metric, panel in zip(judged, panels.flat, strict=False):
            panel.set_title(f"{metric.title}\n{_WAYS[metric.better]}", fontsize=8)
            panel.grid(axis="y", color="#dddddd", linewidth=0.5)
            panel.spines[["top", "right", "left"]].set_visible(False)
            panel.tick_params(left=False)
            for place, contender in enumerate(contenders):
                row = table.get((contender.name, metric.name))
                if row is None:
                    continue
                colour = colour_of(comparison, contender.name)
                reach = None if math.isnan(row.low) else [[row.mean - row.low], [row.high - row.mean]]
                panel.errorbar(
                    [row.mean], [place], xerr=reach, fmt=_MARKERS[colour], color=colour, markersize=4, linewidth=1
                )
        panels.flat[0].set_yticks(range(len(contenders)), [contender.title for contender in contenders])
        panels.flat[0].invert_yaxis()
        drawn.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    return path
