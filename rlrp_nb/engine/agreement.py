"""Whether two answers can be those of one network about one input, up to rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# of the largest logit: what rounding can do to the logits of one network
_SAME, SAME_IN_HALF = 1e-3, 2e-2


def says_the_same(logits: Tensor, others: Tensor) -> bool:
    """Tell whether one network can have said both of one image, at different times and in different batches.

    Parameters
    ----------
    logits, others : Tensor
        ``(classes,)``, of any device and dtype.
    """
    tolerance = SAME_IN_HALF if min(logits.element_size(), others.element_size()) <= 2 else _SAME  # noqa: PLR2004 - bytes
    if logits.shape != others.shape:
        return False
    furthest = float((logits.to(others) - others).abs().max())
    return furthest <= tolerance * float(others.abs().max())
