"""The sums behind the ledger, for all samples and targets of a walk at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlrp_nb.engine.ledger import Ledger, LedgerRow
from rlrp_nb.engine.rule import contribution
from rlrp_nb.engine.treatments import Activate, ActivatePicked, Differentiate, Flatten, Skip, Treatment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.rule import Call

COLUMNS = ("relevance_out", "relevance_in", "bias", "factor", "residual")


@dataclass(frozen=True)
class Account:
    """One row of the ledger for K targets and B samples.

    Attributes
    ----------
    layer, op
        As in the ledger.
    figures
        float64 tensor of shape ``(5, K, B)``, in the order of `COLUMNS`.
    """

    layer: str
    op: str
    figures: Tensor

    def scaled(self, exponents: Tensor | None) -> Account:
        """Return the row with its sums multiplied by ``2 ** exponents``, ``(K, B)``; shares stay as they are."""
        if exponents is None:
            return self
        factor = torch.exp2(exponents.double())
        return Account(self.layer, self.op, torch.cat([self.figures[:3] * factor, self.figures[3:]]))


def account(
    treatment: Treatment, call: Call, s: Tensor, messages: Sequence[Tensor], batch_dims: Sequence[int]
) -> Account:
    """Enter one step into the books.

    Parameters
    ----------
    s
        Sensitivity that arrived, shape ``(K, *output)``.
    messages
        Sensitivities (relevance, for the flat rule) handed on, one per receiver.
    batch_dims
        The axis of each receiver that counts the samples.
    """
    step = call.step
    axis = step.batch_dim or 0
    arrived = contribution(call.result(), s)
    total_out, mass_out = _sum(arrived, axis), _sum(arrived.abs(), axis)
    carries_relevance = isinstance(treatment, Flatten)
    handed = [m if carries_relevance else contribution(call.value(i), m) for i, m in enumerate(messages)]
    total_in = torch.stack([_sum(h, d) for h, d in zip(handed, batch_dims, strict=True)]).sum(0)
    bias = torch.zeros_like(total_out)
    if isinstance(treatment, Activate):
        gap = _sum(handed[0].sub_(treatment.expected(call, arrived)).abs_(), axis)
        residual = _share(gap, mass_out)
        factor = _share(total_in, total_out, empty=float("nan"))
    elif isinstance(treatment, Differentiate):
        residual = torch.full_like(total_out, float("nan"))
        factor = _share(total_in, total_out, empty=float("nan"))
    elif isinstance(treatment, ActivatePicked | Skip):
        raise TypeError(f"{step.name}: where a ledger is kept, activations are passed one by one")
    else:
        mass_in = torch.stack([_sum(h.abs(), d) for h, d in zip(handed, batch_dims, strict=True)]).sum(0)
        passed = treatment.passed(call, s)
        total_passed, mass = total_out, mass_in + mass_out
        if passed.relevance is not None:
            total_passed, mass = _sum(passed.relevance, axis), mass_in + _sum(passed.relevance.abs(), axis)
        if passed.bias is not None:
            kept = passed.bias.expand_as(arrived)
            bias, mass = _sum(kept, axis), mass + _sum(kept.abs(), axis)
        residual = _share((total_in + bias - total_passed).abs(), mass)
        factor = _share(total_passed, total_out, empty=float("nan"))
    return Account(step.name, step.op.partition(".")[2], torch.stack([total_out, total_in, bias, factor, residual]))


def joined(rows: Sequence[Account]) -> Account:
    """Return one row for the targets of several walks over the same step."""
    first = rows[0]
    return first if len(rows) == 1 else Account(first.layer, first.op, torch.cat([row.figures for row in rows], 1))


def rows_of(accounts: Sequence[Account], target: int, sample: int) -> Ledger:
    """Return the rows of one target and one sample."""
    return Ledger([LedgerRow(a.layer, a.op, *a.figures[:, target, sample].tolist()) for a in accounts])


def _sum(relevance: Tensor, batch_dim: int) -> Tensor:
    """Sum ``(K, *shape)`` over all axes but target and sample, in float64, for which no large tensor is copied."""
    axes = [axis for axis in range(1, relevance.dim()) if axis != 1 + batch_dim]
    if len(axes) > 1:  # the sum within a channel is of numbers so few and alike that rounding is that of one of them
        relevance = relevance.sum(axes[1:], keepdim=True)
    return relevance.sum(axes, dtype=torch.float64) if axes else relevance.double()


def _share(part: Tensor, whole: Tensor, empty: float = 0.0) -> Tensor:
    return torch.where(whole == 0, empty, part / torch.where(whole == 0, 1, whole))
