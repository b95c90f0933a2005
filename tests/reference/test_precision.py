"""What float64 and deep networks must not lose: digits of a method's parameter, the size of relevance, linearity."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from rlrp_nb import explain
from rlrp_nb.engine.methods import epsilon_plus_flat, lrp_epsilon
from tests.reference import naive
from tests.reference.networks import distance, images, multilayer_perceptron


def chain(network):
    return [naive.Dense.of(module) for module in network if isinstance(module, nn.Linear)]


@functools.cache
def deep(dtype):
    """A hundred layers, whose relevance is about 1e-69: far below what float32 could hold, and well within float64."""
    return multilayer_perceptron(12, *[12] * 99, 3, seed=2).to(dtype), images(2, 12, channels=1)[:, 0, 0].to(dtype)


@pytest.mark.parametrize("method", [lrp_epsilon, epsilon_plus_flat], ids=lambda method: method.__name__)
def test_epsilon_has_the_precision_of_the_network(method):
    """0.1 is no number of float32."""
    network, x = multilayer_perceptron(6, 8, 3), images(2, 6, channels=1)[:, 0, 0]
    rules = [functools.partial(naive.epsilon_rule, epsilon=0.1)] * 2
    if method is epsilon_plus_flat:
        rules[0] = lambda layer, _, relevance: naive.flat_rule(np.ones_like(layer.weight), relevance, 0)
    found = explain(network, x, targets=1, method=method(epsilon=0.1)).relevance
    truth = [naive.dense_rule_relevance(chain(network), sample.numpy(), np.eye(3)[1], rules) for sample in x]
    assert distance(found[:, 0], torch.tensor(np.array(truth))) < 1e-12


def test_deep_networks_keep_the_size_of_their_relevance_in_float64():
    network, x = deep(torch.float64)
    found = explain(network, x, targets=[0, 2]).relevance
    for n in range(2):
        truth = [naive.dense_relevances(chain(network), x[n].numpy(), np.eye(3)[k])[0] for k in (0, 2)]
        assert 0 < np.abs(truth).max() < 1e-40
        assert distance(found[n], torch.tensor(np.array(truth))) < 1e-9


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_deep_networks_are_linear_in_the_seed(dtype, tolerance):
    """Whatever the scale that relevance too small for the dtype is given, all targets of a sample share it."""
    network, x = deep(dtype)
    r = explain(network, x, targets=[0, 2, (0, 2)]).relevance
    assert distance(r[:, 2], r[:, 0] - r[:, 1]) < tolerance
