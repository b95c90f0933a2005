"""Why R-LRP loses where it loses, by changing one thing at a time; written into docs/comparison-causes.md."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.comparison.subjects import FAITHFUL, LOCAL, subjects
from benchmarks.denominators import layer, relevance
from benchmarks.machine import facts
from benchmarks.marked import write
from rlrp_nb.evaluation.attribute import engine_attribute, heatmaps_of
from rlrp_nb.evaluation.comparing import compare
from rlrp_nb.evaluation.contender import Contender
from rlrp_nb.evaluation.metric import METRICS, Metric, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlrp_nb.evaluation.comparison import Comparison

PAGE = Path(__file__).parents[2] / "docs" / "comparison-causes.md"
_QUICK = 4
_SQUARES = 7  # along a side


def weighted(exponent: float) -> Contender:
    """Return R-LRP with its relative activation ``a / max(a)`` raised to a power; 0 is gradient x input."""

    def denominator(a: Tensor) -> Tensor:
        # a / d is the share of activation to the power, for whatever passes anything on at all
        largest = layer(a)
        share = torch.where(a > 0, a / largest, 1)
        return a / share**exponent

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return relevance(network, inputs, targets, denominator).sum(1).to(inputs.dtype)

    return Contender(
        f"power-{exponent:g}",
        f"R-LRP, (a / max a)^{exponent:g}",
        f"R-LRP with its relative activation to the power of {exponent:g}",
        attribute,
    )


def coarse() -> Contender:
    """Return R-LRP averaged over squares of a seventh of the side."""

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        heatmaps = engine_attribute("rlrp")(network, inputs, targets)[:, None]
        squares = functional.adaptive_avg_pool2d(heatmaps, _SQUARES)
        return functional.interpolate(squares, size=heatmaps.shape[2:], mode="nearest")[:, 0]

    return Contender("coarse", "R-LRP, coarse", f"R-LRP averaged over {_SQUARES} x {_SQUARES} squares", attribute)


def _another_class(trial: Trial) -> Mapping[str, Tensor]:
    """Return how alike the heatmaps of two classes are but for a factor of either sign.

    The classes are the one that is asked for and the most probable other one.
    """
    with torch.no_grad():
        logits = trial.network(trial.inputs)
    others = logits.scatter(1, trial.targets[:, None], -torch.inf).argmax(1)
    found = heatmaps_of(trial.contender.attribute, trial.network, trial.inputs, others)
    alike = functional.cosine_similarity(trial.heatmaps.double().flatten(1), found.double().flatten(1))
    return {"another-class": alike.abs()}


ANOTHER_CLASS = Metric(
    "another-class", "Another class", "absolute cosine of the heatmaps of the class that is asked for and of the "
    "most probable other one", None, "cosine", "this project", _another_class,
)  # fmt: skip


class Question(NamedTuple):
    """One table of the page.

    Attributes
    ----------
    subject
        Name of the comparison whose network and images are taken.
    count
        How many images.
    methods, metrics
        For `compare`.
    """

    subject: str
    count: int
    methods: tuple[Any, ...]
    metrics: tuple[Metric, ...]


def questions() -> tuple[Question, ...]:
    """Return what is asked."""
    variants = ("rlrp", weighted(0), weighted(0.5), weighted(2), coarse())
    faithful = tuple(METRICS[name] for name in FAITHFUL)
    rivals = ("rlrp", "lrp-0", "lrp-epsilon", "lrp-gamma", "epsilon-plus-flat", "grad-cam")
    return (
        Question("simple_cnn", 200, variants, faithful),
        Question("vgg16_digits", 100, variants, faithful),
        Question("vgg16_digits_mosaics", 100, rivals, (ANOTHER_CLASS, *(METRICS[name] for name in LOCAL))),
    )


def answer(question: Question, *, quick: bool = False) -> Comparison:
    """Measure one table."""
    subject = next(subject for subject in subjects() if subject.name == question.subject)
    model = subject.model(Path(), quick)  # these need no folder: they come with the package
    images = subject.images(model, _QUICK if quick else question.count)
    measure = partial(compare, targets=images.targets, masks=images.masks, **subject.options)
    return measure(model, images.inputs, methods=question.methods, metrics=question.metrics)


def table(question: Question, found: Comparison) -> str:
    """Return heading, table, and the differences from R-LRP that can be told apart, as Markdown."""
    title = next(subject.title for subject in subjects() if subject.name == question.subject)
    titles = {contender.name: contender.title for contender in found.contenders}
    lines = [
        f"## {title}, {found.values.shape[2]} images",
        "",
        found.grid(),
        "",
        "Minus R-LRP, where that is told apart:",
        "",
    ]
    for metric in found.metrics:
        gaps = {name: gap for name, gap in found.differences("rlrp")[metric.name].items() if gap.excludes_zero}
        told = "; ".join(
            f"{titles[name]} {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" for name, gap in gaps.items()
        )
        lines.append(f"- **{metric.title}**: {told or 'none'}.")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison.causes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} images each; the tables are only printed")
    quick = parser.parse_args().quick
    torch.set_num_threads(os.cpu_count() or 1)
    parts = [table(question, answer(question, quick=quick)) for question in questions()]
    text = "\n".join([*parts, *(f"- {fact}" for fact in facts())])
    print(text)
    if not quick:
        write(PAGE, "python -m benchmarks.comparison.causes", text)


if __name__ == "__main__":
    main()
