"""Forward hooks: those that look are called on a twin; those that change what is computed are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.engine.reach import Reach
from rlrp_nb.engine.snapshot import check_up_to_date
from rlrp_nb.engine.structure import memory_of
from rlrp_nb.engine.tracing import reason_of, run_twin
from rlrp_nb.engine.twins import twin_of
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

_NEAR, _COARSELY_NEAR = 1e-4, 2e-2
"""How far logits of a graph may be from the network's, of the largest; the second in half precision."""
_AS_GOOD_AS_EQUAL = 16
"""How many roundings of the largest two runs of the network may be apart, as on a GPU."""


def check_hooks(
    network: nn.Module,
    hooked: list[str],
    logits: Tensor,
    inputs: Tensor,
    *,
    by_a_run: bool = False,
    read: Iterable[Tensor] = (),
) -> None:
    """Refuse hooks that fail or change the output: a twin of the network is run once with them.

    Parameters
    ----------
    network
        Not wrapped.
    hooked
        Names of the modules that carry a forward hook.
    logits
        What the network's modules alone compute for the inputs.
    inputs
        Of inputs that the network has not seen yet, logits also change where its forward reads what a hook stores.
    by_a_run
        Whether the logits are of a run of the network itself, which hooks that only look do not change at all.
    read
        Tensors that are taken for constants, in whose places no hook may put other numbers.

    Raises
    ------
    InputError
        The network fails without its hooks too.
    UnsupportedNetworkError
        It fails or returns something else with its hooks alone.
    """
    try:
        with twin_of(network, copies=True, hooked=True) as twin, Undrawn():
            places = {memory_of(tensor) for tensor in read}
            known = [(name, tensor.clone()) for name, tensor in Reach(twin).tensors if memory_of(tensor) in places]
            output = twin(inputs.clone())
            now = Reach(twin).tensors
            # a hook that prunes puts another tensor there, of the same numbers
            stays = all(any(name == each and _is(held, was) for each, held in now) for name, was in known)
    except Exception as error:
        run_twin(network, inputs)  # what fails without hooks too is no failure of a hook
        raise UnsupportedNetworkError(
            f"a forward hook of the network fails, or makes a layer fail {_where(hooked)}: {type(error).__name__}: "
            f"{reason_of(error)}. Mend it, or remove it."
        ) from error
    if by_a_run:
        allowed = _AS_GOOD_AS_EQUAL * torch.finfo(inputs.dtype).eps
    else:
        allowed = _NEAR if inputs.dtype.itemsize > torch.half.itemsize else _COARSELY_NEAR
    same = isinstance(output, torch.Tensor) and output.shape == logits.shape and _are_near(output, logits, allowed)
    if not (same and stays):
        check_up_to_date(network)
        raise UnsupportedNetworkError(
            f"forward hooks change the output of the network, or store what its forward reads {_where(hooked)}. An "
            "explanation follows the modules alone: remove the hooks that replace outputs, write their effect as a "
            "module, and hand on in forward itself what a hook stores."
        )


def _is(held: Tensor, was: Tensor) -> bool:
    same = (held.shape, held.dtype, held.device) == (was.shape, was.dtype, was.device)
    return same and bool((torch.isclose(held, was, rtol=0, atol=0, equal_nan=True)).all())


def _are_near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    size = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found.double(), expected.double(), rtol=0, atol=tolerance * size, equal_nan=True)


def unseen(inputs: Tensor) -> Tensor:
    """Return other inputs that lie between the same bounds and 0, since a hook may look at these."""
    return torch.empty_like(inputs).copy_(0.45 * inputs + 0.45 * inputs.flip(-1))


def check_runs_without(network: nn.Module, hooked: list[str], inputs: Tensor) -> None:
    """Refuse a network that failed without its hooks, if it runs with them.

    Raises
    ------
    UnsupportedNetworkError
        Its forward reads what its hooks store.
    """
    try:
        with twin_of(network, copies=True, hooked=True) as twin, Undrawn(), torch.no_grad():
            twin(inputs.clone())
    except Exception:  # noqa: BLE001 - what fails either way is no matter of hooks
        return
    raise UnsupportedNetworkError(
        f"the network runs with its forward hooks alone {_where(hooked)}: its forward reads what they store. An "
        "explanation follows the modules without hooks: hand it on in forward itself."
    )


def _where(hooked: list[str]) -> str:
    return f"(hooks are on: {', '.join(hooked[:5])})"
