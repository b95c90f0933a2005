"""Which callable or network this is, so that saved values of another are never taken for its own.

It is said by a digest of code and of what code reads, and is the same in another process.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from contextlib import suppress
from copyreg import dispatch_table
from functools import partial
from logging import Logger
from pathlib import PurePath
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.engine.marks import (
    PLAIN,
    VALUES,
    enclosed,
    fields_of,
    is_aside,
    is_library,
    names_of,
    read_by,
    slots_of,
    unwrapped,
)
from rlrp_nb.engine.modules import FORWARD_HOOKS, INTERNAL, modules_of
from rlrp_nb.engine.rules import BUILT_IN, RULES
from rlrp_nb.engine.storage import bytes_of
from rlrp_nb.engine.structure import named_tensors
from rlrp_nb.engine.twins import twin_of
from rlrp_nb.errors import InputError, RlrpError

if TYPE_CHECKING:
    from collections.abc import Callable

_Seen: TypeAlias = dict[int, tuple[int, Any]]
_GLOBAL = (random.random.__self__, np.random.rand.__self__)  # type: ignore[attr-defined]
"""Generators whose state decides nothing, since what is compared draws from a stream in their place."""
_DEPTH = 100  # of things within things; Python itself would stop at a few hundred


def identity(function: Callable[..., object]) -> str:
    """Say which callable this is: where it is defined, and a digest of its code and of what that reads."""
    kind = type(function)
    # a function that was made by eval may have no module
    place = (
        getattr(function, "__module__", None) or kind.__module__,
        getattr(function, "__qualname__", kind.__qualname__),
    )
    return f"the callable {'.'.join(place)} (code {_digest(function)[:8]})"


def settings_of(function: Callable[..., object]) -> str:
    """Return a digest of the variables around a function that was made with them; empty where there are none."""
    held = enclosed(function) if isinstance(function, FunctionType) else []
    return f"settings {_digest(held)[:8]}" if held else ""


def identity_of_network(network: nn.Module, inputs: Tensor) -> str:
    """Say which network this is: a digest of its layers, weights, code, settings and hooks, and of a user's rules.

    Parameters
    ----------
    network : nn.Module
        Is left alone.
    inputs : Tensor
        A batch that it takes. A twin is run on another of its shape, to find what a run leaves behind, such as
        activations: that is no part of what the network is.
    """
    left = _left_behind(network, inputs)
    own_rules = {op: rule for op, rule in RULES.items() if BUILT_IN.get(op) is not rule}
    digest = hashlib.sha256(f"{network!r} {_weights(network)} {_digest(own_rules)}".encode())
    for place, said in _parts(network).items():
        digest.update(f"{place} {said}".encode() if place not in left else b"")
    return digest.hexdigest()[:16]


_Place: TypeAlias = tuple[str, str]


def _weights(network: nn.Module) -> list[tuple[str, str]]:
    """Return digests of all parameters and buffers, also of those that are not saved."""
    return [(name, _digest(tensor)) for name, tensor in sorted(named_tensors(network).items())]


def _parts(network: nn.Module, seen: _Seen | None = None) -> dict[_Place, str]:
    """Return digests of code, attributes and hooks, by the name of the module and their own."""
    modules = modules_of(network)
    known = (seen or {}) | {id(module): (n, module) for n, (_, module) in enumerate(modules)}

    def digest(value: object) -> str:
        return repr(value) if type(value) in PLAIN else _digest(value, {**known})

    parts: dict[_Place, str] = {}
    for name, module in modules:
        parts[name, "type"] = digest(type(module))
        # which a run cannot change, where it changes other things that a class holds
        parts[name, "code"] = _digest(_code_of(type(module)))
        own = {k: v for k, v in vars(module).items() if k not in INTERNAL} | dict(slots_of(module))
        # what a run leaves behind is often None before the first
        parts |= {(name, k): digest(v) for k, v in own.items() if v is not None}
        hooks = [hook for kind in FORWARD_HOOKS for hook in vars(module)[kind].values()]
        parts |= {(name, f"hook {n}"): digest(hook) for n, hook in enumerate(hooks)}
    return parts


def _code_of(kind: type) -> list[tuple[str, CodeType]]:
    """Return the code of the functions of a user's class, by their names."""
    held = [(k, v) for base in kind.__mro__ if not _is_versioned(base.__module__) for k, v in vars(base).items()]
    functions = [(k, unwrapped(v)) for k, v in held]
    return [(k, function.__code__) for k, function in functions if isinstance(function, FunctionType)]


