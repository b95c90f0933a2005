"""What can be done with the sensitivity that arrives at a step: hand it through, activate, differentiate, flatten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.classic import Flat, LayerRule, Need, Passed
from rlrp_nb.engine.weighted import Weighted

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step
    from rlrp_nb.engine.rule import Call, Rule


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
        return Passed(call.result() * s, None if offset is None else offset * s)


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
        a = z if rule.reads_output else call.run([z])
        return (s * (rule.weighted_slope(call, z, a) / largest_activation(call, a)),)

    def expected(self, call: Call, relevance: Tensor) -> Tensor:
        """Return the relevance before the activation that the definition asks for, given the one after it."""
        return relevance if self.slope == "secant" else relevance * relative_activation(call, call.result())


def largest_activation(call: Call, a: Tensor) -> Tensor:
    """Return ``max |a|`` over the whole layer of each sample, with all axes kept; 1 for a dead layer."""
    axes = tuple(axis for axis in range(a.dim()) if axis != call.step.batch_dim)
    lowest, highest = torch.aminmax(a) if a.shape[call.step.batch_dim or 0] == 1 else (a.amin(axes), a.amax(axes))
    largest = torch.maximum(-lowest, highest)
    return torch.where(largest > 0, largest, 1).reshape([1 if axis in axes else n for axis, n in enumerate(a.shape)])


def relative_activation(call: Call, a: Tensor) -> Tensor:
    """Return ``|a| / max |a|``, the maximum taken over the whole layer of each sample; 0 for a dead layer."""
    return a.abs() / largest_activation(call, a)


@dataclass(frozen=True)
class Differentiate:
    """Multiply by the true Jacobian of an op that is not affine, which gradient x input alone asks for."""

    needs: frozenset[Need] = frozenset({"input"})

    def back(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient with respect to each receiver."""
        inputs = [call.value(i).detach().requires_grad_() for i in range(len(call.inputs))]
        with torch.enable_grad():
            output = call.run(inputs)
        each = [torch.autograd.grad(output, inputs, s_k, retain_graph=True, materialize_grads=True) for s_k in s]
        return tuple(torch.stack(parts) for parts in zip(*each, strict=True))


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

    def passed(self, call: Call, s: Tensor) -> Passed:
        """Return the relevance that is passed on: all of it."""
        return Passed(call.result() * s, None)


Treatment = Hand | Activate | Differentiate | Flatten
