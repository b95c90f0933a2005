"""Which axis of a value holds the channels, as far as the ops of a network show it.

Convolutions put them behind the samples, dense layers at the end; ConvNeXt permutes between the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlrp_nb.engine.rules import Permute, Reshape
from rlrp_nb.engine.weighted import BatchNorm, Convolution, Dense

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlrp_nb.engine.graph import Graph, Step


def channel_axes(graph: Graph) -> dict[int, int]:
    """Return the axis of each value of a graph that holds its channels, where that can be told."""
    axes, known = {graph.input: 1}, {step.index: step for step in graph.steps}
    for step in graph.steps:
        axis = _axis(step, axes, known) if step.sources else None
        if axis is not None:
            axes[step.index] = axis
    return axes


def _axis(step: Step, axes: Mapping[int, int], known: Mapping[int, Step]) -> int | None:
    rule = step.rule
    if isinstance(rule, Convolution | BatchNorm):
        return 1
    if isinstance(rule, Dense):
        return step.rank - 1
    # of a product of a signal and a gate the signal tells
    (source, *_) = step.signals or step.sources
    axis, before = axes.get(source), known.get(source)
    if axis is None:
        return None
    if isinstance(rule, Permute):
        return rule.order(step.arguments, step.rank).index(axis)
    if isinstance(rule, Reshape):
        return axis if before is not None and before.lengths == step.lengths else None
    same_rank = before is None or before.rank == step.rank
    return axis if same_rank and axis < step.rank else None
