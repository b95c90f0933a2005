"""``compare``: which method to believe, for one's own network, on one's own images."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm  # type: ignore[import-untyped]

import rlrp_nb
from rlrp_nb.checks import check_choice, check_whole
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute, heatmaps_of
from rlrp_nb.evaluation.bootstrap import check_resampling
from rlrp_nb.evaluation.cases import Cases, take_in
from rlrp_nb.evaluation.comparison import Comparison, Statistics
from rlrp_nb.evaluation.contender import Contender, resolve_contenders
from rlrp_nb.evaluation.domain import Range
from rlrp_nb.evaluation.faithfulness import Score
from rlrp_nb.evaluation.fill import FILLS
from rlrp_nb.evaluation.identity import identity, settings_of
from rlrp_nb.evaluation.metric import METRICS, Metric, Settings, Trial, resolve_metrics
from rlrp_nb.evaluation.state import State
from rlrp_nb.evaluation.store import Failure, Store
from rlrp_nb.home import expanded
from rlrp_nb.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from rlrp_nb.evaluation.contender import ContenderLike
    from rlrp_nb.evaluation.metric import Family, Fill, Measure
    from rlrp_nb.models.classifier import Classifier

METHODS = ("rlrp", "lrp-0", "lrp-epsilon", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat", "random")
"""What is compared where no methods are named: nothing that needs another package."""

_WITHOUT_MASKS = ("aopc", "abpc", "noise-similarity", "gini")
_WITH_MASKS = (*_WITHOUT_MASKS, "pointing-game", "mass-accuracy", "rank-accuracy")
_REFERENCE = "rlrp"
_PACKAGE = "rlrp_nb."
_PATCHES = 14  # along the shorter side
_STEPS = 16
_UNITS = 3  # how often the unit of cost is timed: everything is divided by it
_SEEDS = 2**63  # what PyTorch's generators take, with room for the position of an image


def compare(
    model: nn.Module | Classifier,
    images: Any,  # noqa: ANN401 - see below
    *,
    methods: ContenderLike | Iterable[ContenderLike] | Mapping[str, ContenderLike] = METHODS,
    metrics: str | Metric | Measure | Iterable[str | Metric | Measure] | None = None,
    targets: Any = None,  # noqa: ANN401 - see below
    masks: Any = None,  # noqa: ANN401 - see below
    patch: int | None = None,
    per_step: int | None = None,
    fill: Fill = "blur",
    score: Score = "probability",
    batch: int = 16,
    seed: int = 0,
    reference: str | None = None,
    path: str | PathLike[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    progress: bool = True,
) -> Comparison:
    """Compare methods on images by metrics: means with intervals, and paired differences.

    Parameters
    ----------
    model : nn.Module or Classifier
        A network in eval mode that returns logits ``(B, classes)``, or a classifier from ``load_model``.
    images : Tensor or sequence
        For a network a floating-point tensor ``(N, C, H, W)`` or a list of ``(C, H, W)``. For a classifier also
        pictures of any sizes: paths, PIL images or arrays.
    methods : optional
        Names of ``rlrp_nb.evaluation.contender.available_contenders()``, ``Method`` or ``Contender`` objects, callables
        ``(network, inputs, targets) -> heatmaps (B, H, W)``, or a dict with names of one's own.
    metrics : optional
        Names of ``rlrp_nb.evaluation.metric.METRICS``, ``Metric`` objects, or callables ``(network, inputs, heatmaps,
        targets) -> (B,)``. None takes AOPC, ABPC, noise similarity and Gini, and with masks those of localisation.
    targets : int, sequence of int or Tensor, optional
        One class for all images or one for each. None takes the most probable class of each.
    masks : optional
        bool ``(N, H, W)`` at the network's resolution: where the object is.
    patch : int, optional
        Side of the patches that are flipped, in pixels. None takes a 14th of the shorter side.
    per_step : int, optional
        How many patches are flipped at once. None takes as many as make about 16 steps.
    fill : {"blur", "mean", "black", "imputation"} or Tensor
        What stands where a patch was. "black" is black before the preprocessing of a classifier; of a bare network that
        is not known, and it is the smallest value of each channel in the images.
    score : {"probability", "logit", "accuracy"}
        What of the network's answer is followed while patches are flipped.
    batch : int
        How many images are explained at once, and how many inputs the network is given at once. It changes results by
        rounding only.
    seed : int
        Of everything that is drawn: noise, random weights, resamples.
    reference : str, optional
        Name of the method that others are compared with. None takes R-LRP if it takes part, else the first one.
    path : str or os.PathLike, optional
        A file in which every value is saved as soon as it is there. A run that was interrupted goes on from it, and
        gives the same values as one that was not; more methods and metrics can be added later, those of localisation if
        masks were given from the start. A method of one's own is known by what it reads, and is asked once before,
        since it may import only then; what a metric uses has to be imported at the top of its file. What differs from
        process to process in an attribute of the network, such as the time at which it was made, makes it another one:
        leave it out, or put it elsewhere. Of packages the versions of this one, PyTorch, captum and zennit count; after
        an upgrade of another choose another path. What failed is saved too, and not tried again: if the reason is gone,
        such as too little memory, delete the lines that name it.
    resamples : int
        Of the bootstrap over images.
    confidence : float
        Of its intervals.
    progress : bool
        Whether a progress bar is shown.

    Returns
    -------
    Comparison
        A method that fails on an image loses that image alone, and `Comparison.failures` says why.

    Raises
    ------
    InputError
        Before any work: something is empty, unknown, there twice, out of range, or does not fit, or the file at `path`
        is of another comparison. Later: a method or metric of your own changed the network.
    MissingPackageError
        A method comes from a package that is not installed.
    UnsupportedNetworkError
        The network is in training mode, or does not return logits ``(B, classes)``.
    """
    chosen = resolve_metrics((_WITHOUT_MASKS if masks is None else _WITH_MASKS) if metrics is None else metrics)
    if masks is None and (needing := [metric.name for metric in chosen if metric.needs_masks]):
        raise InputError(f"{', '.join(needing)} need masks: give bool (N, H, W), true where the object is.")
    resamples = check_resampling(resamples, confidence)
    (batch,), (seed,) = check_whole(1, batch=batch), check_whole(0, _SEEDS - 1, seed=seed)
    given = {name: side for name, side in (("patch", patch), ("per_step", per_step)) if side is not None}
    sides = dict(zip(given, check_whole(1, **given), strict=True))
    patch, per_step = sides.get("patch"), sides.get("per_step")
    if isinstance(methods, Iterable) and not isinstance(methods, str | Mapping):
        methods = tuple(methods)
    # Whatever is wrong with the methods is said before any image is read.
    names = [
        contender.name for contender in resolve_contenders(methods, Range(*torch.tensor([[0.0], [1.0]], device="cpu")))
    ]
    if reference is not None and not (isinstance(reference, str) and reference in names):
        raise InputError(f"reference={reference!r} takes no part: choose one of {', '.join(names)}.")
    cases = take_in(model, images, targets, masks, batch=batch)
    contenders = resolve_contenders(methods, cases.domain)
    settings = _settings(cases, patch, per_step, fill=fill, score=score, batch=batch, seed=seed)
    if not isinstance(path, str | PathLike | None):
        raise InputError(f"path is a {type(path).__name__}: give the name of a file as text, or as pathlib.Path.")
    store = Store(None if path is None else expanded(Path(path)), _fingerprint(cases, settings))
    run, batches = _Run(cases, settings, chosen, store), cases.batches(batch)
    if path is not None:
        run.meet(contenders, batches)
        contenders = resolve_contenders(methods, cases.domain)  # told by what is loaded now
    for what, things in (("method", contenders), ("metric", chosen)):
        for thing in things:
            store.declare(f"{what} {thing.name!r}", _description(thing))
    with tqdm(total=len(batches) * len(contenders), disable=not progress, unit="batch") as bar:
        for positions in batches:
            for contender in contenders:
                bar.set_description(contender.title)
                run.judge(contender, positions)
                bar.update()
    return _gather(run, contenders, Statistics(reference or _REFERENCE, resamples, confidence, seed))


class _Done(NamedTuple):
    """What was computed of a batch, and what was not."""

    values: dict[str, list[float | None]]
    failures: list[Failure]


class _Run:
    """One comparison while it runs."""

    def __init__(self, cases: Cases, settings: Settings, metrics: Sequence[Metric], store: Store) -> None:
        self.cases, self.settings, self.metrics, self.store = cases, settings, metrics, store
        self._timed = any(metric.timed for metric in metrics)
        self._unit = math.nan, -1  # seconds of gradient x input, and for the batch that starts where
        self._warm: set[str] = set()

    def meet(self, contenders: Sequence[Contender], batches: Sequence[Sequence[int]]) -> None:
        """Ask each method of the user's once: what it imports within itself, and keeps, is there afterwards.

        Only then can be told whether saved values are its own, and a second comparison tells the same.
        """
        for contender in (each for each in contenders if batches and not _is_own(each.attribute)):
            inputs, _ = self.cases.inputs([batches[0][0]])
            targets = self.cases.targets[[batches[0][0]]].to(inputs.device)
            with self._watching(f"the method {contender.name!r}", inputs), suppress(Exception):
                _ask(contender.attribute, self.cases.network, inputs, targets, self.settings.seed)

    def judge(self, contender: Contender, positions: list[int]) -> None:
        """Measure one method on one batch, but what is saved already, and save each family's values at once."""
        there = self.store.find(contender.name, positions[0], len(positions))
        missing = [m for m in self.metrics if m.applies_to(contender) and m.name not in there]
        if not missing:
            return
        inputs, unread = self.cases.inputs(positions)
        targets = self.cases.targets[positions].to(inputs.device)
        own = _is_own(contender.attribute)
        with nullcontext() if own else self._watching(f"the method {contender.name!r}", inputs):
            heatmaps, reasons, cost = self._explain(contender, inputs, targets, positions[0])
        reasons |= unread
        lost = [Failure(contender.name, None, positions[k], reason) for k, reason in sorted(reasons.items())]
        good = [k for k in range(len(positions)) if k not in reasons]
        families: dict[Family, list[str]] = {}
        for metric in missing:
            families.setdefault(metric.family, []).append(metric.name)
        for family, names in families.items():
            done = _Done({name: [None] * len(positions) for name in names}, list(lost))
            if good:
                trial = Trial(
                    self.cases.network,
                    contender,
                    inputs[good],
                    heatmaps[good],
                    targets[good],
                    self.cases.domain,
                    self.settings,
                    None if self.cases.masks is None else self.cases.masks[positions][good].to(inputs.device),
                    cost,
                )
                what = f"the method {contender.name!r} or the metric {names[0]!r}"
                own_family = all(METRICS.get(m.name) is m for m in missing if m.family is family)
                with nullcontext() if own and own_family else self._watching(what, inputs):
                    self._measure(family, trial, good, positions, done)
            self.store.add(contender.name, positions[0], done.values, done.failures)

    @contextmanager
    def _watching(self, what: str, inputs: Tensor) -> Iterator[None]:
        """Refuse what changes the network, since all that comes after it would be measured on another one.

        What the package does to a network is known: it runs it, by which a network itself may fill a cache.
        """
        state = State(self.cases.network)
        yield
        changed = state.changed(inputs[:1])
        if changed:
            raise InputError(
                f"{what} changed the network: {', '.join(changed[:3])}. Let it work on copy.deepcopy(network), load "
                "the network again, and compare again."
            )

    def _explain(
        self, contender: Contender, inputs: Tensor, targets: Tensor, start: int
    ) -> tuple[Tensor, dict[int, str], float]:
        """Return heatmaps, the reason for each that is not there by its place in the batch, and the cost."""
        network = self.cases.network
        try:
            unit = self._gradient(inputs, targets, start) if self._timed else math.nan
            if self._timed and contender.name not in self._warm:
                _ask(contender.attribute, network, inputs[:1], targets[:1], self.settings.seed)
                self._warm.add(contender.name)
            began = time.perf_counter()
            heatmaps = _ask(contender.attribute, network, inputs, targets, self.settings.seed + start)
            return heatmaps, {}, (time.perf_counter() - began) / unit
        except UnsupportedNetworkError as error:  # said of the network, so that no single image would fare better
            everything = dict.fromkeys(range(len(inputs)), _reason(error))
            return torch.zeros_like(inputs[:, 0]), everything, math.nan
        except Exception:  # noqa: BLE001 - a method that is compared may fail in any way; each image gets its own chance
            return (*self._explain_singly(contender, inputs, targets, start), math.nan)

    def _explain_singly(
        self, contender: Contender, inputs: Tensor, targets: Tensor, start: int
    ) -> tuple[Tensor, dict[int, str]]:
        found: dict[int, Tensor] = {}
        reasons: dict[int, str] = {}
        for k in range(len(inputs)):
            one = slice(k, k + 1)
            try:
                (found[k],) = _ask(
                    contender.attribute, self.cases.network, inputs[one], targets[one], self.settings.seed + start
                )
            except Exception as error:  # noqa: BLE001 - likewise
                reasons[k] = _reason(error)
        blank = torch.zeros_like(next(iter(found.values()), inputs[0, 0]))  # of the dtype that the method gives
        return torch.stack([found.get(k, blank) for k in range(len(inputs))]), reasons

    def _gradient(self, inputs: Tensor, targets: Tensor, start: int) -> float:
        """Return the seconds that gradient x input takes for this batch."""
        seconds, at = self._unit
        if at != start:
            attribute = engine_attribute("gradient-x-input")
            if at < 0:
                _ask(attribute, self.cases.network, inputs, targets, 0)  # what is done once, such as the graph
            times = []
            for _ in range(_UNITS):
                began = time.perf_counter()
                _ask(attribute, self.cases.network, inputs, targets, 0)
                times.append(time.perf_counter() - began)
            self._unit = seconds, _ = median(times), start
        return seconds

    def _measure(self, family: Family, trial: Trial, good: list[int], positions: list[int], done: _Done) -> None:
        """Put the values of a family into `done`: of all images at once, or, if that fails, of each alone."""
        try:
            with Stream(self.settings.seed + positions[good[0]]):
                values = family(trial)
            found = {name: _checked(name, _named(name, values), len(good)) for name in done.values}
        except Exception as error:  # noqa: BLE001 - a metric of one's own may fail in any way
            if len(good) == 1:
                done.failures.extend(
                    Failure(trial.contender.name, name, positions[good[0]], _reason(error)) for name in done.values
                )
                return
            for k in range(len(good)):
                self._measure(family, _one(trial, k), good[k : k + 1], positions, done)
            return
        for name, numbers in found.items():
            for k, number in zip(good, numbers, strict=True):
                if math.isfinite(number):
                    done.values[name][k] = number
                else:
                    reason = f"the value is {number}."
                    done.failures.append(Failure(trial.contender.name, name, positions[k], reason))


