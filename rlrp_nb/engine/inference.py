"""A graph made ready to be run many times, forward alone.

A network that runs eagerly does some of its work anew each time, and some for a way back that nobody goes: it brings
the weights of its convolutions into oneDNN's order, it normalises by constants, it notes the winner of each window, and
it writes each activation into new memory. Here the first two are done once, and the others not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from rlrp_nb.engine.graph import Ref
from rlrp_nb.engine.heap import keep_heap
from rlrp_nb.engine.layout import PICTURE, channels_last
from rlrp_nb.engine.planning import frees_of, overwrites_of, relus_before_pools
from rlrp_nb.engine.pooling import MaxPool
from rlrp_nb.engine.registry import constants_of
from rlrp_nb.engine.rule import along
from rlrp_nb.engine.weighted import Convolution, Geometry, each

if TYPE_CHECKING:
    from torch import nn

    from rlrp_nb.engine.graph import Graph, Step

Run: TypeAlias = Callable[[dict[str, Any]], Any]
"""From the filled arguments of a step to its value."""

_PACKED = 2**24
"""Bytes of weights that are kept a second time, at most: about what the activations of a photograph take."""


def can_infer(inputs: Tensor) -> bool:
    """Tell whether this PyTorch can make a graph ready for such inputs: float32 pictures on a CPU with oneDNN."""
    return (
        inputs.dim() == PICTURE
        and inputs.dtype == torch.float32
        and inputs.device.type == "cpu"
        and bool(torch.backends.mkldnn.enabled)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
    )


class Inference:
    """What a graph computes, with the weights that its network had when this was made.

    Parameters
    ----------
    network
        The network of the graph.
    graph
        For any batch size.
    inputs
        Two or more inputs ``(B, channels, height, width)``, which are run to see the shapes within.
    together
        How many inputs there are in most of the runs to come.

    Attributes
    ----------
    logits
        Of these inputs.
    """

    def __init__(self, network: nn.Module, graph: Graph, inputs: Tensor, together: int) -> None:
        keep_heap()
        self._graph = graph = replace(graph, steps=tuple(_pools_first(graph.steps)))
        self._constants = constants_of(network, graph)
        frees = frees_of(graph, ())
        overwrites, reached, room = overwrites_of(graph, frees), graph.reached(), _PACKED
        values: dict[int, Any] = {**self._constants, graph.input: inputs}
        self._steps: list[tuple[Step, Run, tuple[int, ...]]] = []
        for step, last in zip(graph.steps, frees, strict=True):
            arguments = step.filled(values.__getitem__)
            plain = self._is_plain_convolution(step)
            # a weight in oneDNN's order is for inputs with channels last
            misread = plain and Geometry.of(arguments, arguments["weight"], transposed=False).is_misread(
                arguments["input"]
            )
            if plain and not misread and arguments["weight"].nbytes <= room:
                room -= arguments["weight"].nbytes
                run = _packed(step, arguments, together)
            else:
                run = _run(step, overwrites.get(step.index, ()), by_rule=misread or step.index in reached)
            values[step.index] = run(arguments)
            self._steps.append((step, run, last))
            del arguments
            for index in last:
                del values[index]
        self.logits: Tensor = values[graph.output]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits of other inputs of the same shape, any number of them."""
        values: dict[int, Any] = {**self._constants, self._graph.input: inputs}
        for step, run, last in self._steps:
            values[step.index] = run(step.filled(values.__getitem__))
            for index in last:
                del values[index]
        logits: Tensor = values[self._graph.output]
        return logits

    def _is_plain_convolution(self, step: Step) -> bool:
        """Tell a convolution of pictures with a constant weight, not a transposed one."""
        if not isinstance(step.rule, Convolution) or step.rank != PICTURE:
            return False
        weight, bias = step.arguments["weight"], step.arguments["bias"]
        return (
            not step.rule.transposed
            and not step.arguments.get("transposed", False)
            and not isinstance(step.arguments["padding"], str)
            and isinstance(weight, Ref)
            and weight.index in self._constants
            and (bias is None or bias.index in self._constants)
        )


