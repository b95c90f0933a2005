"""Whether one value is a function, number by number, of another: followed through ops that put numbers elsewhere.

The numbers of the value from which both come are counted, and the ops that move them are run on what was counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rlrp_nb.engine.graph import Ref, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

_ARITHMETIC = frozenset({f"aten.{name}" for name in ("add", "sub", "rsub", "mul", "div", "neg")})
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "instance_norm")
_UNMARKED = ("sigmoid", "hardsigmoid", "log_sigmoid", "special_ndtr", "special_log_ndtr")
_POINTWISE = frozenset({f"aten.{name}" for name in (*_UNMARKED, *_NORMS)})
_JOINTS = frozenset({"aten.cat", "aten.stack"})
_MOVES = _JOINTS | {
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


class Known(dict[int, Step]):
    """Steps by index, and the lengths of the one value that is none's: the network's input.

    Parameters
    ----------
    lengths, extents
        Of the network's input, as those of a `Step`.
    constant
        Returns a constant that says where numbers are put, by its index; raises KeyError for any other.
    """

    def __init__(
        self, lengths: tuple[str, ...], extents: tuple[int, ...] | None, constant: Callable[[int], Any]
    ) -> None:
        super().__init__()
        self._lengths, self._extents, self.constant = lengths, extents, constant

    def lengths(self, index: int) -> tuple[str, ...]:
        """Return the lengths of a value that depends on the input."""
        return self[index].lengths if index in self else self._lengths

    def extents(self, index: int) -> tuple[int, ...] | None:
        """Return its lengths as numbers, or None where they depend on data."""
        return self[index].extents if index in self else self._extents


def is_function_of(value: int, other: int, known: Known) -> bool:
    """Tell a value every number of which is a function of the one at the same place of another value.

    Both may have been made of the same numbers: ``gate(x)`` is a function of ``x + 1`` and of ``2 * x.flip(1)``, if it
    is flipped too.

    Parameters
    ----------
    value, other
        Indices; of the same lengths.
    known
        All steps that lead to them.
    """
    origin: int | None = other
    while origin is not None:
        if _are_alike((value, other), origin, known):
            return True
        source = known.get(origin)
        is_one_to_one = source is not None and (is_move(source, known) or _is_affine(source, known))
        origin = source.sources[0] if source and is_one_to_one and len(source.sources) == 1 else None
    return False


def _are_alike(values: Sequence[int], origin: int, known: Known) -> bool:
    """Tell whether the numbers of some values are, at the same place, functions of the same number of another value."""
    between = _between(values, origin, known)
    if between is None or not any(is_move(known[index], known) for index in between):
        return between is not None
    orders = _orders(between, origin, known)
    return orders is not None and all(_same(orders[value], orders[values[0]]) for value in values)


def _between(values: Iterable[int], origin: int, known: Known) -> list[int] | None:
    """Return what leads from one value to others, first things first; None where anything else does too."""
    ahead, found = [*values], set()
    while ahead:
        index = ahead.pop()
        if index == origin or index in found:
            continue
        step = known.get(index)
        if step is None or not (is_move(step, known) or is_pointwise(step, known)):
            return None
        found.add(index)
        ahead += step.sources
    return sorted(found)


class _Unknown(NamedTuple):
    """An order of which is known only that it is that of everything made in the same way, and its lengths."""

    made: Hashable
    extents: tuple[int, ...]


_Order: TypeAlias = Tensor | _Unknown


def _orders(between: Iterable[int], origin: int, known: Known) -> dict[int, _Order] | None:
    """Return which number of a value, counted from 1, each number of others is a function of; 0 stands for none.

    None where one is a function of several, or where it depends on data how many there are.
    """
    extents = known.extents(origin)
    if extents is None:
        return None
    counted = torch.arange(1, torch.Size(extents).numel() + 1, dtype=torch.float64, device="cpu")  # as exact as needed
    orders: dict[int, _Order] = {origin: counted.reshape(extents)}
    for index in between:
        step = known[index]
        if step.extents is None:
            return None
        if is_move(step, known):
            orders[index] = _moved(step, orders, step.extents, known.constant)
            continue
        first = orders[step.sources[0]]
        if not all(_same(orders[source], first) for source in step.sources):
            return None
        orders[index] = _seen_as(first, step.extents)
    return orders


def _moved(step: Step, orders: dict[int, _Order], extents: tuple[int, ...], constant: Callable[[int], Any]) -> _Order:
    """Return an order after a move."""
    given = [orders[source] for source in step.sources]
    if all(isinstance(order, Tensor) for order in given):
        try:
            moved = step.invoke(step.filled(lambda index: orders[index] if index in orders else constant(index)))
        except (KeyError, RuntimeError, IndexError, TypeError):
            moved = None
        if isinstance(moved, Tensor) and tuple(moved.shape) == extents:
            return moved
    how = {k: "source" if isinstance(v, Ref) and v.index in step.sources else v for k, v in step.arguments.items()}
    return _Unknown((step.op, step.item, repr(how), *map(_key, given)), extents)


def _seen_as(order: _Order, extents: tuple[int, ...]) -> _Order:
    """Return an order as it is seen by a view."""
    return order.reshape(extents) if isinstance(order, Tensor) else order._replace(extents=extents)


def _same(one: _Order, other: _Order) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other


def _key(order: _Order) -> Hashable:
    return (tuple(order.shape), order.contiguous().numpy().tobytes()) if isinstance(order, Tensor) else order


def is_move(step: Step, known: Known) -> bool:
    """Tell an op that changes the order of numbers, or leaves out some, as a slice does."""
    moves = step.op in _MOVES or (step.rule is not None and step.rule.kind == "shape")
    moves = moves and not _is_in_order(step, known) and not _is_elementwise(step)
    return moves and (len(step.sources) == 1 or step.op in _JOINTS)


def is_pointwise(step: Step, known: Known) -> bool:
    """Tell an op each number of which is a function of those at the same place."""
    activation = step.rule is not None and step.rule.kind == "activation"
    # an instance-norm by the image's own statistics reads all of it
    pointwise = step.op in _POINTWISE and not step.arguments.get("use_input_stats")
    pointwise = pointwise or activation or _is_elementwise(step) or step.op in _ARITHMETIC
    return _is_in_order(step, known) or (pointwise and _keeps_places(step, known))


def _is_affine(step: Step, known: Known) -> bool:
    fills = step.rule is not None and step.rule.kind == "shape" and _is_elementwise(step)  # by a constant mask
    affine = fills or step.op in _ARITHMETIC
    return _is_in_order(step, known) or (affine and _keeps_places(step, known))


def _is_elementwise(step: Step) -> bool:
    """Tell an op that PyTorch itself calls pointwise; it has not marked all forms of where."""
    return step.op == "aten.where" or torch.Tag.pointwise in getattr(step.function, "tags", ())


def _is_in_order(step: Step, known: Known) -> bool:
    """Tell a copy or a view with the same numbers in the same order."""
    if step.op == "aten.expand":
        return known.lengths(step.sources[0]) == step.lengths
    return step.op in _IN_ORDER


def _keeps_places(step: Step, known: Known) -> bool:
    """Tell an op that uses no number again, as it would to meet a larger tensor."""
    return all(known.lengths(i) == step.lengths for i in step.sources)
