"""Forward once, then walk back once for any number of targets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.accounts import Account, account, joined
from rlrp_nb.engine.heap import LARGEST, keep_heap
from rlrp_nb.engine.rule import Call, Slot, contribution, unbroadcast
from rlrp_nb.engine.rules import BUILT_IN
from rlrp_nb.engine.scaling import UNSCALED, exponents_or_zeros, passed_on, unscale
from rlrp_nb.engine.treatments import Activate, ActivatePicked, Differentiate, Flatten, Skip, Treatment, rule_of
from rlrp_nb.engine.under_way import Parcel, UnderWay

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
    if step.rule is not None and step.rule is not BUILT_IN.get(step.op):
        # an op that the engine does not know may want its numbers in the order in which the network has them
        arguments = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in arguments.items()}
    output = rule.overwrite_any(arguments, overwrites)
    return rule.forward(step, arguments) if output is None else (output, None)


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
        relevance, exponents = zip(*(walk.found[index] for walk in walks), strict=True)
        found[index] = unscale(_joined(relevance), _exponents(exponents, portions), batch_dims[index])
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


def _exponents(parts: Sequence[Tensor | None], portions: Sequence[Tensor]) -> Tensor | None:
    """Return the exponents ``(K, B)`` of the targets of all walks; None where all are 0."""
    if all(exponents is None for exponents in parts):
        return None
    samples = [portion.reshape(*portion.shape[:2], -1)[..., 0] for portion in portions]  # (K, B)
    return _joined([exponents_or_zeros(*pair) for pair in zip(parts, samples, strict=True)])


@dataclass(frozen=True)
class _Walk:
    """What a walk of some targets brings back.

    Attributes
    ----------
    found
        Relevance ``(K, B, …)`` of the input and the wanted layers by value index, and the exponents ``(K, B)`` of the
        powers of two that it has to be multiplied with, None where all are 0.
    accounts
        Rows of the ledger.
    """

    found: dict[int, tuple[Tensor, Tensor | None]]
    accounts: tuple[Account, ...]


def _walk(  # noqa: PLR0917 - private, and called once
    graph: Graph, plan: Plan, record: Record, inputs: Tensor, seeds: Tensor, batch_dims: Mapping[int, int]
) -> _Walk:
    sensitivities, carried = UnderWay(batch_dims), UnderWay(batch_dims)  # from a flat first layer on it is relevance
    sensitivities.send([graph.output], [seeds], UNSCALED, own=False)
    found, accounts = {}, []
    record.values[graph.input] = inputs
    for step in reversed(graph.steps):
        treatment = plan.treatments.get(step.index)
        s, r = sensitivities.take(step.index), carried.take(step.index)
        if treatment is None or (s is None and r is None):
            continue
        call = call_of(step, plan, record, seeds.dtype, inputs.device)
        if step.index in plan.wanted:
            found[step.index] = _relevance(record.values[step.index], s, r, batch_dims[step.index])
        receivers = plan.receivers[step.index]
        if s is not None:
            call.spare = s.own and not plan.ledger
            messages = treatment.back(call, s.tensor)
            if plan.ledger:
                entry = account(treatment, call, s.tensor, messages, [batch_dims[i] for i in receivers])
                accounts.append(entry.scaled(s.scale.exponents))
            if isinstance(treatment, Flatten):
                carried.send(receivers, messages, s.scale, own=False)
            else:
                memory, scale = _memory(step, treatment), s.scale
                if len(messages) == 1 and _can_leave_range(step, treatment):
                    message, scale = passed_on(messages[0], scale, batch_dims[receivers[0]])
                    messages = (message,)
                    del message
                own = memory == "new" or (memory == "parts" and call.spare)
                sensitivities.send(receivers, messages, scale, own=own)
            del messages
        if r is not None:
            carried.send(receivers, _carry(call, r.tensor), r.scale, own=False)
        del s, r
        record.values.pop(step.index, None)
        record.states.pop(step.index, None)
    s, r = sensitivities.take(graph.input), carried.take(graph.input)
    found[graph.input] = _relevance(inputs, s, r, 0)
    return _Walk(found, tuple(accounts))


def _memory(step: Step, treatment: Treatment) -> Memory:
    """Return whose memory a treatment returns."""
    if isinstance(treatment, Skip):
        return "parts"
    computed = isinstance(treatment, Activate | ActivatePicked | Differentiate)
    return "new" if computed else rule_of(step).returns


def _can_leave_range(step: Step, treatment: Treatment) -> bool:
    """Tell a step after some of which, one behind another, a sensitivity can be far larger or smaller."""
    return not isinstance(treatment, Skip) and (step.rule is None or step.rule.kind != "shape")


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


def _carry(call: Call, relevance: Tensor) -> tuple[Tensor, ...]:
    """Move relevance of a flat first layer towards the input: views by their transpose, element-wise maps unchanged."""
    rule = rule_of(call.step)
    return rule.transpose(call, relevance) if rule.kind == "shape" else (unbroadcast(relevance, call.shapes[0]),)


def _relevance(value: Tensor, s: Parcel | None, r: Parcel | None, batch_dim: int) -> tuple[Tensor, Tensor | None]:
    """Return ``a * s`` plus relevance that was carried, in usual order and memory of its own, and the exponents."""
    parts = UnderWay({0: batch_dim})
    if s is not None:
        parts.send([0], [contribution(value.to(s.tensor.dtype), s.tensor)], s.scale, own=True)
    if r is not None:
        parts.send([0], [r.tensor], r.scale, own=False)
    total = parts.take(0)
    if total is None:
        return torch.zeros_like(value)[None], None
    relevance = total.tensor.contiguous()
    # the user may change one map, and no other may change with it
    shared = r is not None and relevance.data_ptr() == r.tensor.data_ptr()
    return relevance.clone() if shared else relevance, total.scale.exponents
