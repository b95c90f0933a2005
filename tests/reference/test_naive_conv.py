"""The engine on convolutional networks equals the same networks unrolled into explicit matrices."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rlrp_nb import explain
from rlrp_nb.engine.methods import epsilon_plus_flat, lrp_epsilon, lrp_gamma
from tests.reference import matrices, naive
from tests.reference.networks import distance, images, randomised, small_vgg


def seeded(*modules, seed=0):
    """A sequential network in float64 with seeded weights, biases and batch-norm statistics."""
    network = nn.Sequential(*modules)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return randomised(network, seed).double()


def unrolled_relevance(modules, x, seeds):
    """Relevance (B, K, ...) of the input by matrices."""
    rows = []
    for sample in x.numpy():
        network, nodes = matrices.unroll(modules, sample)
        rows.append([network.relevances(nodes[-1], e)[0].reshape(sample.shape) for e in seeds])
    return torch.tensor(np.array(rows))


NETWORKS = {
    "strided, padded": (
        lambda: seeded(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU()),
        (3, 9, 8),
    ),
    "dilated, grouped, depthwise": (
        lambda: seeded(
            nn.Conv2d(4, 8, 3, dilation=2, groups=2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1),
            nn.ReLU6(),
        ),
        (4, 9, 9),
    ),
    "one dimension": (lambda: seeded(nn.Conv1d(2, 4, 5, stride=2), nn.ReLU(), nn.Conv1d(4, 3, 3), nn.ReLU()), (2, 17)),
    "three dimensions": (
        lambda: seeded(nn.Conv3d(2, 3, 2), nn.ReLU(), nn.Conv3d(3, 2, 2, stride=(1, 2, 1), padding=1), nn.ReLU()),
        (2, 4, 5, 4),
    ),
    "transposed": (
        lambda: seeded(
            nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 4, 2, groups=2),
            nn.ReLU(),
        ),
        (3, 4, 5),
    ),
    "batch-norm after and before": (
        lambda: seeded(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
        ),
        (3, 6, 6),
    ),
    "overlapping, padded, ceiled max pooling": (
        lambda: seeded(
            nn.Conv2d(2, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.Conv2d(4, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=1),
        ),
        (2, 10, 9),
    ),
    "average pooling of all kinds": (
        lambda: seeded(
            nn.Conv2d(2, 4, 3),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.Conv2d(4, 4, 2),
            nn.ReLU(),
            nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
            nn.AdaptiveAvgPool2d((3, 2)),
        ),
        (2, 10, 9),
    ),
    "smooth activations": (
        lambda: seeded(
            nn.Conv2d(2, 3, 3),
            nn.SiLU(),
            nn.Conv2d(3, 3, 3),
            nn.GELU(),
            nn.Conv2d(3, 3, 1),
            nn.Hardswish(),
            nn.Conv2d(3, 3, 1),
            nn.Tanh(),
            nn.Conv2d(3, 3, 1),
            nn.LeakyReLU(),
        ),
        (2, 8, 8),
    ),
    "bounded activations, beyond their bounds": (
        lambda: seeded(nn.Conv2d(2, 3, 3), nn.Hardtanh(), nn.Conv2d(3, 3, 3), nn.ReLU6()),
        (2, 8, 8),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_is_the_one_of_the_matrices(name):
    build, shape = NETWORKS[name]
    x = 3 * torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    body = list(build())
    size = nn.Sequential(*body)(x)[0].numel()
    modules = [*body, *seeded(nn.Flatten(), nn.Linear(size, 4), seed=1)]
    network = nn.Sequential(*modules).eval()
    found = explain(network, x, targets=[2, (0, 3)]).relevance
    seeds = np.array([[0, 0, 1, 0], [1, 0, 0, -1]])
    assert distance(found.flatten(1), unrolled_relevance(modules, x, seeds).flatten(1)) < 1e-9


def test_every_layer_of_a_small_vgg_is_the_one_of_the_matrices():
    """Without batch-norm, so that each module's output is a tensor of the network the engine walks."""
    network, x = small_vgg(seed=4, norm=False), images(1, 12, seed=4)
    explanation = explain(network, x, targets=3, layers="all")
    unrolled, nodes = matrices.unroll(list(network), x.numpy()[0])
    truth = unrolled.relevances(nodes[-1], np.eye(5)[3])
    named = {name: truth[node] for (name, _), node in zip(network.named_children(), nodes, strict=True)}
    relus = {name for name, module in network.named_children() if isinstance(module, nn.ReLU)}
    assert relus <= set(explanation.layers)
    for name in set(named) & set(explanation.layers):
        assert distance(explanation.layers[name][:, 0].flatten(1), torch.tensor(named[name])[None]) < 1e-9, name


