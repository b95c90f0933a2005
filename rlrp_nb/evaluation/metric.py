"""The metrics of a comparison as data: what each measures, which way is better, and what computes it.

Metrics that come out of the same work share a family, which is run once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from rlrp_nb.checks import check_choice, check_texts
from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.attribute import heatmaps_of
from rlrp_nb.evaluation.complexity import entropy, gini
from rlrp_nb.evaluation.conservation import conservation_error
from rlrp_nb.evaluation.faithfulness import Score, flip, road
from rlrp_nb.evaluation.identity import identity
from rlrp_nb.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from rlrp_nb.evaluation.perturbation import Jpeg, Perturbation, Shift, uniform
from rlrp_nb.evaluation.randomisation import similarity_after_randomisation
from rlrp_nb.evaluation.robustness import similarity
from rlrp_nb.evaluation.stability import amplification, small_denominators

if TYPE_CHECKING:
    from rlrp_nb.evaluation.attribute import Attribute
    from rlrp_nb.evaluation.contender import Contender
    from rlrp_nb.evaluation.domain import Range

Fill: TypeAlias = "Literal['blur', 'mean', 'black', 'imputation'] | Tensor"
Measure: TypeAlias = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""A metric of one's own: network, inputs ``(B, C, H, W)``, heatmaps ``(B, H, W)``, targets ``(B,)`` to ``(B,)``."""

NOISE = 0.05  # standard deviation of the noise, as a share of the input's range
BRIGHTNESS = 0.1  # what is added to every pixel, as a share of the input's range
JPEG_QUALITY = 50
SHIFT = 1 / 28  # of the shorter side, to the right and down
RADIUS = 0.02  # of the ball of max-sensitivity, as a share of the input's range
DRAWS = 10  # from that ball
ROAD_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Settings:
    """How the metrics are set, the same for every method.

    Parameters
    ----------
    patch : int
        Side of the patches that are flipped, in pixels.
    per_step : int
        How many patches are flipped at once.
    fill : str or Tensor
        What stands where a patch was: "blur", "mean", "black" (the lower end of the domain), "imputation", or a tensor.
    score : {"probability", "logit", "accuracy"}
        What of the network's answer is followed.
    batch : int
        How many inputs are explained at once, and how many the network is given at once.
    seed : int
        Of everything that is drawn.
    """

    patch: int
    per_step: int
    fill: Fill = "blur"
    score: Score = "probability"
    batch: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Trial:
    """One method on one batch: what a metric is computed from.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    contender : Contender
        The method.
    inputs : Tensor
        ``(B, C, H, W)``.
    heatmaps : Tensor
        ``(B, H, W)``: the method's answer.
    targets : Tensor
        int64 ``(B,)``.
    domain : Range
        Of the network's input.
    settings : Settings
        Of the metrics.
    masks : Tensor, optional
        bool ``(B, H, W)``: where the truth is.
    cost : float
        Time that the heatmaps took, as a multiple of gradient x input's; NaN where it was not taken.
    """

    network: nn.Module
    contender: Contender
    inputs: Tensor
    heatmaps: Tensor
    targets: Tensor
    domain: Range
    settings: Settings
    masks: Tensor | None = None
    cost: float = math.nan

    @property  # kept, it would hold the trial that holds it, and with it the network
    def attribute(self) -> Attribute:
        """The method, which does not compute again what is known: the heatmaps of these very inputs."""

        def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
            if network is self.network and torch.equal(inputs, self.inputs):
                return self.heatmaps.clone()
            return self.contender.attribute(network, inputs, targets)

        return attribute

    @property
    def spread(self) -> Tensor:
        """White minus black of each channel, ``(1, C, 1, 1)``."""
        low, high = self.domain.around(self.inputs)
        if not bool((high > low).any()):
            raise InputError(
                "all pixels have one value, of whose range nothing can be a share: give images that differ, or a "
                "Classifier, whose preprocessing knows the range."
            )
        return high - low

    @property
    def truth(self) -> Tensor:
        """The masks, which are there: a comparison without them refuses the metrics that need them."""
        if self.masks is None:
            raise InputError("this metric needs masks: bool (N, H, W), true where the object is.")
        return self.masks

    def after(self, perturbation: Perturbation | Callable[[Tensor], Tensor]) -> Tensor:
        """Return the cosine of the heatmaps before and after a perturbation, ``(B,)``."""
        return similarity(self.attribute, self.network, self.inputs, self.targets, perturbation)


