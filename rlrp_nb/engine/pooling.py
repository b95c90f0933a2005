"""Rules of ops of which the winner takes all: max pooling and maxima along axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.layout import PICTURE, channels_last, order_of
from rlrp_nb.engine.linear import Homogeneous

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step
    from rlrp_nb.engine.rule import Call, Kind, Memory


@dataclass(frozen=True)
class MaxPool(Homogeneous):
    """Max pooling: the winner takes all.

    Attributes
    ----------
    pool
        The variant of the op that returns the winners' indices too.
    rank
        Number of spatial axes.
    """

    pool: Any
    rank: int
    kind: Kind = "pooling"
    items: frozenset[int] | None = frozenset({0})
    new_output: bool = True
    returns: Memory = "new"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ARG002 - another op is run
        """Keep the winners' indices within each plane."""
        output, winners = self.pool(*arguments.values())
        return output, winners

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Send the sensitivity of every window to its winner; overlapping windows add up."""
        targets, shape = s.shape[0], call.shapes[0]
        if self.pool is torch.ops.aten.max_pool2d_with_indices and len(shape) == PICTURE:
            return (self._pull_planes(call, s),)
        winners = call.state.flatten(-self.rank)
        flat = s.new_zeros((targets, *shape[: -self.rank], shape[-self.rank :].numel()))
        flat.scatter_add_(-1, winners.expand(targets, *winners.shape), s.flatten(-self.rank))
        return (flat.view(targets, *shape),)

    def _pull_planes(self, call: Call, s: Tensor) -> Tensor:
        """Do the same by PyTorch's own op, which takes channels last as well."""
        winners, window = call.state, list(call.arguments.values())[1:6]
        # only its shape and order are read
        order = order_of(winners)
        dummy = torch.empty(call.shapes[0], dtype=s.dtype, device=s.device, memory_format=order)
        each = [channels_last(s_k) if order == torch.channels_last else s_k for s_k in s]
        pulled = [torch.ops.aten.max_pool2d_with_indices_backward(s_k, dummy, *window, winners) for s_k in each]
        return pulled[0][None] if len(pulled) == 1 else torch.stack(pulled)


@dataclass(frozen=True)
class Maximum(Homogeneous):
    """Maximum along axes (``amax``, ``max(dim)``): the winner takes all; a tie goes to the first."""

    kind: Kind = "pooling"
    items: frozenset[int] | None = frozenset({0})

    def problem(self, step: Step) -> str | None:
        """Refuse the maximum of two tensors and that of all numbers, which go by the same name."""
        return None if "dim" in step.arguments else "only the maximum along axes has a rule, such as max(dim) or amax"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Keep the position of each winner among the flattened reduced axes."""
        x: Tensor = arguments["self"]
        axes = _axes(arguments["dim"], x.dim())
        kept = [d for d in range(x.dim()) if d not in axes]
        return step.invoke(arguments), x.permute(*kept, *axes).flatten(len(kept)).argmax(-1)

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Send the sensitivity of every maximum to its winner."""
        shape, targets = call.shapes[0], s.shape[0]
        axes = _axes(call.arguments["dim"], len(shape))
        kept = [d for d in range(len(shape)) if d not in axes]
        lengths = [shape[d] for d in axes]
        flat = s.new_zeros((targets, *(shape[d] for d in kept), torch.Size(lengths).numel()))
        winners = call.state.expand(targets, *call.state.shape).unsqueeze(-1)
        flat.scatter_(-1, winners, s.reshape(winners.shape))
        back = [0] * len(shape)
        for new, old in enumerate([*kept, *axes]):
            back[old] = new
        return (flat.reshape(*flat.shape[:-1], *lengths).permute(0, *(d + 1 for d in back)),)


def _axes(dim: int | list[int], rank: int) -> list[int]:
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted(d % rank for d in dims) or list(range(rank))
