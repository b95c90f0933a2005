"""A twin of a network, to be run and traced in its place.

Running and tracing call hooks, swap parameters, and whatever else the network's code does. It is done on a twin, which
has module objects, parameters and buffers of its own and shares only the numbers, so that the user's network is never
touched, not even for a moment and not by another thread.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from gc import get_referents
from types import CellType, FunctionType, MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from weakref import ProxyTypes, ReferenceType, proxy, ref

import numpy as np
from torch import Tensor, nn

from rlrp_nb.engine.marks import PLAIN, fields_of, read_by, slots_of
from rlrp_nb.engine.modules import INTERNAL, each_module
from rlrp_nb.engine.reach import HOOKS, VIEWS, Reach, base_of, behind, methods_of
from rlrp_nb.engine.snapshot import inner_of
from rlrp_nb.engine.structure import memory_of, named_tensors
from rlrp_nb.engine.tables import check_tables
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def twin_of(network: nn.Module, *, copies: bool = False, hooked: bool = False) -> Iterator[nn.Module]:
    """Lend a network of new module objects, with parameters, buffers, lists, dicts and functions of its own.

    Whatever leads from the network's attributes back to it leads from the twin's to the twin.

    Parameters
    ----------
    copies
        Whether it gets copies of the buffers, which are small, so that running it changes none. The rest it shares.
    hooked
        Whether it has the network's hooks.

    Raises
    ------
    UnsupportedNetworkError
        A module of the network would do something when its twin comes to its end, which cannot be kept from it; or the
        network reads a table by modules where its twin would not be found.
    """
    making = _Making(network, copies=copies, hooked=hooked)
    try:
        yield making.twin()
    finally:
        making.let_go()


@contextmanager
def separate(network: nn.Module) -> Iterator[nn.Module]:
    """Lend a twin without hooks that shares the numbers of all tensors and needs no gradients for its weights."""
    with twin_of(network) as twin:
        for tensor in named_tensors(twin).values():
            tensor.requires_grad_(False)  # noqa: FBT003 - it takes no keyword
        yield twin


class _Spent:
    """What an object of a user's class becomes when its twin is done with: one that does nothing at its end."""


