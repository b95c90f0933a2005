"""Ask this engine, zennit and Captum for the same on small networks, and write what comes back into docs/peers.md.

LRP-0 on a network of affine maps, ReLU and pooling equals gradient x input, which autograd gives without any of the
three: that is the truth here. zennit and Captum know LRP-epsilon; with an epsilon of 1e-12 and 1e-9 that is the same.
"""

from __future__ import annotations

import argparse
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from captum.attr import LRP
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlusFlat, LayerMapComposite, layer_map_base
from zennit.rules import Epsilon
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear as Weighted

import rlrp_nb as rn
from benchmarks.flops import count_flops
from benchmarks.marked import write
from rlrp_nb.errors import RlrpError

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[1] / "docs" / "peers.md"
EQUAL = 1e-3  # of the largest relevance: stabilisers may show, another meaning may not
TARGET = 2


class _Small(nn.Module):
    """What the networks below are put together from; float64, in eval mode."""

    def __init__(self, **more: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool, self.head = nn.AvgPool2d(8), nn.Linear(6, 5)
        for name, module in more.items():
            self.add_module(name, module)
        self.double().eval()

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.flatten(self.pool(features), 1))
        return logits


class _Chain(_Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.relu2(self.second(self.relu(self.first(x)))))


class _FunctionalRelu(_Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.classify(functional.relu(self.second(functional.relu(self.first(x)))))


class _FunctionalMean(_Small):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu2(self.second(self.relu(self.first(x)))).mean((2, 3)))
        return logits


class _Flattened(_Small):
    def __init__(self) -> None:
        super().__init__(flatten=nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.pool(self.relu2(self.second(self.relu(self.first(x)))))))
        return logits


class _Skip(_Small):
    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        return self.classify(self.relu2(self.second(y) + y))


class _Concatenated(_Small):
    def __init__(self) -> None:
        super().__init__(join=nn.Conv2d(12, 6, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        return self.classify(self.relu3(self.join(torch.cat([self.relu2(self.second(y)), y], dim=1))))


class _Twice(_Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.relu3(self.second(self.relu2(self.second(self.relu(self.first(x)))))))


class _Unknown(_Small):
    """A max-norm across channels has no rule anywhere."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        return self.classify(y / y.amax(1, keepdim=True).clamp(min=0.1))


def _resnet18() -> nn.Module:
    network = models.resnet18(num_classes=5).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
        if isinstance(module, nn.ReLU):
            module.inplace = False  # Captum reads activations after the fact
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "a chain of modules": _Chain,
    "ReLU as a function": _FunctionalRelu,
    "mean over positions as a function": _FunctionalMean,
    "`nn.Flatten`": _Flattened,
    "skip connection, `a + b`": _Skip,
    "concatenation": _Concatenated,
    "a convolution used twice": _Twice,
    "torchvision's ResNet18, zennit with its canonizer for it": _resnet18,
}


def truth(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return gradient x input by autograd."""
    leaf = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, TARGET].sum(), leaf)
    return inputs * gradient