def _ask(
    attribute: Callable[[nn.Module, Tensor, Tensor], Tensor],
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    seed: int,
) -> Tensor:
    """Ask for heatmaps, and wait until they are there."""
    with Stream(seed):
        heatmaps = heatmaps_of(attribute, network, inputs, targets)
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)  # so that the clock is read when the work is done
    return heatmaps


def _named(name: str, values: object) -> object:
    if not isinstance(values, Mapping) or name not in values:
        given = list(values) if isinstance(values, Mapping) else f"a {type(values).__name__}"
        raise InputError(f"the metric {name!r} has a family that returned {given}; accepted is a dict with {name!r}.")
    return values[name]


def _checked(name: str, values: object, count: int) -> list[float]:
    if not isinstance(values, Tensor) or tuple(values.shape) != (count,):
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"the metric {name!r} returned {given}; it has to be a tensor ({count},), a value per image.")
    return [float(value) for value in values.double()]


def _one(trial: Trial, k: int) -> Trial:
    one = slice(k, k + 1)
    return Trial(
        trial.network,
        trial.contender,
        trial.inputs[one],
        trial.heatmaps[one],
        trial.targets[one],
        trial.domain,
        trial.settings,
        None if trial.masks is None else trial.masks[one],
        trial.cost,
    )


