"""Graphs of the networks seen so far, built once and kept for as long as the network lives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import forward
from rlrp_nb.engine.snapshot import check_mode, modules_of
from rlrp_nb.engine.structure import structure_of
from rlrp_nb.engine.tracing import trace
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Graph


@dataclass
class _Entry:
    """What is known of one network."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    structure: tuple[Any, ...] = ()
    graphs: dict[tuple[Any, ...], Graph] = field(default_factory=dict)


_entries: WeakKeyDictionary[nn.Module, _Entry] = WeakKeyDictionary()
_entries_lock = threading.Lock()


def _entry(network: nn.Module) -> _Entry:
    with _entries_lock:
        if network not in _entries:
            _entries[network] = _Entry()
        return _entries[network]


def graph_of(network: nn.Module, inputs: Tensor) -> Graph:
    """Return the graph of `network` for inputs of this shape, dtype and device, tracing it the first time.

    A network whose layers were changed since is traced again.
    """
    entry = _entry(network)
    with entry.lock:
        structure = structure_of(network)
        if structure != entry.structure:
            check_mode(network)
            entry.graphs.clear()
            entry.structure = structure
        key = (inputs.shape[1:], inputs.dtype, inputs.device)
        graph = entry.graphs.get(key) or entry.graphs.get((*key, len(inputs)))
        if graph is None:
            graph = trace(network, inputs)
            if graph.batch_size not in {None, 1}:
                check_samples_alone(network, graph, inputs)
            entry.graphs[key if graph.batch_size is None else (*key, graph.batch_size)] = graph
        return graph


def check_samples_alone(network: nn.Module, graph: Graph, inputs: Tensor) -> None:
    """Refuse a graph of fixed batch size in which one sample's logits depend on the others.

    Where the batch size is a symbol, the graph itself shows which axis it is; here it is found out by trying.

    Raises
    ------
    UnsupportedNetworkError
        The logits of the first sample change when the others do.
    """
    steps, constants = plan(graph, METHODS["rlrp"], None, ledger=False), constants_of(network, graph)
    with torch.no_grad():
        logits = forward(graph, steps, constants, inputs).logits
        others = torch.cat([inputs[:1], inputs[1:] * 0.5 + inputs[1:].flip(-1) + 0.1])
        changed = forward(graph, steps, constants, others).logits
    if not torch.allclose(logits[0], changed[0], rtol=0, atol=1e-3 * float(logits.abs().max())):
        raise UnsupportedNetworkError(
            f"the network works for a batch of {graph.batch_size} only, and mixes its samples, so that none can be "
            "explained alone. Write it for any batch size, keeping the samples on axis 0."
        )


def constants_of(network: nn.Module, graph: Graph) -> dict[int, Tensor]:
    """Return the constants of `graph` with the network's present weights.

    Parameters and buffers are the network's own tensors. What is computed from them (folded batch-norm) is computed at
    every run: PyTorch does not count every way of writing into a tensor, and old weights would go unnoticed.
    """
    modules = dict(modules_of(network))
    values: dict[int, Any] = {}
    for index, name in graph.constants.state.items():
        path, _, leaf = name.rpartition(".")
        own = modules[path].__dict__
        tensor = own["_parameters"].get(leaf)
        tensor = own["_buffers"][leaf] if tensor is None else tensor
        values[index] = tensor.detach() if tensor.requires_grad else tensor
    values |= graph.constants.tensors
    for step in graph.constants.steps:
        values[step.index] = step.invoke(step.filled(values.__getitem__))
    values |= {index: values[whole][position] for index, (whole, position) in graph.constants.parts.items()}
    return values
