"""How long measures of faithfulness take beside Quantus, for the same numbers; written into docs/faithfulness-speed.md.

Quantus gives one curve a call, so its two orders are two calls; `flip` gives both in one, and AOPC, ABPC, Insertion and
Deletion with them. Each round times both sides one after the other, and the ratio is taken within the round, so that
drift of the machine hits both alike. The numbers are compared before they are timed.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import mock

import numpy as np
import quantus
import torch
from torch import Tensor

import rlrp_nb as rn
from benchmarks.machine import facts
from benchmarks.marked import write
from rlrp_nb.data.digits import split_digits
from rlrp_nb.data.sample import available_samples, sample_image
from rlrp_nb.evaluation import faithfulness
from rlrp_nb.evaluation.faithfulness import flip, road
from rlrp_nb.evaluation.respondent import respondent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch import nn

    from rlrp_nb.evaluation.faithfulness import Order

PAGE = Path(__file__).parents[1] / "docs" / "faithfulness-speed.md"
ORDERS: tuple[Order, Order] = ("morf", "lerf")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
_HEADER = (
    "Network, pictures", "Quantus's measure", "s", "Quantus s", "times faster", "passes", "Quantus passes",
    "in the network", "Quantus in the network", "apart",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """What both sides are given: pictures, R-LRP's heatmaps, and the classes that the network sees."""

    network: nn.Module
    inputs: Tensor
    heatmaps: Tensor
    targets: Tensor


Curves: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measure:
    """A measure of both sides: from a problem to numbers by order, which have to be the same."""

    title: str
    ours: Callable[[Problem], Curves]
    theirs: Callable[[Problem], Curves]


@dataclass(frozen=True)
class Work:
    """Pictures, and what is measured on them.

    Attributes
    ----------
    network
        Name of the network.
    pictures
        How many: digits for the simple CNN, photographs for others, or noise.
    measures
        Which are asked for, one after the other.
    noise
        Whether the pictures are noise, in which no pixel looks like the black that replaces it.
    """

    network: str
    pictures: int
    measures: tuple[Measure, ...]
    noise: bool = False


