"""What the input of a network can be: from black to white, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlrp_nb.errors import InputError


@dataclass(frozen=True)
class Range:
    """What the input of a network can be.

    Parameters
    ----------
    low, high : Tensor
        Per channel ``(C,)``: black and white after preprocessing, or where that is not known, the smallest and the
        largest value of the images that are compared on.

    Raises
    ------
    InputError
        They are no two tensors ``(C,)``, or black is above white.
    """

    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        """Refuse what is no range, which would turn noise and fills around."""
        for name, end in (("low", self.low), ("high", self.high)):
            if not isinstance(end, Tensor) or end.ndim != 1:
                given = f"a tensor {tuple(end.shape)}" if isinstance(end, Tensor) else f"a {type(end).__name__}"
                raise InputError(f"{name} is {given}; accepted is a tensor (C,), a value per channel.")
        if self.low.shape != self.high.shape:
            raise InputError(f"low has {len(self.low)} channels and high has {len(self.high)}: give one of each.")
        if bool((self.low > self.high).any()):
            raise InputError("low is above high: low is black after preprocessing, high is white.")

    def around(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return both ends as ``(1, C, 1, 1)``, of the inputs' dtype and device."""
        return self.low.to(inputs)[None, :, None, None], self.high.to(inputs)[None, :, None, None]
