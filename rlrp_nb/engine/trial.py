"""Whether each step of a graph is walked back as it should be: tried on random numbers before anything is explained.

An affine map hands on what PyTorch's automatic differentiation does, and an activation what the definition of R-LRP
asks for. What is tried is one step at a time, so that rounding in a deep network, on which side of a kink an activation
lies, and the range of numbers are of no concern, and so that the memory of one step is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import forward
from rlrp_nb.engine.rule import Call, Slot, differentiable
from rlrp_nb.engine.rules import BUILT_IN, LayerNorm
from rlrp_nb.engine.treatments import Activate, Treatment, rule_of
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rlrp_nb.engine.graph import Graph, Step

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Of the sum of absolute values. Products of float32 may be computed with fewer digits, where PyTorch was told so."""
_COARSE = 5e-2
"""The same of other dtypes."""
_APART = 37
"""By how much the numbers of two tensors are shifted against each other."""


def try_steps(graph: Graph, constants: Mapping[int, Any], inputs: Tensor) -> None:
    """Refuse a graph that has a step which the engine would walk back wrongly.

    Of steps with a rule of the user's own it is only tried whether the rule can be used. Layer-norms are not tried, as
    their standard deviation is held constant where it has a derivative.

    Parameters
    ----------
    graph
        Its logits are known to be the network's own.
    constants
        By value index.
    inputs
        ``(B, …)``, as many samples as the graph takes; only their shape, dtype and device count.

    Raises
    ------
    UnsupportedNetworkError
        Names the first such step, or the first one whose rule, of the user's own, fails.
    """
    method = METHODS["rlrp"]
    record = forward(graph, plan(graph, method, None, ledger=False), constants, inputs)
    steps = plan(graph, method, None, ledger=True)  # every activation by itself
    trial = _Trial(record.values, record.shapes, inputs)
    for step in reversed(graph.steps):
        treatment = steps.treatments.get(step.index)
        built_in = step.rule is not None and step.rule is BUILT_IN.get(step.op)
        if treatment is None or isinstance(step.rule, LayerNorm):
            continue
        if not built_in:
            trial.use(step, treatment, steps.receivers[step.index])
            continue
        try:
            off = trial.disagreement(step, treatment, steps.receivers[step.index])
        except RuntimeError:  # in a deterministic mode PyTorch differentiates fewer ops, and dtypes can differ within
            continue
        if off > 0:
            raise UnsupportedNetworkError(
                f"{step.op} at {step.name} is walked back wrongly in this network, by {off:.1%} of the relevance, so "
                "that its explanations would be wrong. That is a defect of rlrp_nb: please report it with the "
                "network's forward. Writing this part with other ops may help."
            )


class _Handed(NamedTuple):
    """What a step was given on both ways, and what it handed on."""

    values: dict[int, Tensor]
    constants: dict[int, Any]
    output: Tensor
    s: Tensor
    call: Call
    messages: list[Tensor]


