"""What the input of a network can be: from black to white, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Range:
    """What the input of a network can be.

    Parameters
    ----------
    low, high : Tensor
        Per channel ``(C,)``: black and white after preprocessing, or where that is not known, the smallest and the
        largest value of the images that are compared on.
    """

    low: Tensor
    high: Tensor

    def around(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return both ends as ``(1, C, 1, 1)``, of the inputs' dtype and device."""
        return self.low.to(inputs)[None, :, None, None], self.high.to(inputs)[None, :, None, None]
