"""Draws for the notebooks: small dense networks, digits under their relevance, and a training while it goes on."""

import base64
import io
import json
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from rlrp_nb.plots.colormap import paint, symmetric_limit
from rlrp_nb.training import Epoch

STEP = 2.6  # from one layer to the next; neurons of a layer are 1 apart


def network(
    activations: Sequence[ArrayLike],
    weights: Sequence[ArrayLike],
    relevances: Sequence[ArrayLike] | None = None,
    titles: Sequence[str] = (),
) -> Axes:
    """Draw a dense network: one sequence of numbers per layer, one matrix (outputs, inputs) between two layers.

    Where relevances are given, orange neurons speak for the output, blue ones against it. A neuron at zero is dashed.
    """
    axes = plt.subplots(figsize=(7.5, 3.4))[1]
    layers = [np.asarray(layer, dtype=float) for layer in activations]
    places = [[(STEP * k, (len(layer) - 1) / 2 - i) for i in range(len(layer))] for k, layer in enumerate(layers)]
    for before, after, matrix in zip(places[:-1], places[1:], weights, strict=True):
        for (i, start), (j, end) in ((a, b) for a in enumerate(before) for b in enumerate(after)):
            weight = np.asarray(matrix)[j, i]
            axes.plot(*zip(start, end, strict=True), color="#9aa3b2", linewidth=0.6 + 0.5 * abs(weight), zorder=0)
            at = np.asarray(start) + 0.25 * (np.asarray(end) - start)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.text(*at, f"{weight:g}", fontsize=9, color="#5b6270", ha="center", va="center", bbox=box)
    shown = [np.zeros_like(layer) for layer in layers] if relevances is None else [np.asarray(r) for r in relevances]
    limit = 1.6 * max(1e-9, *(np.abs(layer).max() for layer in shown))  # so that the numbers stay readable
    for layer, place, relevance in zip(layers, places, shown, strict=True):
        colours = paint(relevance[None], limit)[0] / 255
        for value, at, part, colour in zip(layer, place, relevance, colours, strict=True):
            edge = {"facecolor": colour, "edgecolor": "#16181d", "linestyle": "-" if value else "--"}
            axes.add_patch(plt.Circle(at, 0.36, **edge))
            axes.text(*at, f"{value:.4g}", fontsize=12, ha="center", va="center")
            if relevances is not None:
                axes.text(at[0], at[1] - 0.5, f"R = {part:.4g}", fontsize=9, ha="center", va="center")
    top = max(place[0][1] for place in places) + 0.6
    for k, title in enumerate(titles):
        axes.text(STEP * k, top, title, fontsize=10, color="#5b6270", ha="center")
    axes.set_xlim(-0.7, STEP * (len(layers) - 1) + 0.7)
    axes.set_ylim(-top - 0.1, top + 0.3)
    axes.set_aspect("equal")
    axes.axis("off")
    return axes


def digits(
    images: Sequence[ArrayLike],
    heatmaps: Sequence[ArrayLike] = (),
    titles: Sequence[str] = (),
    *,
    limit: float | None = None,
) -> Figure:
    """Draw digits in a row, and below each its heatmap with the digit's outline.

    Every heatmap has its own colour scale, unless a limit is given that holds for all of them.
    """
    rows = 2 if len(heatmaps) else 1
    figure, grid = plt.subplots(
        rows, len(images), figsize=(1.25 * len(images), 1.3 * rows + 0.3), squeeze=False, layout="constrained"
    )
    for axes, image in zip(grid[0], images, strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for axes, image, heatmap in zip(grid[1:].flat, images, heatmaps, strict=bool(len(heatmaps))):
        axes.imshow(paint(heatmap, symmetric_limit(heatmap, 99.5) if limit is None else limit))
        axes.contour(image, [100], colors="#9aa3b2", linewidths=0.7)
    for axes, title in zip(grid[0], titles, strict=bool(len(titles))):
        axes.set_title(title, fontsize=10)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


class LossCurve:
    """Loss and accuracy while a network learns: interactive in Jupyter, a still picture where no script runs."""

    def __init__(self):
        self.epochs: list[Epoch] = []
        self.place = display(self.bundle(), raw=True, display_id=True)

    def add(self, epoch: Epoch) -> None:
        """Let the curves grow by one epoch."""
        self.epochs.append(epoch)
        self.place.update(self.bundle(), raw=True)

    def bundle(self) -> dict[str, object]:
        """Return the picture in all formats, for Jupyter to choose from."""
        count = range(1, len(self.epochs) + 1)
        curves = {"loss": [e.loss for e in self.epochs], "accuracy": [e.accuracy for e in self.epochs]}
        live = make_subplots(1, 2, subplot_titles=[*curves])
        still, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
        for column, (name, values) in enumerate(curves.items()):
            rounded = [round(value, 4) for value in values]
            live.add_scatter(
                x=[*count], y=rounded, mode="lines+markers", name=name, line_color="#dd5e00", col=column + 1, row=1
            )
            axes[column].plot(count, values, color="#dd5e00", marker="o", markersize=4)
            axes[column].set_title(name, fontsize=10)
            axes[column].set_xlabel("epoch")
            axes[column].spines[["top", "right"]].set_visible(False)
        live.update_xaxes(title_text="epoch", dtick=1)
        live.update_layout(
            template="plotly_white", showlegend=False, height=300, margin={"l": 40, "r": 20, "t": 40, "b": 40}
        )
        file = io.BytesIO()
        still.savefig(file, format="png", dpi=90)
        plt.close(still)
        return {
            "application/vnd.plotly.v1+json": json.loads(live.to_json()),
            "image/png": base64.b64encode(file.getvalue()).decode(),
            "text/plain": f"loss and accuracy of {len(self.epochs)} epochs",
        }
