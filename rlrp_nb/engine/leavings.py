"""What a trace leaves behind in the user's objects: tensors without values, and numbers that stand for a batch's size.

A twin has modules, lists and dicts of its own. Objects of other classes, classes and globals are the user's own, and
what ``forward`` keeps there while it is traced would be there when the network is run next.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import contextmanager, suppress
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from rlrp_nb.engine.marks import fields_of, holds_values, is_aside, is_library
from rlrp_nb.engine.modules import each_module
from rlrp_nb.engine.reach import REFERENCES, Reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEFT = (FakeTensor, FunctionalTensor, torch.SymInt, torch.SymFloat, torch.SymBool)
_HOLDERS = (list, deque, dict)
_DEPTH = 3  # of what is kept within something new


@contextmanager
def taken_away(network: nn.Module) -> Iterator[None]:
    """Put back what the network's code reaches, wherever something without a value was put meanwhile."""
    kept = [*_places(network)]
    try:
        yield
    finally:
        for place in kept:
            place.put_back()


def _places(network: nn.Module) -> Iterator[_Items | _Names]:
    """Yield what can be written into, as it is now."""
    values = Reach(network).values
    functions = [value for value in values if type(value) is FunctionType and not is_library(value.__module__)]
    objects = [value for value in values if _is_open(value)]
    kinds = {kind for value in (*(m for _, m in each_module(network)), *objects) for kind in type(value).__mro__}
    classes = [kind for kind in kinds if not is_library(kind.__module__)]
    of_classes = [held for kind in classes for key, held in vars(kind).items() if not is_aside(key, held)]
    for value in (*values, *_within(of_classes, _DEPTH)):
        if issubclass(type(value), _HOLDERS):
            yield _Items(value)
    for value in (*objects, *classes, *functions):
        yield _Names(value)


def _is_open(value: Any) -> bool:  # noqa: ANN401 - anything
    """Tell an object, or a module of the user's, whose fields code may write into; by types, as a proxy may be dead."""
    kind = type(value)
    if kind is ModuleType:
        return not is_library(value.__name__)
    if kind in REFERENCES or issubclass(kind, (type, FunctionType, *_HOLDERS)):
        return False
    return holds_values(kind) or not is_library(kind.__module__)


def _within(values: Iterable[Any], depth: int) -> Iterator[Any]:
    """Yield values and, of lists and the like, what is in them."""
    for value in values:
        yield value
        if depth and issubclass(type(value), _HOLDERS):
            yield from _within(_held_by(value), depth - 1)


def _held_by(value: Any) -> list[Any]:  # noqa: ANN401 - a list, a dict or the like
    return [*dict.values(value)] if issubclass(type(value), dict) else [*value]


class _Items:
    """A list, a deque or a dict with what it holds."""

    def __init__(self, value: list[Any] | deque[Any] | dict[Any, Any]) -> None:
        self._value = value
        # of a class of the user's the methods of Python's own class are called
        self._base: Any = next(base for base in (OrderedDict, dict, deque, list) if isinstance(value, base))
        self._before = self._now()

    def _now(self) -> list[Any]:
        is_dict = issubclass(self._base, dict)
        return [*self._base.items(self._value)] if is_dict else [*self._base.__iter__(self._value)]

    def put_back(self) -> None:
        """Take out what was left, and put in what it took the place of; what others put there meanwhile stays."""
        now = self._now()
        stays = [held for held in now if not _is_left(held, _DEPTH)]
        if len(stays) == len(now):
            return
        if issubclass(self._base, dict):
            known = {key for key, _ in stays}
            stays += [(key, held) for key, held in self._before if key not in known]
            order = {key: place for place, (key, _) in enumerate(self._before)}
            stays.sort(key=lambda pair: order.get(pair[0], len(order)))
        else:
            known = {id(held) for held in stays}
            stays = [*(held for held in self._before if id(held) not in known), *stays]
        self._base.clear(self._value)
        for held in stays:
            if issubclass(self._base, dict):
                self._base.__setitem__(self._value, *held)
            else:
                self._base.append(self._value, held)


class _Names:
    """An object, a class, or the globals that a function names, with what is under each name."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - anything
        self._value = value
        self._before = dict(self._now())

    def _now(self) -> Iterable[tuple[str, Any]]:
        if type(self._value) is FunctionType:
            around = self._value.__globals__
            return [(name, around[name]) for name in self._value.__code__.co_names if name in around]
        if issubclass(type(self._value), type):
            return [*vars(self._value).items()]
        return fields_of(self._value)

    def put_back(self) -> None:
        """Put back what was under the names under which something was left."""
        for name, held in self._now():
            if _is_left(held, _DEPTH):
                with suppress(AttributeError, TypeError):  # a field that cannot be written into was not written into
                    self._set(name)

    def _set(self, name: str) -> None:
        if type(self._value) is FunctionType:
            around = self._value.__globals__
            if name in self._before:
                around[name] = self._before[name]
            else:
                del around[name]
            return
        kind: Any = type if issubclass(type(self._value), type) else object
        if name in self._before:
            kind.__setattr__(self._value, name, self._before[name])
        else:
            kind.__delattr__(self._value, name)


def _is_left(value: Any, depth: int) -> bool:  # noqa: ANN401 - anything
    """Tell something of the tracer's, or something new that holds it."""
    kind = type(value)
    if issubclass(kind, _LEFT):
        return True
    if not depth:
        return False
    if issubclass(kind, (tuple, set, *_HOLDERS)):
        return any(_is_left(held, depth - 1) for held in _held_by(value))
    record = not issubclass(kind, nn.Module | ModuleType) and _is_open(value)
    return record and any(_is_left(held, depth - 1) for _, held in fields_of(value))
