"""What is compared in public: networks, images nobody has trained on, and the methods and metrics for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision import models

import rlrp_nb as rn
from rlrp_nb.data.digits import split_digits
from rlrp_nb.data.image import load_image
from rlrp_nb.data.mosaic import mosaics
from rlrp_nb.data.sample import available_samples, sample_image
from rlrp_nb.data.shapes import load_shapes
from rlrp_nb.evaluation.contender import integrated_gradients, occlusion, smoothgrad
from rlrp_nb.evaluation.domain import Range
from rlrp_nb.models.weights import cached_path
from rlrp_nb.training import fit, measure_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FAITHFUL = ("aopc", "abpc", "insertion", "deletion", "noise-similarity", "gini")
LOCAL = ("pointing-game", "mass-accuracy", "rank-accuracy")
ENGINE = ("rlrp", "lrp-0", "lrp-epsilon", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat")
ZENNIT = ("zennit-epsilon-plus-flat", "zennit-epsilon-gamma-box")
CONTROLS = ("random", "edges")

Model: TypeAlias = "rn.Classifier | nn.Module"

_SHAPE_SIDE = 64
_LEARNT = 0.8  # of new drawings are named right, or the network has nothing to explain
_CONFIDENT = 0.5
_SURE = 0.9


@dataclass(frozen=True)
class Images:
    """Inputs, and the truth about them where it is known.

    Attributes
    ----------
    inputs
        ``(N, C, H, W)``, as the network gets them.
    masks
        bool ``(N, H, W)``, or None.
    targets
        int64 ``(N,)``, or None for the class that the network finds most probable.
    """

    inputs: Tensor
    masks: Tensor | None = None
    targets: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """One table of the page.

    Attributes
    ----------
    name
        Of its files.
    title
        Its heading.
    what
        Network and images, in sentences.
    model
        Loads or trains it; takes the folder where trained weights are kept, and whether to be quick.
    images
        Takes the model and how many images; returns them.
    metrics
        By name.
    methods
        By name, or objects.
    count
        How many images are asked for.
    options
        For `compare`.
    """

    name: str
    title: str
    what: str
    model: Callable[[Path, bool], Model]
    images: Callable[[Any, int], Images]
    metrics: tuple[str, ...]
    methods: tuple[Any, ...]
    count: int = 200
    options: Mapping[str, Any] = field(default_factory=dict)


def all_methods(channels: int = 3) -> tuple[Any, ...]:
    """Return all methods for inputs in [0, 1], those that ask the network often with fewer steps than by default."""
    peers = (
        "saliency",
        integrated_gradients(steps=16),
        smoothgrad(Range(torch.zeros(channels), torch.ones(channels)), samples=10),
        "grad-cam",
        occlusion(stride=1 / 7),
    )
    return (*ENGINE, *peers, *ZENNIT, *CONTROLS)


def single_methods() -> tuple[str, ...]:
    """Return the methods that ask the network once, for networks where each time is expensive."""
    return (*ENGINE, "saliency", "grad-cam", *ZENNIT, *CONTROLS)


def swift_methods() -> tuple[str, ...]:
    """Return fewer of these, for networks where each time is more expensive still."""
    return ("rlrp", "lrp-0", "lrp-epsilon", "lrp-gamma", "epsilon-plus-flat", "saliency", "grad-cam", "random")


def subjects() -> tuple[Subject, ...]:
    """Return every comparison that can be made on this machine."""
    digits = [
        Subject(
            "simple_cnn",
            "Simple CNN, digits",
            'The small network that the package ships (`load_model("simple_cnn")`), three convolutions and two linear '
            "layers, on digits of MNIST that it has not seen.",
            _named("simple_cnn"),
            _digits,
            FAITHFUL,
            all_methods(1),
            options={"fill": "black"},
        )
    ]
    for name, title in (("vgg16", "VGG16"), ("vgg19", "VGG19"), ("resnet50", "ResNet50")):
        model = f"{name}_digits"
        methods = all_methods() if name == "resnet50" else single_methods()
        where = f'torchvision\'s {title} with 10 outputs (`load_model("{model}")`)'
        digits += [
            Subject(
                model,
                f"{title}, digits",
                f"{where}, on digits of MNIST that it has not seen.",
                _named(model),
                _digits,
                FAITHFUL,
                methods,
                options={"fill": "black", "patch": 4, "per_step": 8},
            ),
            Subject(
                f"{model}_mosaics",
                f"{title}, mosaics of digits",
                f"{where}, on two by two digits of different classes that it has not seen and of which it is sure. One "
                "of them is asked for, and the truth is its quarter: the Grid Pointing Game.",
                _named(model),
                _digit_mosaics,
                LOCAL,
                methods,
            ),
        ]
    shapes = Subject(
        "shapes",
        "A small CNN, shapes on photographs",
        "Four convolutions with batch-norm and two linear layers, trained within this command to name the one "
        "geometric shape that lies on a photograph, and judged on drawings that it has not seen and names right. The "
        "truth is the mask of the shape.",
        _shapes_network,
        _shapes,
        (*FAITHFUL, *LOCAL),
        all_methods(),
        options={"patch": 8, "per_step": 4},
    )
    photographs = [
        *_photographs_of("efficientnet_lite0", "EfficientNet-Lite0"),
        *(
            subject
            for name, title in (("vgg16", "VGG16"), ("vgg19", "VGG19"), ("resnet50", "ResNet50"))
            if _has_weights(name)
            for subject in _photographs_of(name, title)
        ),
    ]
    return (*digits, shapes, *photographs)


def _photographs_of(name: str, title: str) -> tuple[Subject, Subject]:
    sure = f"that it gives a probability of at least {_CONFIDENT:g} to one class"
    crops = f"crops of the photographs of scikit-image and scikit-learn, of such {sure}"
    return (
        Subject(
            name,
            f"{title}, photographs",
            f"{title} with its ImageNet weights, on {crops}.",
            _named(name),
            _crops,
            FAITHFUL,
            swift_methods(),
            options={"patch": 32, "per_step": 10, "batch": 8},
        ),
        Subject(
            f"{name}_mosaics",
            f"{title}, mosaics of photographs",
            f"{title} with its ImageNet weights, on two by two {crops}. One of them is asked for, and the truth is its "
            "quarter: the Grid Pointing Game.",
            _named(name),
            _crop_mosaics,
            LOCAL,
            swift_methods(),
            options={"batch": 8},
        ),
    )


def _named(name: str) -> Callable[[Path, bool], Model]:
    return lambda _folder, _quick: _loaded(name)


@lru_cache(maxsize=1)  # two tables in a row are about the same network, and two large ones need too much memory
def _loaded(name: str) -> rn.Classifier:
    return rn.load_model(name)


def _has_weights(name: str) -> bool:
    return cached_path(models.get_model_weights(name).DEFAULT.url).exists()


def _prepared_digits(model: rn.Classifier) -> tuple[Tensor, Tensor]:
    held_out = split_digits()
    inputs = torch.stack([model.preprocess(image) for image in held_out.held_out_images])
    return inputs, torch.from_numpy(held_out.held_out_labels)


def _digits(model: rn.Classifier, count: int) -> Images:
    return Images(_prepared_digits(model)[0][:count])


def _digit_mosaics(model: rn.Classifier, count: int) -> Images:
    inputs, labels = (part[: 2 * count + 40] for part in _prepared_digits(model))
    sure = _probabilities(model.network, inputs).max(1)
    good = (sure.values > _SURE) & (sure.indices == labels)
    made = mosaics(inputs[good], labels[good], count=count, seed=0)
    return Images(made.images, made.masks, made.targets)


def _shapes_network(folder: Path, quick: bool) -> nn.Module:  # noqa: FBT001 - a Subject's network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        widths = (3, 24, 48, 64, 96)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(widths[-1] * 16, 64), nn.ReLU(), nn.Linear(64, 8))
    path = folder / "shapes_network.safetensors"
    if path.exists():
        network.load_state_dict(load_file(path))
        return network.eval()
    learnt = load_shapes(64 if quick else 4000, size=_SHAPE_SIDE, seed=0)
    fit(network, _to_inputs(learnt.images), torch.from_numpy(learnt.labels), epochs=1 if quick else 16, seed=0)
    new = load_shapes(400, size=_SHAPE_SIDE, seed=2)
    accuracy = measure_accuracy(network, _to_inputs(new.images), torch.from_numpy(new.labels))
    print(f"the network for shapes names {accuracy:.1%} of 400 new ones", flush=True)
    if not quick and accuracy < _LEARNT:
        raise RuntimeError(f"the network for shapes names {accuracy:.1%} of 400 new ones: nothing to compare on.")
    save_file(network.state_dict(), path)
    return network


def _shapes(network: nn.Module, count: int) -> Images:
    drawn = load_shapes(2 * count + 16, size=_SHAPE_SIDE, seed=1)
    inputs, labels = _to_inputs(drawn.images), torch.from_numpy(drawn.labels)
    right = (_probabilities(network, inputs).argmax(1) == labels).nonzero().flatten()[:count]
    return Images(inputs[right], torch.from_numpy(drawn.masks)[right], labels[right])


def _to_inputs(images: Any) -> Tensor:  # noqa: ANN401 - uint8 (N, H, W, 3)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@lru_cache(maxsize=1)
def _sure_crops(model: rn.Classifier) -> tuple[list[Image.Image], Tensor]:
    """Return the crops of which a network is sure, in an order that is drawn, and its classes."""
    found, classes = [], []
    for photograph in _photographs():
        for share in (1.0, 0.85, 0.7):
            edge = round(min(photograph.size) * share)
            steps = [sorted({round((size - edge) * place / 3) for place in range(4)}) for size in photograph.size]
            for left, top in product(*steps):
                crop = photograph.crop((left, top, left + edge, top + edge))
                best = _probabilities(model.network, model.preprocess(crop)[None]).max(1)
                if float(best.values) >= _CONFIDENT:
                    found.append(crop)
                    classes.append(int(best.indices))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0)).tolist()
    return [found[k] for k in order], torch.tensor([classes[k] for k in order])


def _crops(model: rn.Classifier, count: int) -> Images:
    crops, classes = _sure_crops(model)
    return Images(torch.stack([model.preprocess(crop) for crop in crops[:count]]), None, classes[:count])


def _crop_mosaics(model: rn.Classifier, count: int) -> Images:
    crops, classes = _sure_crops(model)
    height, width = (side // 2 for side in model.preprocess.shape[1:])
    quarters = [crop.resize((width, height), Image.Resampling.HAMMING) for crop in crops]
    pixels = torch.stack([torch.from_numpy(np.asarray(quarter).copy()).permute(2, 0, 1) for quarter in quarters])
    made = mosaics(pixels, classes, count=count, seed=0)
    pictures = [Image.fromarray(grid.permute(1, 2, 0).numpy()) for grid in made.images]
    return Images(torch.stack([model.preprocess(picture) for picture in pictures]), made.masks, made.targets)


@cache
def _photographs() -> tuple[Image.Image, ...]:
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise rn.MissingPackageError("two photographs come with scikit-learn: pip install 'rlrp-nb[test]'.")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "images"
    others = [load_image(folder / name) for name in ("china.jpg", "flower.jpg")]
    return (*(sample_image(name) for name in available_samples()), *others)


@torch.no_grad()
def _probabilities(network: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([network(part).softmax(1) for part in inputs.split(50)])
