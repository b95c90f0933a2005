"""The networks, pictures and numbers of targets that are measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models

import rlrp_nb as rn

TARGETS = (281, 282, 285, 287, 292)


@dataclass(frozen=True)
class Case:
    """A network with a batch of pictures.

    Attributes
    ----------
    network
        Name of the network.
    batch
        Number of pictures.
    pixels
        Their height and width.
    """

    network: str
    batch: int
    pixels: int

    def inputs(self) -> Tensor:
        """Return the pictures, noise of mean 0 and variance 1, ``(batch, 3, pixels, pixels)``."""
        return torch.randn(self.batch, 3, self.pixels, self.pixels, generator=torch.Generator().manual_seed(0))


FULL = (
    Case("vgg16", 1, 224),
    Case("vgg16", 8, 224),
    Case("resnet50", 1, 224),
    Case("resnet50", 8, 224),
    Case("efficientnet_lite0", 1, 224),
    Case("efficientnet_lite0", 8, 224),
)
QUICK = tuple(Case(case.network, case.batch, 64 if case.batch == 1 else 32) for case in FULL)


def build(name: str) -> nn.Module:
    """Return a network in eval mode without parameter gradients: the embedded one trained, others random."""
    if name == "efficientnet_lite0":
        network = rn.load_model(name).network
    else:
        torch.manual_seed(0)
        network = models.get_model(name)
    return network.eval().requires_grad_(requires_grad=False)
