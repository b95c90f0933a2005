"""What a network's attributes, methods and hooks lead to, and which of it leads back to the network.

A function kept in an attribute may close over the network, an object may hold one of its layers, a hook may read the
network from a global. A twin needs such things anew, leading to the twin.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from functools import partial
from gc import get_referents
from types import BuiltinFunctionType, CellType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import ProxyTypes, ReferenceType

from torch import Tensor, nn

from rlrp_nb.engine.marks import PLAIN, fields_of, holds_values, is_library, read_by
from rlrp_nb.engine.modules import INTERNAL, each_module
from rlrp_nb.engine.structure import named_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)


def hooks_of(network: nn.Module) -> list[dict[int, Any]]:
    """Return the dicts in which the network's modules keep their hooks of all kinds; PyTorch counts their keys up."""
    return [vars(module)[kind] for _, module in each_module(network) for kind in HOOKS]


REFERENCES = frozenset({ReferenceType, *ProxyTypes})
VIEWS: dict[type, Callable[[Any], Any]] = {
    MappingProxyType: MappingProxyType,
    **{
        type(view(held)): view
        for held, own in ((dict[Any, Any](), dict), (OrderedDict[Any, Any](), OrderedDict))
        for view in (own.keys, own.values, own.items)
    },
}
"""Types of views of a dict, and what makes one of them."""

_HEAP = 1 << 9
"""Python's flag of a class that was defined in Python."""
_BASES = frozenset({object, SimpleNamespace, list, deque, set, dict, OrderedDict, defaultdict})


class Reach:
    """What the attributes, methods and hooks of a network's modules lead to.

    Attributes
    ----------
    tensors
        The tensors among them that are no parameters or buffers of the network, with the attribute that leads there.
    values
        All of them that are no plain values.
    """

    def __init__(self, network: nn.Module) -> None:
        self._own = {id(module) for _, module in each_module(network)}
        self._own |= {id(tensor) for tensor in named_tensors(network).values()}
        self.tensors: list[tuple[str, Tensor]] = []
        self.values: list[Any] = []  # kept, so that no identity is used twice
        leading_to: dict[int, list[int]] = {}
        ahead = [(name, part, 0) for name, part in _parts_of_network(network)]
        while ahead:
            name, value, holder = ahead.pop()
            if type(value) in PLAIN:
                continue
            if id(value) in leading_to:
                leading_to[id(value)].append(holder)
                continue
            leading_to[id(value)] = [holder]
            self.values.append(value)
            if id(value) in self._own:
                continue
            if issubclass(type(value), Tensor):  # a weak proxy, which may be of what is gone, is none
                self.tensors.append((name, value))
            ahead += [(name, part, id(value)) for part in parts_of(value)]
        self._back: set[int] = set()
        back = [holder for key in self._own for holder in leading_to.get(key, ())]
        while back:
            key = back.pop()
            if key and key not in self._back:
                self._back.add(key)
                back += leading_to[key]

    def leads_back(self, value: object) -> bool:
        """Tell a module, parameter or buffer of the network, and what leads to one."""
        return id(value) in self._back or id(value) in self._own


def _parts_of_network(network: nn.Module) -> Iterable[tuple[str, Any]]:
    """Yield the attributes, methods and hooks of all modules, and the attributes of their tensors, by name."""
    for place, module in each_module(network):
        held, within = module.__dict__, f"{place}." if place else ""
        yield from ((within + key, value) for key, value in fields_of(module) if key not in INTERNAL)
        yield from ((within + key, method) for key, method in methods_of(type(module)))
        for hooks in HOOKS:
            yield from ((within + hooks, hook) for hook in (held[hooks] or {}).values())
    for name, tensor in named_tensors(network).items():
        yield from ((f"{name}.{key}", value) for key, value in getattr(tensor, "__dict__", {}).items())


def methods_of(kind: type) -> list[tuple[str, FunctionType]]:
    """Return the methods of a class of modules by name, without those of libraries and those that Python calls."""
    found: dict[str, FunctionType] = {}
    for base in kind.__mro__:
        if not is_library(base.__module__):
            for name, member in vars(base).items():
                if type(member) is FunctionType and not name.startswith("__"):
                    found.setdefault(name, member)
    return [*found.items()]


def parts_of(value: Any) -> Iterable[Any]:  # noqa: ANN401, PLR0911 - anything at all; one return per kind
    """Return what a value holds, of those kinds of values that a twin can have anew."""
    kind = type(value)
    if kind in VIEWS:
        return get_referents(value)
    if kind in REFERENCES:
        return (behind(value),)
    if isinstance(value, dict):
        return (*dict.keys(value), *dict.values(value))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return () if PLAIN.issuperset(map(type, value)) else tuple(value)
    if kind is FunctionType:
        around = () if is_library(str(value.__module__)) else read_by(value)
        held = (value.__defaults__, value.__kwdefaults__, value.__dict__)
        return (*(value.__closure__ or ()), *held, *(read for _, read in around))
    if kind is CellType:
        return _content(value)
    if kind is MethodType:
        return value.__self__, value.__func__
    if kind is partial:
        return value.func, value.args, value.keywords
    if isinstance(value, type | ModuleType | Tensor) or (is_library(kind.__module__) and not holds_values(kind)):
        return ()
    return [held for _, held in fields_of(value)]


def _content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # a variable that has no value yet
        return ()


def behind(reference: Any) -> Any:  # noqa: ANN401 - a reference to anything
    """Return what a weak reference or a ``weakref.proxy`` stands for, or None where it is gone."""
    if type(reference) is ReferenceType:
        return reference()
    try:
        return reference.__repr__.__self__
    except (AttributeError, ReferenceError):
        return None


def base_of(kind: type) -> Any:  # noqa: ANN401 - a class, each of which makes objects in its own way
    """Return the class of Python that a class is laid out like, or None where a twin cannot have objects of it anew.

    What ``functools.lru_cache`` has made is such an object: what it has kept cannot be asked for.
    """
    for base in kind.__mro__:
        # a class of C may be on the heap too, but has a way of its own of making objects
        if not base.__flags__ & _HEAP or type(vars(base).get("__new__")) is BuiltinFunctionType:
            return base if base in _BASES else None
    return None
