"""The networks and pictures on which the study of the rule is made, and what is measured on them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

import rlrp_nb as rn
from benchmarks.denominators import DENOMINATORS, relevance
from rlrp_nb.data.digits import split_digits
from rlrp_nb.data.mosaic import mosaics
from rlrp_nb.data.sample import available_samples, sample_image
from rlrp_nb.evaluation.complexity import gini
from rlrp_nb.evaluation.faithfulness import flip
from rlrp_nb.evaluation.localisation import mass_accuracy
from rlrp_nb.evaluation.robustness import cosine

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlrp_nb.models.classifier import Classifier

MEASURES = ("AOPC", "ABPC", "noise", "mosaic", "Gini")
CROP = 3 / 4  # side of a crop, relative to the photograph's shorter side


@dataclass(frozen=True)
class Case:
    """A network, the pictures it is asked about, and the sizes of the protocol.

    Attributes
    ----------
    name
        Of the network, for `load_model`.
    kind
        Whether a value can take ways of different depth through the network.
    patch, per_step
        Of pixel flipping.
    black
        Whether flipped patches become black; else they are blurred.
    noise
        Standard deviation, where white is 1 and black is 0.
    whole_cells
        Whether the cells of a mosaic have the full size of the pictures; else half of it, for networks of fixed input.
    """

    name: str
    kind: Literal["chain", "residual"]
    patch: int
    per_step: int
    black: bool
    noise: float
    whole_cells: bool


CASES = (
    Case("simple_cnn", "chain", patch=4, per_step=4, black=True, noise=0.1, whole_cells=False),
    Case("vgg16_digits", "chain", patch=4, per_step=16, black=True, noise=0.1, whole_cells=True),
    Case("vgg19_digits", "chain", patch=4, per_step=16, black=True, noise=0.1, whole_cells=True),
    Case("resnet50_digits", "residual", patch=4, per_step=16, black=True, noise=0.1, whole_cells=True),
    Case("efficientnet_lite0", "residual", patch=32, per_step=7, black=False, noise=0.05, whole_cells=False),
)


def measure(case: Case, count: int, say: Callable[[str], None]) -> dict[str, dict[str, Tensor]]:
    """Return the measures by denominator and name, float64 ``(N,)`` each, N at most `count`.

    Raises
    ------
    RuntimeError
        The layer's maximum does not give what the engine gives.
    """
    model = rn.load_model(case.name)
    inputs = pictures(model, count)
    with torch.no_grad():
        targets = model.network(inputs).argmax(1)
    _compare_with_engine(model.network, inputs[:8], targets[:8])
    small = inputs if case.whole_cells else functional.avg_pool2d(inputs, 2)
    grid = mosaics(small, targets, count=count, seed=0)
    deviation = torch.tensor(model.preprocess.std)[:, None, None]
    noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)) * case.noise / deviation
    black = (torch.zeros(()) - torch.tensor(model.preprocess.mean)[:, None, None]) / deviation
    measured = {}
    for denominator in DENOMINATORS:
        say(f"{case.name}, {denominator}")
        heatmaps = _heatmaps(model.network, inputs, targets, denominator)
        flipped = flip(
            model.network,
            inputs,
            heatmaps,
            targets,
            patch=case.patch,
            per_step=case.per_step,
            fill=black if case.black else None,
        )
        measured[denominator] = {
            "AOPC": flipped.aopc.double(),
            "ABPC": flipped.abpc.double(),
            "noise": cosine(heatmaps, _heatmaps(model.network, inputs + noise, targets, denominator)),
            "mosaic": mass_accuracy(_heatmaps(model.network, grid.images, grid.targets, denominator), grid.masks),
            "Gini": gini(heatmaps),
        }
    return measured


def pictures(model: Classifier, count: int) -> Tensor:
    """Return what the network is asked about, ``(N, C, H, W)``: unseen digits, or photographs and their crops."""
    if len(model.categories) == 10:  # noqa: PLR2004 - digits
        return torch.stack([model.preprocess(image) for image in split_digits().held_out_images[:count]])
    found = []
    for name in available_samples():
        photograph = sample_image(name)
        side = round(CROP * min(photograph.size))
        right, bottom = photograph.width - side, photograph.height - side
        corners = [(0, 0), (right, 0), (right // 2, bottom // 2), (0, bottom), (right, bottom)]
        found += [photograph, *(photograph.crop((x, y, x + side, y + side)) for x, y in corners)]
    return torch.stack([model.preprocess(picture) for picture in found[:count]])


def _heatmaps(network: nn.Module, inputs: Tensor, targets: Tensor, denominator: str) -> Tensor:
    """Return relevance summed over channels, float64 ``(N, H, W)``, each divided by its largest absolute value."""
    if denominator == "one":  # products of activations can leave the range of float32
        network, inputs = copy.deepcopy(network).double(), inputs.double()
    parts = [
        relevance(network, some, asked, denominator).sum(1)
        for some, asked in zip(inputs.split(16), targets.split(16), strict=True)
    ]
    heatmaps = torch.cat(parts)
    largest = heatmaps.abs().amax((1, 2), keepdim=True)
    return heatmaps / torch.where(largest > 0, largest, 1)


def _compare_with_engine(network: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    network, inputs = copy.deepcopy(network).double(), inputs.double()  # rounding could choose the winners of a pooling
    ours = relevance(network, inputs, targets, "layer")
    engine = rn.explain(network, inputs, targets).relevance[:, 0]
    largest = engine.abs().flatten(1).amax(1)[:, None, None, None]
    error = float(((ours - engine).abs() / largest).max())
    if error > 1e-5:  # noqa: PLR2004 - relative to the largest relevance of each sample
        raise RuntimeError(f"the study and the engine differ by {error:.1e} of the largest relevance.")
