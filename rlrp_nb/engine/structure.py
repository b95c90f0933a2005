"""A fingerprint of all that decides a network's graph, so that a network that was changed is traced again.

A graph holds whatever the network's Python code read while it was traced: attributes of modules and of their classes,
and what their functions read from around them, globals and variables of enclosing functions. Weights are no part of
it: a graph fetches them from the network at each run. But which of them are there, and which are one and the same, is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rlrp_nb.engine.marks import PLAIN, Marks, slots_of
from rlrp_nb.engine.modules import FORWARD_HOOKS, INTERNAL, global_hooks, modules_of
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROWS, _NUMBERS = frozenset({tuple, list}), frozenset({int})
_EAGER = frozenset({Tensor, nn.Parameter})


class Survey(NamedTuple):
    """What one walk over a network's modules finds.

    Attributes
    ----------
    structure
        What decides the graph apart from the values of tensors: modules, what their code reads, mode and hooks. Two
        equal structures trace to the same graph, so that a layer that was replaced, a stride that was changed or a
        function that was exchanged after the first explanation is noticed.
    tensors
        Parameters and buffers, in the order of `named_tensors`.
    """

    structure: tuple[Any, ...]
    tensors: list[Tensor]


def structure_of(network: nn.Module) -> tuple[Any, ...]:
    """Return the structure that a survey finds."""
    return survey(network).structure


def survey(network: nn.Module) -> Survey:
    """Look at all of a network's modules; this is done for every explanation, whatever is known of the network.

    Raises
    ------
    UnsupportedNetworkError
        Attributes hold things within things too deeply to be looked at.
    """
    modules = modules_of(network)
    marks = Marks([module for _, module in modules])
    tensors: list[Tensor] = []
    parts: list[Any] = []
    place = ""
    try:
        for place, module in modules:
            held = module.__dict__
            # a plain value is its own mark; this runs for every explanation
            own = {
                k: v
                if (kind := type(v)) in PLAIN
                else kind(v)
                if kind in _ROWS and _NUMBERS.issuperset(map(type, v))
                else marks.of(v)
                for k, v in held.items()
                if k not in INTERNAL
            }
            own |= {k: marks.of(v) for k, v in slots_of(module)}
            forms = _forms(held["_parameters"], tensors), _forms(held["_buffers"], tensors)
            # 1 equals True and 1.0, and code can tell them apart
            parts += (
                place,
                type(module),
                own,
                [*map(type, own.values())],
                *forms,
                [len(held[hooks]) for hooks in FORWARD_HOOKS],
            )
        kinds = []
        for kind in dict.fromkeys(type(module) for _, module in modules):
            place = kind.__name__
            kinds.append(marks.of_type(kind))
    except RecursionError:
        raise UnsupportedNetworkError(
            f"an attribute of {place or 'the network'} holds things within things too deeply to be looked at for "
            "changes. Keep what forward does not read somewhere else, or in flat lists."
        ) from None
    structure = (
        kinds,
        global_hooks(),
        parts,
        _shared(tensors),
        _shared([module for _, module in modules]),
        _places(marks.tensors, tensors),
    )
    return Survey(structure, tensors)


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, in the order of a survey's; one registered twice has both names."""
    return {
        f"{name}.{key}" if name else key: tensor
        for name, module in modules_of(network)
        for held in (module.__dict__["_parameters"], module.__dict__["_buffers"])
        for key, tensor in held.items()
        if tensor is not None
    }


def memory_of(tensor: Tensor) -> int | None:
    """Return which memory the numbers of a tensor lie in; None where it is not one."""
    # its address is 0 where it is empty
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None  # noqa: SLF001 - it has no public name


def _forms(named: Mapping[str, Tensor | None], tensors: list[Tensor]) -> list[Any]:
    """Return which parameters or buffers of a module are there, and of what form, and add them to `tensors`."""
    if not named:
        return []
    tensors += [t for t in named.values() if t is not None]
    return [
        part
        for k, t in named.items()
        for part in (
            (k,) if t is None else (k, type(t), t.dtype, t.shape if type(t) in _EAGER or not is_lazy(t) else None)
        )
    ]


def _places(kept: list[int], tensors: list[Tensor]) -> list[int | None]:
    """Return which of a network's parameters and buffers, if any, each tensor is that it keeps elsewhere too.

    One that is read from a tuple is the weight no longer when the weight is replaced.
    """
    if not kept:
        return []
    place = {id(tensor): n for n, tensor in enumerate(tensors)}
    return [place.get(identity) for identity in kept]


def _shared(values: list[Any]) -> list[int] | None:
    """Return for each which is the first that is the same object, or None where each is there once."""
    ids = [*map(id, values)]
    first = dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True))
    return None if len(first) == len(ids) else [first[i] for i in ids]