def _reason(error: Exception) -> str:
    first, *more = str(error).strip().splitlines() or [""]
    if not isinstance(error, rlrp_nb.RlrpError):
        return f"{type(error).__name__}: {first}"
    for line in more:  # of ours, each has something to say
        first += f"{' ' if first.endswith((':', '.', ',')) else '; '}{line.strip()}"
    return first


def _gather(run: _Run, contenders: tuple[Contender, ...], statistics: Statistics) -> Comparison:
    cases, metrics = run.cases, tuple(run.metrics)
    values = np.full((len(contenders), len(metrics), cases.count), math.nan)
    failures = [Failure(None, None, position, reason) for position, reason in sorted(cases.broken.items())]
    names = {None, *(metric.name for metric in metrics)}
    for i, contender in enumerate(contenders):
        for positions in cases.batches(run.settings.batch):
            found = run.store.find(contender.name, positions[0], len(positions))
            for j, metric in enumerate(metrics):
                numbers = found.get(metric.name, [None] * len(positions))
                values[i, j, positions] = [math.nan if number is None else number for number in numbers]
            failures += [f for f in run.store.failures.get((contender.name, positions[0]), []) if f.metric in names]
    first, _ = cases.inputs(cases.batches(1)[0])
    notes = {contender.name: _note(contender, cases, first) for contender in contenders}
    return Comparison(contenders, metrics, values, tuple(failures), statistics, _protocol(run, len(first[0])), notes)


