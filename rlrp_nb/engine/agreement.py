"""Whether two explanations are of one thing: one answer of one network, up to rounding, and one question about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from rlrp_nb.engine.explanation import Explanation

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


def asks_the_same(one: Explanation, other: Explanation, target: int, sample: int) -> bool:
    """Tell whether two explanations have the same class, contrast or seed at a position among their targets.

    Classes of one name are not the same; of seeds that were saved before files kept them, nothing tells.
    """
    place = sample, target
    if one.targets[place] != other.targets[place] or one.negatives[place] != other.negatives[place]:
        return False
    if one.seeds is None or other.seeds is None:
        return True
    return one.seeds[place].equal(other.seeds[place].to(one.seeds))
