"""The classical methods of the engine equal zennit's, where zennit is right.

How biases are handled, here as there: a bias is part of z, so it takes part in the denominator and absorbs its share of
the relevance. Epsilon counts it in full; gamma favours it when it has the sign of z; z-plus counts it only when it is
positive; the flat rule ignores it. Batch-norm is folded into the convolution before, so its shift is part of the bias.

The batch-norm of these networks has eps = 0: zennit's canonizer sets the running variance of a folded batch-norm to 1
but leaves its eps, so that every one of them still divides by sqrt(1 + eps), 5e-6 away from the network it explains.
Zennit sees an addition only where a canonizer knows the architecture, hence ResNet and sequential networks.
Additions, average pooling and the flat rule have no denominator in the engine; zennit's are stabilised by 1e-6 by
default, which shows where sums are small, and by nothing that shows in these tests. One test takes zennit as it is.
"""

import functools

import pytest
import torch
from torch import nn
from torchvision import models
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlusFlat, SpecialFirstLayerMapComposite
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZPlus
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from rlrp_nb import explain
from rlrp_nb.engine.methods import epsilon_plus_flat, lrp_epsilon, lrp_gamma
from tests.reference.networks import distance, images, randomised, small_vgg, torchvision_network

# zennit divides 0 by 0 where a stabiliser is 0: the smallest that float64 tells apart takes its place
NOTHING = 1e-14


def everywhere(hook, first=None):
    """One rule on every convolution and linear map, or another on the first; the rest passes relevance on."""

    def composite(canonizer):
        rules = hook if isinstance(hook, list) else [(Linear, hook())]
        layer_map = [
            (Activation, Pass()),
            (Sum, Norm(NOTHING)),
            (AvgPool, Norm(NOTHING)),
            (BatchNorm, Pass()),
            *rules,
        ]
        first_map = [(Linear, first)] if first else []
        return SpecialFirstLayerMapComposite(layer_map, first_map, canonizers=[canonizer])

    return composite


def plus_flat(epsilon):
    return everywhere([(Convolution, ZPlus()), (nn.Linear, Epsilon(epsilon))], first=Flat(NOTHING))


METHODS = {
    "lrp-0": ("lrp-0", everywhere(lambda: Epsilon(NOTHING))),
    "lrp-epsilon": ("lrp-epsilon", everywhere(lambda: Epsilon(0.25))),
    "lrp-epsilon, 1/64": (lrp_epsilon(epsilon=1 / 64), everywhere(lambda: Epsilon(1 / 64))),
    "lrp-gamma": ("lrp-gamma", everywhere(lambda: Gamma(0.25))),
    "lrp-gamma, 1": (lrp_gamma(gamma=1.0), everywhere(lambda: Gamma(1.0))),
    "alpha1beta0": ("alpha1beta0", everywhere(lambda: AlphaBeta(1, 0))),
    "alpha1beta0, as z-plus": ("alpha1beta0", everywhere(ZPlus)),
    "epsilon-plus-flat": ("epsilon-plus-flat", plus_flat(1e-6)),
    "epsilon-plus-flat, 1/8": (epsilon_plus_flat(epsilon=1 / 8), plus_flat(1 / 8)),
}


def exact_norms(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    return network


def vgg():
    """torchvision's VGG11 with batch-norm and its adaptive pooling, on a head small enough for a test."""
    with torch.device("meta"):
        network = models.vgg11_bn(init_weights=False)
    torch.manual_seed(0)
    network.classifier = nn.Sequential(nn.Linear(25088, 24), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(24, 10))
    network.features.to_empty(device="cpu")
    for module in network.features:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return randomised(network).double()


@functools.cache
def prepared(name):
    build, canonizer, batch, size = {
        "small VGG": (functools.partial(small_vgg, seed=1), VGGCanonizer, 3, 12),
        "VGG11": (vgg, VGGCanonizer, 1, 64),
        "ResNet18": (functools.partial(torchvision_network, "resnet18"), ResNetCanonizer, 1, 64),
    }[name]
    return exact_norms(build()), canonizer(), images(batch, size, seed=2)


@pytest.mark.parametrize(
    ("network_name", "method_name"),
    [("small VGG", method) for method in METHODS]
    + [(network, method) for network in ("VGG11", "ResNet18") for method in METHODS if "," not in method],
)
def test_relevance_equals_zennit(network_name, method_name):
    method, composite = METHODS[method_name]
    network, canonizer, x = prepared(network_name)
    explanation = explain(network, x, targets=[1, (3, 4)], method=method)
    classes = explanation.logits.shape[1]
    for k, seed in enumerate(([(1, 1)], [(3, 1), (4, -1)])):
        e = torch.zeros(classes, dtype=torch.float64)
        for target, value in seed:
            e[target] = value
        with Gradient(network, composite(canonizer)) as attributor:
            logits, expected = attributor(x, lambda output, e=e: output.detach() * e)
        assert distance(explanation.logits, logits.detach()) < 1e-10
        assert distance(explanation.relevance[:, k], expected) < 1e-9


@pytest.mark.parametrize("network_name", ["small VGG", "VGG11", "ResNet18"])
def test_epsilon_plus_flat_equals_the_composite_of_zennit_as_it_is(network_name):
    network, canonizer, x = prepared(network_name)
    explanation = explain(network, x, targets=1, method="epsilon-plus-flat")
    e = nn.functional.one_hot(torch.tensor(1), explanation.logits.shape[1])
    with Gradient(network, EpsilonPlusFlat(canonizers=[canonizer])) as attributor:
        _, expected = attributor(x, lambda output: output.detach() * e)
    assert distance(explanation.relevance[:, 0], expected) < 1e-4
