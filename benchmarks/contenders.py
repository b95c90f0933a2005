"""The methods that are compared, each called as its own documentation does.

Every one gets the same network with `requires_grad` off for all parameters, so none computes a weight gradient unless
it insists, and is prepared once, outside of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from captum.attr import LRP
from torch import Tensor, nn
from torchvision.models import ResNet
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer

import rlrp_nb as rn

Run = Callable[[Tensor, Sequence[int]], object]


@dataclass(frozen=True)
class Contender:
    """A method.

    Attributes
    ----------
    name
        As in the table.
    prepare
        Takes a network of its own, which it may change, and returns the call: batch ``(B, C, H, W)`` and targets in.
    many
        Whether one call explains many targets. All others are called once for each.
    lean
        Whether it keeps no relevance but that of the input.
    peer
        Whether it is another project's, which may refuse a network.
    """

    name: str
    prepare: Callable[[nn.Module], Run]
    many: bool = False
    lean: bool = True
    peer: bool = False


def _rlrp(network: nn.Module) -> Run:
    return lambda inputs, targets: rn.explain(network, inputs, list(targets))


def _rlrp_layers(network: nn.Module) -> Run:
    return lambda inputs, targets: rn.explain(network, inputs, list(targets), layers="all")


def _rlrp_attribute(network: nn.Module) -> Run:
    attribution = rn.RLRP(network)
    return lambda inputs, targets: [attribution.attribute(inputs, target) for target in targets]


def _gradient_x_input(network: nn.Module) -> Run:
    """Plain eager PyTorch at its best: many targets share the forward pass, whose graph is kept until the last."""

    def run(inputs: Tensor, targets: Sequence[int]) -> list[Tensor]:
        leaf = inputs.detach().requires_grad_()
        logits = network(leaf)
        return [
            inputs * torch.autograd.grad(logits[:, target].sum(), leaf, retain_graph=i + 1 < len(targets))[0]
            for i, target in enumerate(targets)
        ]

    return run


def _zennit(network: nn.Module) -> Run:
    canonizer = ResNetCanonizer() if isinstance(network, ResNet) else SequentialMergeBatchNorm()
    EpsilonPlusFlat(canonizers=[canonizer]).register(network)
    attributor = Gradient(network)

    def seed(target: int, logits: Tensor) -> Tensor:
        return torch.zeros_like(logits).index_fill_(1, torch.tensor([target]), 1)

    def run(inputs: Tensor, targets: Sequence[int]) -> list[Tensor]:
        return [attributor(inputs, partial(seed, target))[1] for target in targets]

    return run


def _captum(network: nn.Module) -> Run:
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.Dropout):
            module.inplace = False  # Captum reads activations after the fact
    lrp = LRP(network)

    def run(inputs: Tensor, targets: Sequence[int]) -> list[Tensor]:
        return [lrp.attribute(inputs.detach().requires_grad_(), target=target).detach() for target in targets]

    return run


BASELINE = Contender("gradient x input, PyTorch", _gradient_x_input, many=True)
CONTENDERS = (
    Contender("R-LRP, `explain`", _rlrp, many=True),
    Contender('R-LRP, `explain(layers="all")`', _rlrp_layers, many=True, lean=False),
    Contender("R-LRP, `RLRP.attribute`", _rlrp_attribute),
    BASELINE,
    Contender("zennit, EpsilonPlusFlat", _zennit, peer=True),
    Contender("Captum, LRP", _captum, peer=True),
)
