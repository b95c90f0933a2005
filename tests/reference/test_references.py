"""The references agree with one another, before anything is judged by them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite, MixedComposite, NameMapComposite
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool

from tests.reference import backprop, matrices, naive
from tests.reference.networks import (
    distance,
    images,
    multilayer_perceptron,
    randomised,
    small_vgg,
    torchvision_network,
)


def chain(network):
    return [naive.Dense.of(module) for module in network if isinstance(module, nn.Linear)]


def vector(size, seed=0):
    return torch.randn(1, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_neuron_by_neuron_equals_the_sum_over_all_paths():
    layers = chain(multilayer_perceptron(4, 5, 6, 5, 3, seed=1))
    x, seed = vector(4).numpy()[0], np.array([1.0, -1.0, 0.5])
    relevance = naive.dense_relevances(layers, x, seed)[0]
    np.testing.assert_allclose(relevance, naive.path_sum_relevance(layers, x, seed), rtol=1e-12)
    assert np.abs(relevance).max() > 0


def test_neuron_by_neuron_equals_autograd():
    network = multilayer_perceptron(9, 20, 15, 10, 4, seed=2)
    x = vector(9)
    truth = naive.dense_relevances(chain(network), x.numpy()[0], np.eye(4)[2])
    names = [name for name, module in network.named_children() if isinstance(module, nn.ReLU)]
    found = backprop.layer_relevances(network, x, backprop.one_hot(4, [2]), names)
    for relevance, expected in zip(found.values(), truth, strict=True):
        assert distance(relevance, torch.tensor(expected)[None]) < 1e-12


def test_product_rule_is_the_same_map_up_to_a_factor():
    """In a plain chain ``R_i = sum_j w_ij a_i R_j``, with no division anywhere, up to a positive scalar."""
    layers = chain(multilayer_perceptron(7, 12, 12, 12, 3, seed=3))
    x = vector(7).numpy()[0]
    inputs, _ = naive.dense_record(layers, x)
    relevance = np.eye(3)[1]
    for layer, a in zip(reversed(layers), reversed(inputs), strict=True):
        relevance = a * (layer.weight.T @ relevance)
    truth = naive.dense_relevances(layers, x, np.eye(3)[1])[0]
    np.testing.assert_allclose(relevance / np.abs(relevance).max(), truth / np.abs(truth).max(), rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "spatial", "options"),
    [
        ((4, 3, 3, 3), (7, 6), {"stride": 2, "padding": 1}),
        ((4, 3, 3, 2), (9, 8), {"dilation": (2, 3), "padding": (2, 0)}),
        ((6, 2, 3, 3), (5, 5), {"groups": 3, "padding": 1}),
        ((4, 3, 5), (11,), {"stride": 3, "padding": 2}),
        ((2, 2, 2, 3, 2), (4, 5, 4), {"stride": (1, 2, 1), "padding": 1}),
    ],
)
def test_convolution_matrix_is_the_convolution(shape, spatial, options):
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix, out = matrices.convolution_matrix(weight.numpy(), spatial, **options)
    x = torch.randn(1, shape[1] * options.get("groups", 1), *spatial, dtype=torch.float64)
    convolution = getattr(functional, f"conv{len(spatial)}d")
    expected = convolution(x, weight, **options)
    assert expected.shape[2:] == out
    np.testing.assert_allclose(matrix @ x.flatten().numpy(), expected.flatten().numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "spatial", "options"),
    [
        ((3, 4, 3, 3), (4, 5), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((4, 2, 3, 2), (5, 4), {"dilation": 2, "padding": 1, "groups": 2}),
        ((3, 2, 4), (6,), {"stride": 3}),
    ],
)
def test_transposed_convolution_matrix_is_the_transposed_convolution(shape, spatial, options):
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix, out = matrices.transposed_convolution_matrix(weight.numpy(), spatial, **options)
    x = torch.randn(1, shape[0], *spatial, dtype=torch.float64)
    expected = getattr(functional, f"conv_transpose{len(spatial)}d")(x, weight, **options)
    assert expected.shape[2:] == out
    np.testing.assert_allclose(matrix @ x.flatten().numpy(), expected.flatten().numpy(), atol=1e-12)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 1)])
def test_pooling_matrices_are_the_pooling(kernel, stride, padding, ceil):
    x = torch.randn(1, 2, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = x.flatten().numpy()
    for count in (False, True):
        matrix, out = matrices.average_pool_matrix(
            2, (7, 8), kernel, stride=stride, padding=padding, ceil=ceil, count_padding=count
        )
        expected = functional.avg_pool2d(x, kernel, stride, padding, ceil, count)
        assert expected.shape[2:] == out
        np.testing.assert_allclose(matrix @ flat, expected.flatten().numpy(), atol=1e-12)
    selection, out = matrices.max_pool_selection(flat, (7, 8), kernel, stride=stride, padding=padding, ceil=ceil)
    expected = functional.max_pool2d(x, kernel, stride, padding, 1, ceil)
    assert expected.shape[2:] == out
    np.testing.assert_array_equal(selection @ flat, expected.flatten().numpy())
    adaptive = matrices.adaptive_average_pool_matrix(2, (7, 8), (3, 5))
    np.testing.assert_allclose(adaptive @ flat, functional.adaptive_avg_pool2d(x, (3, 5)).flatten().numpy(), atol=1e-12)


def test_unrolled_network_equals_autograd():
    """The whole small VGG as matrices: values, and relevance at the input and at every layer, by both ways."""
    network, x = small_vgg(seed=4), images(1, 12, seed=4)
    unrolled, order = matrices.unroll(network, x.numpy()[0])
    nodes = {name: index for (name, _), index in zip(network.named_children(), order, strict=True)}
    node = order[-1]
    np.testing.assert_allclose(unrolled.value(node), network(x).detach().numpy()[0], rtol=1e-12)
    truth = unrolled.relevances(node, np.eye(5)[3])
    found = backprop.layer_relevances(network, x, backprop.one_hot(5, [3]), nodes)
    assert distance(found[""].flatten(1), torch.tensor(truth[0])[None]) < 1e-12
    for name, index in nodes.items():
        assert distance(found[name].flatten(1), torch.tensor(truth[index])[None]) < 1e-12


RULES = {
    "epsilon": (lambda: Epsilon(0.25), naive.epsilon_rule),
    "zero": (lambda: Epsilon(1e-300), lambda *args: naive.epsilon_rule(*args, epsilon=0)),
    "gamma": (lambda: Gamma(0.25), naive.gamma_rule),
    "alpha1beta0": (lambda: AlphaBeta(1, 0), naive.alpha1_beta0_rule),
    "z-plus": (ZPlus, naive.alpha1_beta0_rule),
    "flat": (Flat, lambda layer, _, relevance: naive.flat_rule(np.ones_like(layer.weight), relevance)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", RULES)
def test_naive_rules_equal_zennit(name, seed):
    """Inputs of both signs, biases of both signs, a contrast on the logits of both signs."""
    network = randomised(multilayer_perceptron(6, 15, 12, 4, seed=seed), seed, bias=0.5)
    x = vector(6, seed)
    hook, rule = RULES[name]
    contrast = torch.tensor([[1.0, -1.0, 0.5, 0.0]], dtype=torch.float64)
    composite = LayerMapComposite([(nn.Linear, hook()), (Activation, Pass())])
    with Gradient(network, composite) as attributor:
        logits, found = attributor(x, lambda output: output.detach() * contrast)
    layers = chain(network)
    truth = naive.dense_rule_relevance(layers, x.numpy()[0], contrast.numpy()[0], [rule] * len(layers))
    np.testing.assert_allclose(logits.detach().numpy()[0], naive.dense_record(layers, x.numpy()[0])[1], rtol=1e-12)
    assert distance(found.detach(), torch.tensor(truth)[None]) < 1e-10


def test_zero_rule_is_gradient_times_input_on_relu_networks():
    network, x = multilayer_perceptron(6, 15, 12, 4, seed=5), vector(6, 5).requires_grad_()
    layers = chain(network)
    truth = naive.dense_rule_relevance(
        layers, x.detach().numpy()[0], np.eye(4)[1], [lambda *args: naive.epsilon_rule(*args, epsilon=0)] * len(layers)
    )
    (gradient,) = torch.autograd.grad(network(x)[0, 1], x)
    assert distance((x * gradient).detach(), torch.tensor(truth)[None]) < 1e-10


def test_autograd_reference_leaves_the_forward_pass_as_it_is():
    """Every activation is answered with its own value, in place or not, and gates keep theirs."""
    for name in ("mobilenet_v3_small", "convnext_tiny", "resnet18"):
        network, x = torchvision_network(name), images(2, 64)
        with torch.no_grad():
            expected = network(x)
            with backprop.RelativeRelevance():
                found = network(x)
        assert distance(found, expected) < 1e-12


def test_autograd_reference_treats_modules_functions_and_in_place_alike():
    class Written(nn.Module):
        def __init__(self, activation):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
            self.activation = activation

        def forward(self, x):
            return self.second(self.activation(self.first(x))).mean((2, 3))

    groups = [
        (nn.ReLU(), nn.ReLU(inplace=True), functional.relu, torch.relu, torch.relu_, torch.Tensor.relu_),
        (nn.ReLU6(), nn.ReLU6(inplace=True), functional.relu6, nn.Hardtanh(0, 6), lambda z: z.clamp_(0, 6)),
        (nn.SiLU(), nn.SiLU(inplace=True), functional.silu, lambda z: functional.silu(z, True)),  # noqa: FBT003
        (nn.Hardswish(), functional.hardswish, nn.Hardswish(inplace=True)),
        (nn.Tanh(), torch.tanh, torch.Tensor.tanh_),
        (nn.GELU(), functional.gelu),
        (nn.LeakyReLU(0.1), lambda z: functional.leaky_relu(z, 0.1), nn.LeakyReLU(0.1, inplace=True)),
    ]
    x, seed = 20 * images(2, 8), backprop.one_hot(2, [0, 1])  # large enough to reach the bends at 3 and 6
    gradients = set()
    for group in groups:
        first, *others = (backprop.relevance(Written(a).double(), x, seed) for a in group)
        gradients.add(float(first.abs().sum()))
        for other in others:
            assert distance(other, first) < 1e-12
    assert len(gradients) == len(groups)


def test_autograd_reference_by_hand():
    """One neuron each: secant slope, constant gate and constant standard deviation, worked out on paper."""
    z = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    silu = nn.SiLU()
    a = silu(z)
    rho = a.abs() / a.abs().max()
    expected = a * rho  # R_z = rho * R_a with s_a = 1
    assert distance(backprop.relevance(silu, z, torch.ones_like(z)), expected) < 1e-12

    class Gated(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(3 * x)

    assert distance(backprop.relevance(Gated(), z, torch.ones_like(z)), z * torch.sigmoid(3 * z)) < 1e-12
    norm = nn.LayerNorm(2, eps=0.0).double()
    # standard deviation 1.5 held constant: y = (x - mean) / 1.5, so s_x = (e - mean(e)) / 1.5
    truth = z * torch.tensor([[0.5, -0.5]], dtype=torch.float64) / 1.5
    assert distance(backprop.relevance(norm, z, torch.tensor([[1.0, 0.0]], dtype=torch.float64)), truth) < 1e-12


def test_unrolled_classical_rules_equal_zennit():
    """A small VGG with every rule in turn on its matrices: flat first, then z-plus and gamma, epsilon on top."""
    network, x = small_vgg(seed=6, norm=False), images(1, 12, seed=6)

    def rule_of(number, module):
        if number == 0:
            return lambda _layer, _a, relevance, connections: naive.flat_rule(connections(), relevance)
        if isinstance(module, nn.Linear):
            return lambda layer, a, relevance, _: naive.epsilon_rule(layer, a, relevance)
        rule = naive.gamma_rule if number == 2 else naive.alpha1_beta0_rule
        return lambda layer, a, relevance, _: rule(layer, a, relevance)

    truth = matrices.classical_relevance(list(network), x.numpy()[0], np.eye(5)[[2]], rule_of)
    hooks = [(["0"], Flat()), (["5"], Gamma(0.25)), (["2", "7"], ZPlus()), (["12", "15"], Epsilon(0.25))]
    composite = MixedComposite(
        [NameMapComposite(hooks), LayerMapComposite([(Activation, Pass()), (AvgPool, Norm(1e-14))])]
    )
    with Gradient(network, composite) as attributor:
        _, found = attributor(x, lambda output: output.detach() * backprop.one_hot(5, [2]))
    assert distance(found.flatten(1), torch.tensor(truth)) < 1e-10
