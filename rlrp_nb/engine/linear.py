"""Rules that ask of an op only that it is linear, and know its transpose from autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlrp_nb.engine.rule import Call, Kind, Rule


class Homogeneous(Rule):
    """An op that adds nothing: zero inputs give zero."""

    def offset(self, call: Call) -> None:  # noqa: ARG002 - nothing is added
        """Return None: nothing is added."""
        return


@dataclass(frozen=True)
class Linear(Rule):
    """An op that is linear (or affine) in its inputs, transposed by autograd on a dummy of the input's shape.

    Attributes
    ----------
    batched
        True where the op treats axis 0 as independent samples whatever its length, so that the K targets can be folded
        into it and one pass serves all of them.
    """

    kind: Kind = "affine"
    batched: bool = False
    items: frozenset[int] | None = None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the vector-Jacobian product, which for a linear op does not depend on where it is taken."""
        targets = s.shape[0]
        folded = self.batched and targets > 1
        dummies = [
            torch.zeros(
                (targets * shape[0], *shape[1:]) if folded else shape,
                dtype=s.dtype,
                device=s.device,
                requires_grad=True,
            )
            for shape in call.shapes
        ]
        with torch.enable_grad():
            output = call.run(dummies)
        if folded:
            gradients = torch.autograd.grad(output, dummies, s.flatten(0, 1), materialize_grads=True)
            return tuple(g.reshape(targets, -1, *g.shape[1:]) for g in gradients)
        each = [
            torch.autograd.grad(output, dummies, s[k], retain_graph=k + 1 < targets, materialize_grads=True)
            for k in range(targets)
        ]
        return tuple(torch.stack(parts) if targets > 1 else parts[0][None] for parts in zip(*each, strict=True))
