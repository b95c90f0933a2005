"""The contenders equal Captum and zennit called as their own documentation does, and formulas written out."""

import copy

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import nn
from torch.nn import functional
from zennit.attribution import Gradient
from zennit.composites import EpsilonAlpha2Beta1Flat, EpsilonGammaBox, EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer

from rlrp_nb.evaluation.contender import resolve_contenders
from rlrp_nb.evaluation.domain import Range
from tests.reference.networks import distance, images, torchvision_network

DOMAIN = Range(torch.tensor([-2.0, -2.5, -3.0]), torch.tensor([2.0, 2.5, 3.0]))
TARGETS = torch.tensor([3, 8])


@pytest.fixture(scope="module")
def case():
    return torchvision_network("resnet18"), images(2, 48, seed=1)


def found(name, network, x):
    (contender,) = resolve_contenders(name, DOMAIN)
    return contender.attribute(network, x, TARGETS)


def leaf(x):
    return x.clone().requires_grad_()


def gradient(network, x):
    x = leaf(x)
    return torch.autograd.grad(network(x).gather(1, TARGETS[:, None]).sum(), x)[0]


def test_saliency(case):
    network, x = case
    assert distance(found("saliency", network, x), gradient(network, x).abs().amax(1)) < 1e-12
    theirs = Saliency(network).attribute(leaf(x), target=TARGETS).detach().amax(1)
    assert distance(found("saliency", network, x), theirs) < 1e-12


def test_integrated_gradients(case):
    network, x = case
    theirs = IntegratedGradients(network).attribute(leaf(x), target=TARGETS, n_steps=32).detach().sum(1)
    assert distance(found("integrated-gradients", network, x), theirs) < 1e-9


def test_smoothgrad_is_the_mean_gradient_of_noisy_images(case):
    network, x = case
    generator = torch.Generator().manual_seed(0)
    spread = (DOMAIN.high - DOMAIN.low).double()[:, None, None]
    noises = [torch.randn(3, 48, 48, generator=generator).double() * 0.15 * spread for _ in range(25)]
    mean = torch.stack([gradient(network, x + noise) for noise in noises]).mean(0)
    assert distance(found("smoothgrad", network, x), mean.abs().sum(1)) < 1e-9


def test_grad_cam(case):
    network, x = case
    copied = copy.deepcopy(network)
    theirs = LayerGradCam(copied, copied.layer4).attribute(leaf(x), target=TARGETS, relu_attributions=True).detach()
    theirs = functional.interpolate(theirs, size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    assert distance(found("grad-cam", network, x), theirs) < 1e-12


def test_occlusion_is_the_fall_of_the_logit_under_each_window():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 9)).double().eval()
    x = images(2, 14, seed=2)
    theirs = Occlusion(network).attribute(
        x, target=TARGETS, sliding_window_shapes=(3, 2, 2), strides=(3, 1, 1), baselines=0
    )
    assert distance(found("occlusion", network, x), theirs.mean(1)) < 1e-12
    corner = x.clone()
    corner[:, :, :2, :2] = 0
    falls = (network(x) - network(corner)).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(found("occlusion", network, x)[:, 0, 0], falls.detach())


@pytest.mark.parametrize(
    ("name", "composite"),
    [
        ("zennit-epsilon-plus-flat", EpsilonPlusFlat),
        ("zennit-epsilon-alpha2-beta1-flat", EpsilonAlpha2Beta1Flat),
        ("zennit-epsilon-gamma-box", EpsilonGammaBox),
    ],
)
def test_zennit(case, name, composite):
    network, x = case
    box = {}
    if composite is EpsilonGammaBox:
        box = {"low": DOMAIN.low.double()[None, :, None, None], "high": DOMAIN.high.double()[None, :, None, None]}
    seeds = functional.one_hot(TARGETS, network(x).shape[1]).double()
    with Gradient(copy.deepcopy(network), composite(canonizers=[ResNetCanonizer()], **box)) as attributor:
        _, theirs = attributor(leaf(x), lambda _: seeds)
    assert distance(found(name, network, x), theirs.detach().sum(1)) < 1e-12
