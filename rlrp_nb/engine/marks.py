"""Marks of what a network's code reads: equal as long as what they stand for is, its value or which object it is."""

from __future__ import annotations

import sys
import sysconfig
from array import array
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from dis import get_instructions
from functools import cache, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ProxyTypes, ReferenceType, ref
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PLAIN = frozenset({type(None), bool, int, float, str})
"""Types whose values are marks, together with the type: 1 equals True and 1.0, and code can tell them apart."""
_BY_VALUE = frozenset({bytes, complex, range})
VALUES = (int, float, str, list, tuple, set, frozenset, dict, deque, np.ndarray, Tensor)
"""Types that hold values, whose subclasses can hold more beside them."""
_DEPTH = 100  # of things within things; Python itself would stop at a few hundred
_MOST = 1000  # entries of a list or dict that are looked at, if they are more than numbers and texts
_MOST_NUMBERS = 2**20  # of a tensor that are looked at
_AT_ITS_ENDS = frozenset({"__init__", "__new__", "__del__", "__init_subclass__"})
# what Python and its library note in a class, some of it when it is first asked for, copied or compared with a protocol
_NOTED = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__slots__", "__slotnames__", "__hash__"),
        *("__annotations__", "__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__"),
        *("__orig_bases__", "__parameters__", "__type_params__", "__match_args__", "__abstractmethods__"),
        *("__dataclass_fields__", "__dataclass_params__", "__protocol_attrs__", "__non_callable_proto_members__"),
    }
)
_LIBRARIES = frozenset(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class Marks:
    """Makes marks.

    Parameters
    ----------
    known
        Objects whose mark is which they are, since what they hold is looked at elsewhere: a network's modules.

    Attributes
    ----------
    tensors
        Those that were met, by identity.
    """

    def __init__(self, known: Iterable[object] = ()) -> None:
        self.tensors: list[int] = []
        self._seen: set[Any] = {id(value) for value in known}  # what has its mark already
        self._containers: dict[Any, int] = {}  # likewise, in the order in which they were met

    def of(self, value: Any, depth: int = _DEPTH, names: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 - anything at all
        """Return the mark of an attribute or a global.

        Parameters
        ----------
        value
            Anything.
        depth
            How many things within things are still looked into.
        names
            The names that the code uses which reads the value: of a Python module or a class these alone are looked at.
            None where it is not known which code does: then all are.

        Raises
        ------
        RecursionError
            Things lie deeper within things than that.
        """
        kind = type(value)
        if kind in PLAIN or kind in _BY_VALUE:
            return kind, value
        mark = self._of_any(value, depth, names)
        if not issubclass(kind, VALUES) or (is_library(kind.__module__) and not getattr(value, "__dict__", None)):
            return mark
        # a list, number or tensor of a class of the user's, or with attributes, is more than what it holds
        key = id(value), "fields"
        if key in self._seen:
            return mark
        self._seen.add(key)
        return mark, self._of_object_s_type(kind), [(k, self.of(v, depth - 1)) for k, v in fields_of(value)]

    def _of_any(self, value: Any, depth: int, names: tuple[str, ...] | None) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912 - likewise; one return per kind
        kind = type(value)
        if issubclass(kind, int | float | str):
            return kind, value
        if issubclass(kind, ProxyTypes) and _is_dead(value):
            return id(value)
        if isinstance(value, Tensor):
            self.tensors.append(id(value))
            return _of_tensor(value)
        if isinstance(value, list | tuple | set | frozenset | dict | deque):
            return self._of_container(value, depth)
        if isinstance(value, MappingProxyType):
            return kind, self._of_container(dict(value), depth, id(value))
        if isinstance(value, np.ndarray):
            if not value.dtype.hasobject:
                return id(value), value.shape, str(value.dtype), hash(value.tobytes())
            return id(value), value.shape, self._of_container(value.reshape(-1).tolist(), depth, id(value))
        if isinstance(value, np.generic | array | bytearray):
            return kind, value.tobytes() if isinstance(value, np.generic) else bytes(value)
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return self.of(value.__self__, depth), self._of_function(value.__func__)
        if isinstance(value, partial):
            return kind, self.of(value.func), self.of(value.args), self.of(value.keywords)
        if kind is ReferenceType or isinstance(value, ContextVar):
            return id(value), self.of(value() if kind is ReferenceType else value.get(None), depth - 1)
        if isinstance(value, type | ModuleType):
            return self._of_namespace(value, depth, names)
        if id(value) in self._seen:
            return id(value)
        if is_library(kind.__module__) and not holds_values(kind):
            # the values of a widget, which a user moves
            traits = getattr(value, "__dict__", {}).get("_trait_values")
            return Which(value) if traits is None else (Which(value), self.of(traits, depth - 1))
        _check_depth(depth)
        self._seen.add(id(value))
        return id(value), self._of_object_s_type(kind), [(k, self.of(v, depth - 1)) for k, v in fields_of(value)]

    def of_type(self, kind: type) -> Any:  # noqa: ANN401 - whatever stands for a class
        """Return the mark of a class of modules: its functions and values; of PyTorch's own classes its forward."""
        return kind, [
            (k, self._of_member(v))
            for base in kind.__mro__
            if base not in {nn.Module, object}
            for k, v in vars(base).items()
            if k == "forward" or not (is_aside(k, v) or str(base.__module__).startswith("torch."))
        ]

    def _of_object_s_type(self, kind: type) -> Any:  # noqa: ANN401 - likewise
        """Return the mark of the class of an object that code may call: its functions and values."""
        if kind in self._seen:
            return id(kind)
        self._seen.add(kind)
        return Which(kind), [
            (k, self._of_member(v))
            for base in kind.__mro__
            if not is_library(base.__module__)
            for k, v in vars(base).items()
            if not is_aside(k, v)
        ]

    def _of_member(self, value: Any, depth: int = _DEPTH, names: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 - what stands in a class: a function may be wrapped
        return self.of(unwrapped(value), depth, names)

    def _of_namespace(self, value: type | ModuleType, depth: int, names: tuple[str, ...] | None) -> Any:  # noqa: ANN401
        """Return the mark of those values of a Python module that code asks for, of a class all; of a library none.

        A method of a class can ask it for any of them.
        """
        key = id(value), id(names)
        module = value.__name__ if isinstance(value, ModuleType) else value.__module__
        if key in self._seen or id(value) in self._seen:
            return id(value)
        if is_library(module):
            return Which(value)
        _check_depth(depth)
        self._seen.add(key)
        if isinstance(value, type):
            metaclass: type = type(value)
            kinds = [base for base in (*value.__mro__, *metaclass.__mro__) if not is_library(base.__module__)]
            held = [(k, v) for base in kinds for k, v in vars(base).items() if not is_aside(k, v) or k in _AT_ITS_ENDS]
        else:
            held = [(k, v) for k, v in vars(value).items() if (not k.startswith("__") if names is None else k in names)]
        return Which(value), [(k, self._of_member(v, depth - 1, names)) for k, v in held]

    def _of_container(self, value: Any, depth: int, key: int | None = None) -> Any:  # noqa: ANN401 - a list, tuple, set, dict or deque
        """Return the mark of what a container holds; one that was made to be looked at has another's address as key."""
        kind, key = type(value), id(value) if key is None else key
        if isinstance(value, tuple | list | deque) and PLAIN.issuperset(map(type, value)):
            return kind, tuple(value), tuple(map(type, value))
        if isinstance(value, set | frozenset) and PLAIN.issuperset(map(type, value)):
            return kind, set(value)
        if key in self._containers:  # told by its place: tuples of equal values are alike, whichever they are
            return kind, self._containers[key]
        plain = isinstance(value, dict) and PLAIN.issuperset(map(type, value.values()))
        if len(value) > _MOST and not plain:
            return key, len(value)
        _check_depth(depth)
        self._containers[key] = len(self._containers)
        if isinstance(value, dict):
            return kind, [(k if type(k) in PLAIN else self.of(k), self.of(v, depth - 1)) for k, v in value.items()]
        return kind, [self.of(v, depth - 1) for v in value]

    def _of_function(self, function: Any) -> Any:  # noqa: ANN401 - what a method was made of may be no function
        """Return the mark of a function: which it is, and what it reads from around it."""
        if not isinstance(function, FunctionType) or str(function.__module__).startswith("torch."):
            return Which(function)
        if id(function) in self._seen:
            return id(function)
        self._seen.add(id(function))
        code, names = function.__code__, names_of(function.__code__)
        return (
            Which(function),
            Which(code),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            self.of(function.__dict__),
            [self.of(v, names=names) for v in enclosed(function)],
            [(name, self.of(v, names=names)) for name, v in read_by(function)],
        )


class Which:
    """Which object something is: equal to that of the same object alone, also when another lies at its address later.

    Parameters
    ----------
    value
        Anything. It is not kept alive, but for the few kinds that know no weak references, such as slices.
    """

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        try:
            self._value: Callable[[], object] = ref(value)
        except TypeError:
            self._value = partial(_itself, value)

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same object, and still there."""
        if not isinstance(other, Which):
            return NotImplemented
        own = self._value()
        return own is not None and own is other._value()

    def __hash__(self) -> int:
        """Return one number for all."""
        return 0


def _itself(value: object) -> object:
    return value


def _of_tensor(value: Tensor) -> Any:  # noqa: ANN401 - whatever stands for a tensor
    """Return which tensor it is, where its numbers lie, how often it was written into, and a checksum of what it holds.

    A number that code takes out of a tensor stands in the graph, and PyTorch does not count every way of writing.
    """
    version = 0 if value.is_inference() else value._version  # noqa: SLF001 - autograd's own count of writes
    plain = type(value) in {Tensor, nn.Parameter} and value.layout == torch.strided
    held = None
    if plain and value.device.type == "cpu" and value.numel() <= _MOST_NUMBERS and not value.is_quantized:
        numbers = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        held = crc32(numbers.numpy().data)
    return Which(value), value.data_ptr() if plain else None, version, held


def unwrapped(member: Any) -> Any:  # noqa: ANN401 - what stands in a class
    """Return the function of a class method, a static method or a property; anything else as it is."""
    return getattr(member, "__func__", getattr(member, "fget", member))


def is_aside(name: str, member: object) -> bool:
    """Tell what code that runs reads nothing of in a class: what makes its objects, and what Python notes about it."""
    noted = name in _NOTED and not isinstance(member, FunctionType | property)
    return noted or name in _AT_ITS_ENDS


def _is_dead(proxy: Any) -> bool:  # noqa: ANN401 - it passes for what it stands for
    """Tell a weak proxy of what is no more, which says nothing of itself."""
    try:
        _ = proxy.__class__
    except ReferenceError:
        return True
    return False


def _check_depth(depth: int) -> None:
    if depth <= 0:
        raise RecursionError


@lru_cache(maxsize=2**12)
def names_of(code: CodeType) -> tuple[str, ...]:
    """Return the names of globals and attributes that code uses, also in functions and comprehensions within it."""
    within = [names_of(part) for part in code.co_consts if isinstance(part, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for names in within for name in names)]))


@lru_cache(maxsize=2**12)
def _globals_of(code: CodeType) -> tuple[dict[str, None], dict[str, None]]:
    """Return the names of globals and of imports that code uses, also in functions and comprehensions within it.

    Of attributes such as ``x.mean`` there may be globals of the same name, which the code does not read.
    """
    around: dict[str, None] = {}
    imported: dict[str, None] = {}
    for instruction in get_instructions(code):
        if instruction.opname.startswith("IMPORT_") and instruction.argval:
            imported[instruction.argval] = None
        elif "GLOBAL" in instruction.opname or instruction.opname == "LOAD_NAME":
            around[instruction.argval] = None
    for part in code.co_consts:
        if isinstance(part, CodeType):
            below = _globals_of(part)
            around |= below[0]
            imported |= below[1]
    return around, imported


def read_by(function: FunctionType) -> list[tuple[str, Any]]:
    """Return what a function reads from around it by name: globals, and modules that it imports when it is run."""
    around, package = function.__globals__, function.__globals__.get("__package__")
    names, imported = _globals_of(function.__code__)
    paths = [path for name in imported for path in (name, f"{package}.{name}") if path in sys.modules]
    return [(name, around[name]) for name in names if name in around] + [(path, sys.modules[path]) for path in paths]


def enclosed(function: FunctionType) -> list[Any]:
    """Return the variables of enclosing functions; one that has no value yet is left out."""
    found = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def fields_of(value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - an object of any type
    """Return what an object holds, in its dict or in slots."""
    return [*getattr(value, "__dict__", {}).items(), *slots_of(value)]


def slots_of(value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - an object of any type
    """Return what an object holds in slots."""
    kind: type = type(value)
    names = _slots(kind)
    return [(k, getattr(value, k)) for k in names if hasattr(value, k)] if names else []


@lru_cache(maxsize=2**12)
def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of a class's slots; Python has put the name of the class before those that begin with ``__``."""
    return tuple(
        name
        for base in kind.__mro__
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    )


def holds_values(kind: type) -> bool:
    """Tell a class of a library whose objects are there to hold values, not to do work of their own."""
    return issubclass(kind, nn.Module) or kind.__module__.partition(".")[0] in _HOLDERS


_HOLDERS = frozenset(
    {"_weakrefset", "argparse", "collections", "fractions", "functools", "omegaconf", "types", "weakref"}
)


def is_library(module: object) -> bool:
    """Tell whether a Python module is part of Python or was installed, which nobody changes at work.

    Parameters
    ----------
    module
        Its name; a class can have anything else where this should stand, and then is a user's.
    """
    return isinstance(module, str) and _is_library(module.partition(".")[0])


@cache
def _is_library(top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None)
    return top in sys.stdlib_module_names or (isinstance(file, str) and _is_installed(Path(file)))


def _is_installed(file: Path) -> bool:
    """Tell whether a file lies where an installer has put it: in this environment, the user's, one below, or any."""
    if any(folder in _LIBRARIES or folder.name in _INSTALLED for folder in file.parents):
        return True
    # what pip installs into a folder of any name it also notes there
    above = file.parent.parent if file.stem == "__init__" else file.parent
    return next(above.glob("*.dist-info"), None) is not None
