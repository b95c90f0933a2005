"""The graph of a network: its ATen ops in order, with batch-norm folded, layers named and every op checked.

A graph holds no weights and no reference to the network: its constants are named and are fetched from the network at
each run, so that a graph never explains with old weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.functional import batch_norm

from rlrp_nb.engine.channels import channel_axes
from rlrp_nb.engine.rule import along
from rlrp_nb.engine.rules import RULES
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from torch import Tensor

    from rlrp_nb.engine.planning import Plan
    from rlrp_nb.engine.rule import Rule

Role = Literal["signal", "gate"]


@dataclass(frozen=True)
class Ref:
    """Stands in an op's arguments for the value of another step, a constant or the input."""

    index: int


@dataclass(frozen=True, eq=False)
class Step:
    """One op of the graph.

    Attributes
    ----------
    index
        Position of its value in the graph.
    op
        Name without overload, such as ``aten.conv2d``.
    function
        What is called.
    arguments
        The arguments by the op's own names, defaults filled in, with `Ref` for tensors and sizes computed earlier.
    keywords
        How many of the last arguments must be passed by keyword.
    item
        Which output is taken of an op with several, or None.
    sources
        Indices of the tensors that depend on the network's input, in the order of the arguments.
    batch_dim
        The axis of the output that counts the samples; None where they are mixed into another axis.
    rank
        Number of axes of the output.
    lengths
        Of these axes, as texts: one can be a formula in the batch size.
    extents
        The same as numbers, at the batch size at which the network was traced; None where they depend on data.
    source_batch_dim
        The axis that counts the samples in the first source.
    source_rank
        How many axes the first source has.
    floating
        Whether the output is of floating-point numbers.
    folded
        The axis of the weight that the argument ``scale`` multiplies, of a map into which a batch-norm was folded.
    stack
        The modules, outermost first, inside whose call the op was run.
    within
        The function of PyTorch that the network called and of which the op is a part, such as ``softshrink``; empty
        where that is the op itself.
    roles
        For each source, whether it is a ``signal`` or a ``gate`` (held constant by every method but the gradient).
    self_gated
        True for ``x * gate(x)`` written by hand: an activation whose secant slope is the gate.
    name
        A unique name for people.
    layers
        The names under which its output can be asked for, the one to show first.
    memo
        What its rule works out once, from arguments that are the same in every run.
    """

    index: int
    op: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    keywords: int
    item: int | None
    sources: tuple[int, ...]
    batch_dim: int | None
    rank: int
    lengths: tuple[str, ...] = ()
    extents: tuple[int, ...] | None = None
    source_batch_dim: int | None = None
    source_rank: int = 0
    floating: bool = True
    folded: int | None = None
    stack: tuple[str, ...] = ()
    within: str = ""
    roles: tuple[Role, ...] = ()
    self_gated: bool = False
    name: str = ""
    layers: tuple[str, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def rule(self) -> Rule | None:
        """The backward rule, or None where there is none for this op or for this output of it."""
        rule = RULES.get(self.op)
        if rule is None or (self.item is not None and rule.items is not None and self.item not in rule.items):
            return None
        return rule

    @property
    def signals(self) -> tuple[int, ...]:
        """The sources that are signals."""
        return tuple(i for i, role in zip(self.sources, self.roles, strict=True) if role == "signal")

    def is_random(self) -> bool:
        """Tell an op that draws random numbers."""
        tagged = torch.Tag.nondeterministic_seeded in getattr(self.function, "tags", ())
        given = [self.arguments[name] for name in ("train", "training", "dropout_p") if name in self.arguments]
        return tagged and bool(given[0] if given else True) and self.arguments.get("p", 1) != 0

    def reads(self) -> set[int]:
        """Return the indices of all values that the op reads."""
        return set(refs_of(self.arguments))

    def roles_by_name(self) -> dict[str, Role]:
        """Return the role of each argument that is itself a tensor depending on the input."""
        roles = dict(zip(self.sources, self.roles, strict=True))
        return {k: roles[v.index] for k, v in self.arguments.items() if isinstance(v, Ref) and v.index in roles}

    def depends(self, name: str) -> bool:
        """Tell whether an argument is, or holds, a tensor that depends on the input."""
        return not set(self.sources).isdisjoint(refs_of(self.arguments.get(name)))

    @cached_property
    def _gaps(self) -> tuple[list[tuple[str, int]], list[str]]:
        """The arguments that are one value each, with its index, and those that hold values in a list or dict."""
        alone = [(name, value.index) for name, value in self.arguments.items() if isinstance(value, Ref)]
        within = {name for name, value in self.arguments.items() if any(True for _ in refs_of(value))}
        return alone, [*within - {name for name, _ in alone}]

    def filled(self, value: Callable[[int], Any]) -> dict[str, Any]:
        """Return the arguments with every `Ref` replaced by the value of its index."""
        arguments = {**self.arguments}
        alone, within = self._gaps
        for name, index in alone:
            arguments[name] = value(index)
        for name in within:
            arguments[name] = _fill(arguments[name], value)
        return arguments

    def invoke(self, arguments: Mapping[str, Any], run: Callable[[Mapping[str, Any]], Any] | None = None) -> Any:  # noqa: ANN401 - an op can return anything
        """Call the op on filled arguments, or another function that does the same for its arguments by name."""
        run = run or self._invoke_plain
        return run(arguments) if self.folded is None else self._invoke_folded(dict(arguments), run)

    def _invoke_plain(self, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - likewise
        if not self.keywords:
            output = self.function(*arguments.values())
        else:
            items = list(arguments.items())
            split = len(items) - self.keywords
            output = self.function(*(v for _, v in items[:split]), **dict(items[split:]))
        return output if self.item is None else output[self.item]

    def _invoke_folded(self, arguments: dict[str, Any], run: Callable[[Mapping[str, Any]], Any]) -> Tensor:
        """Call a map into which a batch-norm was folded, scaling its weight or its output, whichever is smaller.

        Where the norm is given, it is computed as it is.

        A scaled weight lives no longer than the op: those of all layers would be a second network in memory.
        """
        scale, weight, bias = arguments.pop("scale"), arguments["weight"], arguments["bias"]
        norm = arguments.pop("norm", None)
        if scale is None:
            output: Tensor = run(arguments)
        elif norm is not None:
            own, factor, shift, mean, variance, eps = norm
            output = batch_norm(run({**arguments, "bias": own}), mean, variance, factor, shift, eps=eps)
        elif weight.numel() <= arguments["input"].numel():
            output = run({**arguments, "weight": along(scale, weight, self.folded or 0)})
        else:
            output = run({**arguments, "bias": None})
            shape = [1, -1, *[1] * (output.dim() - 2)]
            terms = bias.reshape(shape), output, scale.reshape(shape)
            # where a gradient is asked for nothing can be written over
            output = torch.addcmul(*terms) if output.requires_grad else torch.addcmul(*terms, out=output)
        return output


def _fill(part: Any, value: Callable[[int], Any]) -> Any:  # noqa: ANN401 - an argument can be of any type
    """Replace every `Ref` in a part of an op's arguments by the value of its index."""
    if isinstance(part, Ref):
        return value(part.index)
    if isinstance(part, dict):
        return {k: _fill(v, value) for k, v in part.items()}
    return [_fill(v, value) for v in part] if isinstance(part, list) else part


def refs_of(value: Any) -> Iterator[int]:  # noqa: ANN401 - an argument can be of any type
    """Yield the indices of all values that an argument, or a mapping of arguments, refers to."""
    if isinstance(value, Ref):
        yield value.index
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from refs_of(v)
    elif isinstance(value, list):
        for v in value:
            yield from refs_of(v)


@dataclass(frozen=True)
class Constants:
    """Where the constant values of a graph come from.

    Attributes
    ----------
    state
        Value index to the name of a parameter or buffer of the network.
    tensors
        Value index to a tensor written into the code of the network.
    steps
        Steps computed from constants alone (a normalised weight, all folded batch-norms), in order.
    parts
        Value index to the index of a list among these and the position in it.
    places
        Buffers of the network by name, as they were when it was told by them where a gate's numbers lie.
    """

    state: dict[int, str] = field(default_factory=dict)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    places: dict[str, Tensor] = field(default_factory=dict)

    def indices(self) -> set[int]:
        """Return the indices of all constant values."""
        return {*self.state, *self.tensors, *self.parts, *(step.index for step in self.steps)}


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a list of steps.

    Attributes
    ----------
    input
        Value index of the network's input.
    output
        Value index of the logits.
    steps
        The ops that depend on the input, in order.
    constants
        Where the constants come from.
    batch_size
        The only batch size it holds for, or None where it holds for any.
    plans
        How methods walk it, by what was asked for: made once.
    """

    input: int
    output: int
    steps: tuple[Step, ...]
    constants: Constants
    batch_size: int | None
    plans: dict[Hashable, Plan] = field(default_factory=dict, init=False)

    @cached_property
    def channels(self) -> dict[int, int]:
        """The axis of a value that holds its channels, where that can be told."""
        return channel_axes(self)

    def reached(self, *, gates: bool = False) -> frozenset[int]:
        """Return the values that receive sensitivity: the output and all that leads to it.

        Parameters
        ----------
        gates
            Whether sensitivity flows into gates too, as in the gradient.
        """
        reached = {self.output}
        for step in reversed(self.steps):
            if step.index in reached:
                reached.update(step.sources if gates else step.signals)
        return frozenset(reached)

    def layers(self) -> dict[str, Step]:
        """Return the layers whose relevance can be asked for, input side first, by the name to show first."""
        reached = self.reached()
        return {step.layers[0]: step for step in self.steps if step.layers and step.index in reached}

    def __repr__(self) -> str:
        return "\n".join(f"{printable(step.name):<40} {step.op}" for step in self.steps if step.sources)
