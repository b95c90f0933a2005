"""FLOPs, counted op by op, and so free of the machine's noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Whole(ModuleTracker):
    """Stands where the counter keeps track of modules.

    The counter's own tracker puts gradient hooks on the inputs of every module, and autograd refuses these on a leaf
    that a gradient is asked for. Only the total is wanted here, so nothing has to be tracked.
    """

    def __enter__(self) -> None:
        """Track nothing."""

    def __exit__(self, *_: object) -> None:
        """Track nothing."""


def _of_weighted_rows(weight: Sequence[int], rows: Sequence[int], *_: object, **__: object) -> int:
    """Return the FLOPs of a sum of rows of a matrix, each times its factor."""
    return 2 * rows[0] * weight[1]


def _of_windows(shown: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Return the FLOPs of a matrix of what windows show times a weight, ``(windows, in)`` and ``(out, in)``."""
    return 2 * shown[0] * weight[0] * weight[1]


def count_flops(call: Callable[[], object]) -> int:
    """Return the FLOPs of all matrix products and convolutions in `call`; a multiplication with its addition is two.

    Of a product in which rows are left out, since they meet zeros, those that are not are counted.
    """
    # what PyTorch's counter does not know; the ops have no public name
    others = {
        torch.ops.aten._embedding_bag_forward_only: _of_weighted_rows,  # noqa: SLF001
        torch.ops.mkldnn._linear_pointwise: _of_windows,  # noqa: SLF001
    }
    counter = FlopCounterMode(display=False, custom_mapping=others)
    counter.mod_tracker = _Whole()
    with counter:
        call()
    return int(counter.get_total_flops())
