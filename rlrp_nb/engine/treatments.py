"""What can be done with the sensitivity that arrives at a step: hand it through, activate, differentiate, flatten."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rlrp_nb.engine.activations import Activation, extreme, largest_size
from rlrp_nb.engine.classic import Flat, LayerRule, Need, Passed
from rlrp_nb.engine.rule import contribution
from rlrp_nb.engine.weighted import Weighted
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step
    from rlrp_nb.engine.rule import Call, Rule

_SMALL, _LARGE = 2.0**-20, 2.0**20
"""Between these a sensitivity can be divided by the largest activation before it is multiplied by the activation."""
_WIDE = 2**12
"""From so many values of a sample on, a pass over them costs more than another call."""


def rule_of(step: Step) -> Rule:
    """Return the rule of a step that is known to have one, since its graph was checked."""
    rule = step.rule
    if rule is None:
        raise AssertionError(f"{step.name}: {step.op} has no rule")
    return rule


@dataclass(frozen=True)
class Hand:
    """Hand the sensitivity through an affine map, by a layer rule where the map has weights."""

    layer_rule: LayerRule

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule reads."""
        return self.layer_rule.needs

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the sensitivity of each receiver."""
        rule = rule_of(call.step)
        return (self.layer_rule.back(rule, call, s),) if isinstance(rule, Weighted) else rule.transpose(call, s)

    def passed(self, call: Call, s: Tensor) -> Passed:
        """Return the relevance that is passed on, and what the bias keeps of it."""
        rule = rule_of(call.step)
        if isinstance(rule, Weighted):
            return self.layer_rule.passed(rule, call, s)
        offset = rule.offset(call)
        return Passed(None, None if offset is None else contribution(offset, s))


@dataclass(frozen=True)
class Activate:
    """Pass an activation: multiply by its secant slope and, in R-LRP, by the relative activation."""

    slope: Literal["relative", "secant"]
    needs: frozenset[Need]

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the sensitivity before the activation."""
        rule = rule_of(call.step)
        if not isinstance(rule, Activation):  # x * gate(x): the gate is the secant slope
            secant = call.state.to(call.dtype)
            return (s * (secant if self.slope == "secant" else secant * relative_activation(call, call.result())),)
        z = call.result() if rule.reads_output else call.value()
        if self.slope == "secant":
            return (s * rule.slope(call, z),)
        largest = rule.largest(call, z, _layer_axes(call, z))
        return (_times_share(call, s, rule.weighted_slope(call, z), largest),)

    def expected(self, call: Call, relevance: Tensor) -> Tensor:
        """Return the relevance before the activation that the definition asks for, given the one after it."""
        return relevance if self.slope == "secant" else relevance * relative_activation(call, call.result())


