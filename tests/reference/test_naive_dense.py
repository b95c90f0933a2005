"""The engine on dense networks equals the neuron-by-neuron reference and the naive classical rules."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlrp_nb import explain
from rlrp_nb.engine.methods import epsilon_plus_flat, lrp_epsilon, lrp_gamma
from tests.reference import naive
from tests.reference.networks import distance, multilayer_perceptron, randomised


def vectors(batch, size, seed=0):
    return torch.randn(batch, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chain(network):
    return [naive.Dense.of(module) for module in network if isinstance(module, nn.Linear)]


def seeds(targets, classes):
    """One seed a target: one-hot for a class, plus and minus one for a contrast."""
    rows = np.zeros((len(targets), classes))
    for row, target in zip(rows, targets, strict=True):
        positive, negative = target if isinstance(target, tuple) else (target, None)
        row[positive] += 1
        if negative is not None:
            row[negative] -= 1
    return rows


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 16), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 3),
    bias=st.sampled_from([0.0, 0.1, 2.0]),
)
def test_relevance_is_the_one_of_the_neurons(sizes, seed, batch, bias):
    network = randomised(multilayer_perceptron(5, *sizes, 4, seed=seed), seed, bias=bias)
    x, targets = vectors(batch, 5, seed), [3, 0, (1, 2)]
    relevance = explain(network, x, targets=targets).relevance
    assert relevance.shape == (batch, 3, 5)
    for n in range(batch):
        for k, e in enumerate(seeds(targets, 4)):
            truth = naive.dense_relevances(chain(network), x[n].numpy(), e)[0]
            np.testing.assert_allclose(relevance[n, k].numpy(), truth, rtol=1e-9, atol=1e-9 * np.abs(truth).max())


def test_relevance_of_every_layer_is_the_one_of_the_neurons():
    network, x = multilayer_perceptron(9, 20, 15, 10, 4, seed=1), vectors(2, 9, 1)
    explanation = explain(network, x, targets=[2], layers="all")
    for n in range(2):
        truths = naive.dense_relevances(chain(network), x[n].numpy(), seeds([2], 4)[0])[1:]
        for name, truth in zip(("1", "3", "5"), truths, strict=True):
            assert distance(explanation.layers[name][n], torch.tensor(truth)[None]) < 1e-9


def test_relevance_in_float32():
    network, x = multilayer_perceptron(20, 64, 64, 64, 64, 10, seed=2), vectors(4, 20, 2)
    truth = torch.tensor(
        np.stack([naive.dense_relevances(chain(network), row.numpy(), seeds([7], 10)[0])[0] for row in x])
    )
    found = explain(network.float(), x.float(), targets=7).relevance
    assert found.dtype == torch.float32
    assert distance(found[:, 0], truth) < 1e-4


def flat_first(epsilon):
    def rules(layers):
        first = lambda layer, _, relevance: naive.flat_rule(np.ones_like(layer.weight), relevance, 0)  # noqa: E731
        return [first, *[functools.partial(naive.epsilon_rule, epsilon=epsilon)] * (len(layers) - 1)]

    return rules


def same(rule, **options):
    return lambda layers: [functools.partial(rule, **options)] * len(layers)


METHODS = {
    "lrp-0": ("lrp-0", same(naive.epsilon_rule, epsilon=0)),
    "gradient-x-input": ("gradient-x-input", same(naive.epsilon_rule, epsilon=0)),  # the same map on a ReLU chain
    "lrp-epsilon": ("lrp-epsilon", same(naive.epsilon_rule, epsilon=0.25)),
    "lrp-epsilon, 1/8": (lrp_epsilon(epsilon=1 / 8), same(naive.epsilon_rule, epsilon=1 / 8)),
    "lrp-gamma": ("lrp-gamma", same(naive.gamma_rule, gamma=0.25)),
    "lrp-gamma, 0.5": (lrp_gamma(gamma=0.5), same(naive.gamma_rule, gamma=0.5)),
    "alpha1beta0": ("alpha1beta0", same(naive.alpha1_beta0_rule)),
    "epsilon-plus-flat": ("epsilon-plus-flat", flat_first(1e-6)),
    "epsilon-plus-flat, 1/64": (epsilon_plus_flat(epsilon=1 / 64), flat_first(1 / 64)),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("seed", range(2))
def test_classical_methods_are_the_naive_rules(name, seed):
    """Inputs, biases and logits of both signs."""
    method, rules = METHODS[name]
    network = randomised(multilayer_perceptron(6, 15, 12, 8, 4, seed=seed), seed, bias=0.5)
    layers, x = chain(network), vectors(3, 6, seed)
    targets = [0, 3, (2, 1)]
    found = explain(network, x, targets=targets, method=method).relevance
    for n in range(3):
        truth = np.stack(
            [naive.dense_rule_relevance(layers, x[n].numpy(), e, rules(layers)) for e in seeds(targets, 4)]
        )
        assert distance(found[n], torch.tensor(truth)) < 1e-9


def test_a_dead_layer_has_no_relevance_below_it():
    network, x = multilayer_perceptron(6, 8, 8, 3, seed=3), vectors(2, 6, 3)
    nn.init.constant_(network[2].bias, -1e3)
    assert not explain(network, x, targets=[0, 1]).relevance.any()
    layers = chain(network)
    assert not naive.dense_relevances(layers, x[0].numpy(), np.eye(3)[0])[0].any()


def test_relevance_is_not_invariant_to_one_neuron_against_its_weights():
    """The known limit of the method, and a test that the reference and the engine share it."""
    network, x = multilayer_perceptron(6, 10, 3, seed=4), vectors(1, 6, 4)
    before = explain(network, x, targets=0).relevance
    chosen = int(before.new_tensor(naive.dense_record(chain(network), x[0].numpy())[0][1]).argmax())  # an active one
    with torch.no_grad():
        network[0].weight[chosen] *= 8
        network[0].bias[chosen] *= 8
        network[2].weight[:, chosen] /= 8
    after = explain(network, x, targets=0).relevance
    truth = naive.dense_relevances(chain(network), x[0].numpy(), np.eye(3)[0])[0]
    assert distance(after[0], torch.tensor(truth)[None]) < 1e-9
    scaled = [r / r.abs().max() for r in (before, after)]
    assert (scaled[0] - scaled[1]).abs().max() > 0.01
