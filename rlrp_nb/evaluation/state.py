"""What a network is at one time, so that whatever changes it while it is measured is found out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import torch

from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.engine.reach import hooks_of
from rlrp_nb.engine.storage import bytes_of
from rlrp_nb.engine.structure import structure_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_REST = "layers, hooks or settings"


class State:
    """A network at one time: its weights and buffers, layers, hooks, and what its code reads.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._seen = self._look()

    def changed(self, inputs: Tensor) -> list[str]:
        """Return what is another since the last look: names of weights and buffers, and a word for all else.

        Parameters
        ----------
        inputs : Tensor
            One that the network takes. Unless a weight has changed it is run once on this, since a network may write by
            itself into buffers and attributes, such as a counter: these are left out.
        """
        before, self._seen = self._seen, self._look()
        changed = [name for name, mark in self._seen.items() if name not in before or before[name] != mark]
        weights = dict(self._network.named_parameters())
        if not changed or any(name in weights for name in changed):
            return changed
        try:
            with undisturbed(inputs):
                self._network(inputs.clone())  # it may write into what it is given, too
        except Exception:  # noqa: BLE001 - a network whose layers no longer fit can fail in any way
            return changed
        now, self._seen = self._seen, self._look()
        return [name for name in changed if self._seen[name] == now[name]]

    def _look(self) -> dict[str, Any]:
        held = [*self._network.named_parameters(), *self._network.named_buffers()]
        digests = {name: zlib.crc32(bytes_of(tensor)) for name, tensor in held if tensor.layout == torch.strided}
        hooks = [[*hooks] for hooks in hooks_of(self._network)]  # those of the way back too, which no graph knows
        return {**digests, _REST: (structure_of(self._network), hooks)}
