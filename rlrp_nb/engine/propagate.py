"""Forward once, then walk back once for any number of targets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.accounts import Account, account, joined
from rlrp_nb.engine.heap import LARGEST, keep_heap
from rlrp_nb.engine.rule import Call, Slot, unbroadcast
from rlrp_nb.engine.scaling import CHECK_EVERY, rescale, unscale
from rlrp_nb.engine.treatments import Activate, ActivatePicked, Differentiate, Flatten, Skip, Treatment, rule_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlrp_nb.engine.graph import Graph, Step
    from rlrp_nb.engine.planning import Plan
    from rlrp_nb.engine.rule import Memory


@dataclass
class Record:
    """What the forward pass leaves for the way back.

    Attributes
    ----------
    logits
        The network's output.
    values
        The values to be read again, by index; constants and sizes among them.
    shapes
        The shapes of all values that depend on the input.
    states
        What the rules kept, by step.
    """

    logits: Tensor
    values: dict[int, Any]
    shapes: dict[int, torch.Size]
    states: dict[int, Any]

    def copy(self) -> Record:
        """Return a record of the same values, which can be used up while this one is not."""
        return replace(self, values={**self.values}, states={**self.states})


@dataclass(frozen=True)
class Relevance:
    """What a walk brings back.

    Attributes
    ----------
    input
        Relevance of the input, ``(K, B, …)``.
    layers
        Relevance of the wanted layers by value index, ``(K, B, …)``.
    accounts
        Rows of the ledger, logits first; empty where none was wanted.
    """

    input: Tensor
    layers: dict[int, Tensor]
    accounts: tuple[Account, ...]


def forward(graph: Graph, plan: Plan, constants: Mapping[int, Tensor], inputs: Tensor) -> Record:
    """Run the network on `inputs` ``(B, …)`` and keep what `plan` reads on the way back."""
    keep_heap()
    values: dict[int, Any] = {**constants, graph.input: inputs}
    shapes, states = {graph.input: inputs.shape}, {}
    for step, frees in zip(graph.steps, plan.frees, strict=True):
        arguments = step.filled(values.__getitem__)
        treatment = plan.treatments.get(step.index)
        if treatment is not None and not isinstance(treatment, Differentiate):
            values[step.index], state = _run(step, treatment, plan.overwrites.get(step.index, ()), arguments)
            if state is not None:
                states[step.index] = state
        else:
            values[step.index] = step.invoke(arguments)
        if step.sources:
            shapes[step.index] = values[step.index].shape
        del arguments
        for index in frees:
            del values[index]
    return Record(values[graph.output], values, shapes, states)


def _run(step: Step, treatment: Treatment, overwrites: tuple[str, ...], arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Run a step, where it can in the memory of a value that nothing else reads."""
    if isinstance(treatment, ActivatePicked):
        return treatment.run(step, arguments)
    rule = rule_of(step)
    for name in overwrites:
        output = rule.overwrite(arguments, name)
        if output is not None:
            return output, None
    return rule.forward(step, arguments)


def walk_back(graph: Graph, plan: Plan, record: Record, inputs: Tensor, seeds: Tensor) -> Relevance:
    """Carry the sensitivity of the logits back to the input.

    Parameters
    ----------
    record
        Of the forward pass on `inputs`; it is used up, each value being freed after its last use.
    seeds
        The sensitivity of the logits, ``(K, *logits.shape)``; its dtype is the one in which is accumulated.

    Returns
    -------
    Relevance
        Of the input, the wanted layers and the ledger.

    Notes
    -----
    Where the sensitivity of all targets is larger than memory that is kept from one step to the next, a few targets
    walk at a time.
    """
    portions = torch.split(seeds, _at_a_time(record, seeds))
    batch_dims = {graph.input: 0} | {step.index: step.batch_dim or 0 for step in graph.steps}
    walks = [
        _walk(graph, plan, record if n == len(portions) else record.copy(), inputs, portion, batch_dims)
        for n, portion in enumerate(portions, start=1)
    ]
    found = {}
    for index in walks[0].found:
        relevance, exponents = (_joined([walk.found[index][part] for walk in walks]) for part in (0, 1))
        found[index] = unscale(relevance, exponents, batch_dims[index])
    accounts = tuple(joined(rows) for rows in zip(*(walk.accounts for walk in walks), strict=True))
    return Relevance(found.pop(graph.input), found, accounts)


