"""Rules of ops that read or write by places: lists of indices, masks, conditions and grids, which are constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.linear import Linear
from rlrp_nb.engine.rule import Call, Kind, Rule, Slot, unbroadcast
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step


@dataclass(frozen=True)
class Pick(Linear):
    """Indexing by lists of places, such as ``x[:, [2, 1, 0]]``."""

    kind: Kind = "shape"

    def problem(self, step: Step) -> str | None:
        """Refuse places that depend on the input, and picking samples."""
        if len(step.sources) > 1 or "self" not in step.roles_by_name():
            return "which places it picks depends on the input"
        axis, places = step.source_batch_dim, step.arguments["indices"]
        alone = axis is not None and (axis >= len(places) or places[axis] is None)
        return None if alone else "it mixes the samples of the batch by picking among them"


@dataclass(frozen=True)
class Placed(Linear):
    """An op that is linear in some arguments while others say where, such as ``torch.where`` by a constant condition.

    What it hands on are the same numbers elsewhere, unless it is given another kind.

    Attributes
    ----------
    places
        The argument that says where, which has to be a constant.
    """

    kind: Kind = "shape"
    places: str = "index"

    def problem(self, step: Step) -> str | None:
        """Refuse places that depend on the input, products, and writing into samples that a list picks."""
        if step.depends(self.places):
            return f"where it reads or writes ({self.places}) depends on the input; only constant places have a rule"
        if "reduce" in step.arguments:
            return f"it reduces by {step.arguments['reduce']!r}; only writing and adding have a rule"
        whole = step.op != "aten.index_put" or (step.batch_dim == 0 and step.arguments["indices"][0] is None)
        return None if whole else "it writes into samples that are picked from the batch"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Refuse fewer places than numbers: PyTorch passes over the rest, and has no derivative of it."""
        written = arguments.get("src")
        if isinstance(written, Tensor) and written.shape != arguments["index"].shape:
            raise UnsupportedNetworkError(
                f"{step.op} at {step.name} has numbers of shape {tuple(written.shape)} for places of shape "
                f"{tuple(arguments['index'].shape)}, and those without a place are lost: leave them out."
            )
        return step.invoke(arguments), None


@dataclass(frozen=True)
class Overwriting(Placed):
    """Writing numbers into places of a tensor, each into one of its own."""

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Refuse places that are written into more than once: which number is left is a matter of chance."""
        if _writes_twice(step, arguments):
            raise UnsupportedNetworkError(
                f"{step.op} at {step.name} writes several numbers into one place, of which one is left, whichever it "
                "is. Let its places be different ones, or add the numbers up, as index_add and scatter_add do."
            )
        return super().forward(step, arguments)


def _writes_twice(step: Step, arguments: dict[str, Any]) -> bool:
    """Tell whether one place gets several numbers that depend on the input, by counting those that each gets."""
    written = next(name for name in ("values", "src", "source", "value") if name in arguments)
    if arguments.get("accumulate") or not step.depends(written):
        return False
    counts = torch.zeros_like(arguments["self"], dtype=torch.int64)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    if "indices" in arguments:
        counts = torch.ops.aten.index_put(counts, arguments["indices"], one, accumulate=True)
    elif "src" in arguments:
        index = arguments["index"]
        counts = counts.scatter_add(arguments["dim"], index, one.expand_as(index))
    else:
        counts = counts.index_add(arguments["dim"], arguments["index"], one.expand_as(arguments[written]))
    return bool((counts > 1).any())


@dataclass(frozen=True)
class Copy(Rule):
    """Writing into a part of a tensor, such as ``y[:, 1] *= 2``: what is written takes all, what was there nothing."""

    kind: Kind = "shape"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ARG002 - another op is run
        """Do it by ops that can be differentiated, as this one cannot."""
        there, written = arguments["self"], arguments["src"]
        return written.to(there).expand_as(there).clone(), None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Hand the sensitivity to what was written, with that of places into which one number was written summed."""
        operands = (call.arguments["self"], call.arguments["src"])
        there, written = (operand.shape if isinstance(operand, Slot) else None for operand in operands)
        parts = [] if there is None else [s.new_zeros(s.shape[0], *there)]
        return (*parts, *([] if written is None else [unbroadcast(s, written)]))
