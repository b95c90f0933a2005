"""Which axis of a value holds the channels, as far as the ops of a network show it.

Convolutions put them behind the samples, dense layers at the end; ConvNeXt permutes between the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlrp_nb.engine.contraction import Contraction
from rlrp_nb.engine.shapes import Permute, Reshape
from rlrp_nb.engine.weighted import FEW, BatchNorm, Convolution, Dense

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlrp_nb.engine.graph import Graph, Step

_REARRANGED = frozenset({"aten.view", "aten._unsafe_view", "aten.reshape"})
"""Ops whose output can have as many axes as before, and other numbers along them."""


def channel_axes(graph: Graph) -> dict[int, int]:
    """Return the axis of each value of a graph that holds its channels, where that can be told."""
    axes, known = {graph.input: 1}, {step.index: step for step in graph.steps}
    for step in graph.steps:
        axis = _axis(step, axes, known) if step.sources else None
        if axis is not None:
            axes[step.index] = axis
    return axes


def channels_of_input(graph: Graph, lengths: Sequence[int]) -> int | None:
    """Return the axis of a sample of the input that holds its channels, or None where none does.

    The first convolution that reads the input shows it, or else the first batch-norm, also where the input is permuted,
    or given an axis of channels, on the way there; networks of sound normalise along frequencies first. Where it is
    reshaped before, as by a dense network, nothing shows it. Of three axes it is then the first, or the last where that
    alone is as short as colours are. Of two, none is.

    Parameters
    ----------
    lengths
        Of the axes of a sample.
    """
    if len(lengths) == 1:
        return None
    # for each axis of a value, the axis of the input that lies along it
    places: dict[int, tuple[int | None, ...]] = {graph.input: (None, *range(len(lengths)))}
    normalised: list[int | None] = []
    for step in graph.steps:
        before = places.get((step.signals or step.sources)[0]) if step.sources else None
        if before is None:
            continue
        if isinstance(step.rule, Convolution):
            return before[1]
        if isinstance(step.rule, BatchNorm):
            normalised.append(before[1])
        after = _moved(step, before)
        if after is not None:
            places[step.index] = after
    if normalised:
        return normalised[0]
    if len(lengths) < 3:  # noqa: PLR2004 - height, width and channels
        return None
    return len(lengths) - 1 if lengths[-1] <= FEW < min(lengths[:-1]) else 0


def _moved(step: Step, places: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Return what lies along the axes of a step's output, or None where that cannot be told."""
    if isinstance(step.rule, Permute):
        return tuple(places[axis] for axis in step.rule.order(step.arguments, step.rank))
    if isinstance(step.rule, Contraction):
        if len(step.sources) > 1:  # as a gate can be
            return None
        order = step.rule.order(step)
        return tuple(None if axis is None else places[axis] for axis in order)
    if step.op == "aten.unsqueeze":
        new = step.arguments["dim"] % step.rank
        return (*places[:new], None, *places[new:])
    return places if step.rank == len(places) and step.op not in _REARRANGED else None


def _axis(step: Step, axes: Mapping[int, int], known: Mapping[int, Step]) -> int | None:  # noqa: PLR0911 - one return per kind
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
    if isinstance(rule, Contraction):
        order = () if len(step.sources) > 1 else rule.order(step)
        return order.index(axis) if axis in order else None
    if isinstance(rule, Reshape):
        return axis if before is not None and before.lengths == step.lengths else None
    same_rank = before is None or before.rank == step.rank
    return axis if same_rank and axis < step.rank else None