@dataclass
class Clock:
    """Counts the inputs that a network is given, and the seconds it takes."""

    seconds: float = 0.0
    inputs: int = 0
    _began: float = field(default=0.0, repr=False)

    def begin(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """Look at the clock before the network runs."""
        self.inputs += len(arguments[0])
        self._began = time.perf_counter()

    def end(self, *_: object) -> None:
        """Look at it again."""
        self.seconds += time.perf_counter() - self._began

    @contextmanager
    def hooked(self, network: nn.Module) -> Iterator[None]:
        """Look on as a network is called."""
        hooks = network.register_forward_pre_hook(self.begin), network.register_forward_hook(self.end)
        yield
        for hook in hooks:
            hook.remove()

    @contextmanager
    def asking(self, network: nn.Module) -> Iterator[None]:
        """Look on as the respondent of a network is asked; a hook would have the network itself asked instead."""

        def watched(*given: Any) -> Any:  # noqa: ANN401 - as of `respondent`
            answer, order = respondent(*given)

            def timed(inputs: Tensor) -> Tensor:
                self.begin(network, (inputs,))
                logits = answer(inputs)
                self.end()
                return logits

            return timed, order

        with mock.patch.object(faithfulness, "respondent", watched):
            yield


def flipping(patch: int, per_step: int) -> Measure:
    """Flip patches in both orders: Quantus's PixelFlipping for pixels, its RegionPerturbation for patches."""

    def ours(given: Problem) -> Curves:
        found = flip(
            given.network,
            given.inputs,
            given.heatmaps,
            given.targets,
            patch=patch,
            per_step=per_step,
            fill=torch.zeros(()),
        )
        return {order: getattr(found, order).numpy() for order in ORDERS}

    def pixels(given: Problem) -> Curves:
        curves = {}
        for order in ORDERS:
            relevance = given.heatmaps if order == "morf" else -given.heatmaps
            metric = quantus.PixelFlipping(features_in_step=per_step, perturb_baseline=0.0, **_quiet())
            found = np.stack(_ask(metric, given, relevance))
            curves[order] = np.concatenate([whole(given), found], axis=1)  # Quantus leaves out the whole input
        return curves

    def regions(given: Problem) -> Curves:
        steps = (given.inputs.shape[2] // patch) * (given.inputs.shape[3] // patch)
        curves = {}
        for order in ORDERS:
            metric = quantus.RegionPerturbation(
                patch_size=patch, order=order, regions_evaluation=steps, perturb_baseline=0.0, **_quiet()
            )
            drops = np.stack(_ask(metric, given, given.heatmaps))
            curves[order] = np.concatenate([whole(given), whole(given) - drops], axis=1)
        return curves

    if patch == 1:
        return Measure(f"PixelFlipping, {per_step} a step", ours, pixels)
    return Measure(f"RegionPerturbation, patches of {patch}", ours, regions)


def _without_ties(heatmaps: Tensor) -> Tensor:
    """Return heatmaps of the same order in which no two pixels are equal: of equal ones each side chooses its own."""
    order = heatmaps.flatten(1).argsort(dim=1, stable=True)
    return order.argsort(1).reshape(heatmaps.shape).float()


def _ours_road(given: Problem) -> Curves:
    options: dict[str, Any] = {"shares": SHARES, "score": "accuracy", "noise": 0.0}
    heatmaps = _without_ties(given.heatmaps)
    return {
        order: road(given.network, given.inputs, heatmaps, given.targets, order=order, **options).mean(0).numpy()
        for order in ORDERS
    }


def _their_road(given: Problem) -> Curves:
    curves = {}
    for order in ORDERS:
        metric = quantus.ROAD(percentages=[round(100 * share) for share in SHARES], noise=0.0, **_quiet())
        heatmaps = _without_ties(given.heatmaps)
        found = _ask(metric, given, heatmaps if order == "morf" else -heatmaps)
        curves[order] = np.array(list(found.values()))
    return curves


ROAD = Measure("ROAD", _ours_road, _their_road)

FULL = (
    Work("simple_cnn", 1, (flipping(1, 1),)),
    Work("simple_cnn", 64, (flipping(1, 8),)),
    Work("simple_cnn", 64, (flipping(4, 1),)),
    Work("simple_cnn", 64, (ROAD,)),
    Work("simple_cnn", 64, (flipping(4, 1), ROAD)),
    Work("simple_cnn", 1, (flipping(1, 1),), noise=True),
    Work("simple_cnn", 64, (flipping(1, 8),), noise=True),
    Work("efficientnet_lite0", 1, (flipping(16, 1),)),
    Work("efficientnet_lite0", 4, (flipping(32, 1),)),
)
QUICK = (
    Work("simple_cnn", 1, (flipping(1, 1),)),
    Work("simple_cnn", 8, (flipping(7, 1),)),
    Work("simple_cnn", 4, (ROAD,)),
    Work("simple_cnn", 4, (flipping(4, 1),), noise=True),
)


def problem(work: Work) -> Problem:
    classifier = rn.load_model(work.network)
    network = classifier.network.eval().requires_grad_(requires_grad=False)
    if work.network == "simple_cnn":
        pictures = list(split_digits().held_out_images[: work.pictures])
    else:
        pictures = [sample_image(name) for name in available_samples()[: work.pictures]]
    inputs = torch.stack([classifier.preprocess(picture) for picture in pictures])
    if work.noise:
        inputs = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        targets = network(inputs).argmax(1)
    return Problem(network, inputs, rn.RLRP(network).attribute(inputs, targets).sum(1), targets)


def whole(given: Problem) -> np.ndarray:
    """Return the probability of the whole input, ``(B, 1)``."""
    with torch.no_grad():
        logits: Tensor = given.network(given.inputs)
    return logits.softmax(1).gather(1, given.targets[:, None]).numpy()


def _ask(metric: Any, given: Problem, heatmaps: Tensor) -> Any:  # noqa: ANN401 - Quantus is not typed
    return metric(
        model=given.network,
        x_batch=given.inputs.numpy(),
        y_batch=given.targets.numpy(),
        a_batch=heatmaps[:, None].numpy(),
        softmax=True,
        device="cpu",
    )


def _quiet() -> dict[str, bool]:
    return {"normalise": False, "disable_warnings": True, "display_progressbar": False}


def seconds(call: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def share(clock: Clock, watching: AbstractContextManager[None], call: Callable[[], object]) -> tuple[int, float]:
    """Return how many inputs the network is given during a call, and which share of its time that takes."""
    with watching:
        passed = seconds(call)
    return clock.inputs, clock.seconds / passed


def row(work: Work, rounds: int) -> str:
    """Compare the numbers, time both sides in turns, and return a line of the table."""
    given = problem(work)
    apart = 0.0
    for measure in work.measures:
        found, expected = measure.ours(given), measure.theirs(given)
        apart = max(apart, *(float(abs(found[order] - expected[order]).max()) for order in ORDERS))
    if apart > 1e-4:  # noqa: PLR2004 - float32 sums in another order
        raise AssertionError(f"the numbers of {work} are {apart} apart")

    def ours() -> None:
        for measure in work.measures:
            measure.ours(given)

    def theirs() -> None:
        for measure in work.measures:
            measure.theirs(given)

    times = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratios = [peer / own for own, peer in times]
    clock, peer_clock = Clock(), Clock()
    passes, inside = share(clock, clock.asking(given.network), ours)
    peer_passes, peer_inside = share(peer_clock, peer_clock.hooked(given.network), theirs)
    kind = "noise" if work.noise else "digits" if work.network == "simple_cnn" else "photographs"
    return _line(
        f"{work.network}, {work.pictures} {kind.removesuffix('s') if work.pictures == 1 else kind}",
        " and ".join(measure.title for measure in work.measures),
        f"{median(own for own, _ in times):.2f}",
        f"{median(peer for _, peer in times):.2f}",
        f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        str(passes),
        str(peer_passes),
        f"{inside:.0%}",
        f"{peer_inside:.0%}",
        f"{apart:.0e}",
    )


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small work, two rounds; the table is only printed")
    quick = parser.parse_args().quick
    torch.set_num_threads(os.cpu_count() or 1)
    warnings.simplefilter("ignore")  # Quantus warns in every step in which the flipped pixels were black before
    works, rounds = (QUICK, 2) if quick else (FULL, 5)
    lines = [_line(*_HEADER), _line("---", "---", *["---:"] * (len(_HEADER) - 2))]
    for number, work in enumerate(works, start=1):
        print(f"{number} of {len(works)}", file=sys.stderr, flush=True)
        lines.append(row(work, rounds))
    text = "\n".join([*lines, "", *(f"- {fact}" for fact in (*facts(), f"Quantus {quantus.__version__}"))])
    print(text)
    if not quick:
        write(PAGE, "python -m benchmarks.faithfulness", text)


if __name__ == "__main__":
    main()