def _packed(step: Step, arguments: dict[str, Any], together: int) -> Run:
    """Return what runs a convolution with its weight scaled, and in oneDNN's order, once for all runs."""
    weight, bias, scale = arguments["weight"], arguments["bias"], arguments.get("scale")
    weight = weight if scale is None else along(scale, weight, step.folded or 0)
    bias = None if bias is None else bias.contiguous()
    padding, stride, dilation = (each(arguments[name], 2) for name in ("padding", "stride", "dilation"))
    groups, size = arguments["groups"], [together, *arguments["input"].shape[1:]]
    ready = torch.ops.mkldnn._reorder_convolution_weight(  # noqa: SLF001 - it has no public name
        weight.contiguous(), padding, stride, dilation, groups, size
    )
    convolve = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - likewise

    def run(arguments: dict[str, Any]) -> Tensor:
        # without an activation, since those of oneDNN turn NaN into 0
        signal = channels_last(arguments["input"])
        output: Tensor = convolve(signal, ready, bias, padding, stride, dilation, groups, "none", [], "")
        return output

    return run


def _run(step: Step, overwrites: tuple[str, ...], *, by_rule: bool) -> Run:
    """Return what runs a step, where it can in the memory of a value that nothing else reads."""
    rule = step.rule
    if isinstance(rule, MaxPool) and (sides := _tiles(step)) is not None:
        return lambda arguments: _largest_of_tiles(arguments["self"], sides)
    if rule is None or not (by_rule or overwrites):
        return step.invoke

    def run(arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - an op can return anything
        output = rule.overwrite_any(arguments, overwrites)
        if output is not None:
            return output
        return rule.forward(step, arguments)[0] if by_rule else step.invoke(arguments)

    return run


def _pools_first(steps: tuple[Step, ...]) -> list[Step]:
    """Return the steps with each ReLU after the max-pool that alone reads it, which leaves it less to do.

    The largest of what is left of several numbers is what is left of the largest: not even rounding differs.
    """
    moved: dict[int, Step] = {}
    for relu, pool in relus_before_pools(steps):
        if pool.item is None:
            # each takes the other's place, and number: who reads the pool reads the ReLU now
            before = relu.arguments["self"]
            pooled = {**pool.arguments, "self": before}
            moved[relu.index] = replace(pool, index=relu.index, arguments=pooled, sources=relu.sources)
            arguments = {"self": Ref(relu.index)}
            moved[pool.index] = replace(relu, index=pool.index, arguments=arguments, sources=(relu.index,))
    return [moved.get(step.index, step) for step in steps]


def _tiles(step: Step) -> tuple[int, int] | None:
    """Return the height and width of the windows of a max-pool of pictures that lie side by side, else None."""
    arguments = step.arguments
    if step.op != "aten.max_pool2d" or step.rank != PICTURE or arguments["ceil_mode"]:
        return None
    kernel, padding, dilation = (each(arguments[name], 2) for name in ("kernel_size", "padding", "dilation"))
    stride = each(arguments["stride"], 2) if arguments["stride"] else kernel
    # windows of a single pixel would be returned as they are, not in new memory
    plain = stride == kernel and max(kernel) > 1 and max(padding) == 0 and max(dilation) == 1
    return (kernel[0], kernel[1]) if plain else None


def _largest_of_tiles(signal: Tensor, sides: tuple[int, int]) -> Tensor:
    """Return the largest number of each window, by way of the largest of its columns."""
    height, width = (size // side * side for size, side in zip(signal.shape[2:], sides, strict=True))
    rows = reduce(torch.maximum, [signal[:, :, row : height : sides[0]] for row in range(sides[0])])
    return reduce(torch.maximum, [rows[..., column : width : sides[1]] for column in range(sides[1])])
