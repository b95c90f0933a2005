"""How long pixel flipping takes beside Quantus, for the same curves: ``python -m benchmarks.faithfulness``.

Quantus gives one curve a call, so its two orders are two calls; `flip` gives both in one. Each round times both sides
one after the other, and the ratio is taken within the round, so that drift of the machine hits both alike. The curves
are compared before they are timed.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import warnings
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import quantus
import torch

import rlrp_nb as rn
from benchmarks.machine import facts
from rlrp_nb.evaluation.faithfulness import flip

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

ORDERS = ("morf", "lerf")


@dataclass(frozen=True)
class Work:
    """A network, pictures, and how they are flipped.

    Attributes
    ----------
    network
        Name of the network.
    pictures
        How many.
    patch
        Side of a patch in pixels; 1 is Quantus's PixelFlipping, anything else its RegionPerturbation.
    per_step
        Patches that are flipped at once.
    """

    network: str
    pictures: int
    patch: int
    per_step: int


FULL = (
    Work("simple_cnn", 1, 1, 1),
    Work("simple_cnn", 16, 1, 8),
    Work("simple_cnn", 16, 4, 1),
    Work("efficientnet_lite0", 1, 16, 1),
    Work("efficientnet_lite0", 4, 32, 1),
)
QUICK = (Work("simple_cnn", 1, 1, 8), Work("simple_cnn", 4, 7, 1))


@dataclass(frozen=True)
class Problem:
    """What both sides are given: pictures of noise, heatmaps of noise and the classes that the network sees."""

    network: nn.Module
    inputs: Tensor
    heatmaps: Tensor
    targets: Tensor


def problem(work: Work) -> Problem:
    network = rn.load_model(work.network).network.eval().requires_grad_(requires_grad=False)
    shape = (1, 28, 28) if work.network == "simple_cnn" else (3, 224, 224)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(work.pictures, *shape, generator=generator)
    heatmaps = torch.randn(work.pictures, *shape[1:], generator=generator)
    with torch.no_grad():
        return Problem(network, inputs, heatmaps, network(inputs).argmax(1))


def ours(work: Work, given: Problem) -> dict[str, np.ndarray]:
    """Return both curves, with the whole input first."""
    found = flip(
        given.network,
        given.inputs,
        given.heatmaps,
        given.targets,
        patch=work.patch,
        per_step=work.per_step,
        fill="black",
    )
    return {order: getattr(found, order).numpy() for order in ORDERS}


def theirs(work: Work, given: Problem) -> dict[str, np.ndarray]:
    """Return both curves of Quantus, without the score of the whole input."""
    call = {
        "model": given.network,
        "x_batch": given.inputs.numpy(),
        "y_batch": given.targets.numpy(),
        "softmax": True,
        "device": "cpu",
    }
    options = {"normalise": False, "perturb_baseline": 0.0, "disable_warnings": True, "display_progressbar": False}
    curves = {}
    for order in ORDERS:
        if work.patch == 1:
            relevance = given.heatmaps if order == "morf" else -given.heatmaps
            metric = quantus.PixelFlipping(features_in_step=work.per_step, **options)
            curves[order] = np.stack(metric(a_batch=relevance[:, None].numpy(), **call))
        else:
            steps = (given.inputs.shape[2] // work.patch) * (given.inputs.shape[3] // work.patch)
            metric = quantus.RegionPerturbation(patch_size=work.patch, order=order, regions_evaluation=steps, **options)
            drops = np.stack(metric(a_batch=given.heatmaps[:, None].numpy(), **call))
            with torch.no_grad():
                whole = given.network(given.inputs).softmax(1).gather(1, given.targets[:, None]).numpy()
            curves[order] = whole - drops
    return curves


def seconds(call: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def row(work: Work, rounds: int) -> str:
    """Compare the curves, time both sides in turns, and return a line of the table."""
    given = problem(work)
    found, expected = ours(work, given), theirs(work, given)
    apart = max(float(abs(found[order][:, 1:] - expected[order]).max()) for order in ORDERS)
    if apart > 1e-4:  # noqa: PLR2004 - float32 sums in another order
        raise AssertionError(f"the curves of {work} are {apart} apart")
    times = [(seconds(lambda: ours(work, given)), seconds(lambda: theirs(work, given))) for _ in range(rounds)]
    ratios = [peer / own for own, peer in times]
    states = found["morf"].shape[1] * 2 - 2
    cells = (
        work.network,
        "PixelFlipping" if work.patch == 1 else "RegionPerturbation",
        str(work.pictures),
        str(states),
        f"{median(own for own, _ in times):.2f}",
        f"{median(peer for _, peer in times):.2f}",
        f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        f"{apart:.0e}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small work, two rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(os.cpu_count() or 1)
    warnings.simplefilter("ignore")  # Quantus warns in every step in which the flipped pixels were black before
    print("| Network | Quantus's measure | Pictures | Runs of each | s | Quantus s | times faster | curves apart |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for work in QUICK if quick else FULL:
        print(row(work, 2 if quick else 5), flush=True)
    print("\nMedian of the rounds, and of the ratios the smallest and the largest.")
    print("\n".join(f"- {fact}" for fact in facts()))


if __name__ == "__main__":
    main()
