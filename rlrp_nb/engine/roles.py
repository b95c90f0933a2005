"""Which inputs of an op are signals and which are gates.

A gate comes out of a sigmoid, hardsigmoid or softmax and scales a signal (squeeze-and-excitation). It is held constant.
One that is written by hand is told where it meets a signal: elsewhere ``relu6(x + 3)`` is an activation. So is any
function, number by number, of the very signal that it scales: the two make an activation written by hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rlrp_nb.engine.graph import Ref
from rlrp_nb.engine.orders import Known, is_function_of, is_move, is_pointwise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.graph import Role, Step

_SIX = 6.0
_CLAMPS = {"aten.relu6": ("", ""), "aten.hardtanh": ("min_val", "max_val"), "aten.clamp": ("min", "max")}
"""Clamps with the names of their bounds; those of relu6 are given."""


def assign_roles(steps: Sequence[Step], network_input: int, by_index: Known) -> list[Step]:
    """Return the steps with the role of each of their sources, and with ``x * gate(x)`` marked as an activation.

    Parameters
    ----------
    steps
        In the order in which they are run.
    network_input
        Its index.
    by_index
        What is known but for the steps, which are put in.
    """
    roles: dict[int, Role] = {network_input: "signal"}
    gates: set[int] = set()  # where they meet a signal: those made of sigmoids alone, by hand or not
    result = []
    for step in steps:
        if step.sources:
            sources = _roles(step, tuple(roles[i] for i in step.sources), by_index, gates)
            self_gated = (
                step.op == "aten.mul"
                and sorted(sources) == ["gate", "signal"]
                and _is_self_gated(step, sources, by_index)
            )
            assigned = replace(step, roles=sources, self_gated=self_gated)
            gate = (step.rule is not None and step.rule.kind == "gate") or all(role == "gate" for role in sources)
            roles[step.index] = "gate" if gate else "signal"
            by_index[step.index] = assigned
            if gate or gates.issuperset(step.sources) or _is_sigmoid_by_hand(step, by_index):
                gates.add(step.index)
        else:
            assigned = step
        result.append(assigned)
    return result


def _roles(step: Step, roles: tuple[Role, ...], by_index: Known, gates: set[int]) -> tuple[Role, ...]:
    """Return the roles of a step's sources; of two signals that are multiplied one may be a gate written by hand.

    It may be a function of the other. If each is one of the other, or both are of the same numbers, as in
    ``(x + 1) * (x + 2)``, it is not known which one is scaled.
    """
    if step.op != "aten.mul" or roles != ("signal", "signal") or step.sources[0] == step.sources[1]:
        return roles
    ways: list[tuple[Role, Role]] = [("signal", "gate"), ("gate", "signal")]
    found = [way for way in ways if _is_self_gated(step, way, by_index)]
    if not found:
        return tuple("gate" if i in gates else "signal" for i in step.sources)
    return found[0] if len(found) == 1 else roles


def _is_sigmoid_by_hand(step: Step, by_index: Known) -> bool:
    """Tell a sigmoid or hardsigmoid made of other ops, such as ``relu6(x + 3)``; a picture in [0, 1] is none."""
    before = by_index.get(step.sources[0])
    if len(step.sources) != 1 or before is None:
        return False
    found = _is_ramp(step, before) or _is_logistic(step, before, by_index)
    while found and before is not None:
        source = before.sources[0]
        if len(before.sources) != 1 or not (is_pointwise(before, by_index) or is_move(before, by_index)):
            return True
        before = by_index.get(source)
    return False


def _is_ramp(step: Step, before: Step) -> bool:
    """Tell a clamp from 0 to a bound of something plus half of that bound, as in ``clamp(0.2 * x + 0.5, 0, 1)``."""
    if step.op not in _CLAMPS:
        return False
    least, most = _CLAMPS[step.op]
    low, high = step.arguments.get(least, 0), step.arguments.get(most, _SIX)
    return low == 0 and isinstance(high, int | float) and _shift(before) == high / 2


def _is_logistic(step: Step, before: Step, by_index: Known) -> bool:
    """Tell the reciprocal of ``1 + exp(x)``, or ``c + c tanh(x)``, which is a multiple of a sigmoid."""
    inner = by_index.get(before.sources[0])
    if _shift(step) is not None:
        scaled = before if before.op == "aten.tanh" else inner
        return scaled is not None and scaled.op == "aten.tanh" and _shift(step) == _factor(before)
    below = step.op == "aten.div" and step.arguments["other"] == Ref(before.index)
    over = below or step.op == "aten.reciprocal" or step.arguments.get("exponent") == -1
    return over and _shift(before) == 1 and inner is not None and inner.op == "aten.exp"


def _shift(step: Step) -> float | None:
    """Return the number that a step adds, or None for any other step."""
    other = step.arguments.get("other")
    if step.op != "aten.add" or not isinstance(other, int | float):
        return None
    return float(other) * float(step.arguments.get("alpha", 1))


def _factor(step: Step) -> float | None:
    """Return the number by which a step multiplies, 1 for a tanh, or None for any other step."""
    if step.op == "aten.tanh":
        return 1.0
    other = step.arguments.get("other")
    if step.op not in {"aten.mul", "aten.div"} or not isinstance(other, int | float) or not other:
        return None
    return float(other) if step.op == "aten.mul" else 1 / float(other)


def _is_self_gated(step: Step, roles: tuple[Role, ...], by_index: Known) -> bool:
    """Tell ``x * gate(x)``, where the gate is a function, number by number, of the very tensor that it multiplies."""
    signal, gate = sorted(step.sources, key=lambda i: roles[step.sources.index(i)] == "gate")
    same = all(by_index.lengths(i) == step.lengths for i in (signal, gate))
    return same and is_function_of(gate, signal, by_index)