Family: TypeAlias = Callable[[Trial], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Metric:
    """A number for each heatmap.

    Parameters
    ----------
    name : str
        What it is called in code.
    title : str
        What it is called in tables and figures.
    measures : str
        What the number says.
    better : {"higher", "lower"} or None
        Which way is better; None for a number that describes and does not judge.
    unit : str
        In which the number is.
    source : str
        Where the definition comes from.
    family : callable
        Takes a `Trial`; returns values ``(B,)`` by metric, this one's among them.
    needs_masks : bool
        Whether it needs to know where the object is.
    engine_only : bool
        Whether it looks into the engine, so that it exists for the engine's methods alone.
    timed : bool
        Whether it comes from a clock: then the median is shown, no interval, and no run gives it again exactly.
    """

    name: str
    title: str
    measures: str
    better: Literal["higher", "lower"] | None
    unit: str
    source: str
    family: Family
    needs_masks: bool = False
    engine_only: bool = False
    timed: bool = False

    def __post_init__(self) -> None:
        """Refuse what no table could show or judge by."""
        check_texts(name=self.name, title=self.title, measures=self.measures, unit=self.unit, source=self.source)
        if self.better is not None:
            check_choice(("higher", "lower"), better=self.better)
        if not callable(self.family):
            raise InputError(f"family is a {type(self.family).__name__}; accepted is a function of a Trial.")

    def applies_to(self, contender: Contender) -> bool:
        """Whether the metric exists for a method."""
        return contender.method is not None or not self.engine_only


def _flipping(trial: Trial) -> Mapping[str, Tensor]:
    settings = trial.settings
    black = settings.fill == "black" if isinstance(settings.fill, str) else False
    found = flip(
        trial.network,
        trial.inputs,
        trial.heatmaps,
        trial.targets,
        patch=settings.patch,
        per_step=settings.per_step,
        fill=trial.domain.around(trial.inputs)[0] if black else settings.fill,
        score=settings.score,
        batch=settings.batch,
    )
    return {"aopc": found.aopc, "abpc": found.abpc, "insertion": found.insertion, "deletion": found.deletion}


def _road(trial: Trial) -> Mapping[str, Tensor]:
    # The noise of the imputation has its deviation in units of pixels from 0 to 1.
    low, high = trial.domain.around(trial.inputs)
    settings = trial.settings
    options: dict[str, Any] = {
        "shares": ROAD_SHARES,
        "noise": 0.01 * float((high - low).mean()),
        "seed": settings.seed,
        "score": settings.score,
        "batch": settings.batch,
    }
    least, most = (
        road(trial.network, trial.inputs, trial.heatmaps, trial.targets, order=order, **options)
        for order in ("lerf", "morf")
    )
    return {"road": (least - most).mean(1)}


def _localisation(trial: Trial) -> Mapping[str, Tensor]:
    return {
        "pointing-game": pointing_game(trial.heatmaps, trial.truth),
        "mass-accuracy": mass_accuracy(trial.heatmaps, trial.truth),
        "rank-accuracy": rank_accuracy(trial.heatmaps, trial.truth),
    }


def _complexity(trial: Trial) -> Mapping[str, Tensor]:
    return {"gini": gini(trial.heatmaps), "entropy": entropy(trial.heatmaps)}


def _max_sensitivity(trial: Trial) -> Mapping[str, Tensor]:
    # The same draws for every image, so that no value depends on the images beside it.
    before = trial.heatmaps.double().flatten(1)
    length = before.norm(dim=1)
    largest = torch.zeros_like(length)
    zeros = torch.zeros_like(trial.inputs[:1])
    for draw in uniform(zeros, radius=1.0, samples=DRAWS, seed=trial.settings.seed):
        changed = trial.inputs + draw * RADIUS * trial.spread
        after = heatmaps_of(trial.attribute, trial.network, changed, trial.targets).double().flatten(1)
        change = (after - before).norm(dim=1)
        largest = largest.maximum(torch.where(change > 0, change / length, 0))
    return {"max-sensitivity": largest}


def _noise(trial: Trial) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(trial.settings.seed)
    noise = torch.randn(trial.inputs.shape[1:], generator=generator, dtype=torch.float64, device="cpu").to(trial.inputs)
    return {"noise-similarity": trial.after(lambda inputs: inputs + noise * NOISE * trial.spread)}


def _jpeg(trial: Trial) -> Mapping[str, Tensor]:
    low, high = (ends.flatten().double().tolist() for ends in trial.domain.around(trial.inputs))
    return {"jpeg-similarity": trial.after(Jpeg(JPEG_QUALITY, low, high))}


def _brightness(trial: Trial) -> Mapping[str, Tensor]:
    return {"brightness-similarity": trial.after(lambda inputs: inputs + BRIGHTNESS * trial.spread)}


def _shift(trial: Trial) -> Mapping[str, Tensor]:
    pixels = max(1, round(SHIFT * min(trial.inputs.shape[2:])))
    return {"shift-similarity": trial.after(Shift(pixels, pixels))}


def _randomisation(trial: Trial) -> Mapping[str, Tensor]:
    seed = trial.settings.seed
    found = similarity_after_randomisation(trial.attribute, trial.network, trial.inputs, trial.targets, seed=seed)
    return {"randomisation": found}


def _amplification(trial: Trial) -> Mapping[str, Tensor]:
    return {"amplification": amplification(trial.network, trial.inputs, trial.targets, _method(trial))}


def _small_denominators(trial: Trial) -> Mapping[str, Tensor]:
    return {"small-denominators": small_denominators(trial.network, trial.inputs, _method(trial))}


def _conservation(trial: Trial) -> Mapping[str, Tensor]:
    return {"conservation": conservation_error(trial.network, trial.inputs, trial.targets, _method(trial))}


def _cost(trial: Trial) -> Mapping[str, Tensor]:
    return {"cost": torch.full((len(trial.inputs),), trial.cost, dtype=torch.float64, device="cpu")}


def _method(trial: Trial) -> Any:  # noqa: ANN401 - a Method
    if trial.contender.method is None:
        raise InputError(f"{trial.contender.name} is no method of the engine, and this metric looks into the engine.")
    return trial.contender.method


_FLIPPING = "Samek et al., 2017"
_ROBUST = "cosine of the heatmaps before and after"

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "aopc", "AOPC", "how far the score falls on average while the most relevant patches are taken away first",
            "higher", "score", _FLIPPING, _flipping,
        ),
        Metric(
            "abpc", "ABPC", "the area between the curves of taking away the least and the most relevant patches first",
            "higher", "score", "Blücher, Vielhaben and Strodthoff, 2024", _flipping,
        ),
        Metric(
            "insertion", "Insertion", "the area under the score while the most relevant patches come back first",
            "higher", "score", "Petsiuk, Das and Saenko, 2018", _flipping,
        ),
        Metric(
            "deletion", "Deletion", "the area under the score while the most relevant patches are taken away first",
            "lower", "score", "Petsiuk, Das and Saenko, 2018", _flipping,
        ),
        Metric(
            "road", "ROAD", "as ABPC, with single pixels replaced by noisy linear imputation, mean over shares of "
            f"{', '.join(f'{share:g}' for share in ROAD_SHARES)} of the pixels",
            "higher", "score", "Rong et al., 2022", _road,
        ),
        Metric(
            "pointing-game", "Pointing game", "whether the pixel of the highest relevance lies on the object",
            "higher", "share of images", "Zhang et al., 2018", _localisation, needs_masks=True,
        ),
        Metric(
            "mass-accuracy", "Mass accuracy", "the share of positive relevance that lies on the object",
            "higher", "share", "Arras, Osman and Samek, 2022", _localisation, needs_masks=True,
        ),
        Metric(
            "rank-accuracy", "Rank accuracy", "of the most relevant pixels, as many as the object has, the share on it",
            "higher", "share", "Arras, Osman and Samek, 2022", _localisation, needs_masks=True,
        ),
        Metric(
            "max-sensitivity", "Max-sensitivity", f"the largest relative change of the heatmap among {DRAWS} draws of "
            f"uniform noise of up to {RADIUS:g} of the input's range, the same draws for every image",
            "lower", "relative change", "Yeh et al., 2019", _max_sensitivity,
        ),
        Metric(
            "noise-similarity", "Noise similarity", f"{_ROBUST} Gaussian noise of {NOISE:g} of the input's range, the "
            "same for every image", "higher", "cosine", "this project", _noise,
        ),
        Metric(
            "jpeg-similarity", "JPEG similarity", f"{_ROBUST} JPEG of quality {JPEG_QUALITY}", "higher", "cosine",
            "this project", _jpeg,
        ),
        Metric(
            "brightness-similarity", "Brightness similarity", f"{_ROBUST} {BRIGHTNESS:g} of the input's range is added "
            "to every pixel", "higher", "cosine", "this project", _brightness,
        ),
        Metric(
            "shift-similarity", "Shift similarity", f"{_ROBUST} the image is moved right and down by a "
            f"{round(1 / SHIFT)}th of its shorter side, at least one pixel; moved back, over what both show",
            "higher", "cosine", "this project", _shift,
        ),
        Metric(
            "amplification", "Amplification", "the largest ratio of relevance handed down to relevance received at any "
            "layer", "lower", "ratio", "this project", _amplification, engine_only=True,
        ),
        Metric(
            "small-denominators", "Small denominators", "the share of neurons by whose own, small value the method "
            "divides", "lower", "share", "this project", _small_denominators, engine_only=True,
        ),
        Metric(
            "gini", "Gini", "how few pixels carry the absolute relevance", None, "index",
            "Chalasani et al., 2020", _complexity,
        ),
        Metric(
            "entropy", "Entropy", "over how many pixels the absolute relevance is spread", None, "nats",
            "Bhatt, Weller and Moura, 2020", _complexity,
        ),
        Metric(
            "conservation", "Conservation error", "how far the ledger is from balancing at its worst layer", "lower",
            "relative", "this project", _conservation, engine_only=True,
        ),
        Metric(
            "randomisation", "Randomisation", "rank correlation of the absolute heatmaps of the network and of the "
            "same with random weights", "lower", "correlation", "Adebayo et al., 2018", _randomisation,
        ),
        Metric(
            "cost", "Cost", "time for the heatmaps of a batch, as a multiple of gradient x input's in the same run",
            "lower", "ratio", "this project", _cost, timed=True,
        ),
    )
}  # fmt: skip
"""The metrics by name."""