def _at_a_time(record: Record, seeds: Tensor) -> int:
    """Return how many targets walk back together: as many as fit into memory that is kept."""
    if seeds.device.type != "cpu":
        return len(seeds)
    largest = max(math.prod(shape) for shape in record.shapes.values()) * seeds.element_size()
    return min(max(1, LARGEST // largest), len(seeds))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts])


@dataclass(frozen=True)
class _Walk:
    """What a walk of some targets brings back.

    Attributes
    ----------
    found
        Relevance ``(K, B, …)`` of the input and the wanted layers by value index, and the exponents ``(K, B)`` of the
        powers of two that it has to be multiplied with.
    accounts
        Rows of the ledger.
    """

    found: dict[int, tuple[Tensor, Tensor]]
    accounts: tuple[Account, ...]


def _walk(  # noqa: PLR0917 - private, and called once
    graph: Graph, plan: Plan, record: Record, inputs: Tensor, seeds: Tensor, batch_dims: Mapping[int, int]
) -> _Walk:
    sensitivities: dict[int, Tensor] = {graph.output: seeds}
    spare: set[int] = set()  # those of the sensitivities that nothing else reads
    carried: dict[int, Tensor] = {}  # relevance on its way from a flat first layer to the input
    found, accounts, passes = {}, [], 0
    exponents = torch.zeros(seeds.shape[:2], dtype=torch.int32, device=seeds.device)
    record.values[graph.input] = inputs
    for step in reversed(graph.steps):
        treatment = plan.treatments.get(step.index)
        s, r = sensitivities.pop(step.index, None), carried.pop(step.index, None)
        if treatment is None or (s is None and r is None):
            continue
        call = call_of(step, plan, record, seeds.dtype, inputs.device)
        call.spare = step.index in spare and not plan.ledger
        if step.index in plan.wanted:
            found[step.index] = _relevance(record.values[step.index], s, r), exponents
        receivers = plan.receivers[step.index]
        if s is not None:
            messages = treatment.back(call, s)
            if plan.ledger:
                entry = account(treatment, call, s, messages, [batch_dims[i] for i in receivers])
                accounts.append(entry.scaled(exponents))
            if isinstance(treatment, Flatten):
                carried[receivers[0]] = _sum(carried.get(receivers[0]), messages[0])
            else:
                memory = _memory(step, treatment)
                own = memory == "new" or (memory == "parts" and call.spare)
                _send((sensitivities, spare), receivers, messages, own=own)
            del messages
        if r is not None:
            carried[receivers[0]] = _sum(carried.get(receivers[0]), _carry(call, r))
        del s, r
        record.values.pop(step.index, None)
        record.states.pop(step.index, None)
        active = isinstance(treatment, Activate | ActivatePicked)
        passes += active
        if active and passes % CHECK_EVERY == 0:
            exponents = rescale((sensitivities, carried), batch_dims, exponents)
    found[graph.input] = _relevance(inputs, sensitivities.get(graph.input), carried.get(graph.input)), exponents
    return _Walk(found, tuple(accounts))


def _memory(step: Step, treatment: Treatment) -> Memory:
    """Return whose memory a treatment returns."""
    if isinstance(treatment, Skip):
        return "parts"
    return "new" if isinstance(treatment, Differentiate) else rule_of(step).returns


def _send(
    under_way: tuple[dict[int, Tensor], set[int]], receivers: Sequence[int], messages: Sequence[Tensor], *, own: bool
) -> None:
    """Add what one use of a value sends back to that of its other uses, in memory that nothing else reads.

    Parameters
    ----------
    under_way
        The sensitivities by value index, and those of them that lie in such memory.
    own
        Whether each message does.
    """
    sensitivities, spare = under_way
    for index, message in zip(receivers, messages, strict=True):
        there = sensitivities.get(index)
        if there is None:
            sensitivities[index] = message
            (spare.add if own else spare.discard)(index)
        elif index in spare:
            there.add_(message)
        else:
            sensitivities[index] = message.add_(there) if own else there + message
            spare.add(index)


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other


def call_of(step: Step, plan: Plan, record: Record, dtype: torch.dtype, device: torch.device) -> Call:
    """Return what a rule may know of a step that was run, with the values that the plan has it keep."""
    treatment, receivers = plan.treatments[step.index], plan.receivers[step.index]
    keeps_input = plan.ledger or "input" in treatment.needs
    shapes, values, sources = record.shapes, record.values, step.sources
    return Call(
        step=step,
        at=lambda index: Slot(shapes[index]) if index in sources else values[index],
        shapes=tuple([shapes[i] for i in receivers]),
        output_shape=shapes[step.index],
        state=record.states.get(step.index),
        inputs=tuple([values[i] for i in receivers]) if keeps_input else (None,) * len(receivers),
        output=values.get(step.index),
        dtype=dtype,
        device=device,
    )


def _carry(call: Call, relevance: Tensor) -> Tensor:
    """Move relevance of a flat first layer towards the input: views by their transpose, element-wise maps unchanged."""
    rule = rule_of(call.step)
    return rule.transpose(call, relevance)[0] if rule.kind == "shape" else unbroadcast(relevance, call.shapes[0])


def _relevance(value: Tensor, s: Tensor | None, carried: Tensor | None) -> Tensor:
    """Return ``a * s`` plus relevance that was carried, ``(K, *shape)``, in the usual order of memory."""
    if s is None:
        return torch.zeros_like(value)[None] if carried is None else carried
    product = value.to(s.dtype) * s
    return (product if carried is None else product + carried).contiguous()
