"""Transforms of PyTorch around an explanation: they would find zeros, since an explanation is not differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch._guards import detect_fake_mode
from torch.autograd import forward_ad

from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def check_untransformed(tensor: Tensor, name: str) -> None:
    """Refuse a tensor that ``torch.func`` or forward-mode differentiation follows.

    Parameters
    ----------
    tensor
        That an explanation is about to detach.
    name
        What it is to the user.

    Raises
    ------
    InputError
        It is inside a transform, carries a tangent, or tensors have no values here.
    """
    if detect_fake_mode() is not None:
        raise InputError(
            "explain is called under a FakeTensorMode, in which tensors have no values. Call it outside of the mode."
        )
    tangent = forward_ad.unpack_dual(tensor).tangent  # type: ignore[no-untyped-call]
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # noqa: SLF001 - it has no public name
    if wrapped or tangent is not None:
        raise InputError(
            f"{name} is inside a transform of PyTorch (torch.func.grad, vjp, jvp, jacrev, vmap, or a dual number of "
            "torch.autograd.forward_ad), and an explanation is not differentiated: its derivative would read as zero. "
            "Call explain outside of the transform, with a batch instead of vmap."
        )
