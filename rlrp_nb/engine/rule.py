"""What a backward rule is, and what it knows of the executed op it speaks of.

Sensitivities carry a leading axis of K targets: the sensitivity of a tensor of shape ``(B, …)`` has shape ``(K, B,
…)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rlrp_nb.engine.graph import Step

Kind = Literal["affine", "activation", "pooling", "shape", "gate", "constant"]
Memory = Literal["new", "parts", "same"]


@dataclass(frozen=True)
class Slot:
    """Stands in an op's arguments for a tensor that depends on the input, of which only the shape is known."""

    shape: torch.Size


@dataclass
class Call:
    """One step as it was executed: all that a rule may use on the way back.

    Attributes
    ----------
    step
        The step of the graph.
    at
        Returns what is known at an index of the graph: a constant, or for a tensor that depends on the input a `Slot`.
    shapes
        The shapes of the tensors that receive sensitivity, in the order of the arguments.
    output_shape
        The shape of the output.
    state
        What the rule's own `forward` kept (indices, a gate, a standard deviation), or None.
    inputs
        The values of these tensors, where the method asked to keep them, else None.
    output
        The value of the output, where the method asked to keep it, else None.
    dtype
        The dtype in which sensitivities are accumulated.
    device
        The device of the tensors.
    spare
        Whether nothing else reads the sensitivity that arrives, so that a rule may write into it.
    """

    step: Step
    at: Callable[[int], Any]
    shapes: tuple[torch.Size, ...]
    output_shape: torch.Size
    state: Any
    inputs: tuple[Tensor | None, ...]
    output: Tensor | None
    dtype: torch.dtype
    device: torch.device
    spare: bool = False

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The op's arguments by name; tensors that depend on the input are `Slot` objects."""
        return self.step.filled(self.at)

    def constant(self, name: str) -> Tensor | None:
        """Return a constant tensor argument in the dtype of the sensitivities, or None where it is absent."""
        value = self.arguments.get(name)
        return self._cast(value) if isinstance(value, Tensor) else None

    def weight(self, name: str = "weight") -> Tensor:
        """Return a constant tensor argument that must be there, in the dtype of the sensitivities."""
        value = self.constant(name)
        if value is None:
            raise AssertionError(f"{self.step.name}: {self.step.op} has no constant {name!r}")
        return value

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """Run the op again on other values of its input-dependent tensors, in the dtype of the sensitivities."""
        remaining = iter(inputs)
        output: Tensor = self.step.invoke({name: self._filled(v, remaining) for name, v in self.arguments.items()})
        return output

    def _filled(self, value: Any, remaining: Iterator[Tensor]) -> Any:  # noqa: ANN401 - an ATen argument can be of any type
        """Put the next of the remaining tensors into each slot of an argument.

        A method, since a function that calls itself from within another is a cycle, and would keep tensors alive.
        """
        if isinstance(value, Slot):
            return next(remaining)
        if isinstance(value, Tensor):
            return differentiable(self._cast(value) if value.is_floating_point() else value)
        return [self._filled(v, remaining) for v in value] if isinstance(value, list | tuple) else value

    def raw(self, position: int = 0) -> Tensor:
        """Return a kept input as it is."""
        kept = self.inputs[position]
        if kept is None:
            raise AssertionError(f"{self.step.name}: input {position} was not kept for the way back")
        return kept

    def value(self, position: int = 0) -> Tensor:
        """Return a kept input in the dtype of the sensitivities."""
        return self._cast(self.raw(position))

    def result(self) -> Tensor:
        """Return the kept output in the dtype of the sensitivities."""
        if self.output is None:
            raise AssertionError(f"{self.step.name}: the output was not kept for the way back")
        return self._cast(self.output)

    def _cast(self, value: Tensor) -> Tensor:
        return value if value.dtype == self.dtype else value.to(self.dtype)


class Rule:
    """How one op passes sensitivity back.

    Attributes
    ----------
    kind
        What the op is to a method: ``affine``, ``activation``, ``pooling``, ``shape``, ``gate`` or ``constant``.
    items
        Which outputs of an op with several outputs the rule speaks of; None for all.
    new_output
        Whether the output is always a tensor in memory of its own, never a view of an input, and the rule's state too.
    returns
        Whose memory `transpose` returns: ``new`` memory that nothing else reads, distinct parts of the sensitivity that
        it was given (``parts``), or possibly the ``same`` for several receivers.
    """

    kind: Kind = "affine"
    items: frozenset[int] | None = None
    new_output: bool = False
    returns: Memory = "same"

    def problem(self, step: Step) -> str | None:  # noqa: ARG002 - a rule that can refuse looks at the step
        """Return why this use of the op cannot be explained, or None."""
        return None

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Run the op on its filled arguments; return its output and what the way back needs."""
        return step.invoke(arguments), None

    def overwrite(self, arguments: dict[str, Any], name: str) -> Tensor | None:  # noqa: ARG002 - few ops can
        """Run the op in the memory of the argument `name` and return it, or None where it cannot."""
        return None

    def overwrite_any(self, arguments: dict[str, Any], names: Sequence[str]) -> Tensor | None:
        """Run the op in the memory of the first of some arguments in which it can."""
        for name in names:
            output = self.overwrite(arguments, name)
            if output is not None:
                return output
        return None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002 - affine rules look at both
        """Return the sensitivity of every tensor that receives one, shape ``(K, *shape)`` each."""
        raise TypeError(f"{call.step.op} has no transpose: the method handles an op of kind {self.kind!r}")

    def offset(self, call: Call) -> Tensor | None:
        """Return the op's output for zero inputs, broadcastable to the output; None where it is zero."""
        return call.run([torch.zeros(shape, dtype=call.dtype, device=call.device) for shape in call.shapes])


def differentiable(value: Tensor) -> Tensor:
    """Return a constant by which can be differentiated: one that was made in inference mode is copied."""
    return value.clone() if value.is_inference() else value


def along(scale: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Multiply a weight by a factor for each position of an axis."""
    return weight * scale.reshape([-1 if d == axis else 1 for d in range(weight.dim())])


def unbroadcast(s: Tensor, shape: torch.Size) -> Tensor:
    """Sum a sensitivity ``(K, *out)`` over the axes along which a tensor of `shape` was broadcast."""
    if s.shape[1:] == shape:
        return s
    extra = s.dim() - 1 - len(shape)
    if extra:
        s = s.sum(dim=tuple(range(1, 1 + extra)))
    stretched = tuple(d + 1 for d, n in enumerate(shape) if n == 1 and s.shape[d + 1] != 1)
    return s.sum(dim=stretched, keepdim=True) if stretched else s


def contribution(value: Tensor, s: Tensor) -> Tensor:
    """Return ``a s``, which is 0 where an infinite value, such as a mask fills in, gets no sensitivity."""
    product = value * s
    # the sum reads only once
    return product if bool(torch.isfinite(product.sum())) else torch.where(value.isinf() & (s == 0), 0, product)


class Gate(Rule):
    """Sigmoid, hardsigmoid and softmax: allowed where they scale a signal, held constant."""

    kind: Kind = "gate"


@dataclass(frozen=True)
class Refusal(Rule):
    """An op that is known and cannot be explained.

    Attributes
    ----------
    reason
        Why not, and what to do.
    """

    reason: str


class Constant(Rule):
    """Ops whose output has the input's shape but not its values, such as ``zeros_like``."""

    kind: Kind = "constant"
