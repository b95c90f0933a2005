"""What a method does at each step of a graph, and which values it needs for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlrp_nb.engine.activations import ACTIVATIONS, Activation
from rlrp_nb.engine.classic import LayerRule, Transpose
from rlrp_nb.engine.graph import Ref
from rlrp_nb.engine.pooling import MaxPool
from rlrp_nb.engine.rules import Add, Divide, Multiply
from rlrp_nb.engine.treatments import Activate, ActivatePicked, Differentiate, Flatten, Hand, Skip, Treatment
from rlrp_nb.engine.weighted import BatchNorm, Weighted
from rlrp_nb.errors import InputError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from rlrp_nb.engine.graph import Graph, Step
    from rlrp_nb.engine.methods import Method

_ELEMENTWISE = (Add, Multiply, Divide, BatchNorm)
_MOST_PLANS = 64
"""Plans kept with a graph; the oldest goes."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one method walks one graph.

    Attributes
    ----------
    treatments
        For each step that receives sensitivity, what is done with it.
    receivers
        For each of these steps, the values to which it hands sensitivity, in the order of its arguments.
    keep
        The values that the way back reads.
    frees
        For each step, by position, the values that nothing reads after it on the way forward.
    overwrites
        For each step that could be run in the memory of such a value, the names of the arguments that hold one.
    wanted
        The layers whose relevance is kept: value index to the names of the layer.
    ledger
        Whether the ledger is kept.
    """

    treatments: dict[int, Treatment]
    receivers: dict[int, tuple[int, ...]]
    keep: frozenset[int]
    frees: tuple[tuple[int, ...], ...]
    overwrites: dict[int, tuple[str, ...]]
    wanted: dict[int, tuple[str, ...]]
    ledger: bool


def plan(graph: Graph, method: Method, layers: str | Collection[str] | None, *, ledger: bool) -> Plan:
    """Return what `method` does at each step, decided the first time.

    Parameters
    ----------
    layers
        ``"all"``, names of layers, or None.
    ledger
        Whether the ledger is wanted, for which every value is kept.

    Raises
    ------
    InputError
        A layer is not known.
    UnsupportedNetworkError
        The method cannot treat the first layers of the network.
    """
    wanted = _wanted(graph, layers)
    key = (method, frozenset(wanted), ledger)
    known = graph.plans.get(key)
    if known is None:
        while len(graph.plans) >= _MOST_PLANS:
            graph.plans.pop([*graph.plans][0], None)  # noqa: RUF015 - a copy, since another thread may write meanwhile
        known = graph.plans[key] = _plan(graph, method, wanted, ledger=ledger)
    return known


def _plan(graph: Graph, method: Method, wanted: dict[int, tuple[str, ...]], *, ledger: bool) -> Plan:
    gradient = method.activation == "derivative"
    reached, signals = graph.reached(gates=gradient), graph.reached()
    first = _first(graph) if method.first is not None else frozenset()
    treatments: dict[int, Treatment] = {}
    receivers: dict[int, tuple[int, ...]] = {}
    for step in graph.steps:
        if step.index not in reached:
            continue
        # the gradient flows into gates too, where any op may stand; autograd knows no derivative of this one
        gate = step.index not in signals and step.op != "aten.copy" and not _is_map(step)
        treatments[step.index] = Differentiate() if gate else _treatment(step, method, first=step.index in first)
        receivers[step.index] = step.sources if gradient else step.signals
    if not ledger:
        treatments |= _picked(graph, treatments, wanted)
    keep = {*wanted}
    for index, treatment in treatments.items():
        if ledger or "input" in treatment.needs:
            keep.update(receivers[index])
        if ledger or "output" in treatment.needs:
            keep.add(index)
    frees = frees_of(graph, keep)
    return Plan(treatments, receivers, frozenset(keep), frees, overwrites_of(graph, frees), wanted, ledger)


def _is_map(step: Step) -> bool:
    """Tell a map with weights, whose bias has its share of what it hands on, also in a gate."""
    return isinstance(step.rule, Weighted) and step.rule.problem(step) is None


def _treatment(step: Step, method: Method, *, first: bool) -> Treatment:  # noqa: PLR0911 - one return per case
    rule = step.rule
    if step.self_gated and method.activation != "derivative":
        return Activate(method.activation, frozenset({"output"}))
    if isinstance(rule, Activation):
        # ReLU's derivative is its secant slope, and needs only the output
        if method.activation == "derivative" and rule is not ACTIVATIONS["aten.relu"]:
            return Differentiate()
        slope = "secant" if method.activation == "derivative" else method.activation
        if rule.reads_output:
            return Activate(slope, frozenset({"output"}))
        return Activate(slope, frozenset({"input"}))
    if method.activation == "derivative" and (len(step.sources) > 1 or (rule is not None and rule.kind == "gate")):
        return (
            Hand(Transpose())
            if step.op in {"aten.add", "aten.sub", "aten.rsub", "aten.cat", "aten.stack", "aten.copy"}
            else Differentiate()
        )
    # the gradient of amax is shared by equal values, where R-LRP's winner is the first of them
    if method.activation == "derivative" and step.op in {"aten.layer_norm", "aten.native_layer_norm", "aten.amax"}:
        return Differentiate()
    if first and method.first is not None:
        return Flatten(method.first)
    rules: dict[str, LayerRule] = {"convolution": method.convolution, "dense": method.dense, "scale": method.scale}
    return Hand(rules[rule.family] if isinstance(rule, Weighted) else Transpose())


def _picked(graph: Graph, treatments: dict[int, Treatment], wanted: Collection[int]) -> dict[int, Treatment]:
    """Return other treatments for each ReLU that a max-pool alone reads, and for these pools."""
    others: dict[int, Treatment] = {}
    for relu, pool in relus_before_pools(graph.steps):
        treatment = treatments.get(relu.index)
        if pool.index not in treatments or relu.index in {*wanted, graph.output}:
            continue
        if isinstance(treatment, Activate) and treatment.slope == "relative":
            others |= {relu.index: Skip(), pool.index: ActivatePicked()}
    return others


def relus_before_pools(steps: Sequence[Step]) -> Iterator[tuple[Step, Step]]:
    """Yield each ReLU whose output a max-pool alone reads, and this pool."""
    readers = Counter(index for step in steps for index in step.reads())
    by_index = {step.index: step for step in steps}
    for pool in steps:
        relu = by_index.get(pool.sources[0]) if isinstance(pool.rule, MaxPool) else None
        if relu is not None and relu.rule is ACTIVATIONS["aten.relu"] and readers[relu.index] == 1:
            yield relu, pool


def _first(graph: Graph) -> frozenset[int]:
    """Return the convolutions and dense layers before which there is none.

    Raises
    ------
    UnsupportedNetworkError
        Something other than a view or an element-wise affine op stands between the input and such a layer.
    """
    clear, first = {graph.input}, set()
    reached = graph.reached()
    for step in graph.steps:
        if step.index not in reached or not set(step.signals) <= clear:
            continue
        rule = step.rule
        if isinstance(rule, Weighted) and rule.family != "scale":
            first.add(step.index)
        elif (rule is not None and rule.kind == "shape") or (isinstance(rule, _ELEMENTWISE) and len(step.sources) == 1):
            clear.add(step.index)
    between = [
        step
        for step in graph.steps
        if step.index in reached and step.index not in first | clear and set(step.signals) & clear - {graph.input}
    ]
    direct = [s for s in graph.steps if s.index in reached - first - clear and graph.input in s.signals]
    if direct or between or not first:
        names = (
            ", ".join(f"{s.name} ({s.op})" for s in [*direct, *between][:3]) or "no convolution or dense layer at all"
        )
        raise UnsupportedNetworkError(
            f"the flat rule needs a convolution or dense layer at the input, but there is {names}. Use another "
            "method, such as 'alpha1beta0'."
        )
    return frozenset(first)


def _wanted(graph: Graph, layers: str | Collection[str] | None) -> dict[int, tuple[str, ...]]:
    if layers is None:
        return {}
    known = graph.layers()
    if isinstance(layers, str) and layers == "all":  # an array would be compared number by number
        return {step.index: step.layers for step in known.values()}
    by_name = {name: step for step in known.values() for name in step.layers}
    names = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
    unknown = [name for name in names if not isinstance(name, str) or name not in by_name]
    if unknown:
        raise InputError(
            f"layers {unknown!r} are not layers that receive relevance; accepted are None, 'all', or names among: "
            f"{', '.join(known)}"
        )
    return {step.index: step.layers for step in known.values() if set(step.layers) & set(names)}


def frees_of(graph: Graph, keep: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """Return for each step the values that it is the last to read and that need not be kept."""
    sized = {step.index for step in graph.steps if not step.sources}  # few and small, and rules read them too
    seen = {graph.output, *keep, *sized, *graph.constants.indices()}
    frees = []
    for step in reversed(graph.steps):
        last = {step.index, *step.reads()} - seen
        seen |= last
        frees.append(tuple(last))
    return tuple(reversed(frees))


def overwrites_of(graph: Graph, frees: tuple[tuple[int, ...], ...]) -> dict[int, tuple[str, ...]]:
    """Return the arguments in whose memory a step could write its output.

    Such a value was made by the engine, is read for the last time, and none of its readers could have returned a view
    of it or kept it.
    """
    own = {step.index for step in graph.steps if step.sources and _makes_new(step)}
    for step in graph.steps:
        if not _makes_new(step) and not step.op.startswith("aten.sym_"):
            own -= step.reads()
    result = {}
    for step, last in zip(graph.steps, frees, strict=True):
        if step.sources and _makes_new(step):
            result[step.index] = tuple(
                name
                for name, value in step.arguments.items()
                if isinstance(value, Ref) and value.index in own and value.index in last
            )
    return result


def _makes_new(step: Step) -> bool:
    return step.rule is not None and step.rule.new_output
