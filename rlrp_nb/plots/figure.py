"""An interactive figure with plotly: photograph beside heatmap, zoom linked, the value under the pointer."""

import base64
import html
import io
from typing import TYPE_CHECKING

from PIL import Image

from rlrp_nb.errors import InputError, MissingPackageError
from rlrp_nb.plots import colormap
from rlrp_nb.plots.caption import check_explanation, headline, isolated, method_title

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

    from rlrp_nb.engine.explanation import Explanation

_MOST_TARGETS = 100  # each entry of the menu says of every map whether it is shown
_HOVER = "row %{y}, column %{x}<br>relevance %{z:.3e}<extra></extra>"


def figure(
    explanation: "Explanation",
    target: int = 0,
    sample: int = 0,
    *,
    percentile: float = 99.5,
    theme: colormap.Theme = "light",
) -> "Figure":
    """Draw every explained target of one picture, with a menu to switch between targets.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    target : int
        Position of the target that is shown first, not a class index.
    sample : int
        Position in the batch.
    percentile : float
        Where each target's colour scale ends: this percentile of its absolute relevance. 100 clips nothing.
    theme : {"light", "dark"}
        Which colour table and page colours.

    Returns
    -------
    plotly.graph_objects.Figure
        The photograph (where the explanation holds one) and the heatmap, zero in the middle of the colour scale.

    Raises
    ------
    MissingPackageError
        If plotly is not installed.
    InputError
        If the heatmap is not two-dimensional or holds NaN or infinity, there are more than 100 targets, or an argument
        is out of its range.
    """
    try:
        from plotly import graph_objects as go  # noqa: PLC0415 - an optional package
        from plotly.subplots import make_subplots  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise MissingPackageError(
            "the interactive figure is drawn by plotly, which is not installed: pip install 'rlrp-nb[lab]'. "
            "rlrp_nb.plots.picture.picture draws a still one without it."
        ) from error
    check_explanation(explanation)
    explanation.label(target, sample)  # refuses a position that is not there
    target = range(explanation.targets.shape[1])[target]  # from the end too, and a plain int, which plotly wants
    scale = [
        [k / 254, f"rgb({r},{g},{b})"] for k, (r, g, b) in enumerate(colormap.table(theme)[1:].astype(int).tolist())
    ]
    photo = None if explanation.images is None else explanation.images[sample].cpu().numpy()
    columns = 1 if photo is None else 2
    drawn = make_subplots(rows=1, cols=columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03)
    if photo is not None:
        drawn.add_trace(go.Image(source=_data_uri(photo), hovertemplate="row %{y}, column %{x}<extra></extra>"), 1, 1)
    count = explanation.targets.shape[1]
    if count > _MOST_TARGETS:
        raise InputError(
            f"the explanation has {count:,} targets, and the figure's menu at most {_MOST_TARGETS}: explain fewer at a "
            "time, or draw one by rlrp_nb.plots.picture.picture."
        )
    titles = [html.escape(headline(explanation, k, sample, isolate=True), quote=False) for k in range(count)]
    for k in range(count):
        values = explanation.heatmap(k, sample).detach().cpu().double().numpy()
        if values.ndim != 2:  # noqa: PLR2004 - a picture has two dimensions
            raise InputError(
                f"a figure needs a heatmap of shape (height, width), and this one has shape {values.shape}: "
                "sum or select along the other dimensions first."
            )
        # plotly needs some width around zero, also for a map of zeros
        limit = colormap.symmetric_limit(values, percentile) or 1.0
        bar = {"title": {"text": "relevance"}, "exponentformat": "e", "showexponent": "all"}
        trace = go.Heatmap(
            z=values, zmin=-limit, zmax=limit, colorscale=scale, colorbar=bar, hovertemplate=_HOVER,
            visible=k == target,
        )  # fmt: skip
        drawn.add_trace(trace, 1, columns)
    menu = 45 if count > 1 else 0
    if menu:
        # in a row of its own, below titles that can be long
        place = {"x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}
        drawn.update_layout(updatemenus=[{"buttons": _buttons(titles, columns - 1), "active": target, **place}])
    drawn.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, constrain="domain")
    drawn.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, autorange="reversed", scaleanchor="x")
    origin = html.escape(f"{isolated(explanation.network)} · {isolated(method_title(explanation.method))}", quote=False)
    drawn.update_layout(
        title={"text": titles[target], "x": 0.02, "y": 0.97, "yanchor": "top", "subtitle": {"text": origin}},
        template="plotly_white" if theme == "light" else "plotly_dark",
        margin={"l": 20, "r": 20, "t": 90 + menu, "b": 20}, width=470 * columns + 100, height=560 + menu,
    )  # fmt: skip
    return drawn


def _buttons(titles: list[str], before: int) -> list[dict[str, object]]:
    """One button per target: it shows that target's heatmap, the photograph before it stays."""
    shown = [[True] * before + [other == target for other in range(len(titles))] for target in range(len(titles))]
    return [
        {"label": title, "method": "update", "args": [{"visible": visible}, {"title.text": title}]}
        for title, visible in zip(titles, shown, strict=True)
    ]


def _data_uri(photo: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
