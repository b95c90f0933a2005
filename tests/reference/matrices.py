"""Convolutional networks unrolled into explicit float64 matrices, for one sample.

Every matrix is filled entry by entry from the definition of the operation, so the whole network becomes a chain (or a
graph) of dense layers: what `naive` says about dense layers then holds for it too.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from tests.reference.naive import Array, Dense, epsilon_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass
class _Node:
    value: Array
    parents: list[tuple[int, Array]] = field(default_factory=list)  # value = sum of matrix @ parent + bias
    bias: Array | None = None


class MatrixNetwork:
    """A network written down as explicit matrices between flat vectors, for one sample.

    Every method adds a node and returns its number. Add and concatenation are affine maps of several parents,
    max pooling is the selection matrix of its winners, so only two kinds of nodes exist.
    """

    def __init__(self) -> None:
        self.nodes: list[_Node] = []

    def _append(self, node: _Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def value(self, node: int) -> Array:
        return self.nodes[node].value

    def input(self, x: Array) -> int:
        return self._append(_Node(np.asarray(x, dtype=np.float64).reshape(-1)))

    def affine(self, *parts: tuple[int, Array], bias: Array | float = 0.0) -> int:
        """``sum of matrix @ parent + bias``."""
        value = sum(matrix @ self.value(parent) for parent, matrix in parts) + bias
        return self._append(_Node(value, list(parts), np.broadcast_to(np.asarray(bias, dtype=np.float64), value.shape)))

    def activation(self, node: int, phi: Callable[[Array], Array] = lambda z: np.maximum(z, 0.0)) -> int:
        """Apply a pointwise activation; backwards it is the diagonal matrix of (a / z) * |a| / max|a|."""
        z = self.value(node)
        a = phi(z)
        largest = np.abs(a).max()
        rho = np.abs(a) / largest if largest > 0 else np.zeros_like(a)
        secant = np.divide(a, z, out=np.zeros_like(a), where=z != 0)
        return self._append(_Node(a, [(node, np.diag(secant * rho))]))

    def max_pool(self, node: int, selection: Array) -> int:
        return self.affine((node, selection))

    def sensitivities(self, output: int, seed: Array) -> list[Array]:
        """Sensitivity of every node for a seed on ``output``."""
        found = [np.zeros_like(node.value) for node in self.nodes]
        found[output] = np.asarray(seed, dtype=np.float64)
        for index in range(output, -1, -1):
            for parent, matrix in self.nodes[index].parents:
                found[parent] = found[parent] + matrix.T @ found[index]
        return found

    def relevances(self, output: int, seed: Array) -> list[Array]:
        """Relevance ``R = a * s`` of every node for a seed on ``output``."""
        return [node.value * s for node, s in zip(self.nodes, self.sensitivities(output, seed), strict=True)]


def _sizes(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _flat(channel: int, position: Sequence[int], spatial: Sequence[int]) -> int:
    """Index of (channel, position) in a flattened (channels, *spatial) tensor."""
    index = channel
    for p, size in zip(position, spatial, strict=True):
        index = index * size + p
    return index


def _positions(spatial: Sequence[int]) -> itertools.product:
    return itertools.product(*(range(size) for size in spatial))


def _inside(position: Sequence[int], spatial: Sequence[int]) -> bool:
    return all(0 <= p < size for p, size in zip(position, spatial, strict=True))


def convolution_matrix(
    weight: Array,
    spatial: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Array, tuple[int, ...]]:
    """Unroll a convolution (1, 2 or 3 dimensions) into its Toeplitz matrix; return it and the output's shape."""
    outputs, per_group, *kernel = weight.shape
    dims = len(kernel)
    stride, padding, dilation = (_sizes(v, dims) for v in (stride, padding, dilation))
    out = tuple((spatial[d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in range(dims))
    matrix = np.zeros((outputs * math.prod(out), per_group * groups * math.prod(spatial)))
    for o in range(outputs):
        group = o // (outputs // groups)
        for place, tap, i in itertools.product(_positions(out), _positions(kernel), range(per_group)):
            source = [place[d] * stride[d] - padding[d] + tap[d] * dilation[d] for d in range(dims)]
            if _inside(source, spatial):
                column = _flat(group * per_group + i, source, spatial)
                matrix[_flat(o, place, out), column] += weight[(o, i, *tap)]
    return matrix, out


def transposed_convolution_matrix(
    weight: Array,
    spatial: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Array, tuple[int, ...]]:
    """Unroll a transposed convolution, weight (inputs, outputs / groups, *kernel); return matrix and shape."""
    inputs, per_group, *kernel = weight.shape
    dims = len(kernel)
    stride, padding, extra, dilation = (_sizes(v, dims) for v in (stride, padding, output_padding, dilation))
    out = tuple(
        (spatial[d] - 1) * stride[d] - 2 * padding[d] + dilation[d] * (kernel[d] - 1) + extra[d] + 1
        for d in range(dims)
    )
    matrix = np.zeros((per_group * groups * math.prod(out), inputs * math.prod(spatial)))
    for i in range(inputs):
        group = i // (inputs // groups)
        for place, tap, o in itertools.product(_positions(spatial), _positions(kernel), range(per_group)):
            goal = [place[d] * stride[d] - padding[d] + tap[d] * dilation[d] for d in range(dims)]
            if _inside(goal, out):
                row = _flat(group * per_group + o, goal, out)
                matrix[row, _flat(i, place, spatial)] += weight[(i, o, *tap)]
    return matrix, out


def _pooled(spatial: Sequence[int], kernel: int, stride: int, padding: int, *, ceil: bool) -> tuple[int, ...]:
    out = []
    for size in spatial:
        steps = (size + 2 * padding - kernel) / stride
        count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
        if ceil and (count - 1) * stride >= size + padding:
            count -= 1  # a window that would start in the right padding is dropped
        out.append(count)
    return tuple(out)


def average_pool_matrix(
    channels: int,
    spatial: Sequence[int],
    kernel: int,
    *,
    stride: int,
    padding: int = 0,
    ceil: bool = False,
    count_padding: bool = True,
) -> tuple[Array, tuple[int, ...]]:
    """Average pooling as a matrix."""
    out = _pooled(spatial, kernel, stride, padding, ceil=ceil)
    matrix = np.zeros((channels * math.prod(out), channels * math.prod(spatial)))
    for c, place in itertools.product(range(channels), _positions(out)):
        starts = [p * stride - padding for p in place]
        window = [
            position
            for position in itertools.product(*(range(s, s + kernel) for s in starts))
            if _inside(position, spatial)
        ]
        padded = math.prod(
            min(s + kernel, size + padding) - s for s, size in zip(starts, spatial, strict=True)
        )  # zero padding counts, what lies beyond it does not
        for position in window:
            matrix[_flat(c, place, out), _flat(c, position, spatial)] = 1 / (padded if count_padding else len(window))
    return matrix, out


def adaptive_average_pool_matrix(channels: int, spatial: Sequence[int], out: Sequence[int]) -> Array:
    """Adaptive average pooling as a matrix: window p covers floor(p n / m) to ceil((p + 1) n / m)."""
    matrix = np.zeros((channels * math.prod(out), channels * math.prod(spatial)))
    for c, place in itertools.product(range(channels), _positions(out)):
        ranges = [range(p * n // m, -(-(p + 1) * n // m)) for p, n, m in zip(place, spatial, out, strict=True)]
        window = list(itertools.product(*ranges))
        for position in window:
            matrix[_flat(c, place, out), _flat(c, position, spatial)] = 1 / len(window)
    return matrix


def max_pool_selection(
    values: Array, spatial: Sequence[int], kernel: int, *, stride: int, padding: int = 0, ceil: bool = False
) -> tuple[Array, tuple[int, ...]]:
    """Select the winners of max pooling for these values, flat (channels * spatial,), first of equals."""
    channels = len(values) // math.prod(spatial)
    out = _pooled(spatial, kernel, stride, padding, ceil=ceil)
    matrix = np.zeros((channels * math.prod(out), len(values)))
    for c, place in itertools.product(range(channels), _positions(out)):
        window = [
            _flat(c, position, spatial)
            for position in itertools.product(
                *(range(p * stride - padding, p * stride - padding + kernel) for p in place)
            )
            if _inside(position, spatial)
        ]
        matrix[_flat(c, place, out), max(window, key=lambda index: values[index])] = 1
    return matrix, out


def batch_norm_diagonal(norm: torch.nn.BatchNorm2d, positions: int) -> tuple[Array, Array]:
    """Batch-norm in eval mode over ``positions`` places per channel, as a diagonal matrix and a bias."""
    mean, variance, scale, shift = (
        t.detach().double().numpy() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    factor = scale / np.sqrt(variance + norm.eps)
    return np.diag(np.repeat(factor, positions)), np.repeat(shift - mean * factor, positions)


PHI: dict[str, Callable[[Array], Array]] = {
    "ReLU": lambda z: np.maximum(z, 0.0),
    "ReLU6": lambda z: np.clip(z, 0.0, 6.0),
    "Hardtanh": lambda z: np.clip(z, -1.0, 1.0),
    "LeakyReLU": lambda z: np.where(z > 0, z, 0.01 * z),
    "SiLU": lambda z: z / (1 + np.exp(-z)),
    "GELU": lambda z: z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))),
    "Hardswish": lambda z: z * np.clip(z + 3, 0.0, 6.0) / 6,
    "Tanh": np.tanh,
}


def append_module(
    network: MatrixNetwork, node: int, module: torch.nn.Module, shape: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    """Append one module with its default options as matrices; return its node and the shape of its value."""
    kind = type(module).__name__
    if kind in PHI:
        return network.activation(node, PHI[kind]), shape
    matrix, bias, out = _affine_module(kind, module, shape, network.value(node))
    return network.affine((node, matrix), bias=bias), out


def _affine_module(
    kind: str, module: torch.nn.Module, shape: tuple[int, ...], values: Array
) -> tuple[Array, Array | float, tuple[int, ...]]:
    if kind == "Linear":
        layer = Dense.of(module)
        return layer.weight, layer.bias, (len(layer.bias),)
    if kind.startswith("BatchNorm"):
        matrix, bias = batch_norm_diagonal(module, math.prod(shape[1:]))
        return matrix, bias, shape
    if "Conv" in kind:
        return _convolution_module(kind, module, shape[1:])
    if "Pool" in kind:
        return _pooling_module(kind, module, shape, values)
    if kind in {"Dropout", "Identity", "Flatten"}:
        size = math.prod(shape)
        return np.eye(size), 0.0, (size,) if kind == "Flatten" else shape
    raise TypeError(f"{kind} has no matrix here")


def _pooling_module(
    kind: str, module: torch.nn.Module, shape: tuple[int, ...], values: Array
) -> tuple[Array, float, tuple[int, ...]]:
    channels, spatial = shape[0], shape[1:]
    if kind == "AdaptiveAvgPool2d":
        out = _sizes(module.output_size, 2)
        return adaptive_average_pool_matrix(channels, spatial, out), 0.0, (channels, *out)
    options = {"stride": module.stride, "padding": module.padding, "ceil": module.ceil_mode}
    if kind == "AvgPool2d":
        matrix, out = average_pool_matrix(
            channels, spatial, module.kernel_size, count_padding=module.count_include_pad, **options
        )
    else:
        matrix, out = max_pool_selection(values, spatial, module.kernel_size, **options)
    return matrix, 0.0, (channels, *out)


def _convolution_module(
    kind: str, module: torch.nn.Module, spatial: tuple[int, ...]
) -> tuple[Array, Array, tuple[int, ...]]:
    options = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
    weight = module.weight.detach().double().numpy()
    if kind.startswith("ConvTranspose"):
        matrix, out = transposed_convolution_matrix(weight, spatial, output_padding=module.output_padding, **options)
    else:
        matrix, out = convolution_matrix(weight, spatial, **options)
    bias = np.zeros(module.out_channels) if module.bias is None else module.bias.detach().double().numpy()
    return matrix, np.repeat(bias, math.prod(out)), (module.out_channels, *out)


def unroll(modules: Iterable[torch.nn.Module], x: Array) -> tuple[MatrixNetwork, list[int]]:
    """Unroll a sequence of modules for one sample x (channels, *spatial); return it and the node of every module."""
    network, shape = MatrixNetwork(), x.shape
    node, nodes = network.input(x), []
    for module in modules:
        node, shape = append_module(network, node, module, shape)
        nodes.append(node)
    return network, nodes


def classical_relevance(
    modules: Sequence[torch.nn.Module],
    x: Array,
    seeds: Array,
    rule_of: Callable[[int, torch.nn.Module], Callable[[Dense, Array, Array, Callable[[], Array]], Array]],
) -> Array:
    """Relevance (K, inputs) of a sequential network (batch-norm folded) under classical rules, on its matrices.

    The n-th convolution or linear map follows ``rule_of(n, module)``, called with the unrolled layer, its input, the
    relevance above and a function that returns the matrix of existing connections. Average pooling follows LRP-0, max
    pooling gives all to the winner; activations, dropout and flatten pass relevance on. The logits carry
    ``seed * logits``, for every row of ``seeds`` (K, classes).
    """
    network, nodes = unroll(modules, x)
    relevances = list(np.asarray(seeds) * network.value(nodes[-1]))
    number = sum(hasattr(module, "weight") for module in modules)
    for module, node, shape in zip(reversed(modules), reversed(nodes), _shapes(modules, x)[::-1], strict=True):
        ((parent, matrix),) = network.nodes[node].parents
        layer, a, kind = Dense(matrix, network.nodes[node].bias), network.value(parent), type(module).__name__
        if hasattr(module, "weight"):
            number -= 1
            rule = rule_of(number, module)
            connections = functools.partial(_connections, module, shape, a)
            relevances = [rule(layer, a, relevance, connections) for relevance in relevances]
        elif kind == "MaxPool2d":
            relevances = [matrix.T @ relevance for relevance in relevances]
        elif "AvgPool" in kind:
            relevances = [epsilon_rule(layer, a, relevance, 0) for relevance in relevances]
    return np.stack(relevances)


def _shapes(modules: Sequence[torch.nn.Module], x: Array) -> list[tuple[int, ...]]:
    """Shape of the input of every module, for one sample."""
    shapes, value = [], torch.as_tensor(x)[None]
    for module in modules:
        shapes.append(tuple(value.shape[1:]))
        value = module(value).detach()
    return shapes


def _connections(module: torch.nn.Module, shape: tuple[int, ...], a: Array) -> Array:
    """1 where an input of the layer is connected to an output, whatever the weight is."""
    ones = copy.deepcopy(module)
    torch.nn.init.ones_(ones.weight)
    return _affine_module(type(module).__name__, ones, shape, a)[0]
