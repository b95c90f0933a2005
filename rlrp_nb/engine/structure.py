"""A fingerprint of all that decides a network's graph, so that a network that was changed is traced again.

A graph holds whatever the network's Python code read while it was traced: attributes of modules and of their classes,
and what their functions read from around them, globals and variables of enclosing functions. Weights are no part of
it: a graph fetches them from the network at each run.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rlrp_nb.engine.snapshot import FORWARD_HOOKS, INTERNAL, global_hooks, modules_of

_PLAIN = frozenset({type(None), bool, int, float, str})
_DEPTH = 2  # of objects within objects
_MOST = 1000  # entries of a list or dict that are looked at


def structure_of(network: nn.Module) -> tuple[Any, ...]:
    """Return what decides the graph apart from the values of tensors: modules, what their code reads, mode and hooks.

    Two equal structures trace to the same graph, so that a layer that was replaced, a stride that was changed or a
    function that was exchanged after the first explanation is noticed.
    """
    modules = modules_of(network)
    marks = _Marks()
    return (
        [marks.of_type(kind) for kind in dict.fromkeys(type(module) for _, module in modules)],
        global_hooks(),
        [
            (
                name,
                type(module),
                # a plain value is its own mark; this runs for every explanation
                [(k, v if type(v) in _PLAIN else marks.of(v)) for k, v in module.__dict__.items() if k not in INTERNAL],
                [(k, None if p is None or is_lazy(p) else p.shape) for k, p in module.__dict__["_parameters"].items()],
                [len(module.__dict__[hooks]) for hooks in FORWARD_HOOKS],
            )
            for name, module in modules
        ],
    )


class _Marks:
    """Makes marks: something that is equal as long as what it stands for is, its value or which object it is."""

    def __init__(self) -> None:
        self._seen: set[int] = set()  # functions and objects that have their mark already

    def of(self, value: Any, depth: int = _DEPTH) -> Any:  # noqa: ANN401, PLR0911 - anything at all; one return per kind
        """Return the mark of an attribute or a global."""
        if type(value) is tuple and _PLAIN.issuperset(map(type, value)):
            return value
        if isinstance(value, int | float | str | None):
            return value
        if isinstance(value, Tensor):
            return id(value), 0 if value.is_inference() else value._version  # noqa: SLF001 - autograd's own count of writes
        if isinstance(value, list | tuple | set | frozenset | dict):
            return self._of_container(value, depth)
        if isinstance(value, np.ndarray):
            return id(value), value.shape, str(value.dtype), hash(value.tobytes()) if value.size <= _MOST else None
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return id(value.__self__), self._of_function(value.__func__)
        if isinstance(value, partial):
            return type(value), self.of(value.func), self.of(value.args), self.of(value.keywords)
        if isinstance(value, type | ModuleType | nn.Module) or depth == 0 or id(value) in self._seen:
            return id(value)
        self._seen.add(id(value))
        return id(value), [(k, self.of(v, depth - 1)) for k, v in _fields(value)]

    def of_type(self, kind: type) -> Any:  # noqa: ANN401 - whatever stands for a class
        """Return the mark of a class of modules: its functions and values; of PyTorch's own classes its forward."""
        return kind, [
            (k, self.of(getattr(v, "__func__", getattr(v, "fget", v))))
            for base in kind.__mro__[: kind.__mro__.index(nn.Module)]
            for k, v in vars(base).items()
            if k == "forward" or not (k.startswith("__") or str(base.__module__).startswith("torch."))
        ]

    def _of_container(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - a list, tuple, set or dict
        if len(value) > _MOST or id(value) in self._seen:
            return id(value), len(value)
        if isinstance(value, dict):
            self._seen.add(id(value))
            return dict, [(k, self.of(v, depth)) for k, v in value.items()]
        if isinstance(value, list):
            self._seen.add(id(value))
        if isinstance(value, set | frozenset):
            return type(value), set(value)
        return type(value), [self.of(v, depth) for v in value]

    def _of_function(self, function: Any) -> Any:  # noqa: ANN401 - what a method was made of may be no function
        """Return the mark of a function: which it is, and what it reads from around it."""
        if not isinstance(function, FunctionType) or str(function.__module__).startswith("torch."):
            return id(function)
        if id(function) in self._seen:
            return id(function)
        self._seen.add(id(function))
        code, around = function.__code__, function.__globals__
        return (
            id(function),
            id(code),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            [self.of(v) for v in _enclosed(function)],
            [(name, self.of(around[name], 1)) for name in code.co_names if name in around],
        )


def _enclosed(function: FunctionType) -> list[Any]:
    """Return the variables of enclosing functions; one that has no value yet is left out."""
    found = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def _fields(value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - an object of any type
    """Return what an object holds, in its dict or in slots."""
    held = list(getattr(value, "__dict__", {}).items())
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        held += [(k, getattr(value, k)) for k in ((slots,) if isinstance(slots, str) else slots) if hasattr(value, k)]
    return held
