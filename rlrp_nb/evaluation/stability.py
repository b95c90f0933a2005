"""Numerical robustness of a method: how much it amplifies relevance, and how small the numbers are that it divides by.

The *neurons* of a network are its input and the outputs of its activations; between two layers of neurons everything is
affine, or picks out (max pooling). A neuron j hands ``R_{i<-j}`` down to the neurons i below it. For LRP-0 that is
``a_i w_ij R_j / z_j``, which has no bound as z_j goes to 0; for R-LRP ``a_i w_ij R_j / max a``, with the largest
activation of the layer, so that with ``|R|`` for a sum of absolute values ``|message| <= max_j sum_i |a_i w_ij| / max a
|R|``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.classic import STABILIZER, AlphaBeta, Epsilon, Gamma, LayerRule
from rlrp_nb.engine.explainer import check_no_harm_by_hooks, undisturbed
from rlrp_nb.engine.methods import Method, resolve
from rlrp_nb.engine.planning import Plan, plan
from rlrp_nb.engine.propagate import Record, call_of, forward
from rlrp_nb.engine.registry import constants_of, graph_of
from rlrp_nb.engine.snapshot import unwrap
from rlrp_nb.engine.treatments import Flatten, Hand, rule_of
from rlrp_nb.engine.weighted import Weighted
from rlrp_nb.errors import UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import check_batch, check_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlrp_nb.engine.graph import Graph, Step
    from rlrp_nb.engine.rule import Call

SMALL = 1e-3
"""A denominator is small below this share of the largest one of its layer and sample."""
_FAINT = 1e-280
"""Masses below this are about to leave the range of float64, and lose digits."""


@dataclass(frozen=True, eq=False)
class Amplification:
    """How much relevance each layer of neurons hands down for what it received.

    Attributes
    ----------
    layers : tuple of str
        Output side first. The name of the activation; ``first to last`` where several activations share an affine map
        below them, whose messages cannot be told apart; or that of the logits.
    ratios : Tensor
        float64 ``(L, B)``: sum of the absolute relevance that arrives at the neurons below, over that of the layer. 0
        where nothing arrives, infinite where relevance comes from none.
    """

    layers: tuple[str, ...]
    ratios: Tensor

    @property
    def largest(self) -> Tensor:
        """The largest ratio of each sample, ``(B,)``."""
        return self.ratios.amax(0)


@dataclass(frozen=True, eq=False)
class Denominators:
    """How many of the numbers that a method divides by are small.

    Attributes
    ----------
    layers : tuple of str
        Input side first; empty for a method that divides by no neuron's own value.
    small : Tensor
        int64 ``(L, B)``: the neurons whose denominator is at most `SMALL` times the largest of the layer.
    neurons : Tensor
        int64 ``(L,)``: the neurons of each layer.
    """

    layers: tuple[str, ...]
    small: Tensor
    neurons: Tensor

    @property
    def shares(self) -> Tensor:
        """The share of small denominators in each layer, float64 ``(L, B)``."""
        return self.small.double() / self.neurons[:, None]

    @property
    def share(self) -> Tensor:
        """The share of small denominators in the whole network, float64 ``(B,)``; 0 where there are none."""
        return self.small.sum(0).double() / self.neurons.sum().clamp(min=1)


def amplification(network: nn.Module, inputs: Tensor, targets: Tensor, method: str | Method = "rlrp") -> Tensor:
    """Return the largest amplification of relevance at any layer; see `amplification_by_layer`.

    Returns
    -------
    Tensor
        float64 ``(B,)``, at least 0; infinite where a layer makes relevance of none.
    """
    return amplification_by_layer(network, inputs, targets, method).largest


def amplification_by_layer(
    network: nn.Module, inputs: Tensor, targets: Tensor, method: str | Method = "rlrp"
) -> Amplification:
    """Measure how much relevance each layer hands down for what it received.

    A layer is the output of an activation, or the logits. What it received is its relevance, all that its uses send
    back. Its message is what reaches the neurons below: the activations' outputs, or the input, that its affine maps
    read, each edge between two layers counted by itself. At a skip connection these are the neurons at the end of both
    branches, and their masses are added. What other layers send to the same neurons is not counted in. Masses are sums
    of absolute values, over all channels and positions. Sensitivities are walked in float64, so that what is measured
    is the method, and not the rounding of the network's dtype.

    The logits' own ratio has the logit as its denominator, for every method: it is large for a class whose logit is the
    small difference of large contributions.

    Parameters
    ----------
    network, inputs, targets
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    method : str or Method
        ``"rlrp"`` or another of ``rlrp_nb.available_methods()``.

    Returns
    -------
    Amplification
        One row per layer.

    Raises
    ------
    InputError
        An input, target or method cannot be used as it is.
    UnsupportedNetworkError
        The network is in training mode or has a part without a rule; or it is so deep that relevance leaves the range
        of float64.
    """
    check_case(network, inputs, targets)
    network, chosen, inputs = unwrap(network), resolve(method), inputs.detach()
    with undisturbed(inputs):
        graph, steps, record = _run(network, inputs, chosen)
        seeds = torch.zeros(1, *record.logits.shape, dtype=torch.float64, device=inputs.device)
        seeds.scatter_(2, targets.to(inputs.device)[None, :, None], 1)
        masses = list(_masses(graph, steps, record, inputs, seeds))
    return _by_layer(graph, masses)


def small_denominators(network: nn.Module, inputs: Tensor, method: str | Method = "rlrp") -> Tensor:
    """Return the share of neurons by whose own, small value a method divides; see `denominators_by_layer`.

    Returns
    -------
    Tensor
        float64 ``(B,)``, from 0 to 1.
    """
    return denominators_by_layer(network, inputs, method).share


def denominators_by_layer(network: nn.Module, inputs: Tensor, method: str | Method = "rlrp") -> Denominators:
    """Count the neurons whose denominator is small beside the largest of their layer and sample.

    The denominator is that of the rule as it is published, ``R_{i<-j} = (share of i in d_j) / d_j R_j``, at each output
    of a map with weights and at each sum of two signals (a skip connection), with ``z = W a + b``:

    =================  =====================================================================================
    lrp-0              ``z``; the engine cancels it against the activation, which is exact, but rounds alike
    lrp-epsilon        ``z + epsilon sign z``
    lrp-gamma          z with the contributions of its own sign counted ``1 + gamma`` times, stabilised
    alpha1beta0        the positive contributions alone, stabilised
    epsilon-plus-flat  of each layer's rule; the flat rule divides by a count of inputs, and has no row
    gradient-x-input   nothing: the share is 0
    rlrp               nothing but the layer's largest activation: the share is 0
    =================  =====================================================================================

    At a sum of two signals, and at a map that hands relevance on by LRP-0 inside another method, the denominator is z.
    A denominator of exactly 0 is small. It is where the rule is not defined, if relevance arrives.

    Parameters
    ----------
    network, inputs
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    method : str or Method
        ``"rlrp"`` or another of ``rlrp_nb.available_methods()``.

    Returns
    -------
    Denominators
        One row per layer that divides.

    Raises
    ------
    InputError
        An input or method cannot be used as it is.
    UnsupportedNetworkError
        The network is in training mode or has a part without a rule.
    """
    inputs, chosen = check_batch(network, inputs), resolve(method)
    network = unwrap(network)
    names, small, neurons = [], [], []
    with undisturbed(inputs):
        graph, steps, record = _run(network, inputs, chosen)
        # without the secant slope no activation is divided by: R-LRP and the gradient
        for step in graph.steps if chosen.activation == "secant" else ():
            denominators = _denominators(step, steps, record, inputs)
            if denominators is None:
                continue
            sizes = denominators.abs().movedim(step.batch_dim or 0, 0).reshape(len(inputs), -1)
            names.append(step.name)
            small.append((sizes <= SMALL * sizes.amax(1, keepdim=True)).sum(1))
            neurons.append(sizes.shape[1])
    none = torch.zeros(0, len(inputs), dtype=torch.int64, device=inputs.device)
    counts = torch.tensor(neurons, dtype=torch.int64, device=inputs.device)
    return Denominators(tuple(names), torch.stack(small) if small else none, counts)


def _run(network: nn.Module, inputs: Tensor, method: Method) -> tuple[Graph, Plan, Record]:
    """Run the network forward and keep every value, as the ledger does."""
    check_no_harm_by_hooks(network, inputs)
    graph = graph_of(network, inputs)
    steps = plan(graph, method, None, ledger=True)
    record = forward(graph, steps, constants_of(network, graph), inputs)
    record.values[graph.input] = inputs
    return graph, steps, record


@dataclass(frozen=True, eq=False)
class _Handing:
    """What one step received, and what it handed to each of its receivers: masses, ``(B,)`` each."""

    step: Step
    received: Tensor
    handed: list[tuple[int, Tensor]]
    ends: bool
    """Whether all that is handed on counts as arrived: the flat rule gives relevance to the input at once."""


def _masses(graph: Graph, steps: Plan, record: Record, inputs: Tensor, seeds: Tensor) -> Iterator[_Handing]:
    """Walk back once, and yield the masses at each step, output side first."""
    batch_dims = {graph.input: 0} | {step.index: step.batch_dim or 0 for step in graph.steps}
    sensitivities = {graph.output: seeds}
    for step in reversed(graph.steps):
        treatment, s = steps.treatments.get(step.index), sensitivities.pop(step.index, None)
        if treatment is None or s is None:
            continue
        call = call_of(step, steps, record, seeds.dtype, inputs.device)
        messages, ends = treatment.back(call, s), isinstance(treatment, Flatten)
        handed = []
        for position, (index, message) in enumerate(zip(steps.receivers[step.index], messages, strict=True)):
            relevance = message if ends else call.value(position) * message
            handed.append((index, _mass(relevance, batch_dims[index])))
            if not ends:
                sensitivities[index] = sensitivities[index] + message if index in sensitivities else message
        yield _Handing(step, _mass(call.result() * s, batch_dims[step.index]), handed, ends)


def _mass(relevance: Tensor, batch_dim: int) -> Tensor:
    """Return the sum of absolute values for each sample of relevance ``(1, *shape)``."""
    return relevance[0].abs().movedim(batch_dim, 0).flatten(1).sum(1)


def _by_layer(graph: Graph, masses: list[_Handing]) -> Amplification:
    """Divide what reaches the neurons below a layer by what the layer received."""
    neurons = {graph.input} | {handing.step.index for handing in masses if _activates(handing.step)}
    group_of = _groups(masses, neurons)
    names: dict[int, list[str]] = defaultdict(list)
    received: dict[int, list[Tensor]] = defaultdict(list)
    arrived: dict[int, list[Tensor]] = defaultdict(list)
    for handing in masses:
        index = handing.step.index
        if index in neurons or index == graph.output:
            names[group_of[index]].append(handing.step.name)
            received[group_of[index]].append(handing.received)
        arrived[group_of[index]] += [mass for below, mass in handing.handed if below in neurons or handing.ends]
    labels = {group: tops[0] if len(tops) == 1 else f"{tops[0]} to {tops[-1]}" for group, tops in names.items()}
    ratios = [_ratio(labels[group], torch.stack(received[group]).sum(0), sum(arrived[group])) for group in labels]
    return Amplification(tuple(labels.values()), torch.stack(ratios))


def _groups(masses: list[_Handing], neurons: set[int]) -> dict[int, int]:
    """Give each step the number of its group: the steps that are joined by values which are no neurons."""
    leader = {handing.step.index: handing.step.index for handing in masses}

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for handing in masses:
        for index, _ in handing.handed:
            if index not in neurons and not handing.ends:
                leader[find(index)] = find(handing.step.index)
    return {index: find(index) for index in leader}


def _ratio(name: str, received: Tensor, arrived: Tensor | int) -> Tensor:
    """Return ``arrived / received``, 0 where nothing arrives; refuse what float64 cannot hold."""
    out = torch.zeros_like(received) + arrived
    faint = (received > 0) & (received < _FAINT)
    if not bool((received.isfinite() & out.isfinite() & ~faint).all()):
        raise UnsupportedNetworkError(
            f"relevance leaves the range of float64 at {name!r}; this network is too deep to be measured. Measure a "
            "part of it."
        )
    return torch.where(out > 0, out / received, 0)


def _activates(step: Step) -> bool:
    """Tell a step whose outputs are neurons."""
    return isinstance(step.rule, Activation) or step.self_gated


def _denominators(step: Step, steps: Plan, record: Record, inputs: Tensor) -> Tensor | None:
    """Return what the outputs of a step are divided by in a method of LRP, or None where nothing is."""
    treatment = steps.treatments.get(step.index)
    if not isinstance(treatment, Hand):
        return None
    dtype = inputs.dtype if inputs.dtype == torch.float64 else torch.float32
    call = call_of(step, steps, record, dtype, inputs.device)
    rule = rule_of(step)
    if isinstance(rule, Weighted):
        return _weighted(rule, call, treatment.layer_rule)
    return call.result() if step.op in {"aten.add", "aten.sub"} and len(step.signals) > 1 else None


def _weighted(rule: Weighted, call: Call, layer_rule: LayerRule) -> Tensor:
    """Return the denominators of a layer rule, in the notation of ``rlrp_nb.engine.classic``."""
    z = call.result()
    if isinstance(layer_rule, Epsilon):
        return layer_rule.stabilized(z)
    if not isinstance(layer_rule, Gamma | AlphaBeta):
        return z
    weight, bias = rule.parameters(call)
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    bias_up, bias_down = (None, None) if bias is None else (bias.clamp(min=0), bias.clamp(max=0))
    positive = _contributions(rule, call, up, down, bias_up)
    if isinstance(layer_rule, AlphaBeta):
        return _away_from_zero(positive, STABILIZER)
    negative = _contributions(rule, call, down, up, bias_down)
    return _away_from_zero(z + layer_rule.gamma * torch.where(z > 0, positive, negative), STABILIZER)


def _contributions(
    rule: Weighted, call: Call, weight: Tensor, weight_of_negative: Tensor, bias: Tensor | None
) -> Tensor:
    """Sum the contributions of one sign: one weight where the input is positive, the other where it is negative."""
    a = call.value()
    return rule.apply(call, a.clamp(min=0), weight, bias) + rule.apply(call, a.clamp(max=0), weight_of_negative, None)


def _away_from_zero(z: Tensor, distance: float) -> Tensor:
    return z + torch.where(z >= 0, distance, -distance)
