"""A comparison as a figure: a panel per metric, and in it a dot with its interval for each method."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, get_args

from rlrp_nb.errors import InputError, MissingPackageError
from rlrp_nb.plots.colormap import Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from rlrp_nb.evaluation.comparison import Comparison

REFERENCE, OTHERS, CONTROLS = "#D55E00", "#0072B2", "#808080"
"""Vermilion, blue and grey: apart for every kind of colour vision (Okabe and Ito, 2008), and light enough for both
themes."""

SYMBOLS = {REFERENCE: "diamond", OTHERS: "circle", CONTROLS: "circle-open"}
_COLUMNS = 3
_WAYS = {"higher": "higher is better", "lower": "lower is better", None: "neither way is better"}


def colour_of(comparison: Comparison, method: str) -> str:
    """Return the colour of a method: the reference's, that of controls, or that of all others."""
    if method == comparison.reference:
        return REFERENCE
    return CONTROLS if method in {"random", "edges"} else OTHERS


def figure(comparison: Comparison, theme: Theme = "light") -> Figure:
    """Draw a comparison.

    Parameters
    ----------
    comparison : Comparison
        What :func:`rlrp_nb.compare` returned.
    theme : {"light", "dark"}
        Page colours; the marks are the same in both.

    Returns
    -------
    plotly.graph_objects.Figure
        Methods from top to bottom in their order, the reference as a diamond, controls as rings.

    Raises
    ------
    MissingPackageError
        plotly is not installed.
    InputError
        There is no such theme.
    """
    try:
        from plotly import graph_objects as go  # noqa: PLC0415 - an optional package
        from plotly.subplots import make_subplots  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise MissingPackageError(
            "the figure is drawn by plotly, which is not installed: pip install 'rlrp-nb[lab]'. Comparison.to_markdown "
            "gives the same numbers as a table."
        ) from error
    if theme not in get_args(Theme):
        raise InputError(f"there is no colour theme {theme!r}: choose 'light' or 'dark'.")
    metrics = comparison.metrics
    columns = min(_COLUMNS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    titles = [f"{html.escape(metric.title, quote=False)}<br><sup>{_WAYS[metric.better]}</sup>" for metric in metrics]
    drawn = make_subplots(
        rows=rows, cols=columns, shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.04,
        vertical_spacing=0.5 / rows / max(1, rows - 1) if rows > 1 else 0,
    )  # fmt: skip
    names = {contender.name: html.escape(contender.title, quote=False) for contender in comparison.contenders}
    table = {(row.method, row.metric): row for row in comparison.table() if row.images}
    for k, metric in enumerate(metrics):
        for method, title in names.items():
            row = table.get((method, metric.name))
            if row is None:
                continue
            colour = colour_of(comparison, method)
            bar = None if math.isnan(row.low) else {
                "type": "data", "symmetric": False, "array": [row.high - row.mean], "arrayminus": [row.mean - row.low],
            }  # fmt: skip
            shown = row.mean if bar is None else f"{row.mean:.4g} [{row.low:.4g}, {row.high:.4g}]"
            drawn.add_trace(
                go.Scatter(
                    x=[row.mean], y=[title], error_x=bar, mode="markers", showlegend=False,
                    marker={"color": colour, "symbol": SYMBOLS[colour], "size": 9},
                    hovertemplate=f"{title}<br>{html.escape(metric.title, quote=False)}: {shown}<br>{row.images} images"
                    "<extra></extra>",
                ),
                k // columns + 1, k % columns + 1,
            )  # fmt: skip
    drawn.update_yaxes(type="category", categoryorder="array", categoryarray=list(names.values())[::-1], showgrid=True)
    drawn.update_layout(
        template="plotly_white" if theme == "light" else "plotly_dark",
        margin={"l": 20, "r": 20, "t": 70, "b": 20}, width=300 * columns + 160,
        height=rows * (90 + 24 * len(names)) + 60,
    )  # fmt: skip
    return drawn
