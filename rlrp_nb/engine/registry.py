"""Graphs of the networks seen so far, built once and kept for as long as the network lives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from rlrp_nb.engine.building import UNRELATED
from rlrp_nb.engine.hooks import check_hooks, check_runs_without, unseen
from rlrp_nb.engine.methods import METHODS
from rlrp_nb.engine.planning import plan
from rlrp_nb.engine.propagate import forward
from rlrp_nb.engine.rules import RULES
from rlrp_nb.engine.snapshot import check_mode, has_forward_hooks
from rlrp_nb.engine.structure import named_tensors, survey
from rlrp_nb.engine.tracing import run_twin, trace
from rlrp_nb.engine.trial import try_steps
from rlrp_nb.errors import InputError, RlrpError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlrp_nb.engine.graph import Graph
    from rlrp_nb.engine.rule import Rule

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.05}
"""How far the logits of a graph may be from the network's own, of the range of a sample's: deep networks round much.

By the coarsest dtype in use.
"""
_MOST_GRAPHS = 32
"""Of one network."""
_ROUNDINGS = 8
"""Of the size of the logits, which may be far larger than their range."""


@dataclass
class _Entry:
    """What is known of one network."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    structure: tuple[Any, ...] = ()
    rules: dict[str, Rule] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    hooked: list[str] = field(default_factory=list)
    graphs: dict[tuple[Any, ...], Graph] = field(default_factory=dict)
    places: dict[Graph, list[tuple[int, int]]] = field(default_factory=dict)
    checked: set[tuple[Any, ...]] = field(default_factory=set)

    def forget(self) -> None:
        """Let go of all graphs."""
        self.graphs.clear()
        self.places.clear()
        self.checked.clear()

    def keep(self, key: tuple[Any, ...], graph: Graph) -> None:
        """Note a graph, and forget the oldest where there are many: inputs can be of ever new shapes."""
        while len(self.graphs) >= _MOST_GRAPHS:
            self.places.pop(self.graphs.pop(next(iter(self.graphs))), None)
            self.checked.clear()
        self.graphs[key] = graph


_entries = WeakIdKeyDictionary()  # by identity: a network may compare itself with others in a way of its own
_entries_lock = threading.Lock()


def _entry(network: nn.Module) -> _Entry:
    with _entries_lock:
        if network not in _entries:
            _entries[network] = _Entry()
        entry: _Entry = _entries[network]
        return entry


class Known(NamedTuple):
    """A network as it is now.

    Attributes
    ----------
    graph
        For inputs of a shape, dtype and device.
    constants
        Those of the graph, of the network's present weights, by value index.
    hooked
        Names of the modules that carry a forward hook.
    """

    graph: Graph
    constants: dict[int, Any]
    hooked: list[str]


def graph_of(network: nn.Module, inputs: Tensor) -> Graph:
    """Return the graph of `network` for inputs of this shape, dtype and device, tracing it the first time."""
    return look_up(network, inputs).graph


def look_up(network: nn.Module, inputs: Tensor) -> Known:
    """Return the graph of `network` for inputs of this shape, dtype and device with its weights.

    A network is traced the first time, and again where its layers or the rules were changed since. The first time, the
    graph is compared with the network, once for a single sample and once for several: a trace takes the batch for one
    of several.
    """
    entry = _entry(network)
    with entry.lock:
        structure, tensors = survey(network)
        if structure != entry.structure or entry.rules != RULES:
            check_mode(network)
            entry.forget()
            entry.names, entry.hooked = [*named_tensors(network)], has_forward_hooks(network)
            entry.structure, entry.rules = structure, {**RULES}
        key = (inputs.shape[1:], inputs.dtype, inputs.device)
        single = (*key, 1)
        graph = entry.graphs.get((*key, len(inputs))) or entry.graphs.get(key)
        if graph is not None and not _has_its_places(graph, entry.names, tensors):
            entry.forget()
            graph = None
        if graph is None:
            graph = _trace(network, inputs, entry.hooked)
            if graph.batch_size != 1 and len(inputs):
                check_samples_alone(network, graph, inputs)
            _check_way_back(network, graph, inputs)
            entry.keep(key if graph.batch_size is None else (*key, graph.batch_size), graph)
        # code can ask in what order its input lies in memory
        checked = (*(single if len(inputs) == 1 else (*key, graph.batch_size)), inputs.is_contiguous())
        if checked not in entry.checked:
            if len(inputs) == 1 and graph.batch_size is None and not _is_faithful(network, graph, inputs):
                graph = trace(network, inputs, for_any_batch=False)
                _check_way_back(network, graph, inputs)
                entry.keep(single, graph)
            if not _is_faithful(network, graph, inputs):
                raise UnsupportedNetworkError(
                    "the network gives other logits when it is run than when it is traced by torch.export: what it "
                    "computes depends on more than its input and its weights, such as Python's random numbers, the "
                    "time, a counter, the thread, the order of its input in memory, or on whether it is being "
                    "compiled. Make it depend on these two alone."
                )
            if entry.hooked:
                _check_hooks(network, graph, inputs, entry.hooked)
            entry.checked.add(checked)
        if graph not in entry.places:
            position = {name: n for n, name in enumerate(entry.names)}
            entry.places[graph] = [(index, position[name]) for index, name in graph.constants.state.items()]
        state = {index: tensors[n] for index, n in entry.places[graph]}
        return Known(graph, _computed(graph, state), entry.hooked)