class _Trial:
    """Random numbers for the steps of one graph.

    Parameters
    ----------
    constants
        And sizes, by value index.
    shapes
        Of the values that depend on the input.
    inputs
        Of whose dtype and device the numbers are.
    """

    def __init__(self, constants: Mapping[int, Any], shapes: Mapping[int, torch.Size], inputs: Tensor) -> None:
        # half precision would be tried in single, as the way back is computed: it has many equal numbers, coarse
        # coordinates and other kernels
        half = inputs.dtype not in {torch.float32, torch.float64}
        self._exact = torch.float32 if half else inputs.dtype
        self._given, self._shapes = constants, shapes
        most = max(shape.numel() for shape in shapes.values())
        generator = torch.Generator(device="cpu").manual_seed(0)  # of its own: the user's numbers stay as they are
        numbers = torch.randn(most + 64 * _APART, generator=generator, device="cpu", dtype=torch.float32)
        self._numbers = numbers.to(inputs.device, self._exact)

    def _usable(self, value: Any) -> Any:  # noqa: ANN401 - a constant can be anything
        """Return a constant with numbers as exact as the trial's, by which can be differentiated."""
        if isinstance(value, list | tuple):
            return [self._usable(part) for part in value]
        if not isinstance(value, Tensor):
            return value
        if value.is_floating_point() and value.dtype.itemsize < self._exact.itemsize:
            return value.to(self._exact)
        return differentiable(value)

    def _random(self, shape: torch.Size, place: int) -> Tensor:
        """Return numbers that differ from those for another place."""
        start = _APART * (place % 64)
        return self._numbers[start : start + shape.numel()].reshape(shape)

    def use(self, step: Step, treatment: Treatment, receivers: Sequence[int]) -> None:
        """Walk back through a step by a rule of the user's own, and say in words where that fails."""
        cause: Exception | None = None
        try:
            handed = self._handed(step, treatment, receivers)
            reason = _misfit(step.rule, handed, receivers)
        except Exception as error:  # noqa: BLE001 - a user's rule can raise anything
            cause, reason = error, f"{type(error).__name__}: {error}"
        if reason:
            named = ", ".join([*step.arguments][1:])
            raise UnsupportedNetworkError(
                f"the rule in RULES for {step.op}, which is at {step.name}, cannot be used: {reason}. The secant of an "
                f"Activation is given z and the op's own arguments by name ({named or 'here none'}) and returns "
                "phi(z) / z, a new tensor of z's shape."
            ) from cause

    def _handed(self, step: Step, treatment: Treatment, receivers: Sequence[int]) -> _Handed:
        """Walk back through a step, from and to random numbers."""
        values = {i: self._random(self._shapes[i], place + 1) for place, i in enumerate(step.sources)}
        constants = {i: self._usable(self._given[i]) for i in step.reads() - values.keys()}
        output, state = rule_of(step).forward(step, step.filled({**constants, **values}.__getitem__))
        s = self._random(output.shape, 0)
        call = Call(
            step=step,
            at=lambda index: Slot(self._shapes[index]) if index in values else constants[index],
            shapes=tuple(self._shapes[i] for i in receivers),
            output_shape=output.shape,
            state=state,
            inputs=tuple(values[i] for i in receivers),
            output=output,
            dtype=self._exact,
            device=s.device,
        )
        messages = [message[0] for message in treatment.back(call, s[None])] if output.numel() else []
        return _Handed(values, constants, output, s, call, messages)

    def disagreement(self, step: Step, treatment: Treatment, receivers: Sequence[int]) -> float:
        """Return how far what is handed on is from what it should be, as a share of both; 0 if rounding can do that."""
        values, constants, output, s, _, messages = self._handed(step, treatment, receivers)
        if not output.numel():
            return 0.0
        if len(messages) != len(receivers):
            return 1.0
        if isinstance(treatment, Activate):  # R_z = |a| / max |a| * R_a
            a = output.to(self._exact)
            samples = step.batch_dim or 0
            largest = torch.stack([one.abs().max() for one in a.movedim(samples, 0)])  # of a whole layer
            largest = largest.reshape([-1 if axis == samples else 1 for axis in range(a.dim())])
            expected = a.abs() / largest * a * s
            pairs = [(messages[0] * values[receivers[0]], expected)]
        else:
            # a value that is read twice gets two messages and has one derivative
            handed = {i: torch.zeros_like(message) for i, message in zip(receivers, messages, strict=True)}
            for i, message in zip(receivers, messages, strict=True):
                handed[i] += message
            pairs = [*zip(handed.values(), self._derivatives(step, constants, values, tuple(handed), s), strict=True)]
        off = _distance(pairs)
        tolerance = max(_TOLERANCE.get(dtype, _COARSE) for dtype in (self._exact, output.dtype))
        return off if off > tolerance else 0.0

    @staticmethod
    def _derivatives(
        step: Step, constants: Mapping[int, Any], values: Mapping[int, Tensor], of: Sequence[int], s: Tensor
    ) -> Iterator[Tensor]:
        """Return what automatic differentiation makes of `s`, for each of some values."""
        variables = {i: value.clone().requires_grad_(i in of) for i, value in values.items()}
        # hooks by which the caller saves tensors elsewhere are not asked
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is):
            arguments = step.filled({**constants, **variables}.__getitem__)
            # not by the fast paths of rules, but a squeeze leaves the axis of the samples alone
            views = rule_of(step).kind == "shape"
            output = rule_of(step).forward(step, arguments)[0] if views else step.invoke(arguments)
        found = torch.autograd.grad(output, [variables[i] for i in of], s.to(output), materialize_grads=True)
        return map(torch.Tensor.detach, found)


def _misfit(rule: object, handed: _Handed, receivers: Sequence[int]) -> str:
    """Say how the slope of a user's activation does not fit; nothing where it does."""
    if not isinstance(rule, Activation) or not handed.messages:
        return ""
    z = handed.values[receivers[0]]
    slope = rule.slope(handed.call, z)
    return "" if slope.shape == z.shape else f"its secant returned {tuple(slope.shape)} for z {tuple(z.shape)}"


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _distance(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return how far apart tensors are, as a share of the larger ones; 0 where numbers are not finite."""
    off = sum(float((one.double() - other.double()).abs().sum()) for one, other in pairs)
    size = max(sum(float(pair[n].double().abs().sum()) for pair in pairs) for n in (0, 1))
    return off / size if size > 0 and off < float("inf") else 0.0
