"""The classic LRP rules for maps with weights, written for sensitivities.

Each takes the sensitivity of a map's output, ``s = R / z``, and returns that of its input. In this form LRP-0 is the
plain transpose, and the others are a transpose between two element-wise steps. Notation: ``z = W a + b``,
``u+ = max(u, 0)``,
``u- = min(u, 0)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from rlrp_nb.checks import is_real
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from rlrp_nb.engine.rule import Call
    from rlrp_nb.engine.weighted import Weighted

Need = Literal["input", "output"]
STABILIZER = 1e-6
"""Added to denominators of the rules that divide, with the sign of the denominator."""


class Passed(NamedTuple):
    """What a rule sends on, for the ledger.

    Attributes
    ----------
    relevance
        What each output passes on; None where it is all that arrives.
    bias
        The part of it that the rule's bias keeps.
    """

    relevance: Tensor | None
    bias: Tensor | None


@dataclass(frozen=True)
class Transpose:
    """The transpose of the map: R-LRP between neurons, LRP-0, and the gradient."""

    needs: frozenset[Need] = frozenset()

    def back(self, rule: Weighted, call: Call, s: Tensor) -> Tensor:
        """Return ``W^T s``, shape ``(K, *input)``."""
        return rule.transpose(call, s)[0]

    def passed(self, rule: Weighted, call: Call, s: Tensor) -> Passed:
        """Return that everything is, and ``b s``, shape ``(K, *output)``."""
        offset = rule.offset(call)
        return Passed(None, None if offset is None else offset * s)


@dataclass(frozen=True)
class Epsilon:
    """LRP-epsilon: ``R_i = sum_j a_i w_ij / (z_j + epsilon sign z_j) R_j`` (Bach et al. 2015).

    The bias is part of z and absorbs its share.
    """

    epsilon: float = 0.25
    needs: frozenset[Need] = frozenset({"output"})

    def __post_init__(self) -> None:
        """Refuse a value for which the rule is not defined."""
        _positive("epsilon", self.epsilon)
        object.__setattr__(self, "epsilon", float(self.epsilon))  # a tensor takes no whole number beyond 64 bits

    def stabilized(self, z: Tensor) -> Tensor:
        """Return ``z + epsilon sign z``.

        Raises
        ------
        InputError
            Epsilon is infinite or 0 in the dtype of z, which is known only where the rule is used.
        """
        held = torch.finfo(z.dtype)
        if not held.smallest_normal <= self.epsilon <= held.max:
            wider = "" if z.dtype == torch.float64 else ", or explain in float64"
            raise InputError(
                f"epsilon is {self.epsilon!r}, which {z.dtype} cannot hold; accepted is {held.smallest_normal:.2g} to "
                f"{held.max:.2g}. Choose one of these{wider}."
            )
        return _stabilized(z, self.epsilon)

    def _damped(self, call: Call, s: Tensor) -> Tensor:
        z = call.result()
        return s * (z / self.stabilized(z))

    def back(self, rule: Weighted, call: Call, s: Tensor) -> Tensor:
        """Return ``W^T (s z / (z + epsilon sign z))``."""
        return rule.transpose(call, self._damped(call, s))[0]

    def passed(self, rule: Weighted, call: Call, s: Tensor) -> Passed:
        """Return what is left after damping."""
        damped = self._damped(call, s)
        return Passed(call.result() * damped, Transpose().passed(rule, call, damped).bias)


@dataclass(frozen=True)
class Gamma:
    """LRP-gamma: weights of the output's own sign count ``1 + gamma`` times (Montavon et al. 2019).

    For inputs of both signs it is the generalised rule (Andeol et al. 2021): where ``z > 0``, positive contributions
    ``w a`` are strengthened, where ``z < 0``, negative ones.
    """

    gamma: float = 0.25
    needs: frozenset[Need] = frozenset({"input", "output"})

    def __post_init__(self) -> None:
        """Refuse a value for which the rule is not defined."""
        _positive("gamma", self.gamma)
        object.__setattr__(self, "gamma", float(self.gamma))

    def _branches(self, rule: Weighted, call: Call, s: Tensor) -> list[_Branch]:
        weight, bias = rule.parameters(call)
        z = call.result()
        up, down = (weight + self.gamma * part for part in _parts(weight))
        bias_up, bias_down = (None, None) if bias is None else (bias + self.gamma * part for part in _parts(bias))
        relevance = z * s
        return [
            _Branch.of(rule, call, up, down, bias_up, torch.where(z > 0, relevance, 0)),
            _Branch.of(rule, call, down, up, bias_down, torch.where(z < 0, relevance, 0)),
        ]

    def back(self, rule: Weighted, call: Call, s: Tensor) -> Tensor:
        """Return the sum over outputs of either sign."""
        up, down = self._branches(rule, call, s)
        return up.back(rule, call) + down.back(rule, call)

    def passed(self, rule: Weighted, call: Call, s: Tensor) -> Passed:
        """Return what both branches pass on."""
        return _total([branch.passed(rule, call) for branch in self._branches(rule, call, s)])


@dataclass(frozen=True)
class AlphaBeta:
    """LRP-alpha1beta0, also called z-plus: only positive contributions and biases count (Bach et al. 2015)."""

    needs: frozenset[Need] = frozenset({"input", "output"})

    def _branch(self, rule: Weighted, call: Call, s: Tensor) -> _Branch:
        weight, bias = rule.parameters(call)
        return _Branch.of(
            rule,
            call,
            weight.clamp(min=0),
            weight.clamp(max=0),
            None if bias is None else bias.clamp(min=0),
            call.result() * s,
        )

    def back(self, rule: Weighted, call: Call, s: Tensor) -> Tensor:
        """Return the transpose of the positive part, normalised by its sum."""
        return self._branch(rule, call, s).back(rule, call)

    def passed(self, rule: Weighted, call: Call, s: Tensor) -> Passed:
        """Return what the positive part passes on."""
        return Passed(*self._branch(rule, call, s).passed(rule, call))


@dataclass(frozen=True)
class Flat:
    """The flat rule for the first layer: every input that an output sees gets the same share (Lapuschkin et al. 2019).

    It hands on relevance rather than sensitivity, since an input of 0 gets its share too.
    """

    needs: frozenset[Need] = frozenset({"output"})

    def relevance(self, rule: Weighted, call: Call, s: Tensor) -> Tensor:
        """Return the relevance of the input, shape ``(K, *input)``."""
        ones = torch.ones_like(rule.parameters(call)[0])
        seen = rule.apply(call, torch.ones(call.shapes[0], dtype=call.dtype, device=call.device), ones, None)
        return rule.pull(call, call.result() * s / seen.clamp(min=1), ones)


@dataclass(frozen=True)
class _Branch:
    """Contributions of one kind: weights for positive and for negative inputs, a bias, and the shares they carry."""

    weight: Tensor
    weight_of_negative: Tensor
    bias: Tensor | None
    total: Tensor
    share: Tensor

    @classmethod
    def of(  # noqa: PLR0917 - private, and called twice
        cls,
        rule: Weighted,
        call: Call,
        weight: Tensor,
        weight_of_negative: Tensor,
        bias: Tensor | None,
        relevance: Tensor,
    ) -> _Branch:
        """Divide `relevance` by the sum of the contributions of this kind."""
        a = call.value()
        total = rule.apply(call, a.clamp(min=0), weight, bias)
        if bool((a < 0).any()):
            total = total + rule.apply(call, a.clamp(max=0), weight_of_negative, None)
        return cls(weight, weight_of_negative, bias, total, relevance / _stabilized(total, STABILIZER))

    def back(self, rule: Weighted, call: Call) -> Tensor:
        """Return the sensitivity of the input: through one weight where it is positive, the other where negative."""
        negative = call.value() < 0
        pulled = rule.pull(call, self.share, self.weight)
        if not bool(negative.any()):
            return pulled
        return torch.where(negative, rule.pull(call, self.share, self.weight_of_negative), pulled)

    def passed(self, rule: Weighted, call: Call) -> tuple[Tensor, Tensor | None]:
        """Return the relevance that the branch passes on and its bias's part."""
        bias = None if self.bias is None else rule.spread(self.bias, len(call.output_shape)) * self.share
        return self.total * self.share, bias


LayerRule = Transpose | Epsilon | Gamma | AlphaBeta


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    return tensor.clamp(min=0), tensor.clamp(max=0)


def _stabilized(z: Tensor, epsilon: float) -> Tensor:
    return z + torch.where(z >= 0, z.new_tensor(epsilon), -epsilon)


def _total(parts: list[tuple[Tensor, Tensor | None]]) -> Passed:
    biases = [bias for _, bias in parts if bias is not None]
    relevance = torch.stack([relevance for relevance, _ in parts]).sum(0)
    return Passed(relevance, torch.stack(biases).sum(0) if biases else None)


def _positive(name: str, value: float) -> None:
    largest = torch.finfo(torch.float64).max  # of a whole number of more digits no float can be made
    if not is_real(value) or not 0 < value <= largest:
        raise InputError(f"{name} is {value!r}; accepted is a finite number above 0 (for 0 use the method 'lrp-0').")
