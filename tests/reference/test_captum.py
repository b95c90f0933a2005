"""The classical methods of the engine equal Captum's, where both mean the same thing.

Captum counts a bias in full under every rule and knows no inputs below zero in gamma and alpha1beta0, where the engine
follows the generalised rules. So epsilon is compared with biases and signed images, gamma and alpha1beta0 without
biases, on images that are positive and for logits that are positive.
"""

import copy

import pytest
import torch
from captum.attr import LRP, InputXGradient
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from torch import nn
from torchvision import models

from rlrp_nb import explain
from rlrp_nb.engine.methods import lrp_epsilon, lrp_gamma
from tests.reference.networks import distance, images, multilayer_perceptron, randomised, torchvision_network


class SmallVGG(nn.Module):
    """Laid out like torchvision's VGG: Captum refuses a Flatten module."""

    def __init__(self, *, bias):
        super().__init__()
        torch.manual_seed(1)
        self.features = models.vgg.make_layers([6, "M", 8, 8, "M"])
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # Captum reads activations after the fact
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5))
        if not bias:
            randomised(self, bias=0.0)

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def dense(*, bias):
    return multilayer_perceptron(8, 20, 15, 5, seed=1, bias=bias)


NETWORKS = {
    "dense": (dense, (3, 8)),
    "VGG": (SmallVGG, (3, 3, 14, 14)),
}


def seeded(name, *, bias):
    """A network with values of the order of 1, so that stabilisers of 1e-6 here and 1e-9 there do not show."""
    network = NETWORKS[name][0](bias=bias).double().eval()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if bias:
                nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network


def captum(network, x, targets, rule):
    network = copy.deepcopy(network)  # Captum sets attributes on the modules
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = rule()
    return LRP(network).attribute(x.clone().requires_grad_(), target=targets).detach()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("epsilon", [0.25, 0.01])
def test_epsilon_equals_captum(name, epsilon):
    network = seeded(name, bias=True)
    x = torch.randn(NETWORKS[name][1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(len(x))
    expected = captum(network, x, targets, lambda: EpsilonRule(epsilon))
    found = explain(network, x, targets=targets, method=lrp_epsilon(epsilon=epsilon)).relevance
    assert distance(found[:, 0], expected) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("lrp-gamma", lambda: GammaRule(0.25)),
        (lrp_gamma(gamma=1.0), lambda: GammaRule(1.0)),
        ("alpha1beta0", Alpha1_Beta0_Rule),
        ("lrp-0", lambda: EpsilonRule(1e-14)),
    ],
    ids=["gamma", "gamma 1", "alpha1beta0", "lrp-0"],
)
def test_other_rules_equal_captum_without_biases(name, method, rule):
    network = seeded(name, bias=False)
    x = torch.rand(NETWORKS[name][1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, targets = network(x).max(1)
    assert (logits > 0).all()
    expected = captum(network, x, targets, rule)
    found = explain(network, x, targets=targets, method=method).relevance
    assert distance(found[:, 0], expected) < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_gradient_times_input_equals_captum(name):
    """The plain gradient: gates, smooth activations and layer-norm included."""
    network, x = torchvision_network(name), images(2, 64, seed=1)
    targets = torch.tensor([3, 8])
    expected = InputXGradient(network).attribute(x.clone().requires_grad_(), target=targets).detach()
    found = explain(network, x, targets=targets, method="gradient-x-input").relevance
    assert distance(found[:, 0], expected) < 1e-9
