"""Whether a graph is walked back rightly: its gradient is compared with that of PyTorch's automatic differentiation.

All methods share the transposes of the affine ops, so that a rule that is wrong for one network shows in the gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import forward, walk_back
from rlrp_nb.engine.rules import BUILT_IN
from rlrp_nb.engine.treatments import rule_of
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rlrp_nb.engine.graph import Graph

_GRADIENT = METHODS["gradient-x-input"]
_TOLERANCE = 1e-3
"""Of the sum of absolute values."""
_LOOSE = 0.25
"""The same where rounding decides on which side of a kink an activation lies, as it does in deep networks."""
_FAINT = 2.0**-100


def check_derivative(graph: Graph, constants: Mapping[int, Any], inputs: Tensor) -> None:
    """Refuse a graph whose gradient x input is not that of automatic differentiation.

    Graphs with rules of the user's own are not looked at: such a rule may hold constant what a gradient does not.

    Parameters
    ----------
    graph
        Its logits are known to be the network's own.
    constants
        By value index.
    inputs
        ``(B, …)``, as many samples as the graph takes.

    Raises
    ------
    UnsupportedNetworkError
        Both differ by more than rounding.
    """
    own = any(step.rule not in {None, BUILT_IN.get(step.op)} for step in graph.steps if step.sources)
    if own or inputs.dtype not in {torch.float32, torch.float64}:
        return
    try:
        off = _disagreement(graph, constants, inputs)
    except UnsupportedNetworkError:  # complex numbers in a gate
        return
    except RuntimeError as error:
        if "not implemented" in str(error):  # the derivative of an op in a gate
            return
        raise
    if off > _TOLERANCE:
        raise UnsupportedNetworkError(
            f"on its way back through this network the engine differs from PyTorch's automatic differentiation by "
            f"{off:.1%}, so that its explanations would be wrong. That is a defect of rlrp_nb: please report it with "
            "the network's forward. Writing the forward with plainer ops may help."
        )


def _disagreement(graph: Graph, constants: Mapping[int, Any], inputs: Tensor) -> float:
    """Return how far apart both are; in single precision, where they are, double precision decides."""
    found = _by_engine(graph, constants, inputs)
    off = _distance(found, _by_autograd(graph, constants, inputs))
    if off <= _TOLERANCE or inputs.dtype == torch.float64:
        return off
    constants, inputs = _doubled(constants), inputs.double()
    try:
        expected = _by_autograd(graph, constants, inputs)
        exact = _distance(_by_engine(graph, constants, inputs), expected)
    except RuntimeError:  # the network makes tensors of single precision
        return off if off > _LOOSE else 0.0
    return max(exact, off) if (off := _distance(found, expected)) > _LOOSE else exact


def _by_engine(graph: Graph, constants: Mapping[int, Any], inputs: Tensor) -> Tensor:
    """Return gradient x input, ``(B, …)``, as explanations are computed."""
    steps = plan(graph, _GRADIENT, None, ledger=False)
    with torch.no_grad():
        record = forward(graph, steps, constants, inputs)
        return walk_back(graph, steps, record, inputs, _seeds(record.logits)[None]).input[0]


def _by_autograd(graph: Graph, constants: Mapping[int, Any], inputs: Tensor) -> Tensor:
    """Return gradient x input, ``(B, …)``, by PyTorch alone."""
    variable = inputs.clone().requires_grad_()
    values: dict[int, Any] = {**_mapped(_usable, constants), graph.input: variable}
    with torch.enable_grad():
        for step in graph.steps:
            arguments = step.filled(values.__getitem__)
            # a squeeze leaves the axis of the samples alone; the fast paths of other rules are not differentiated
            views = step.rule is not None and step.rule.kind == "shape"
            values[step.index] = rule_of(step).forward(step, arguments)[0] if views else step.invoke(arguments)
    logits = values.pop(graph.output)
    if not logits.requires_grad:  # all ways are detached
        return torch.zeros_like(inputs)
    (gradient,) = torch.autograd.grad(logits, variable, _seeds(logits), materialize_grads=True)
    return inputs * gradient


def _distance(found: Tensor, expected: Tensor) -> float:
    """Return how far apart two maps are, of the larger one's size; 0 where that cannot be told."""
    found = found.to(expected)
    if not _FAINT < float(expected.abs().max()) < 1 / _FAINT:  # the engine brings such a sample into range
        found, expected = map(_shares, (found, expected))
    off, size = (found - expected).abs().sum(), torch.maximum(found.abs().sum(), expected.abs().sum())
    return float(off / size) if bool(torch.isfinite(off)) and bool(size > 0) else 0.0


def _shares(relevance: Tensor) -> Tensor:
    """Return relevance ``(B, …)`` as shares of its sample's largest."""
    flat = relevance.reshape(len(relevance), -1)
    return flat / flat.abs().amax(1, keepdim=True)


def _usable(tensor: Tensor) -> Tensor:
    """Return a tensor by which can be differentiated, as by one that was made in inference mode cannot."""
    return tensor.clone() if tensor.is_inference() else tensor


def _doubled(constants: Mapping[int, Any]) -> dict[int, Any]:
    return _mapped(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, constants)


def _mapped(change: Callable[[Tensor], Tensor], constants: Mapping[int, Any]) -> dict[int, Any]:
    """Return constants with all their tensors changed, those in lists too."""
    return {
        index: change(value)
        if isinstance(value, Tensor)
        else [change(part) if isinstance(part, Tensor) else part for part in value]
        if isinstance(value, list | tuple)
        else value
        for index, value in constants.items()
    }


def _seeds(logits: Tensor) -> Tensor:
    """Return numbers of either sign for all logits, among which none is left out."""
    return torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype, device=logits.device).cos().reshape(logits.shape)
