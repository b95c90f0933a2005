"""FLOPs, counted op by op, and so free of the machine's noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

if TYPE_CHECKING:
    from collections.abc import Callable


class _Whole(ModuleTracker):
    """Stands where the counter keeps track of modules.

    The counter's own tracker puts gradient hooks on the inputs of every module, and autograd refuses these on a leaf
    that a gradient is asked for. Only the total is wanted here, so nothing has to be tracked.
    """

    def __enter__(self) -> None:
        """Track nothing."""

    def __exit__(self, *_: object) -> None:
        """Track nothing."""


def count_flops(call: Callable[[], object]) -> int:
    """Return the FLOPs of all matrix products and convolutions in `call`; a multiplication with its addition is two."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Whole()
    with counter:
        call()
    return int(counter.get_total_flops())
