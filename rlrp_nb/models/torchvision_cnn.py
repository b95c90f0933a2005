"""The classification CNNs of torchvision by name, with their official weights, preprocessing and class names."""

import re
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from rlrp_nb.errors import UnsupportedNetworkError, WeightsError
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.models.weights import cached_path

if TYPE_CHECKING:
    from collections.abc import Callable

_TRANSFORMERS = ("maxvit", "swin", "vit")

# Heads that only serve training: built without them, and their weights left in the file.
_TRAINING_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_OLD_DENSE_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=\d\.)")


@cache
def names() -> tuple[str, ...]:
    """Names of all networks of this kind, in alphabetical order."""
    return tuple(name for name in models.list_models(module=models) if not name.startswith(_TRANSFORMERS))


def refuse_other_kinds(name: str) -> None:
    """Raise if torchvision has a network of this name that is no classification CNN.

    Raises
    ------
    UnsupportedNetworkError
        Says which kind of network it is.
    """
    if name not in models.list_models() or name in names():
        return
    module = models.get_model_builder(name).__module__
    kind = "a network for detection, segmentation, optical flow or video"
    if name.startswith(_TRANSFORMERS):
        kind = "a vision transformer"
    elif ".quantization" in module:
        kind = f"a quantized network (the same network unquantized is {name.removeprefix('quantized_')!r})"
    raise UnsupportedNetworkError(
        f"{name!r} is {kind}; only classification CNNs in floating point can be explained. Choose, for example, "
        "'resnet50', 'vgg16' or 'efficientnet_lite0'; available_models() lists all."
    )


def choose(name: str, choice: str) -> models.WeightsEnum:
    """Find official weights of a network by their name.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    choice : str
        For example "IMAGENET1K_V1", or "DEFAULT".

    Raises
    ------
    WeightsError
        There are no such weights, or they are no weights of a classifier.
    """
    entries = models.get_model_weights(name)
    choice = choice.removeprefix(f"{entries.__name__}.")
    usable = [entry.name for entry in entries if entry.meta["categories"]]
    if choice not in entries.__members__:
        raise WeightsError(
            f"{name} has no weights {choice!r}: choose from {', '.join(usable)}, or give the path of a .pth or "
            ".safetensors file with its state dict."
        )
    entry = entries[choice]
    if entry.name not in usable:
        raise WeightsError(f"the weights {choice!r} of {name} have no classes to explain: choose {', '.join(usable)}.")
    return entry


def official(name: str, path: Path) -> models.WeightsEnum | None:
    """Which official weights a file is, judged by its name; None if it is no official file of this network."""
    for entry in models.get_model_weights(name):
        if cached_path(entry.url).name == path.name and entry.meta["categories"]:
            return entry
    return None


class _Weightless(TorchFunctionMode):
    """Put what layers allocate on the meta device, where it takes no memory; all other tensors stay real.

    ``torch.device("meta")`` would do, but RegNet computes the widths of its layers with tensors.
    """

    def __torch_function__(
        self,
        func: "Callable[..., object]",
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in {torch.empty, torch.ones, torch.zeros}:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def build(name: str, **options: object) -> nn.Module:
    """Build a network without weights, on the meta device, as its official weights need it.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    options : object
        Passed to torchvision's builder, such as ``num_classes=10``.
    """
    if name in _TRAINING_HEADS:
        # the official weights were ported from TensorFlow and want its scaling of the input inside the network
        options = {"aux_logits": False, "init_weights": False, "transform_input": True, **options}
    builder: Callable[..., nn.Module] = models.get_model_builder(name)
    with _Weightless():
        return builder(weights=None, **options)


def adapt(name: str, state: "OrderedDict[str, torch.Tensor]") -> "OrderedDict[str, torch.Tensor]":
    """Leave out training heads, and give keys of DenseNet checkpoints from before torch 0.4 their present names."""
    heads = _TRAINING_HEADS.get(name, ())
    adapted = OrderedDict(
        (_OLD_DENSE_KEY.sub(r"\1", key), tensor) for key, tensor in state.items() if not key.startswith(heads)
    )
    if hasattr(state, "_metadata"):
        adapted._metadata = state._metadata  # type: ignore[attr-defined] # noqa: SLF001
    return adapted


def preprocess(entry: models.WeightsEnum) -> Preprocess:
    """Give the preprocessing that torchvision states for these weights."""
    preset = entry.transforms()
    return Preprocess(
        size=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resize=preset.resize_size[0],
        interpolation=preset.interpolation.value,
    )


def imagenet_categories() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet classes, in their usual order."""
    return tuple(models.ResNet18_Weights.DEFAULT.meta["categories"])
