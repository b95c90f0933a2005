"""Naive float64 references, written from the definition of the method alone.

Slow on purpose: explicit loops over neurons and path sums for dense chains, and the classical rules for one dense
layer. `matrices` unrolls convolutional networks so that the same rules apply to them. Nothing here uses automatic
differentiation, a convolution routine or the engine, so that an error in one of those cannot hide.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

Array = np.ndarray


@dataclass(frozen=True)
class Dense:
    """One dense layer: ``weight`` (outputs, inputs) and ``bias`` (outputs,)."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, linear: torch.nn.Linear) -> Dense:
        """Copy the parameters of a linear module into float64 arrays."""
        weight = linear.weight.detach().double().numpy()
        bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.detach().double().numpy()
        return cls(weight, bias)


# --------------------------------------------------------------------------------------- R-LRP, neuron by neuron


def dense_record(layers: Sequence[Dense], x: Array) -> tuple[list[Array], Array]:
    """Run a ReLU chain; return the inputs of every layer, and the logits."""
    inputs = [np.asarray(x, dtype=np.float64)]
    for layer in layers[:-1]:
        inputs.append(np.maximum(layer.weight @ inputs[-1] + layer.bias, 0.0))
    return inputs, layers[-1].weight @ inputs[-1] + layers[-1].bias


def dense_relevances(layers: Sequence[Dense], x: Array, seed: Array) -> list[Array]:
    """Relevance of the input and of every hidden layer, neuron by neuron: ``R_{i<-j} = w_ij a_i rho_j s_j``."""
    inputs, _ = dense_record(layers, x)
    above = [float(e) for e in seed]  # rho_j * s_j of the neurons above; the logits have no activation, rho = 1
    relevances: list[Array] = []
    for layer, a in zip(reversed(layers), reversed(inputs), strict=True):
        largest = max(a)
        relevance, passed = [], []
        for i in range(len(a)):
            sensitivity = 0.0
            for j in range(len(above)):
                sensitivity += layer.weight[j, i] * above[j]
            relevance.append(a[i] * sensitivity)
            passed.append(a[i] / largest * sensitivity if largest > 0 else 0.0)
        relevances.append(np.array(relevance))
        above = passed
    return relevances[::-1]


def path_sum_relevance(layers: Sequence[Dense], x: Array, seed: Array) -> Array:
    """Relevance of the input as a sum over every path through the network, with no recursion at all."""
    inputs, logits = dense_record(layers, x)
    rho = [a / a.max() if a.max() > 0 else np.zeros_like(a) for a in inputs[1:]]
    result = np.zeros(len(x))
    for path in itertools.product(*(range(len(a)) for a in inputs), range(len(logits))):
        share = x[path[0]] * seed[path[-1]]
        for k, layer in enumerate(layers):
            share *= layer.weight[path[k + 1], path[k]]
        for k, factors in enumerate(rho):
            share *= factors[path[k + 1]]
        result[path[0]] += share
    return result


# --------------------------------------------------------------------------------------- the classical rules


def _stabilised(z: float, epsilon: float) -> float:
    return z + (epsilon if z >= 0 else -epsilon)


def epsilon_rule(layer: Dense, a: Array, relevance: Array, epsilon: float = 0.25) -> Array:
    """LRP-epsilon; the bias is part of z and absorbs its share. ``epsilon=0`` is LRP-0, where 0 / 0 passes nothing."""
    below = np.zeros(len(a))
    for w, b, upper in zip(layer.weight, layer.bias, relevance, strict=True):
        contributions = w * a
        denominator = _stabilised(contributions.sum() + b, epsilon)
        if denominator != 0:
            below += contributions / denominator * upper
    return below


def gamma_rule(layer: Dense, a: Array, relevance: Array, gamma: float = 0.25, stabiliser: float = 1e-6) -> Array:
    """Generalised LRP-gamma: contributions of the sign of z are favoured; a bias of that sign counts as one of them."""
    below = np.zeros(len(a))
    for w, b, upper in zip(layer.weight, layer.bias, relevance, strict=True):
        contributions = w * a
        z = contributions.sum() + b
        if z == 0:
            continue
        sign = math.copysign(1.0, z)
        favoured = np.where(contributions * sign > 0, (1 + gamma) * contributions, contributions)
        bias = (1 + gamma) * b if b * sign > 0 else b
        below += favoured / _stabilised(favoured.sum() + bias, stabiliser) * upper
    return below


def alpha1_beta0_rule(layer: Dense, a: Array, relevance: Array, stabiliser: float = 1e-6) -> Array:
    """LRP-alpha1beta0 (z-plus): positive contributions only, whatever the sign of the input; a positive bias counts."""
    below = np.zeros(len(a))
    for w, b, upper in zip(layer.weight, layer.bias, relevance, strict=True):
        positive = np.maximum(w * a, 0.0)
        below += positive / _stabilised(positive.sum() + max(b, 0.0), stabiliser) * upper
    return below


def flat_rule(connections: Array, relevance: Array, stabiliser: float = 1e-6) -> Array:
    """Flat rule: every connection (1 in ``connections``) takes an equal share, whatever its weight and input."""
    below = np.zeros(connections.shape[1])
    for existing, upper in zip(connections, relevance, strict=True):
        below += existing / _stabilised(existing.sum(), stabiliser) * upper
    return below


def dense_rule_relevance(
    layers: Sequence[Dense], x: Array, seed: Array, rules: Sequence[Callable[[Dense, Array, Array], Array]]
) -> Array:
    """Walk a ReLU chain with one rule per layer; the logits carry ``seed * logits``, activations pass relevance on."""
    inputs, logits = dense_record(layers, x)
    relevance = np.asarray(seed) * logits
    for layer, a, rule in zip(reversed(layers), reversed(inputs), reversed(rules), strict=True):
        relevance = rule(layer, a, relevance)
    return relevance
