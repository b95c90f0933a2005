"""Batch normalisation folded into the convolution or dense layer before it, when a graph is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlrp_nb.engine.graph import Constants, Graph, Ref, Step
from rlrp_nb.engine.weighted import BatchNorm, Convolution, Dense, scale_and_shift

_NORM = ("weight", "bias", "running_mean", "running_var", "eps")


def fold_batch_norm(graph: Graph) -> Graph:
    """Return the graph with every batch-norm that directly follows a convolution or dense layer folded into it.

    The factors are constants computed from the network's own at each run. A batch-norm that stands
    before a convolution (DenseNet), or whose input is used elsewhere too, stays an affine map of its own.
    """
    readers: dict[int, int] = {graph.output: 1}
    for step in graph.steps:
        for index in step.reads():
            readers[index] = readers.get(index, 0) + 1
    constant = graph.constants.indices()
    by_index = {step.index: step for step in graph.steps}
    fresh = max([graph.input, graph.output, *constant, *by_index]) + 1
    folded: dict[int, Step] = {}
    computed = list(graph.constants.steps)
    for norm in graph.steps:
        rule = norm.rule
        if not isinstance(rule, BatchNorm) or not norm.sources or rule.problem(norm):
            continue
        before = by_index.get(norm.sources[0])
        axis = None if before is None else _output_axis(before)
        if before is None or axis is None or readers[before.index] > 1:
            continue
        given = {"bias": before.arguments["bias"], **{f"norm_{name}": norm.arguments[name] for name in _NORM}}
        read = [before.arguments["weight"], *given.values()]
        if not all(v.index in constant for v in read if isinstance(v, Ref)):
            continue
        for offset, function in enumerate((_scale, _shift)):
            computed.append(
                Step(fresh + offset, "fold", function, given, 0, None, (), None, 0, name=f"{before.name} folded")
            )
        arguments: dict[str, Any] = {**before.arguments, "bias": Ref(fresh + 1), "scale": Ref(fresh)}
        fresh += 2
        folded[before.index] = norm
        folded[norm.index] = replace(
            before, index=norm.index, arguments=arguments, folded=axis, layers=before.layers + norm.layers
        )
    steps = tuple(
        folded.get(step.index, step)
        for step in graph.steps
        if not (step.index in folded and isinstance(folded[step.index].rule, BatchNorm))
    )
    constants = Constants(graph.constants.state, graph.constants.tensors, computed)
    return replace(graph, steps=steps, constants=constants)


def _output_axis(step: Step) -> int | None:
    """Return the axis of the weight that holds the output channels, or None where folding is not possible."""
    rule = step.rule
    if isinstance(rule, Dense):
        return 0 if step.rank == 2 else None  # noqa: PLR2004 - (batch, features): otherwise axis 1 is not the features
    if isinstance(rule, Convolution):
        transposed = rule.transposed or step.arguments.get("transposed", False)
        if not transposed:
            return 0
        return 1 if step.arguments["groups"] == 1 else None
    return None


def _factors(norm: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Compute factor and shift in float64, so that folding costs no precision."""
    weight, bias = (None if tensor is None else tensor.double() for tensor in norm[:2])
    return scale_and_shift(weight, bias, norm[2].double(), norm[3].double(), norm[4])


def _scale(_: Tensor | None, *norm: Any) -> Tensor:  # noqa: ANN401 - tensors and a number
    scale, dtype = _factors(norm)[0], norm[2].dtype
    return scale.to(dtype)


def _shift(bias: Tensor | None, *norm: Any) -> Tensor:  # noqa: ANN401 - likewise
    scale, shift = _factors(norm)
    return (shift if bias is None else torch.addcmul(shift, bias.double(), scale)).to(norm[2].dtype)
