"""What is on its way back: for each value of the graph the sum of what its uses have sent so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlrp_nb.engine.scaling import UNSCALED, Scale, added

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(slots=True)
class Parcel:
    """What is under way to one value.

    Attributes
    ----------
    tensor
        ``(K, *shape)``.
    scale
        What it is multiplied by.
    own
        Whether it lies in memory that nothing else reads.
    """

    tensor: Tensor
    scale: Scale = UNSCALED
    own: bool = False


class UnderWay:
    """Parcels by value index.

    Parameters
    ----------
    batch_dims
        The axis of each value that counts the samples.
    """

    def __init__(self, batch_dims: Mapping[int, int]) -> None:
        self._batch_dims = batch_dims
        self._parcels: dict[int, Parcel] = {}

    def send(self, receivers: Sequence[int], tensors: Sequence[Tensor], scale: Scale, *, own: bool) -> None:
        """Add what one use of some values sends back to that of their other uses.

        Parameters
        ----------
        own
            Whether each tensor lies in memory that nothing else reads.
        """
        for index, tensor in zip(receivers, tensors, strict=True):
            there = self._parcels.get(index)
            if there is None:
                self._parcels[index] = Parcel(tensor, scale, own)
                continue
            if there.scale.exponents is not scale.exponents:
                there.tensor, there.scale = added((there.tensor, there.scale), (tensor, scale), self._batch_dims[index])
            else:
                if there.own:
                    there.tensor.add_(tensor)
                else:
                    there.tensor = tensor.add_(there.tensor) if own else there.tensor + tensor
                there.scale = max(there.scale, scale, key=lambda s: s.passed)
            there.own = True

    def take(self, index: int) -> Parcel | None:
        """Return what has come to a value from all of its uses, which is under way no longer."""
        return self._parcels.pop(index, None)
