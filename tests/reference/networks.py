"""Seeded networks for the reference tests: random weights, random batch-norm statistics, eval mode."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torchvision import models


def randomised(network: nn.Module, seed: int = 0, *, bias: float = 0.1) -> nn.Module:
    """Give every norm random statistics and every bias random values, so that neither can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, bias, generator=generator)
    return network.eval()


def torchvision_network(name: str, *, classes: int = 10, seed: int = 0) -> nn.Module:
    """Build a torchvision network with seeded random weights, in float64."""
    torch.manual_seed(seed)
    arguments = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    return randomised(models.get_model(name, weights=None, num_classes=classes, **arguments), seed).double()


def multilayer_perceptron(*sizes: int, seed: int = 0, bias: bool = True) -> nn.Sequential:
    """Dense ReLU chain in float64."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for below, above in itertools.pairwise(sizes):
        layers += [nn.Linear(below, above, bias=bias), nn.ReLU()]
    return randomised(nn.Sequential(*layers[:-1]), seed).double()


def small_vgg(seed: int = 0, *, norm: bool = True, bias: bool = True, classes: int = 5) -> nn.Sequential:
    """Two convolution stages, max and average pooling and two dense layers, for images of 3 x 12 x 12, in float64."""
    torch.manual_seed(seed)

    def stage(below: int, above: int) -> list[nn.Module]:
        return [
            nn.Conv2d(below, above, 3, padding=1, bias=bias),
            *([nn.BatchNorm2d(above)] if norm else []),
            nn.ReLU(),
            nn.Conv2d(above, above, 3, padding=1, bias=bias),
            *([nn.BatchNorm2d(above)] if norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    network = nn.Sequential(
        *stage(3, 6),
        *stage(6, 8),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(8, 12, bias=bias),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(12, classes, bias=bias),
    )
    return randomised(network, seed).double()


def images(batch: int, size: int, *, seed: int = 0, positive: bool = False, channels: int = 3) -> torch.Tensor:
    """Seeded random images (batch, channels, size, size) in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, channels, size, size)
    draw = torch.rand if positive else torch.randn
    return draw(shape, generator=generator, dtype=torch.float64)


def distance(result: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest absolute difference, as a share of the largest absolute value of the truth of the same sample."""
    assert result.shape == truth.shape
    difference = (result.double() - truth.double()).abs().flatten(1).amax(1)
    largest = truth.double().abs().flatten(1).amax(1)
    assert (largest > 0).all(), "a truth of zeros would compare nothing"
    return float((difference / largest).max())
