"""Graphs and constants of the networks seen so far, built once and kept for as long as the network lives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rlrp_nb.engine.propagate import fill
from rlrp_nb.engine.snapshot import check_mode, structure_of
from rlrp_nb.engine.tracing import trace

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Graph

_SAMPLES = 64


@dataclass
class _Entry:
    """What is known of one network."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    structure: tuple[Any, ...] = ()
    graphs: dict[tuple[Any, ...], Graph] = field(default_factory=dict)
    constants: WeakKeyDictionary[Graph, _Computed] = field(default_factory=WeakKeyDictionary)


@dataclass(frozen=True)
class _Computed:
    """Constants that were computed from the network's tensors, and how these looked then."""

    sources: dict[str, Tensor]
    marks: list[tuple[int, int]]
    samples: Tensor
    values: dict[int, Tensor]


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
            entry.constants.clear()
            entry.structure = structure
        key = (inputs.shape[1:], inputs.dtype, inputs.device)
        graph = entry.graphs.get(key) or entry.graphs.get((*key, len(inputs)))
        if graph is None:
            graph = trace(network, inputs)
            entry.graphs[key if graph.batch_size is None else (*key, graph.batch_size)] = graph
        return graph


def constants_of(network: nn.Module, graph: Graph) -> dict[int, Tensor]:
    """Return the constants of `graph` with the network's present weights.

    Parameters and buffers are the network's own tensors. What is computed from them (folded batch-norm) is kept until
    one of them changes: until PyTorch counts a write, or a sample of the values differs, as after a write through
    ``.data``.
    """
    tensors = dict(network.named_parameters(remove_duplicate=False)) | dict(
        network.named_buffers(remove_duplicate=False)
    )
    state = {index: tensors[name].detach() for index, name in graph.constants.state.items()}
    values: dict[int, Tensor] = {**state, **graph.constants.tensors}
    if graph.constants.steps:
        entry = _entry(network)
        needed = {index for step in graph.constants.steps for index in step.reads()}
        sources = {name: tensors[name] for index, name in graph.constants.state.items() if index in needed}
        with entry.lock:
            computed = entry.constants.get(graph)
            if computed is None or not _unchanged(computed, sources):
                computed = _compute(graph, values, sources)
                entry.constants[graph] = computed
        values |= computed.values
    return values


def _compute(graph: Graph, values: dict[int, Tensor], sources: dict[str, Tensor]) -> _Computed:
    known: dict[int, Any] = dict(values)
    for step in graph.constants.steps:
        known[step.index] = step.invoke(fill(step.arguments, known))
    made = {step.index: known[step.index] for step in graph.constants.steps}
    # the storage is kept alive by an alias, so that its address cannot come back with other values
    return _Computed({k: v.detach() for k, v in sources.items()}, _marks(sources), _samples(sources), made)


def _unchanged(computed: _Computed, sources: dict[str, Tensor]) -> bool:
    return computed.marks == _marks(sources) and torch.equal(computed.samples, _samples(sources))


def _marks(sources: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Return address and write count of every tensor."""
    return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in sources.values()]  # noqa: SLF001 - autograd's own


def _samples(sources: dict[str, Tensor]) -> Tensor:
    """Return up to 64 evenly spaced values of every tensor."""
    flat = [t.detach().reshape(-1) for t in sources.values()]
    return torch.cat([f[:: max(1, f.numel() // _SAMPLES)] for f in flat]) if flat else torch.empty(0, device="cpu")
