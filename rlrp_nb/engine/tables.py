"""Tables by modules that a network's code reads in places of which a twin has none of its own.

The twin has other modules than its network. A table to which an attribute, or a method by a global or a closure, leads
it has anew, by its own modules. What stands in a class, behind a property or in a Python module it shares with the
network, and it would not be found there.
"""

from __future__ import annotations

from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ReferenceType

from torch import Tensor

from rlrp_nb.engine.marks import PLAIN, fields_of, is_library, names_of, read_by, unwrapped
from rlrp_nb.engine.modules import INTERNAL, each_module
from rlrp_nb.engine.reach import REFERENCES, VIEWS, base_of, methods_of, parts_of
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.engine.structure import named_tensors
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

# Python calls them by themselves, but not while a network is run
_ASIDE = frozenset({"__init__", "__new__", "__del__", "__repr__", "__str__", "__getstate__", "__setstate__"})
# what a twin has anew though it is no object with fields
_ANEW = frozenset({CellType, MethodType, partial, *REFERENCES, *VIEWS})


def check_tables(network: nn.Module) -> None:
    """Refuse a network that would not find its modules in a table once a twin is run in its place.

    Raises
    ------
    UnsupportedNetworkError
        Its code reads such a table; the error says where.
    """
    found = _Search(network).found
    if found:
        raise UnsupportedNetworkError(
            f"{shortlist(found)} holds modules or weights of the network as keys or members. The network is run as a "
            "twin of other modules, which would not be found there. Keep the table in an attribute of the network "
            "(self.table = {module: ...}) that its own methods read, or know modules by their names."
        )


class _Part(NamedTuple):
    """Something that the code of a network reads."""

    place: str
    value: Any
    shared: bool
    """Whether the twin has the very same, by the way that the code takes."""
    names: tuple[str, ...] = ()
    """What the code that reads it asks a Python module for."""


class _Search:
    """What can be reached from ``forward``, by the names that code uses."""

    def __init__(self, network: nn.Module) -> None:
        modules = each_module(network)
        self.found: list[str] = []
        self._own = {id(module) for _, module in modules} | {id(t) for t in named_tensors(network).values()}
        self._seen: set[tuple[int, bool, tuple[str, ...]]] = set()
        self._alive: list[Any] = []  # so that no identity is used twice
        self._names = {"forward"}
        self._classes: dict[type, bool] = {}  # with whether their methods are shared
        self._ahead = [
            _Part(f"{place}.{key}".lstrip("."), value, shared=False)
            for place, module in modules
            for key, value in fields_of(module)
            if key not in INTERNAL
        ]
        for _, module in modules:
            self._add_class(type(module), shared=False)
        looked_at = -1
        while looked_at < len(self._seen):  # of more code more names are used
            looked_at = len(self._seen)
            for kind, shared in self._classes.items():
                self._ahead += self._members(kind, shared=shared)
            while self._ahead:
                self._look(self._ahead.pop())

    def _look(self, part: _Part) -> None:
        value, kind = part.value, type(part.value)
        key = id(value), part.shared, part.names if kind is ModuleType else ()
        if kind in PLAIN or id(value) in self._own or key in self._seen:
            return
        self._seen.add(key)
        self._alive.append(value)
        if kind is FunctionType:
            self._ahead += self._read(part)
        elif kind is ModuleType:
            if not is_library(value.__name__):
                held = [(k, vars(value)[k]) for k in part.names if k in vars(value)]
                self._ahead += [_Part(f"{value.__name__}.{k}", v, shared=True, names=part.names) for k, v in held]
        elif issubclass(kind, type):
            self._add_class(value, shared=True)
        elif not issubclass(kind, Tensor):
            if part.shared and any(map(self._is_own, _members_of(value))):
                self.found.append(part.place)
            shared = part.shared or not (kind in _ANEW or issubclass(kind, tuple) or base_of(kind))
            self._ahead += [_Part(part.place, within, shared, part.names) for within in parts_of(value)]
            self._add_class(kind, shared=True)

    def _read(self, part: _Part) -> Iterator[_Part]:
        """Yield what a function reads, and remember what it asks objects for."""
        function: FunctionType = part.value
        code, names = function.__code__, names_of(function.__code__)
        is_own = not is_library(str(function.__module__))
        if is_own:
            # a text may be what getattr() asks for
            self._names.update(names, (c for c in code.co_consts if type(c) is str and c.isidentifier()))
        for value in (function.__defaults__, function.__kwdefaults__, function.__dict__):
            yield _Part(part.place, value, part.shared)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":  # what super() needs
                yield _Part(f"{name} (read by {function.__qualname__})", cell, part.shared, names)
        for name, value in read_by(function) if is_own else ():
            yield _Part(f"{name} (read by {function.__qualname__})", value, part.shared, names)

    def _add_class(self, kind: type, *, shared: bool) -> None:
        if not is_library(kind.__module__):
            self._classes[kind] = shared or self._classes.get(kind, False)
            self._alive.append(kind)

    def _members(self, kind: type, *, shared: bool) -> Iterator[_Part]:
        """Yield what a class and its own class have under the names that are used, and what Python calls by itself."""
        # a twin has methods of its own in its attributes, where neither super() nor the class itself finds them
        anew = {} if shared else dict(methods_of(kind))
        for base in (base for space in (kind, type(kind)) for base in space.__mro__):
            if not is_library(base.__module__):
                for name, member in vars(base).items():
                    if name in self._names or (name.startswith("__") and callable(member) and name not in _ASIDE):
                        value = unwrapped(member)
                        yield _Part(f"{base.__name__}.{name}", value, shared=member is not anew.get(name))

    def _is_own(self, key: Any) -> bool:  # noqa: ANN401 - a key of any type
        if isinstance(key, tuple | frozenset | MethodType):
            return any(map(self._is_own, parts_of(key)))
        return id(key() if isinstance(key, ReferenceType) else key) in self._own


def _members_of(value: Any) -> Iterable[Any]:  # noqa: ANN401 - anything
    """Return what a value is asked for by hash: the keys of a dict, the members of a set."""
    if isinstance(value, dict):
        return dict.keys(value)
    return value if isinstance(value, set | frozenset) else ()