def resolve_metrics(metrics: str | Metric | Measure | Iterable[str | Metric | Measure]) -> tuple[Metric, ...]:
    """Return the metrics that a user's `metrics` stand for.

    Parameters
    ----------
    metrics
        One, or several: names of `METRICS`, a `Metric`, or any callable ``(network, inputs, heatmaps, targets) ->
        (B,)``, which goes by its own name and is taken to describe, not to judge.

    Raises
    ------
    InputError
        There is none, one is named twice, a name is not known, or something is no metric.
    """
    if isinstance(metrics, str | Metric) or (callable(metrics) and not isinstance(metrics, Iterable)):
        items: list[Any] = [metrics]
    elif isinstance(metrics, Iterable):
        items = list(metrics)
    else:
        raise InputError(f"metrics is a {type(metrics).__name__}: give names, callables, or Metric objects.")
    if not items:
        raise InputError(f"metrics is empty: choose from {', '.join(METRICS)}.")
    chosen = tuple(_resolve(item) for item in items)
    names = [metric.name for metric in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"metrics has {', '.join(twice)} twice: name each once.")
    return chosen


def _resolve(item: object) -> Metric:
    if isinstance(item, Metric):
        return item
    if isinstance(item, str):
        if item in METRICS:
            return METRICS[item]
        near = get_close_matches(item.lower(), METRICS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"metric {item!r} is not known.{hint} Accepted are {', '.join(METRICS)}, a Metric, or a callable (network, "
            "inputs, heatmaps, targets) -> (B,)."
        )
    if not callable(item):
        raise InputError(f"a metric is a {type(item).__name__}: give a name, a Metric, or a callable.")
    measure: Measure = item
    name = getattr(item, "__name__", type(item).__name__)
    if name in METRICS:
        raise InputError(f"a metric of your own is called {name!r}, as one that is there: give it another name.")

    def family(trial: Trial) -> Mapping[str, Tensor]:
        return {name: measure(trial.network, trial.inputs, trial.heatmaps, trial.targets)}

    return Metric(name, name, identity(item), None, "its own", "its author", family)
