"""Which inputs of an op are signals and which are gates.

A gate comes out of a sigmoid, hardsigmoid or softmax and scales a signal (squeeze-and-excitation). It is held constant.
One that is written by hand is told where it meets a signal: elsewhere ``relu6(x + 3)`` is an activation. So is any
function, number by number, of the very signal that it scales: the two make an activation written by hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rlrp_nb.engine.graph import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlrp_nb.engine.graph import Role, Step

_SIX = 6.0
_CLAMPS = {"aten.relu6": ("", ""), "aten.hardtanh": ("min_val", "max_val"), "aten.clamp": ("min", "max")}
"""Clamps with the names of their bounds; those of relu6 are given."""
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


_PERMUTED = "permuted"
_RETURNS = {
    "aten.pixel_shuffle": {"aten.pixel_unshuffle"},
    "aten.pixel_unshuffle": {"aten.pixel_shuffle"},
    "aten.flip": {"aten.flip"},
}
"""What takes a move back, if it is done in the same way."""
_MOST_WAYS = 10_000
"""Ways from a gate to the signal that are looked at; with more of them it is held constant."""


class _Move(NamedTuple):
    """An op that changes the order of numbers, or leaves out some, as a slice does.

    Attributes
    ----------
    op
        Its name.
    item
        Which of its outputs.
    how
        Its other arguments.
    lengths
        Of its output.
    """

    op: str
    item: int | None
    how: Any
    lengths: tuple[str, ...]


class _Known(dict[int, "Step"]):
    """The steps so far by index, and the lengths of the one value that is none's: the network's input."""

    def __init__(self, lengths: tuple[str, ...]) -> None:
        super().__init__()
        self._lengths = lengths
        self.gates: set[int] = set()
        """Values that are gates where they meet a signal: those made of sigmoids alone, by hand or not."""

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
            gate = (step.rule is not None and step.rule.kind == "gate") or all(role == "gate" for role in sources)
            roles[step.index] = "gate" if gate else "signal"
            by_index[step.index] = assigned
            if gate or by_index.gates.issuperset(step.sources) or _is_sigmoid_by_hand(step, by_index):
                by_index.gates.add(step.index)
        else:
            assigned = step
        result.append(assigned)
    return result


def _roles(step: Step, roles: tuple[Role, ...], by_index: _Known) -> tuple[Role, ...]:
    """Return the roles of a step's sources; of two signals that are multiplied one may be a gate written by hand.

    It may be a function of the other. If each is one of the other, or both are of the same numbers, as in
    ``(x + 1) * (x + 2)``, it is not known which one is scaled.
    """
    if step.op != "aten.mul" or roles != ("signal", "signal") or step.sources[0] == step.sources[1]:
        return roles
    ways: list[tuple[Role, Role]] = [("signal", "gate"), ("gate", "signal")]
    found = [way for way in ways if _is_self_gated(step, way, by_index)]
    if not found:
        return tuple("gate" if i in by_index.gates else "signal" for i in step.sources)
    return found[0] if len(found) == 1 else roles


def _is_sigmoid_by_hand(step: Step, by_index: _Known) -> bool:
    """Tell a sigmoid or hardsigmoid made of other ops, such as ``relu6(x + 3)``; a picture in [0, 1] is none."""
    before = by_index.get(step.sources[0])
    if len(step.sources) != 1 or before is None:
        return False
    found = _is_ramp(step, before) or _is_logistic(step, before, by_index)
    while found and before is not None:
        source = before.sources[0]
        if len(before.sources) != 1 or not (_is_pointwise(before, by_index) or _move(before, by_index)):
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


def _is_logistic(step: Step, before: Step, by_index: _Known) -> bool:
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
    wanted = _without_returns(moves)
    ahead: list[tuple[int, tuple[_Move, ...]]] = [(value, ())]
    seen: set[tuple[int, tuple[_Move, ...]]] = set()
    while ahead:
        index, left = ahead.pop()
        if index == origin and left == wanted:
            continue
        source = by_index.get(index)
        if source is None or index == origin or len(seen) == _MOST_WAYS:
            return False
        if (index, left) in seen:
            continue
        seen.add((index, left))
        move = _move(source, by_index)
        if move is not None:
            ahead.append((source.sources[0], _without_returns((move, *left))))
        elif _is_pointwise(source, by_index):
            ahead += [(i, left) for i in source.sources]
        else:
            return False
    return True


def _without_returns(moves: tuple[_Move, ...]) -> tuple[_Move, ...]:
    """Return moves of which none takes back the one before, with axes that are permuted in a row permuted once."""
    found: list[_Move] = []
    for move in moves:
        now = move
        if found and found[-1].op == now.op == _PERMUTED:
            before = found.pop()
            now = now._replace(how=tuple(before.how[axis] for axis in now.how))
        if now.op == _PERMUTED and now.how == (*range(len(now.how)),):
            continue
        if found and now.op in _RETURNS.get(found[-1].op, ()) and now.how == found[-1].how:
            found.pop()
            continue
        found.append(now)
    return tuple(found)


def _move(step: Step, by_index: _Known) -> _Move | None:
    """Return which op changes the order of numbers, or leaves out some, as a slice does, and how; else None."""
    moves = step.op in _MOVES or (step.rule is not None and step.rule.kind == "shape")
    moves = moves and not _is_in_order(step, by_index) and not _is_elementwise(step)
    if not moves or len(step.sources) != 1:
        return None
    if step.op in {"aten.permute", "aten.transpose", "aten.t"}:
        return _Move(_PERMUTED, None, _axes(step), step.lengths)
    if step.op in {"aten.pixel_shuffle", "aten.pixel_unshuffle"}:
        (factor,) = (v for v in step.arguments.values() if not isinstance(v, Ref))
        return _Move(step.op, None, factor, step.lengths)
    how = {k: "source" if isinstance(v, Ref) and v.index in step.sources else v for k, v in step.arguments.items()}
    return _Move(step.op, step.item, repr(how), step.lengths)


def _axes(step: Step) -> tuple[int, ...]:
    """Return which axis of its input each axis of a permutation's output is."""
    if step.op == "aten.permute":
        return tuple(axis % step.rank for axis in step.arguments["dims"])
    axes = [*range(step.rank)]
    one, other = (0, step.rank - 1) if step.op == "aten.t" else (step.arguments["dim0"], step.arguments["dim1"])
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


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