class Branches(nn.Module):
    """A stem, a residual block, a branch of another depth that is concatenated, and a channel shuffle."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.side = nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(6, 3)
        randomised(self, 0)

    def forward(self, x):
        stem = self.stem(x).relu()
        inner = self.norm(self.first(stem)).relu_()
        block = torch.relu(self.second(inner) + stem)
        both = torch.cat([block, self.side(stem).relu()], dim=1)
        both = both.view(len(both), 2, 3, *both.shape[2:]).transpose(1, 2).flatten(1, 2)
        return self.head(both.mean((2, 3)))


def unrolled_branches(network, x):
    """The same network written down as a graph of matrices."""
    spatial = x.shape[1:]
    places = spatial[0] * spatial[1]
    graph = matrices.MatrixNetwork()

    def convolution(module):
        weight = module.weight.detach().numpy()
        matrix, _ = matrices.convolution_matrix(weight, spatial, padding=module.padding)
        return matrix, np.repeat(0.0 if module.bias is None else module.bias.detach().numpy(), places)

    weight, bias = convolution(network.stem)
    stem = graph.activation(graph.affine((graph.input(x), weight), bias=bias))
    norm, shift = matrices.batch_norm_diagonal(network.norm, places)
    inner = graph.activation(graph.affine((stem, norm @ convolution(network.first)[0]), bias=shift))
    weight, bias = convolution(network.second)
    block = graph.activation(graph.affine((inner, weight), (stem, np.eye(4 * places)), bias=bias))
    weight, bias = convolution(network.side)
    side = graph.activation(graph.affine((stem, weight), bias=bias))
    order = [0, 3, 1, 4, 2, 5]  # channels after the shuffle
    mean = np.zeros((6, 6 * places))
    for row, channel in enumerate(order):
        mean[row, channel * places : (channel + 1) * places] = 1 / places
    head = naive.Dense.of(network.head)
    logits = graph.affine(
        (block, head.weight @ mean[:, : 4 * places]), (side, head.weight @ mean[:, 4 * places :]), bias=head.bias
    )
    return graph, logits


def test_relevance_of_a_network_with_branches_is_the_one_of_the_matrices():
    network, x = Branches().double(), images(2, 5, channels=2, seed=1)
    with torch.no_grad():
        logits = network(x).numpy()
    found = explain(network, x, targets=[1, (2, 0)])
    for n in range(2):
        graph, output = unrolled_branches(network, x[n].numpy())
        np.testing.assert_allclose(graph.value(output), logits[n], rtol=1e-12)
        truth = [graph.relevances(output, e)[0] for e in ([0, 1, 0], [-1, 0, 1])]
        assert distance(found.relevance[n].flatten(1), torch.tensor(np.array(truth))) < 1e-9


def folded(network):
    """A sequential network with its batch-norm folded into the convolutions before."""
    modules = []
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            modules[-1] = fuse_conv_bn_eval(modules[-1], module)
        else:
            modules.append(module)
    return modules


def _every(rule, **options):
    return lambda _number, _module: lambda layer, a, relevance, _: rule(layer, a, relevance, **options)


def _plus_flat(epsilon):
    def rule_of(number, module):
        if number == 0:
            return lambda _layer, _a, relevance, connections: naive.flat_rule(connections(), relevance, 0)
        if isinstance(module, nn.Linear):
            return _every(naive.epsilon_rule, epsilon=epsilon)(number, module)
        return _every(naive.alpha1_beta0_rule)(number, module)

    return rule_of


METHODS = {
    "lrp-0": ("lrp-0", _every(naive.epsilon_rule, epsilon=0)),
    "lrp-epsilon": ("lrp-epsilon", _every(naive.epsilon_rule)),
    "lrp-epsilon, 1/64": (lrp_epsilon(epsilon=1 / 64), _every(naive.epsilon_rule, epsilon=1 / 64)),
    "lrp-gamma": ("lrp-gamma", _every(naive.gamma_rule)),
    "lrp-gamma, 1": (lrp_gamma(gamma=1.0), _every(naive.gamma_rule, gamma=1.0)),
    "alpha1beta0": ("alpha1beta0", _every(naive.alpha1_beta0_rule)),
    "epsilon-plus-flat": ("epsilon-plus-flat", _plus_flat(1e-6)),
    "epsilon-plus-flat, 1/8": (epsilon_plus_flat(epsilon=1 / 8), _plus_flat(1 / 8)),
}


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch-norm"])
@pytest.mark.parametrize("name", METHODS)
def test_classical_methods_are_the_naive_rules_on_the_matrices(name, norm):
    method, rule_of = METHODS[name]
    network, x = small_vgg(seed=6, norm=norm), images(1, 12, seed=6)
    found = explain(network, x, targets=[2, (4, 0)], method=method).relevance[0]
    seeds = np.array([[0, 0, 1, 0, 0], [-1, 0, 0, 0, 1]])
    truth = matrices.classical_relevance(folded(network), x.numpy()[0], seeds, rule_of)
    assert distance(found.flatten(1), torch.tensor(truth)) < 1e-9