def _note(contender: Contender, cases: Cases, first: Tensor) -> str:
    if contender.note is None:
        return ""
    try:
        return contender.note(cases.network, first)
    except Exception as error:  # noqa: BLE001 - what fails here has failed on every image, and is among the failures
        return _reason(error)


def _protocol(run: _Run, channels: int) -> tuple[str, ...]:
    """Say what was compared on and how it was set, a sentence each."""
    cases, settings = run.cases, run.settings
    height, width = cases.shape[1:]
    patches = math.ceil(height / settings.patch) * math.ceil(width / settings.patch)
    ends = ", ".join(
        f"{low:.4g} to {high:.4g}"
        for low, high in zip(cases.domain.low.tolist(), cases.domain.high.tolist(), strict=True)
    )
    lowest = ", the lower end of that range" if isinstance(settings.fill, str) and settings.fill == "black" else ""
    classes = len(set(cases.targets[cases.targets >= 0].tolist()))
    return (
        f"Network: {cases.fingerprint['network']} (digest of structure and weights).",
        (
            f"Images: {cases.count - len(cases.broken)} of {cases.count} used, {channels} x {height} x {width}; "
            f"targets of {classes} classes; range of the input per channel {ends}."
        ),
        (
            f"Pixel flipping: patches of {settings.patch} x {settings.patch} pixels, {settings.per_step} per step, "
            f"{math.ceil(patches / settings.per_step)} steps until all {patches} are replaced, by "
            f"{_fill(settings.fill)}{lowest}; score: {settings.score} of the target."
        ),
        f"Batches of {settings.batch}, seed {settings.seed}, {_versions()}.",
    )


