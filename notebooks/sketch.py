"""Draws small dense networks for the notebooks: circles that hold activations, coloured by relevance."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from rlrp_nb.plots.colormap import paint

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