def by_us(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return LRP-0 of this engine."""
    relevance: Tensor = rn.RLRP(network, "lrp-0").attribute(inputs, TARGET)
    return relevance


def by_zennit(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return LRP-epsilon of zennit, with its canonizer for ResNets where the network is one."""
    canonizers = [ResNetCanonizer()] if isinstance(network, models.ResNet) else []
    composite = LayerMapComposite(
        [*layer_map_base(stabilizer=1e-12), (Weighted, Epsilon(epsilon=1e-12))], canonizers=canonizers
    )

    def seed(logits: Tensor) -> Tensor:
        return functional.one_hot(torch.full((len(logits),), TARGET), logits.shape[1]).to(logits) * logits

    with Gradient(network, composite) as attributor:
        relevance: Tensor = attributor(inputs.clone(), seed)[1]
    return relevance


def by_captum(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return Captum's LRP, whose default is epsilon."""
    relevance: Tensor = LRP(network).attribute(inputs.clone().requires_grad_(), target=TARGET).detach()
    return relevance


TOOLS = {"rlrp_nb": by_us, "zennit": by_zennit, "Captum": by_captum}


@dataclass(frozen=True)
class Answer:
    """What a tool said of a network.

    Attributes
    ----------
    distance
        Largest difference from the truth as a share of the largest relevance, or None where the tool refused.
    refusal
        The beginning of its error, if it refused.
    """

    distance: float | None
    refusal: str = ""

    def __str__(self) -> str:
        if self.distance is None:
            return "refused"
        return "right" if self.distance < EQUAL else f"**wrong**, off by {self.distance:.0e} of the maximum"


def ask(tool: Callable[[nn.Module, Tensor], Tensor], build: Callable[[], nn.Module]) -> Answer:
    """Ask a tool to explain a network with seeded weights."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum and zennit warn of their hooks
        torch.manual_seed(0)
        network, inputs = build(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
        if isinstance(network, models.ResNet):
            inputs = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        wanted = truth(network, inputs)
        try:
            got = tool(network, inputs)
        except (RlrpError, AssertionError, AttributeError, RuntimeError, TypeError) as error:
            return Answer(None, textwrap.shorten(str(error), 180, placeholder=" …"))
    distance = float((got - wanted).abs().max() / wanted.abs().max())
    return Answer(distance if torch.isfinite(got).all() else float("inf"))


def cost(name: str, run: Callable[[nn.Module, Tensor], object]) -> float:
    """Return the FLOPs of an explanation over those of one forward and one backward to the input alone."""
    network = models.get_model(name).eval().requires_grad_(requires_grad=False)
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.Dropout):
            module.inplace = False
    inputs = torch.randn(1, 3, 64, 64)
    baseline = count_flops(lambda: truth(network, inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(network, inputs)  # what is done once per network does not count
        return count_flops(lambda: run(network, inputs)) / baseline


def _epsilon_plus_flat(network: nn.Module, inputs: Tensor) -> object:
    canonizer = ResNetCanonizer() if isinstance(network, models.ResNet) else SequentialMergeBatchNorm()
    with Gradient(network, EpsilonPlusFlat(canonizers=[canonizer])) as attributor:
        return attributor(inputs.clone(), torch.eye(1000)[[TARGET]])


COSTS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "rlrp_nb, R-LRP": lambda network, inputs: rn.explain(network, inputs, TARGET),
    "rlrp_nb, R-LRP, all layers": lambda network, inputs: rn.explain(network, inputs, TARGET, layers="all"),
    "rlrp_nb, epsilon-plus-flat": lambda network, inputs: rn.explain(network, inputs, TARGET, "epsilon-plus-flat"),
    "zennit, EpsilonPlusFlat": _epsilon_plus_flat,
    "Captum, LRP": by_captum,
}


def correctness() -> str:
    """Return the table of answers."""
    lines = [f"| network | {' | '.join(TOOLS)} |", f"|---|{'---|' * len(TOOLS)}"]
    for name, build in NETWORKS.items():
        lines.append(f"| {name} | {' | '.join(str(ask(tool, build)) for tool in TOOLS.values())} |")
    return "\n".join(lines)


def costs() -> str:
    """Return the table of costs."""
    lines = ["| | VGG16 | ResNet50 |", "|---|---:|---:|"]
    for name, run in COSTS.items():
        lines.append(f"| {name} | {cost('vgg16', run):.2f} | {cost('resnet50', run):.2f} |")
    return "\n".join(lines)


def refusals() -> str:
    """Return what each tool says to a network that nobody has a rule for."""
    answers = {name: ask(tool, _Unknown) for name, tool in TOOLS.items()}
    return "\n".join(
        f"- {name}: " + (f"refuses: *{answer.refusal}*" if answer.distance is None else "answers without a word")
        for name, answer in answers.items()
    )


TABLES = {"correctness": correctness, "unknown": refusals, "cost": costs}


def main() -> None:
    """Write the tables into the page, each between its own marks."""
    argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__).parse_args()
    for name, table in TABLES.items():
        made = table()
        print(made)
        write(PAGE, f"python -m benchmarks.peers: {name}", f"\n{made}\n")


if __name__ == "__main__":
    main()
