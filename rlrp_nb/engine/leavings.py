"""What a trace leaves behind in objects that the network's code reaches: tensors without values.

A twin has modules, lists and dicts of its own. An object of another class, or a global dict, is the user's own, and
what ``forward`` keeps there while it is traced would be there when the network is run next.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from rlrp_nb.engine.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_DEPTH = 3  # of what is kept within something new


@contextmanager
def taken_away(network: nn.Module) -> Iterator[None]:
    """Put lists, dicts and objects back to what they held, if a tensor without values was put there meanwhile."""
    kept = [(value, _held_by(value)) for value in Reach(network).values]
    try:
        yield
    finally:
        for value, before in kept:
            if before is not None and any(_is_left(held, _DEPTH) for held in _parts(_held_by(value))):
                _put_back(value, before)


def _held_by(value: Any) -> dict[Any, Any] | list[Any] | None:  # noqa: ANN401 - anything at all
    if type(value) is list:
        return [*value]
    if type(value) is dict:
        return {**value}
    own = getattr(type(value), "__dict__", {}) and getattr(value, "__dict__", None)
    return {**own} if type(own) is dict else None


def _parts(held: dict[Any, Any] | list[Any] | None) -> list[Any]:
    return [] if held is None else [*held.values()] if isinstance(held, dict) else held


def _put_back(value: Any, before: dict[Any, Any] | list[Any]) -> None:  # noqa: ANN401 - likewise
    if isinstance(before, list):
        value[:] = before
        return
    now = value if type(value) is dict else value.__dict__
    now.clear()
    now.update(before)


def _is_left(value: Any, depth: int) -> bool:  # noqa: ANN401 - likewise
    """Tell a tensor of the tracer's, or something new that holds one."""
    if isinstance(value, FakeTensor | FunctionalTensor):
        return True
    if type(value) in {list, tuple, set, dict} and depth:
        return any(_is_left(held, depth - 1) for held in (value.values() if type(value) is dict else value))
    return False