def _settings(
    cases: Cases, patch: int | None, per_step: int | None, *, fill: Fill, score: Score, batch: int, seed: int
) -> Settings:
    height, width = cases.shape[1:]
    side = patch or max(1, round(min(height, width) / _PATCHES))
    if side > max(height, width):
        raise InputError(f"patch={side} is larger than the inputs of {height} x {width} pixels: choose a smaller one.")
    together = per_step or math.ceil(math.ceil(height / side) * math.ceil(width / side) / _STEPS)
    if not isinstance(fill, Tensor) and not (isinstance(fill, str) and fill in FILLS):
        raise InputError(f"fill={fill!r} is not known: choose 'blur', 'mean', 'black', 'imputation', or give a tensor.")
    if isinstance(fill, Tensor) and (fill.is_complex() or fill.is_meta or fill.layout != torch.strided):
        raise InputError(
            f"the fill is {fill.dtype}, {fill.device.type} and {fill.layout}: accepted is a real, dense tensor with "
            "values."
        )
    check_choice(get_args(Score), score=score)
    if isinstance(fill, Tensor):
        try:
            fill.expand(1, *cases.shape)
        except RuntimeError:
            raise InputError(
                f"the fill has shape {tuple(fill.shape)}, which cannot be broadcast to inputs {cases.shape}: give one "
                "value, or one for each channel as (C, 1, 1)."
            ) from None
        if not bool(fill.isfinite().all()):
            raise InputError("the fill holds NaN or infinite values: accepted are finite ones.")
    return Settings(side, together, fill, score, batch, seed)


def _fingerprint(cases: Cases, settings: Settings) -> dict[str, str]:
    return {
        **cases.fingerprint,
        "patch": str(settings.patch),
        "per_step": str(settings.per_step),
        "fill": _fill(settings.fill),
        "score": settings.score,
        "batch": str(settings.batch),
        "seed": str(settings.seed),
        "versions": f"{_versions()}{_peers()}",
        "device": next(iter(cases.network.parameters()), torch.empty(0, device="cpu")).device.type,
    }


def _fill(fill: Fill) -> str:
    if isinstance(fill, str):
        return {"blur": "the blurred image", "mean": "the mean of each channel"}.get(fill, fill)
    numbers = fill.detach().cpu().double().contiguous()
    return f"a tensor of shape {tuple(fill.shape)} (digest {zlib.crc32(numbers.numpy().tobytes()):08x})"


def _versions() -> str:
    return f"rlrp_nb {rlrp_nb.__version__}, torch {torch.__version__}"


def _peers() -> str:
    """Return the versions of the packages of which some methods are, where they are installed."""
    return "".join(f", {name} {version(name)}" for name in ("captum", "zennit") if find_spec(name) is not None)


def _description(thing: Contender | Metric) -> str:
    """Say how a method or metric is set; of a user's own its code says so, since no description can be relied on."""
    said, function = (
        (thing.description, thing.attribute) if isinstance(thing, Contender) else (thing.measures, thing.family)
    )
    if _is_own(function):
        # a text rounds, and does not say every number
        return f"{said} ({settings})" if isinstance(thing, Contender) and (settings := settings_of(function)) else said
    return said if said == (code := identity(function)) else f"{said} ({code})"


def _is_own(function: object) -> bool:
    """Tell the package's own functions, which are known, from those of its users."""
    return str(getattr(function, "__module__", "")).startswith(_PACKAGE)
