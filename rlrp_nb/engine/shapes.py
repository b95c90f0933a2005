"""Rules of ops that put the same numbers elsewhere: views, permutations, padding and concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.activations import RANDOM
from rlrp_nb.engine.linear import Homogeneous, Linear
from rlrp_nb.engine.rule import Call, Kind, Memory, Rule, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlrp_nb.engine.graph import Step

_linear = Linear(kind="shape")


@dataclass(frozen=True)
class Reshape(Homogeneous):
    """View, reshape, flatten, squeeze, clone, dropout in eval mode: the same numbers in the same order."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Run the op; a squeeze leaves the axis of the samples where it is, also for a batch of one."""
        if step.op != "aten.squeeze":
            return step.invoke(arguments), None
        x: Tensor = arguments["self"]
        given = arguments.get("dim", list(range(x.dim())))
        axes = [d % x.dim() for d in ([given] if isinstance(given, int) else given)] if x.dim() else []
        return x.squeeze([d for d in axes if d != step.source_batch_dim]), None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Give the sensitivity the shape of the input again."""
        return (s.reshape(s.shape[0], *call.shapes[0]),)


class Dropout(Reshape):
    """Dropout that is switched off."""

    def problem(self, step: Step) -> str | None:
        """Refuse dropout that is at work."""
        return RANDOM if step.arguments["train"] and step.arguments["p"] else None


@dataclass(frozen=True)
class Permute(Homogeneous):
    """Permute and transpose of axes."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    @staticmethod
    def order(arguments: Mapping[str, Any], rank: int) -> list[int]:
        """Return which axis of the input each axis of the output was."""
        order = list(range(rank))
        if "dims" in arguments:
            order = [d % rank for d in arguments["dims"]]
        elif rank > 1:  # aten.t has no dims and swaps the two axes it has
            a, b = arguments.get("dim0", 0) % rank, arguments.get("dim1", 1) % rank
            order[a], order[b] = b, a
        return order

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Put the axes back."""
        order = self.order(call.arguments, len(call.shapes[0]))
        back = [0] * len(order)
        for new, old in enumerate(order):
            back[old] = new
        return (s.permute(0, *(d + 1 for d in back)),)


@dataclass(frozen=True)
class Pad(Rule):
    """Padding with a constant, which crops where it is negative."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    def problem(self, step: Step) -> str | None:
        """Refuse nothing but a mode that is not known."""
        mode = step.arguments.get("mode", "constant")
        return None if mode in {"constant", "reflect", "replicate", "circular"} else f"its mode {mode!r} has no rule"

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Crop what was padded, pad what was cropped; the other modes send what they repeat to where it came from."""
        if call.arguments.get("mode", "constant") != "constant":
            return _linear.transpose(call, s)
        pad: list[int] = call.arguments["pad"]
        for number, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
            axis = s.dim() - 1 - number
            start, length = max(0, before), s.shape[axis] - max(0, before) - max(0, after)
            s = s.narrow(axis, start, length)
        cropped = [min(0, p) for p in pad]
        return (torch.constant_pad_nd(s, [-p for p in cropped]) if any(cropped) else s,)


@dataclass(frozen=True)
class Concatenate(Rule):
    """Concatenation: every part gets its own slice back."""

    kind: Kind = "affine"
    returns: Memory = "parts"

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Cut the sensitivity along the axis of concatenation."""
        dim, parts, start = call.arguments["dim"], [], 0
        axis = 1 + dim % len(call.output_shape)
        for part in call.arguments["tensors"]:
            # a legacy empty 1-d part takes no room, whatever its rank
            length = part.shape[dim] if len(part.shape) == len(call.output_shape) else 0
            if isinstance(part, Slot):
                parts.append(s.narrow(axis, start, length))
            start += length
        return tuple(parts)