def _left_behind(network: nn.Module, inputs: Tensor) -> set[_Place]:
    """Return the parts that a run changes; none where the network cannot be run as a twin."""
    with suppress(RlrpError), undisturbed(inputs), twin_of(network, copies=True, hooked=True) as twin, Undrawn():
        before = _parts(twin)
        twin(inputs * 0.5 + 0.1)
        after = _parts(twin)
        left = {place for place in before | after if before.get(place) != after.get(place)}
        with suppress(Exception):  # of another size, for which attributes may keep something too; few networks take it
            twin(torch.cat([inputs, inputs[..., :1]], -1))
        other = _parts(twin)
        return left | {place for place in after | other if place[1] != "type" and after.get(place) != other.get(place)}
    return set()


def _digest(value: object, seen: _Seen | None = None) -> str:
    digest = hashlib.sha256()
    for part in _said(value, {} if seen is None else seen):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _said(value: Any, seen: _Seen, depth: int = _DEPTH) -> Iterator[str]:  # noqa: ANN401, C901, PLR0912 - anything; one branch per kind
    """Yield texts that are the same for the same value, in any process: no address, no hash of Python's."""
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}"
    if kind in PLAIN or kind in {bytes, complex, range}:
        yield repr(value)
        return
    numbers, more = _numbers(value), _more(value)
    if numbers is not None:
        yield numbers
        if not more:
            return
    if id(value) in seen:
        yield f"again {seen[id(value)][0]}"
        return
    if depth == 0:
        raise InputError(
            f"a {kind.__qualname__} lies more than {_DEPTH} things deep within what decides a network or a method, too "
            "deep to tell whether saved values are its own. Leave path out, or keep it in flatter lists."
        )
    seen[id(value)] = len(seen), value  # kept, so that no other can be in its place
    within: list[Any] = []
    if numbers is not None:
        pass
    elif isinstance(value, set | frozenset):
        yield from sorted(" ".join(_said(v, seen, depth - 1)) for v in value)
    elif isinstance(value, dict):
        within = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple | deque):
        within = [*value]
    elif isinstance(value, int | float | str):  # of a class of the user's
        yield next(repr(base(value)) for base in (int, float, str) if isinstance(value, base))
    elif isinstance(value, np.ndarray):
        within = [value.shape, value.tolist()]
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
        yield f"{value!r} {_weights(value)} {_parts(value, seen)}"
    elif isinstance(value, PurePath | Logger):  # which note more of themselves once they are used
        yield value.name if isinstance(value, Logger) else str(value)
    elif isinstance(value, bytearray | memoryview):
        yield repr(bytes(value))
    elif isinstance(value, MappingProxyType | KeysView | ValuesView | ItemsView):
        within = [dict(value)] if isinstance(value, MappingProxyType) else [*value]
    else:
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        within = [kind, *(part for pair in fields_of(value) for part in pair), *_reduced(value)]
    for part in (*within, *more):
        yield from _said(part, seen, depth - 1)


