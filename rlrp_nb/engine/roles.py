"""Which inputs of an op are signals and which are gates.

A gate comes out of a sigmoid, hardsigmoid or softmax and scales a signal (squeeze-and-excitation). It is held constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlrp_nb.engine.graph import Ref, Role, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIX = 6.0


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
    """Tell ``x * gate(x)``, where the gate is a pointwise function of the very tensor it multiplies."""
    if step.op != "aten.mul" or sorted(step.roles) != ["gate", "signal"]:
        return False
    signal, gate = sorted(step.sources, key=lambda i: step.roles[step.sources.index(i)] == "gate")
    pointwise = {"aten.sigmoid", "aten.hardsigmoid", "aten.relu6", "aten.hardtanh", "aten.add", "aten.mul", "aten.div"}
    while gate != signal:
        source = by_index.get(gate)
        if source is None or source.op not in pointwise or len(source.sources) != 1 or _has_tensor(source):
            return False
        gate = source.sources[0]
    return True


def _has_tensor(step: Step) -> bool:
    """Tell whether an op reads a tensor besides its one source."""
    return any(isinstance(v, Ref) and v.index not in step.sources for v in step.arguments.values())
