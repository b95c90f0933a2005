"""Batch normalisation folded into the convolution or dense layer before it, when a graph is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlrp_nb.engine.graph import Graph, Ref, Step
from rlrp_nb.engine.weighted import BatchNorm, Convolution, Dense, scale_and_shift

_NORM = ("weight", "bias", "running_mean", "running_var", "eps")


def fold_batch_norm(graph: Graph, *, apart: bool) -> Graph:
    """Return the graph with every batch-norm that directly follows a convolution or dense layer folded into it.

    Parameters
    ----------
    apart
        Whether such a batch-norm is computed behind the layer on the way forward all the same, as the network does.

    Notes
    -----
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
    together = fresh
    parts: dict[int, tuple[int, int]] = {}
    pairs: list[list[Any]] = []
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
        arguments: dict[str, Any] = {**before.arguments}
        for part, name in enumerate(("scale", "bias")):
            fresh += 1
            parts[fresh] = (together, 2 * len(pairs) + part)
            arguments[name] = Ref(fresh)
        if apart:
            arguments["norm"] = list(given.values())
        pairs.append(list(given.values()))
        folded[before.index] = norm
        folded[norm.index] = replace(
            before, index=norm.index, arguments=arguments, folded=axis, layers=before.layers + norm.layers
        )
    steps = tuple(
        folded.get(step.index, step)
        for step in graph.steps
        if not (step.index in folded and isinstance(folded[step.index].rule, BatchNorm))
    )
    fold = Step(together, "fold", _fold, {"pairs": pairs, "apart": apart}, 0, None, (), None, 0, name="all folded")
    computed = [*graph.constants.steps, fold] if pairs else graph.constants.steps
    return replace(graph, steps=steps, constants=replace(graph.constants, steps=computed, parts=parts))


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


def _fold(pairs: list[list[Any]], apart: bool) -> list[Tensor]:  # noqa: FBT001 - as an op is called
    """Compute all factors and all shifts, each in a few ops for the whole network, which is run for every explanation.

    Parameters
    ----------
    pairs
        For each map and the batch-norm after it: the bias of the map, then weight, bias, mean, variance and eps of the
        norm; weight and biases can be None.
    apart
        Whether they are for the way back alone, where sensitivities are of float32 at least.

    Returns
    -------
    list
        The factor and the shift of each pair in turn. They are computed in float64, so that folding costs no precision.
    """
    dtypes = [torch.promote_types(norm[3].dtype, torch.float32) if apart else norm[3].dtype for norm in pairs]
    counts = [norm[3].numel() for norm in pairs]
    bias, weight, norm_bias = (_joined(pairs, part, default) for part, default in ((0, 0.0), (1, 1.0), (2, 0.0)))
    mean, variance = (torch.cat([norm[part] for norm in pairs]).double() for part in (3, 4))
    eps = {norm[5] for norm in pairs}.pop()
    if any(norm[5] != eps for norm in pairs):
        eps = torch.cat([mean.new_full((n,), norm[5]) for norm, n in zip(pairs, counts, strict=True)])
    scale, shift = scale_and_shift(weight, norm_bias, mean - bias, variance, eps)
    if len(set(dtypes)) == 1:  # one copy for all
        scale, shift = scale.to(dtypes[0]), shift.to(dtypes[0])
    both = zip(*(torch.split_with_sizes(parts, counts) for parts in (scale, shift)), strict=True)
    return [
        part if part.dtype == dtype else part.to(dtype)
        for pair, dtype in zip(both, dtypes, strict=True)
        for part in pair
    ]


def _joined(pairs: list[list[Any]], part: int, default: float) -> Tensor:
    """Return one parameter of all pairs in a row, the default where there is none; once, where none has it."""
    if all(norm[part] is None for norm in pairs):
        parts = [pairs[0][3].new_full((1,), default)]
    else:
        parts = [norm[3].new_full(norm[3].shape, default) if norm[part] is None else norm[part] for norm in pairs]
    return torch.cat(parts).double()
