"""Which inputs of an op are signals and which are gates.

A gate comes out of a sigmoid, hardsigmoid or softmax and scales a signal (squeeze-and-excitation). It is held constant.
So is any function, number by number, of the very signal that it scales: the two make an activation written by hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rlrp_nb.engine.graph import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from rlrp_nb.engine.graph import Role, Step

    _Move: TypeAlias = tuple[str, int | None, str, tuple[str, ...]]

_SIX = 6.0
_ARITHMETIC = frozenset({f"aten.{name}" for name in ("add", "sub", "rsub", "mul", "div", "neg")})
_POINTWISE = frozenset({"aten.sigmoid", "aten.hardsigmoid", "aten.batch_norm", "aten.instance_norm"})
_MOVES = {
    *(
        f"aten.{name}nearest{suffix}{n}d"
        for n in (1, 2, 3)
        for name, suffix in (("upsample_", ""), ("_upsample_", "_exact"))
    ),
    *(f"aten.{name}" for name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "im2col")),
}
"""Affine ops every number of whose output is one of their input."""
_COPIES = ("alias", "clone", "contiguous", "detach", "dropout", "_to_copy", "to")
_VIEWS = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze")
_IN_ORDER = frozenset({f"aten.{name}" for name in (*_COPIES, *_VIEWS)})


class _Known(dict[int, "Step"]):
    """The steps so far by index, and the lengths of the one value that is none's: the network's input."""

    def __init__(self, lengths: tuple[str, ...]) -> None:
        super().__init__()
        self._lengths = lengths

    def lengths(self, index: int) -> tuple[str, ...]:
        """Return the lengths of a value that depends on the input."""
        return self[index].lengths if index in self else self._lengths


def assign_roles(steps: Sequence[Step], network_input: int, lengths: tuple[str, ...]) -> list[Step]:
    """Return the steps with the role of each of their sources, and with ``x * gate(x)`` marked as an activation.

    Parameters
    ----------
    steps
        In the order in which they are run.
    network_input, lengths
        The index of the network's input, and its lengths as texts.
    """
    roles: dict[int, Role] = {network_input: "signal"}
    by_index = _Known(lengths)
    result = []
    for step in steps:
        if step.sources:
            sources = _roles(step, tuple(roles[i] for i in step.sources), by_index)
            self_gated = (
                step.op == "aten.mul"
                and sorted(sources) == ["gate", "signal"]
                and _is_self_gated(step, sources, by_index)
            )
            assigned = replace(step, roles=sources, self_gated=self_gated)
            gate = _is_gate(assigned, by_index) or all(role == "gate" for role in sources)
            roles[step.index] = "gate" if gate else "signal"
            by_index[step.index] = assigned
        else:
            assigned = step
        result.append(assigned)
    return result


def _is_gate(step: Step, by_index: _Known) -> bool:
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


def _roles(step: Step, roles: tuple[Role, ...], by_index: _Known) -> tuple[Role, ...]:
    """Return the roles of a step's sources; of two signals that are multiplied one may be a function of the other.

    If each is one of the other, or both are of the same numbers, as in ``(x + 1) * (x + 2)``, it is not known which one
    is scaled.
    """
    if step.op != "aten.mul" or roles != ("signal", "signal") or step.sources[0] == step.sources[1]:
        return roles
    ways: list[tuple[Role, Role]] = [("signal", "gate"), ("gate", "signal")]
    found = [way for way in ways if _is_self_gated(step, way, by_index)]
    return found[0] if len(found) == 1 else roles


def _is_self_gated(step: Step, roles: tuple[Role, ...], by_index: _Known) -> bool:
    """Tell ``x * gate(x)``, where the gate is a function, number by number, of the very tensor that it multiplies."""
    signal, gate = sorted(step.sources, key=lambda i: roles[step.sources.index(i)] == "gate")
    if any(by_index.lengths(i) != step.lengths for i in (signal, gate)):
        return False
    # both may have been made of the same numbers, as in (x + 1) * gate(x), which is a function of x + 1 too
    origin: int | None = signal
    moves: tuple[_Move, ...] = ()
    while origin is not None:
        if _is_made_of(gate, origin, moves, by_index):
            return True
        source = by_index.get(origin)
        move = None if source is None else _move(source, by_index)
        if move is not None:
            moves = (move, *moves)
        is_affine = source is not None and _is_affine(source, by_index)
        origin = source.sources[0] if source and len(source.sources) == 1 and (move or is_affine) else None
    return False


def _is_made_of(value: int, origin: int, moves: tuple[_Move, ...], by_index: _Known) -> bool:
    """Tell a value whose every number is a function of one of another value, where some moves put that one.

    Parameters
    ----------
    value, origin
        Indices.
    moves
        From the origin to where the value has to lie, first things first.
    """
    ahead, seen = [(value, moves)], set()
    while ahead:
        index, left = ahead.pop()
        if (index, len(left)) in seen or (index == origin and not left):
            continue
        seen.add((index, len(left)))
        source = by_index.get(index)
        move = None if source is None else _move(source, by_index)
        if source is None or index == origin:
            return False
        if move is not None:
            if not left or left[-1] != move:
                return False
            ahead.append((source.sources[0], left[:-1]))
        elif _is_pointwise(source, by_index):
            ahead += [(i, left) for i in source.sources]
        else:
            return False
    return True


def _move(step: Step, by_index: _Known) -> _Move | None:
    """Return which op changes the order of numbers, or leaves out some, as a slice does, and how; else None."""
    moves = step.op in _MOVES or (step.rule is not None and step.rule.kind == "shape")
    moves = moves and not _is_in_order(step, by_index) and not _is_elementwise(step)
    if not moves or len(step.sources) != 1:
        return None
    how = {k: "source" if isinstance(v, Ref) and v.index in step.sources else v for k, v in step.arguments.items()}
    return step.op, step.item, repr(how), step.lengths


def _is_affine(step: Step, by_index: _Known) -> bool:
    fills = step.rule is not None and step.rule.kind == "shape" and _is_elementwise(step)  # by a constant mask
    affine = fills or step.op in _ARITHMETIC
    return _is_in_order(step, by_index) or (affine and _keeps_places(step, by_index))


def _is_elementwise(step: Step) -> bool:
    """Tell an op that PyTorch itself calls pointwise; it has not marked all forms of where."""
    return step.op == "aten.where" or torch.Tag.pointwise in getattr(step.function, "tags", ())


def _is_pointwise(step: Step, by_index: _Known) -> bool:
    """Tell an op each number of which is a function of those at the same place."""
    activation = step.rule is not None and step.rule.kind == "activation"
    # an instance-norm by the image's own statistics reads all of it
    pointwise = step.op in _POINTWISE and not step.arguments.get("use_input_stats")
    pointwise = pointwise or activation or _is_elementwise(step) or step.op in _ARITHMETIC
    return _is_in_order(step, by_index) or (pointwise and _keeps_places(step, by_index))


def _is_in_order(step: Step, by_index: _Known) -> bool:
    """Tell a copy or a view with the same numbers in the same order."""
    if step.op == "aten.expand":
        return by_index.lengths(step.sources[0]) == step.lengths
    return step.op in _IN_ORDER


def _keeps_places(step: Step, by_index: _Known) -> bool:
    """Tell an op that uses no number again, as it would to meet a larger tensor."""
    return all(by_index.lengths(i) == step.lengths for i in step.sources)