@dataclass(frozen=True)
class ActivatePicked:
    """Pass a max-pool in R-LRP and, with it, the ReLU before it, whose output nothing but the pool reads.

    What a window picks is an activation, so the sensitivity is multiplied by it before it is spread to its place. That
    is a fraction of the layer, which need not be kept at all.
    """

    needs: frozenset[Need] = frozenset({"output"})

    def run(self, step: Step, arguments: dict[str, Any]) -> tuple[Tensor, tuple[Any, Tensor]]:
        """Run the pool; keep its own state, and the largest activation of all: the pool may leave out some."""
        a: Tensor = arguments["self"]
        output, state = rule_of(step).forward(step, arguments)
        return output, (state, extreme(torch.amax, a, _axes_but(step.source_batch_dim, a.dim())))

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the sensitivity before the activation."""
        winners, largest = call.state
        shared = _times_share(call, s, call.result(), largest.to(call.dtype))
        return rule_of(call.step).transpose(replace(call, state=winners), shared)


@dataclass(frozen=True)
class Skip:
    """Hand everything on as it is: what the step does has been done by the treatment of the one after it."""

    needs: frozenset[Need] = frozenset()

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002 - as of every treatment
        """Return the sensitivity that arrived."""
        return (s,)


def relative_activation(call: Call, a: Tensor) -> Tensor:
    """Return ``|a| / max |a|``, the maximum taken over the whole layer of each sample; 0 for a dead layer."""
    return a.abs() / _or_dead(largest_size(a, _layer_axes(call, a)))


def _layer_axes(call: Call, a: Tensor) -> tuple[int, ...]:
    """Return the axes of a whole layer, which are all but that of the samples."""
    return _axes_but(call.step.batch_dim, a.dim())


@cache
def _axes_but(batch_dim: int | None, rank: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(rank) if axis != batch_dim)


def _or_dead(largest: Tensor) -> Tensor:
    """Return 1 for a dead layer, whose activations are all 0, so that their share is 0."""
    return torch.where(largest > 0, largest, 1)


def _times_share(call: Call, s: Tensor, product: Tensor, largest: Tensor) -> Tensor:
    """Return ``s product / largest``, 0 for a dead layer, in the memory of `s` where that is spare.

    On the CPU, where reading and writing a large layer is what costs, product and quotient are one pass over each
    sample, unless the quotient alone could leave the range of the dtype.
    """
    out = s if call.spare else torch.empty_like(s)
    axis = call.step.batch_dim
    wide = axis is not None and s.device.type == "cpu" and product.numel() >= _WIDE * product.shape[axis]
    sizes = [] if not wide else [largest.item()] if largest.numel() == 1 else largest.flatten().tolist()
    if axis is None or not sizes or not all(_SMALL <= size <= _LARGE for size in sizes):
        return torch.mul(s, product / _or_dead(largest), out=out)
    nothing = _nothing(s.dtype)
    if len(sizes) == 1:
        return torch.addcmul(nothing, s, product, value=1 / sizes[0], out=out)
    for n, size in enumerate(sizes):
        one, share, into = s.select(axis + 1, n), product.select(axis, n), out.select(axis + 1, n)
        torch.addcmul(nothing, one, share, value=1 / size, out=into)
    return out


@cache
def _nothing(dtype: torch.dtype) -> Tensor:
    """Return a single 0 on the CPU."""
    return torch.zeros((), dtype=dtype, device="cpu")


@dataclass(frozen=True)
class Differentiate:
    """Multiply by the true Jacobian of an op that is not affine, which gradient x input alone asks for."""

    needs: frozenset[Need] = frozenset({"input"})

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient with respect to each receiver; of an index or a truth value there is none.

        Raises
        ------
        UnsupportedNetworkError
            Numbers are complex.
        """
        inputs = [call.raw(i).detach() for i in range(len(call.inputs))]
        inputs = [value.to(call.dtype).requires_grad_() if value.is_floating_point() else value for value in inputs]
        with torch.enable_grad():
            output = call.run(inputs)
        if output.is_complex() or any(value.is_complex() for value in inputs):
            raise UnsupportedNetworkError(
                f"{call.step.op} at {call.step.name} computes with complex numbers, through which gradient x input has "
                "no way. Use another method, such as 'rlrp'."
            )
        found = [s.new_zeros((len(s), *value.shape)) for value in inputs]
        moving = [i for i, value in enumerate(inputs) if value.requires_grad]
        if output.requires_grad:  # else it is behind a detach, or no number
            along = [inputs[i] for i in moving]
            try:
                each = [torch.autograd.grad(output, along, s_k, retain_graph=True, materialize_grads=True) for s_k in s]
            except RuntimeError as error:
                raise UnsupportedNetworkError(
                    f"PyTorch cannot differentiate {call.step.op} at {call.step.name} ({error}), so that gradient x "
                    "input has no way through it. Use another method, such as 'rlrp'."
                ) from error
            for i, parts in zip(moving, zip(*each, strict=True), strict=True):
                found[i] = torch.stack(parts)
        return tuple(found)


@dataclass(frozen=True)
class Flatten:
    """Give every input of a first layer the same share; what is handed on is relevance, not sensitivity."""

    flat: Flat

    @property
    def needs(self) -> frozenset[Need]:
        """What the rule reads."""
        return self.flat.needs

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the receiver."""
        rule = rule_of(call.step)
        if not isinstance(rule, Weighted):
            raise TypeError(f"{call.step.name}: the flat rule is for layers with weights")
        return (self.flat.relevance(rule, call, s),)

    def passed(self, call: Call, s: Tensor) -> Passed:  # noqa: ARG002 - as of every treatment
        """Return that everything is passed on."""
        return Passed(None, None)


Treatment = Hand | Activate | ActivatePicked | Skip | Differentiate | Flatten