def _has_its_places(graph: Graph, names: list[str], tensors: list[Tensor]) -> bool:
    """Tell whether the buffers by which it was told where a gate's numbers lie are what they were."""
    if not graph.constants.places:
        return True
    held = dict(zip(names, tensors, strict=True))
    return all(
        held[name].device == place.device and torch.equal(held[name], place)
        for name, place in graph.constants.places.items()
    )


def _trace(network: nn.Module, inputs: Tensor, hooked: list[str]) -> Graph:
    try:
        return trace(network, inputs)
    except RlrpError as error:
        if hooked and (isinstance(error, InputError) or UNRELATED in str(error)):
            check_runs_without(network, hooked, inputs)
        raise


def _check_hooks(network: nn.Module, graph: Graph, inputs: Tensor, hooked: list[str]) -> None:
    """Refuse hooks that have to do with the logits: of inputs that they have not seen, and then of those they shall."""
    read = graph.constants.tensors.values()
    for each in (unseen(inputs), inputs) if len(inputs) else ():  # as many, since a hook may compare them with the last
        check_hooks(network, hooked, run_twin(network, each), each, by_a_run=True, read=read)


def _is_faithful(network: nn.Module, graph: Graph, inputs: Tensor) -> bool:
    """Tell whether a graph computes what the network does, up to rounding; of several samples two are tried.

    Where logits nearly agree, as at the edge between two classes, their range is no measure for rounding: then other
    inputs tell.
    """
    tried = inputs[:2] if graph.batch_size is None else inputs
    answer = _answering(network, graph)
    for each in (tried, _others(tried)):
        own, logits = run_twin(network, each), answer(each)
        if not isinstance(own, Tensor) or own.numel() != logits.numel():
            return False
        if not bool(torch.isfinite(own).all()):  # what is wrong with them is said later
            return True
        own = own.reshape(logits.shape)  # a batch of one may have been squeezed away
        if _are_near(logits, own, network, inputs.dtype):
            return True
    return False


def _check_way_back(network: nn.Module, graph: Graph, inputs: Tensor) -> None:
    """Refuse a graph that the engine would walk back wrongly; of any batch size, a single sample is tried."""
    try_steps(graph, constants_of(network, graph), inputs[:1] if graph.batch_size is None else inputs)


def _others(inputs: Tensor) -> Tensor:
    """Return other inputs, of about the same size and in the same order in memory."""
    return torch.empty_like(inputs).copy_(inputs * 0.5 + inputs.flip(-1) + 0.1)


def two_of(inputs: Tensor) -> Tensor:
    """Return the first two samples, or the only one twice."""
    return torch.cat([inputs[:2], inputs[:2]])[:2]


