"""Sums over the axes that a tensor and a constant share, as ``einsum`` and ``tensordot`` write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlrp_nb.engine.rule import Call, Slot
from rlrp_nb.engine.weighted import Product

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step

_FACTORS = 2


@dataclass(frozen=True)
class Contraction(Product):
    """Sum over shared axes of a tensor and a constant, on either side, as ``einsum`` and ``tensordot`` write it."""

    def problem(self, step: Step) -> str | None:
        """Refuse two tensors that both depend on the input, and an ``einsum`` of one tensor, or of three and more."""
        tensors = step.arguments.get("tensors")
        if tensors is not None and len(tensors) != _FACTORS:
            return (
                f"its equation takes {len(tensors)}; accepted are two, of which one is constant. Of one tensor write "
                "permute, sum or diagonal; of more, multiply the constants first"
            )
        return super().problem(step)

    def parameters(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Return the constant factor."""
        values = (part for v in call.arguments.values() for part in (v if isinstance(v, list) else [v]))
        (weight,) = (v for v in values if isinstance(v, Tensor))
        return weight.to(call.dtype), None

    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG002 - nothing is added
        """Contract with another constant."""

        def put(value: Any) -> Any:  # noqa: ANN401 - an argument can be of any type
            return a if isinstance(value, Slot) else weight if isinstance(value, Tensor) else value

        filled = {k: [*map(put, v)] if isinstance(v, list) else put(v) for k, v in call.arguments.items()}
        output: Tensor = call.step.invoke(filled)
        return output

    def order(self, step: Step) -> tuple[int | None, ...]:
        """Return which axis of the tensor lies along each axis of the output, or None where none does.

        Where one axis is summed over, and the constant gives one in its stead, that takes its place.
        """
        rank = step.source_rank
        whole: list[int | None] = [*range(rank)]
        if step.op == "aten.linalg_vecdot":
            dim = step.arguments["dim"] % (step.rank + 1)
            aligned = [None] * (step.rank + 1 - rank) + whole
            return tuple(aligned[:dim] + aligned[dim + 1 :])
        if step.op == "aten.einsum":
            found, gone = _einsum_order(step, rank)
        else:
            names = [*step.arguments][:2]
            (name,) = step.roles_by_name()
            summed = step.arguments.get("dims_self" if name == names[0] else "dims_other", [-1])
            gone = [dim % rank for dim in summed]
            kept = [axis for axis in whole if axis not in gone]
            new = [None] * (step.rank - len(kept))
            found = [*kept, *new] if name == names[0] else [*new, *kept]
        if len(gone) == found.count(None) == 1:
            found[found.index(None)] = gone[0]
        return tuple(found)


def _einsum_order(step: Step, rank: int) -> tuple[list[int | None], list[int]]:
    """Return which axis of the tensor lies along each axis of an einsum's output, and the axes that are summed over."""
    taken, _, given = step.arguments["equation"].replace(" ", "").partition("->")
    (place,) = (k for k, tensor in enumerate(step.arguments["tensors"]) if tensor.index in step.sources)

    def labels(term: str, axes: int) -> list[str | int]:
        """Return what each axis is called; those behind points are counted from the last, as they are broadcast."""
        before, points, after = term.partition("...")
        return [*before, *(range(len(before) + len(after) - axes, 0) if points else ()), *after]

    if "->" not in step.arguments["equation"]:  # letters that are there once, in the order of the alphabet
        letters = taken.replace("...", "").replace(",", "")
        given = "..." * ("..." in taken) + "".join(sorted(x for x in letters if letters.count(x) == 1))
    own = labels(taken.split(",")[place], rank)
    found = [own.index(label) if label in own else None for label in labels(given, step.rank)]
    gone = [axis for axis, label in enumerate(own) if own.index(label) == axis and axis not in found]
    return found, gone
