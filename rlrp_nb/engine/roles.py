"""Which inputs of an op are signals and which are gates.

A gate comes out of a sigmoid, hardsigmoid or softmax and scales a signal (squeeze-and-excitation). It is held constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.graph import Role, Step

_SIX = 6.0
# number by number; views keep the order of the numbers
_ARITHMETIC = ("add", "sub", "rsub", "mul", "div", "neg")
_COPIES = ("alias", "clone", "contiguous", "detach", "dropout", "_to_copy", "to")
_VIEWS = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze")
_AFFINE = frozenset({f"aten.{name}" for name in (*_ARITHMETIC, *_COPIES, *_VIEWS)})
_POINTWISE = _AFFINE | {"aten.sigmoid", "aten.hardsigmoid", "aten.batch_norm"}


def assign_roles(steps: Sequence[Step], network_input: int) -> list[Step]:
    """Return the steps with the role of each of their sources, and with ``x * gate(x)`` marked as an activation."""
    roles: dict[int, Role] = {network_input: "signal"}
    by_index: dict[int, Step] = {}
    result = []
    for step in steps:
        if step.sources:
            sources = tuple(roles[i] for i in step.sources)
            assigned = replace(step, roles=sources)
            assigned = replace(assigned, self_gated=_is_self_gated(assigned, by_index))
            gate = _is_gate(assigned, by_index) or all(role == "gate" for role in sources)
            roles[step.index] = "gate" if gate else "signal"
            by_index[step.index] = assigned
        else:
            assigned = step
        result.append(assigned)
    return result


def _is_gate(step: Step, by_index: dict[int, Step]) -> bool:
    """Tell a gate op, or a hardsigmoid written by hand: ``relu6(x + 3)``, with the division by 6 anywhere after it."""
    if step.rule is not None and step.rule.kind == "gate":
        return True
    clamped = step.op in {"aten.relu6", "aten.hardtanh"} and step.arguments.get("max_val", _SIX) == _SIX
    if not clamped or step.arguments.get("min_val", 0) != 0:
        return False
    before = by_index.get(step.sources[0])
    return before is not None and before.op == "aten.add" and _shift(before) == _SIX / 2


def _shift(step: Step) -> float | None:
    other = step.arguments["other"]
    return float(other) * step.arguments.get("alpha", 1) if isinstance(other, int | float) else None


def _is_self_gated(step: Step, by_index: dict[int, Step]) -> bool:
    """Tell ``x * gate(x)``, where the gate is a function, number by number, of the very tensor that it multiplies."""
    if step.op != "aten.mul" or sorted(step.roles) != ["gate", "signal"]:
        return False
    signal, gate = sorted(step.sources, key=lambda i: step.roles[step.sources.index(i)] == "gate")
    product = [by_index[i].lengths if i in by_index else step.lengths for i in (signal, gate)]
    if product != [step.lengths] * 2:
        return False
    # both may have been made of the same numbers, as in (x + 1) * gate(x), which is a function of x + 1 too
    origins = [signal]
    while (source := by_index.get(origins[-1])) is not None and source.op in _AFFINE and len(source.sources) == 1:
        origins += source.sources
    return any(_is_made_of(gate, origin, step.lengths, by_index) for origin in origins)


def _is_made_of(value: int, origin: int, lengths: tuple[str, ...], by_index: dict[int, Step]) -> bool:
    """Tell a value whose every number is a function of the number at the same place of another one.

    Parameters
    ----------
    value, origin
        Indices.
    lengths
        Those of both: what was joined with a larger tensor on the way has grown, and never becomes smaller again.
    """
    if origin in by_index and by_index[origin].lengths != lengths:
        return False
    ahead, seen = [value], {origin}
    while ahead:
        index = ahead.pop()
        if index in seen:
            continue
        seen.add(index)
        source = by_index.get(index)
        if source is None or not (source.op in _POINTWISE or (source.rule and source.rule.kind == "activation")):
            return False
        ahead += source.sources
    return True
