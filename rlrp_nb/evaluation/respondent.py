"""Who answers when a network is asked many times: its graph, made ready for that, or the network itself.

Both give the same logits but for rounding; the graph gives them sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.engine.inference import Inference, can_infer
from rlrp_nb.engine.layout import channels_last
from rlrp_nb.engine.registry import graph_of
from rlrp_nb.engine.snapshot import has_forward_hooks, unwrap
from rlrp_nb.engine.structure import structure_of
from rlrp_nb.evaluation.memory import agree, memory_format

if TYPE_CHECKING:
    from collections.abc import Hashable

Respondent: TypeAlias = Callable[[Tensor], Tensor]
"""From inputs ``(B, C, H, W)``, into which it may write, to logits ``(B, classes)``."""

_without_graph = WeakIdKeyDictionary()
"""The structures of networks that have no graph, by the shape of an input, as it takes seconds to find out."""


def respondent(network: nn.Module, inputs: Tensor, together: int) -> tuple[Respondent, torch.memory_format]:
    """Return who gives the logits of a network fastest, and the order of memory in which to ask.

    Parameters
    ----------
    network : nn.Module
        In eval mode. Its weights are read now, and must not change while the respondent is asked. Where it was not
        explained before, it is traced, which can take seconds the first time.
    inputs : Tensor
        ``(B, C, H, W)``, of which the first is tried.
    together : int
        How many inputs it will mostly be given at once.

    Returns
    -------
    respondent : function
        The network itself, unless its graph is known to give the same: where the network carries hooks or runs under
        autocast, cannot be traced, does another thing with a single input than with several, or is not of float32 on
        a CPU, nobody else is asked. To be called without gradients.
    order : torch.memory_format
        As of :func:`rlrp_nb.evaluation.memory.memory_format`.
    """
    ready = _inference(network, inputs, together)
    return (network, memory_format(network, inputs)) if ready is None else (ready, torch.channels_last)


def _inference(network: nn.Module, inputs: Tensor, together: int) -> Inference | None:
    """Return the network's graph made ready, or None where it does not answer as the network does."""
    if not can_infer(inputs) or torch.is_autocast_enabled("cpu"):
        return None
    one = inputs[:1].detach().clone(memory_format=torch.contiguous_format)
    try:
        if unwrap(network) is not network or has_forward_hooks(network):
            return None
        known: dict[Hashable, Any] = _without_graph[network] if network in _without_graph else {}  # noqa: SIM401 - get has no types
        if one.shape in known and known[one.shape] == structure_of(network):
            return None
        pair = torch.cat([one, one])
        with undisturbed(one):
            try:
                graph = graph_of(network, pair)
                single = graph_of(network, one)
            except Exception:
                _without_graph[network] = {**known, one.shape: structure_of(network)}
                raise
            if single is not graph or graph.batch_size is not None:
                return None
            ready = Inference(network, graph, channels_last(pair), together)
            expected = network(pair)
    except Exception:  # noqa: BLE001 - a network can fail in any way; whoever asks it itself will see how
        return None
    return ready if agree(ready.logits, expected) else None
