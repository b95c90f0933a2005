"""Deep copies of networks, which Python alone does not make of one that keeps a lock or a loss with its graph."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from rlrp_nb.engine.marks import is_library
from rlrp_nb.engine.reach import Reach
from rlrp_nb.engine.structure import named_tensors
from rlrp_nb.errors import UnsupportedNetworkError


def copy_of(network: nn.Module) -> nn.Module:
    """Return a network with weights and buffers of its own.

    Of tensors that were computed with gradients, such as the loss of a training step, it has the numbers. Locks, open
    files, Python modules and whatever else of a library knows no copies it shares.

    Raises
    ------
    UnsupportedNetworkError
        A class of the user's own does not let its objects be copied.
    """
    with suppress(Exception):  # what can be done about it is tried below
        return deepcopy(network)
    memo: dict[int, Any] = {}
    reach = Reach(network)
    for tensor in (*named_tensors(network).values(), *(tensor for _, tensor in reach.tensors)):
        if not tensor.is_leaf:
            memo[id(tensor)] = tensor.detach().clone()
    for value in reach.values:
        if id(value) not in memo and not _is_copied(value):
            memo[id(value)] = value
    try:
        return deepcopy(network, memo)
    except Exception as error:
        raise UnsupportedNetworkError(
            f"{type(network).__name__} cannot be copied ({type(error).__name__}: {error}), and a copy is what is "
            "worked on. Take out of its attributes what cannot be copied, or give its class __deepcopy__."
        ) from error


def _is_copied(value: Any) -> bool:  # noqa: ANN401 - anything that a network leads to
    """Tell whether a value can be copied, or what it is made of is looked at by itself."""
    if isinstance(value, Tensor | nn.Module | list | tuple | dict | set) or not is_library(type(value).__module__):
        return not isinstance(value, ModuleType)
    try:
        deepcopy(value)
    except Exception:  # noqa: BLE001 - each class refuses in its own way
        return False
    return True