def with_others(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return samples, the first of them beside others, and the last beside others."""
    others = _others(inputs)
    return inputs, torch.cat([inputs[:1], others[1:]]), torch.cat([others[:-1], inputs[-1:]])


def _are_near(found: Tensor, expected: Tensor, network: nn.Module, dtype: torch.dtype) -> bool:
    """Tell whether logits of samples ``(B, …)`` are the same but for rounding, that of `dtype` and of the weights."""
    expected, found = (t.to(torch.float64).reshape(len(t), -1) for t in (expected, found))
    smallest, largest = expected.amin(1), expected.amax(1)
    size = torch.maximum(largest, -smallest)
    range_ = torch.where(largest > smallest, largest - smallest, size)  # a single logit has none
    used = {dtype, *(tensor.dtype for tensor in named_tensors(network).values())} & _TOLERANCE.keys()
    coarsest = max(used, key=lambda dtype: _TOLERANCE[dtype])
    # large logits that are near each other are rounded as their size asks for
    near = _TOLERANCE[coarsest] * range_ + _ROUNDINGS * torch.finfo(coarsest).eps * size
    return bool(((found - expected).abs().amax(1) <= near).all())


def _answering(network: nn.Module, graph: Graph) -> Callable[[Tensor], Tensor]:
    """Return what gives the logits of a graph with the network's present weights."""
    steps, constants = plan(graph, METHODS["rlrp"], None, ledger=False), constants_of(network, graph)

    @torch.no_grad()
    def answer(inputs: Tensor) -> Tensor:
        return forward(graph, steps, constants, inputs).logits

    return answer


def check_samples_alone(network: nn.Module, graph: Graph, inputs: Tensor) -> None:
    """Refuse a graph in which one sample's logits depend on the others, which is found out by trying.

    The graph mostly shows what happens along the axis of the samples, but a product with a constant can have as many
    rows as there are samples, and a normalisation can run over all axes. Where any batch size will do, two are tried.

    Raises
    ------
    UnsupportedNetworkError
        The logits of the first or the last sample change when the others do.
    """
    answer = _answering(network, graph)
    inputs, *changed = with_others(two_of(inputs) if graph.batch_size is None else inputs)
    logits = answer(inputs)
    if not bool(torch.isfinite(logits).all()):  # what is wrong with them is said later
        return
    first, last = map(answer, changed)
    if not _are_near(torch.stack([first[0], last[-1]]), logits[[0, -1]], network, inputs.dtype):
        only = "" if graph.batch_size is None else f"works for a batch of {graph.batch_size} only, and "
        raise UnsupportedNetworkError(
            f"the network {only}mixes its samples, so that none can be explained alone. Write it for any batch size, "
            "keeping the samples on axis 0."
        )
    if graph.batch_size is not None:
        _check_axes(network, graph, inputs, changed[0])


def _check_axes(network: nn.Module, graph: Graph, inputs: Tensor, changed: Tensor) -> None:
    """Refuse a graph of a fixed batch size in which an axis of this length was taken for that of the samples.

    Parameters
    ----------
    changed
        The same inputs but for all samples after the first.

    Raises
    ------
    UnsupportedNetworkError
        What should be the first sample within the network changes with the others.
    """
    steps, constants = plan(graph, METHODS["rlrp"], None, ledger=True), constants_of(network, graph)
    with torch.no_grad():
        before, after = (forward(graph, steps, constants, tried).values for tried in (inputs, changed))
    for step in graph.steps:
        one, other = before.get(step.index), after.get(step.index)
        if step.batch_dim is None or not step.floating or one is None or other is None or not one.numel():
            continue
        first, again = one.select(step.batch_dim, 0), other.select(step.batch_dim, 0)
        if not torch.allclose(first, again, rtol=0, atol=1e-3 * float(one.abs().max())):
            raise UnsupportedNetworkError(
                f"the network works for a batch of {graph.batch_size} only, and at {step.name} another axis of this "
                "length stands in front of that of its samples. Write it for any batch size, or explain one at a time."
            )


def constants_of(network: nn.Module, graph: Graph) -> dict[int, Any]:
    """Return the constants of `graph` with the network's present weights, by value index."""
    named = named_tensors(network)
    return _computed(graph, {index: named[name] for index, name in graph.constants.state.items()})


def _computed(graph: Graph, state: dict[int, Tensor]) -> dict[int, Any]:
    """Return all constants of a graph, given those of them that are parameters and buffers of the network.

    What is computed from them (folded batch-norm) is computed at every run: PyTorch does not count every way of writing
    into a tensor, and old weights would go unnoticed.
    """
    values: dict[int, Any] = {i: tensor.detach() if tensor.requires_grad else tensor for i, tensor in state.items()}
    values |= graph.constants.tensors
    for step in graph.constants.steps:
        values[step.index] = step.invoke(step.filled(values.__getitem__))
    values |= {index: values[whole][position] for index, (whole, position) in graph.constants.parts.items()}
    return values
