"""The numbers that a network holds, digested, so that whatever writes into them is found out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch

from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.evaluation.identity import bytes_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Numbers:
    """The weights and buffers of a network at one time.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._digests = self._digest()

    def changed(self, inputs: Tensor) -> list[str]:
        """Return the names of weights and buffers that were written into.

        Parameters
        ----------
        inputs : Tensor
            One that the network takes. Where buffers alone have changed it is run once on this, since a network may
            write into buffers by itself, such as a counter: these are left out.
        """
        before, self._digests = self._digests, self._digest()
        changed = [name for name in self._digests if self._digests[name] != before.get(name)]
        weights = dict(self._network.named_parameters())
        if not changed or any(name in weights for name in changed):
            return changed
        with undisturbed(inputs):
            self._network(inputs)
        now, self._digests = self._digests, self._digest()
        return [name for name in changed if self._digests[name] == now[name]]

    def _digest(self) -> dict[str, int]:
        held = [*self._network.named_parameters(), *self._network.named_buffers()]
        return {name: zlib.crc32(bytes_of(tensor)) for name, tensor in held if tensor.layout == torch.strided}