def _reduced(value: object) -> list[Any]:
    """Return what an object of a library that shows no attributes is made of: a slice, a date, a regular expression.

    By the functions that say it for pickling and for copies. What says nothing, as a file or a lock, holds no values.
    """
    kind = type(value)
    if not is_library(kind.__module__) or (fields_of(value) and not _says_more(kind)):
        return []
    if any(value is each for each in _GLOBAL):
        return []
    try:
        reduced = dispatch_table[kind](value) if kind in dispatch_table else value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - each class says in its own way that it cannot
        return []
    # the items of a list or a dict come as iterators
    return [*map(_listed, reduced)] if isinstance(reduced, tuple) else [reduced]


def _says_more(kind: type) -> bool:
    """Tell a class that has a way of its own to say what its objects hold, as of pixels or random numbers kept in C."""
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    return any(getattr(kind, way, None) is not getattr(object, way) for way in ways)


def _listed(part: object) -> object:
    return [*part] if isinstance(part, Iterator) else part


def _numbers(value: object) -> str | None:
    """Return a digest of the numbers of a tensor or an array, or None for anything else."""
    if isinstance(value, Tensor) and not value.is_meta:
        plain = value.detach().dequantize() if value.is_quantized else value.detach()
        plain = (plain if plain.layout == torch.strided else plain.to_dense()).resolve_conj().resolve_neg()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(bytes_of(plain)).hexdigest()}"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return None


def _more(value: object) -> list[Any]:
    """Return what a list, number or tensor of a class of the user's, or with attributes, is beside what it holds."""
    # on a weight torch.compile notes what it made of it
    kind, held = type(value), [(k, v) for k, v in fields_of(value) if not k.startswith("_dynamo_")]
    if not isinstance(value, VALUES) or (is_library(kind.__module__) and not held):
        return []
    return [kind, *(part for pair in held for part in pair)]


def _is_versioned(module: object) -> bool:
    """Tell code that a version stands for, this package's own too: what it keeps differs between processes.

    A class in C may have a descriptor in place of its module's name, for its objects.
    """
    return is_library(module) or (isinstance(module, str) and module.partition(".")[0] == "rlrp_nb")


def _of_code(value: FunctionType | type | ModuleType) -> list[Any]:
    """Return what decides what a function or a class does; of Python's own and of installed ones their name does."""
    if _is_versioned(value.__name__ if isinstance(value, ModuleType) else value.__module__):
        return []
    if isinstance(value, ModuleType):  # read as an attribute; where code names it, its names are looked at alone
        held = sorted(vars(value).items())
        return [part for k, v in held if not k.startswith("__") and not isinstance(v, ModuleType) for part in (k, v)]
    if isinstance(value, type):
        held = [(k, v) for k, v in vars(value).items() if not is_aside(k, v)]
        functions = [(k, unwrapped(v)) for k, v in held]
        own = [] if type(value) is type else [type(value)]  # a class of classes
        return [*value.__bases__, *own, *(part for pair in functions for part in pair)]
    names = names_of(value.__code__)
    around = [
        (name, _named(v, names, set()) if isinstance(v, ModuleType) and not _is_versioned(v.__name__) else v)
        for name, v in read_by(value)
        if not _is_imported_library(name, v, value)
    ]
    return [value.__code__, value.__defaults__, value.__kwdefaults__, *enclosed(value), *around]


def _named(module: ModuleType, names: Sequence[str], seen: set[int]) -> dict[str, Any]:
    """Return what code that uses some names can ask a module for, and modules in it, as by ``package.module.NAME``."""
    seen.add(id(module))
    found: dict[str, Any] = {}
    for name in names:
        value = vars(module).get(name)
        if not isinstance(value, ModuleType) or _is_versioned(value.__name__):
            found |= {name: value} if name in vars(module) else {}
        elif id(value) not in seen:
            found[name] = _named(value, names, seen)
    return found


def _is_imported_library(name: str, value: object, function: FunctionType) -> bool:
    """Tell a library that a function imports within itself, which it may have loaded or not."""
    return name not in function.__globals__ and isinstance(value, ModuleType) and _is_versioned(value.__name__)
