"""Which callable or network this is, so that saved values of another are never taken for its own.

It is said by a digest of code and of what code reads, and is the same in another process.
"""

from __future__ import annotations

import hashlib
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from rlrp_nb.engine.marks import PLAIN, enclosed, fields_of, is_library, names_of, read_by
from rlrp_nb.engine.modules import INTERNAL, modules_of
from rlrp_nb.engine.storage import bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Seen: TypeAlias = dict[int, tuple[int, Any]]
_DEPTH = 8  # of things within things
_WITHOUT = frozenset({"__dict__", "__doc__", "__module__", "__qualname__", "__weakref__"})


def identity(function: Callable[..., object]) -> str:
    """Say which callable this is: where it is defined, and a digest of its code and of what that reads."""
    kind = type(function)
    place = getattr(function, "__module__", kind.__module__), getattr(function, "__qualname__", kind.__qualname__)
    return f"the callable {'.'.join(place)} (code {_digest(function)[:8]})"


def settings_of(function: Callable[..., object]) -> str:
    """Return a digest of the variables around a function that was made with them; empty where there are none."""
    held = enclosed(function) if isinstance(function, FunctionType) else []
    return f"settings {_digest(held)[:8]}" if held else ""


def identity_of_network(network: nn.Module) -> str:
    """Say which network this is: a digest of its layers, weights, code and settings."""
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    seen: _Seen = {id(module): (0, module) for _, module in modules_of(network)}
    for name, module in modules_of(network):
        # other attributes are often what the last run left behind, such as activations, where there was None before
        own = {k: v for k, v in vars(module).items() if k not in INTERNAL and v is not None and _is_setting(v)}
        digest.update(f"{name} {[*_said(type(module), seen)]} {[*_said(own, seen)]}".encode())
    return digest.hexdigest()[:16]


def _is_setting(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    return type(value) in PLAIN or isinstance(value, FunctionType | MethodType | partial) or callable(value)


def _digest(value: object) -> str:
    digest = hashlib.sha256()
    for part in _said(value, {}):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _said(value: Any, seen: _Seen, depth: int = _DEPTH) -> Iterator[str]:  # noqa: ANN401, C901, PLR0912 - anything; one branch per kind
    """Yield texts that are the same for the same value, in any process: no address, no hash of Python's."""
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}"
    if kind in PLAIN or kind in {bytes, complex, range}:
        yield repr(value)
        return
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
        yield f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(bytes_of(value)).hexdigest()}"
        return
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        yield f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        return
    if id(value) in seen or depth == 0:
        yield f"again {seen.get(id(value), (None,))[0]}"
        return
    seen[id(value)] = len(seen), value  # kept, so that no other can be in its place
    within: list[Any] = []
    if isinstance(value, set | frozenset):
        yield from sorted(" ".join(_said(v, seen, depth - 1)) for v in value)
    elif isinstance(value, dict):
        within = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple):
        within = [*value]
    elif isinstance(value, CodeType):
        yield f"{value.co_code!r} {value.co_names} {value.co_varnames}"
        within = [*value.co_consts]
    elif isinstance(value, FunctionType | type | ModuleType):
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
        within = _of_code(value)
    elif isinstance(value, MethodType):
        within = [value.__self__, value.__func__]
    elif isinstance(value, partial):
        within = [value.func, value.args, value.keywords]
    elif isinstance(value, nn.Module):
        yield repr(value)
        within = [kind, dict(value.state_dict())]
    else:
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        within = [kind, *(part for pair in fields_of(value) for part in pair)]
    for part in within:
        yield from _said(part, seen, depth - 1)


def _is_versioned(module: str) -> bool:
    """Tell code that a version stands for, this package's own too: what it keeps differs between processes."""
    return is_library(module) or module.partition(".")[0] == "rlrp_nb"


def _of_code(value: FunctionType | type | ModuleType) -> list[Any]:
    """Return what decides what a function or a class does; of Python's own and of installed ones their name does."""
    if isinstance(value, ModuleType) or _is_versioned(value.__module__):
        return []
    if isinstance(value, type):
        held = [(k, v) for k, v in vars(value).items() if k not in _WITHOUT]
        functions = [(k, getattr(v, "__func__", getattr(v, "fget", v))) for k, v in held]
        return [*value.__bases__, *(part for pair in functions for part in pair)]
    names = names_of(value.__code__)
    around = [
        (name, {k: vars(v)[k] for k in names if k in vars(v)})
        if isinstance(v, ModuleType) and not _is_versioned(v.__name__)
        else (name, v)
        for name, v in read_by(value, names)
    ]
    return [value.__code__, value.__defaults__, value.__kwdefaults__, *enclosed(value), *around]
