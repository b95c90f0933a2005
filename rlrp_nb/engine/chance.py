"""Keeping random numbers for the user: a network that draws some while it is looked at takes none from them."""

from __future__ import annotations

import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def undrawn(devices: Iterable[torch.device]) -> Iterator[None]:
    """Put the random numbers of Python, NumPy and PyTorch back to where they were.

    Parameters
    ----------
    devices
        Whose numbers PyTorch may draw, beside those of the CPU.
    """
    drawn_by_python, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - those that networks draw
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for device in set(devices):
            if device.type not in {"cpu", "meta"} and hasattr(getattr(torch, device.type, None), "get_rng_state"):
                stack.enter_context(torch.random.fork_rng(devices=[device.index or 0], device_type=device.type))
        try:
            yield
        finally:
            random.setstate(drawn_by_python)
            np.random.set_state(drawn_by_numpy)  # noqa: NPY002 - likewise