class _Making:
    """The making of one twin."""

    def __init__(self, network: nn.Module, *, copies: bool, hooked: bool) -> None:
        self._network, self._copies, self._hooked = network, copies, hooked
        self._reach = Reach(network)
        self._made: dict[int, Any] = {}  # by identity of what the network has
        self._globals: dict[int, dict[str, Any]] = {}  # of functions
        self._ending: list[Any] = []  # of classes with ``__del__``

    def twin(self) -> nn.Module:
        """Make the twin."""
        if not self._hooked:  # one with hooks is run for what they see, of a network that was traced before
            check_tables(self._network)
        modules = each_module(self._network)
        for name, module in modules:
            if not self._can_end(type(module)):
                raise UnsupportedNetworkError(
                    f"{name or 'the network'} ({type(module).__name__}) has both __del__ and __slots__. The copy of it "
                    "that is run would call __del__ at its end: take one of the two out of the class."
                )
            # a class may do more than make an object where it is asked for one: torch.fx.GraphModule makes a new class
            self._remember(module, object.__new__(module.__class__))
        self._make_tensors([module for _, module in modules])
        for _, module in modules:
            self._begin(module)
        self._fill_tensors()
        for _, module in modules:
            self._fill(module)
        return cast("nn.Module", self._made[id(self._network)])

    def let_go(self) -> None:
        """Keep ``__del__`` of the user's classes, which may close a file of the network's, from being called."""
        for made in self._ending:
            object.__setattr__(made, "__class__", nn.Module if isinstance(made, nn.Module) else _Spent)

    def _remember(self, value: Any, made: Any) -> None:  # noqa: ANN401 - anything
        self._made[id(value)] = made
        if hasattr(type(made), "__del__"):
            self._ending.append(made)

    def _can_end(self, kind: type) -> bool:
        """Tell whether ``__del__`` of a class, if it has one, can be kept from being called."""
        if not hasattr(kind, "__del__"):
            return True
        plain = nn.Module if issubclass(kind, nn.Module) else _Spent
        probe = object.__new__(plain)
        try:
            object.__setattr__(probe, "__class__", kind)
        except TypeError:  # its objects are laid out in memory in another way, with slots
            return False
        object.__setattr__(probe, "__class__", plain)
        return True

    def _make_tensors(self, modules: list[nn.Module]) -> None:
        """Make the parameters and buffers."""
        parameters = [t for module in modules for t in module._parameters.values() if t is not None]  # noqa: SLF001 - parameters() may be overridden
        buffers = [t for module in modules for t in module._buffers.values() if t is not None]  # noqa: SLF001 - likewise
        # what is written into memory of a weight is written into the weight
        weights = {memory_of(tensor) for tensor in parameters}
        for tensor in (*parameters, *buffers):
            if id(tensor) not in self._made:
                is_copied = self._copies and not isinstance(tensor, nn.Parameter) and memory_of(tensor) not in weights
                self._made[id(tensor)] = _own(tensor, copied=is_copied or tensor.is_inference())

    def _fill_tensors(self) -> None:
        """Give the parameters and buffers the attributes that some have."""
        for tensor in named_tensors(self._network).values():
            for key, value in getattr(tensor, "__dict__", {}).items():
                setattr(self._made[id(tensor)], key, self._of(value))

    def _begin(self, module: nn.Module) -> None:
        """Give a twin its parts, and the attributes as they are: its class may tell by them which key it is."""
        twin, old = self._made[id(module)], module.__dict__
        held = twin.__dict__
        held.update({k: v for k, v in old.items() if k != "_compiled_call_impl"})
        for key, value in slots_of(module):
            object.__setattr__(twin, key, value)
        for name in ("_parameters", "_buffers", "_modules"):
            held[name] = {k: None if v is None else self._made[id(v)] for k, v in old[name].items()}

    def _fill(self, module: nn.Module) -> None:
        """Let the attributes of a twin lead to twins."""
        twin, old = self._made[id(module)], module.__dict__
        held = twin.__dict__
        held.update({k: self._of(v) for k, v in old.items() if k not in INTERNAL})
        for key, value in slots_of(module):
            object.__setattr__(twin, key, self._of(value))
        for key, method in methods_of(type(module)):
            # one that finds the network, or a table by its modules, in a global
            if self._reach.leads_back(method):
                held.setdefault(key, MethodType(self._of(method), twin))
        for name in HOOKS:
            held[name] = OrderedDict((k, self._of(v)) for k, v in old[name].items()) if self._hooked else OrderedDict()
        inner = inner_of(module)
        if inner is not None and "forward" in held:  # torch.compile's, which is compiled for the original
            held["forward"] = self._made[id(inner)].__call__

    def _of(self, value: Any) -> Any:  # noqa: ANN401, PLR0911 - of any type; one return per kind
        """Return a value for the twin: it leads to the twin, and to containers that only the twin changes."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        if kind in {list, deque}:
            own = copy(value)
            self._made[id(value)] = own
            if not PLAIN.issuperset(map(type, value)):
                own.clear()
                own.extend(self._of(v) for v in value)
            return own
        if kind in {dict, OrderedDict, defaultdict, Counter}:
            own = copy(value)
            own.clear()
            self._made[id(value)] = own
            for key, held in value.items():
                own[self._of(key)] = self._of(held)
            return own
        if kind in {tuple, set}:
            return kind(self._of(v) for v in value)
        if kind is SimpleNamespace:
            return self._object(value)
        if kind in {bytearray, np.ndarray}:
            self._made[id(value)] = own = copy(value)
            return own
        return self._anew(value) if self._reach.leads_back(value) else value

    def _anew(self, value: Any) -> Any:  # noqa: ANN401, PLR0911 - likewise
        """Return what leads to the network so that it leads to the twin; of a kind that cannot be made, the same."""
        kind = type(value)
        if kind is FunctionType:
            return self._function(value)
        if kind is MethodType:
            return MethodType(self._of(value.__func__), self._of(value.__self__))
        if kind is partial:
            return partial(self._of(value.func), *self._of(value.args), **self._of(value.keywords))
        if kind is ReferenceType:
            return ref(self._of(behind(value)))
        if kind in ProxyTypes:
            return proxy(self._of(behind(value)))
        if kind in VIEWS:
            return VIEWS[kind](self._of(*get_referents(value)))
        if isinstance(value, frozenset):
            return frozenset.__new__(kind, [self._of(v) for v in value])
        if isinstance(value, tuple):
            return tuple.__new__(kind, [self._of(v) for v in value])
        return self._object(value)

    def _function(self, function: FunctionType) -> FunctionType:
        read = [(k, v) for k, v in read_by(function) if self._reach.leads_back(v)]
        around = function.__globals__
        if any(key in around for key, _ in read):
            around = self._globals.setdefault(id(around), {**around})
        cells, new = [], []
        for cell in function.__closure__ or ():
            if self._reach.leads_back(cell) and id(cell) not in self._made:
                self._made[id(cell)] = CellType()
                new.append(cell)
            cells.append(self._made.get(id(cell), cell))
        own = FunctionType(function.__code__, around, function.__name__, None, tuple(cells) or None)
        self._made[id(function)] = own
        own.__defaults__, own.__kwdefaults__ = self._of(function.__defaults__), self._of(function.__kwdefaults__)
        own.__module__, own.__qualname__ = function.__module__, function.__qualname__
        own.__dict__.update(self._of(function.__dict__))
        for cell in new:
            with suppress(ValueError):  # a variable that has no value yet
                self._made[id(cell)].cell_contents = self._of(cell.cell_contents)
        for key, value in read:
            if key in around:
                around[key] = self._of(value)
        return own

    def _object(self, value: Any) -> Any:  # noqa: ANN401 - an object of a class of anybody's
        """Return an object of the same class with the same fields, each of them for the twin."""
        kind = type(value)
        base = base_of(kind)
        if base is None or not self._can_end(kind):
            return value
        own = base.__new__(kind)
        self._remember(value, own)
        for key, held in fields_of(value):
            object.__setattr__(own, key, self._of(held))
        if base is deque:
            deque.__init__(own, maxlen=value.maxlen)
        elif base is defaultdict:
            defaultdict.__init__(own, self._of(value.default_factory))
        if base in {list, deque, set}:
            (base.update if base is set else base.extend)(own, [self._of(v) for v in base.__iter__(value)])
        elif issubclass(base, dict):
            for key, held in base.items(value):
                base.__setitem__(own, self._of(key), self._of(held))
        return own


def _own(tensor: Tensor, *, copied: bool) -> Tensor:
    """Return a tensor that shares the numbers of another, or has a copy of them."""
    numbers = tensor.detach().clone() if copied else tensor.detach()
    if not isinstance(tensor, nn.Parameter):
        return numbers
    if type(numbers) is not Tensor:
        return nn.Parameter(numbers, tensor.requires_grad)
    # a parameter made in inference mode, which cannot be traced, becomes an ordinary one
    own: Tensor = Tensor._make_subclass(type(tensor), numbers, tensor.requires_grad)  # noqa: SLF001 - as nn.Parameter itself makes one
    return own
