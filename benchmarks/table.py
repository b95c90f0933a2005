"""The results as one Markdown table with its explanation."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.cases import TARGETS
from benchmarks.contenders import BASELINE, CONTENDERS, Contender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Result

MANY = len(TARGETS)
NAMES = {"vgg16": "VGG16", "resnet50": "ResNet50", "efficientnet_lite0": "EfficientNet-Lite0"}
LEFT_ALIGNED = {"Network", "Method"}
HEADER = (
    "Network",
    "Batch",
    "Method",
    "FLOPs, 1 target",
    f"FLOPs, {MANY} targets",
    "Time, 1 target",
    f"Time, {MANY} targets",
    "Peak MB, 1 target",
    f"Peak MB, {MANY} targets",
    "Kept MB",
    "(s, 1 target)",
)
PAGE = """\
# What an explanation costs

Made by `{command}`, everything in one run.

## R-LRP against each other method

{summary}

Each figure is what `rlrp_nb.explain` takes, divided by what the other method takes on the same pictures in the same
round: the median over all rounds with the first and third quartile in brackets. **{many} targets** are divided by
gradient x input for {many} targets, which is one forward pass and {many} backward passes to the input. **Peak memory**
is that of gradient x input for one target. **Graph** is how many seconds the first explanation of a network takes
longer than the second, since the graph is built then, once per network.

## Every method

{table}

**FLOPs** are counted, not timed: 1 is one forward pass plus one backward pass to the input, without weight gradients.

**Time** is relative to gradient x input for one target, in eager PyTorch, with `requires_grad` off for all parameters,
so that the gradient of the input alone is computed. All methods take turns in rounds (for each network and batch:
{rounds}), and each round is divided by its own gradient x input. In its turn a method is called twice and the second
call is timed, so that none pays for what another left in the caches. The figures are the median of these ratios and, in
brackets, the first and third quartile. The seconds in the last column are of this machine and claim nothing.

**Peak MB** is the most memory beyond network and input that is in use during a call, **Kept MB** the part of it that
stays until the next call. Both are sums over every allocation and release which PyTorch's allocator reports, the
scratch memory of its kernels included; unlike the resident memory of a process, they come out the same in every run.

**{many} targets**: `explain` and gradient x input let all targets share one forward pass. The other methods take one
target per call: {many} of their calls cost {many} times one call, with the same peak, and are not run again for it.
The relevance of all layers for {many} targets is left out for the larger batch, where it would fill gigabytes.

**Networks**: VGG16 and ResNet50 have random weights, as the cost does not depend on them; EfficientNet-Lite0 has its
trained ones. The pictures are noise: {pictures}.

**Peers**: zennit runs with SequentialMergeBatchNorm (ResNet50: ResNetCanonizer), registered once for all calls. Captum
runs with its default rules, on ReLUs that are not in-place, as it needs them. *refused* is followed by the peer's own
message. A peer that returns a result need not be right: where skip connections are functions, zennit passes the plain
gradient through them; Captum does so too, and its relevance on ResNet50 adds up to more than a million times the logit.
What is compared here is the cost alone.

{facts}
"""


def page(results: Sequence[Result], facts: Sequence[str], command: str) -> str:
    """Return the whole page: the table, what its columns mean, the machine."""
    rounds = [len(result.costs[BASELINE, 1].seconds) for result in results]
    return PAGE.format(
        command=command,
        summary="\n".join(summary(results)),
        table="\n".join(rows(results)),
        rounds=" to ".join(map(str, sorted({min(rounds), max(rounds)}))),
        many=MANY,
        pictures=_sizes(results),
        facts="\n".join(f"- {fact}" for fact in facts),
    )


def _sizes(results: Sequence[Result]) -> str:
    """Say of what size the pictures are, by network and batch where they differ."""
    sizes = [f"{result.case.pixels} x {result.case.pixels}" for result in results]
    if len({*sizes}) == 1:
        return sizes[0]
    pairs = zip(sizes, results, strict=True)
    return ", ".join(f"{size} for {_network(result)} with batch {result.case.batch}" for size, result in pairs)


def summary(results: Sequence[Result]) -> list[str]:
    """Return the lines of the table of R-LRP's time and memory over those of the others."""
    others = [contender for contender in CONTENDERS if contender is BASELINE or contender.peer]
    header = ("Network", "Batch", *(c.name for c in others), f"{MANY} targets", "Peak memory", "Graph, s")
    lines = [header, tuple("---" if title in LEFT_ALIGNED else "---:" for title in header)]
    for result in results:
        ours, unit = result.costs[CONTENDERS[0], 1], result.costs[BASELINE, 1]
        times = ["-" if other in result.refusals else _spread(result.over(other)) for other in others]
        figures = (*times, _spread(result.limits()), f"{ours.peak / unit.peak:.2f}", f"{result.building:.1f}")
        lines.append((_network(result), str(result.case.batch), *figures))
    return [f"| {' | '.join(line)} |" for line in lines]


def rows(results: Sequence[Result]) -> list[str]:
    """Return the lines of the table of all methods."""
    lines = [HEADER, tuple("---" if title in LEFT_ALIGNED else "---:" for title in HEADER)]
    for result in results:
        for contender in CONTENDERS:
            start = (_network(result), str(result.case.batch), contender.name)
            lines.append((*start, *_figures(result, contender)))
    return [f"| {' | '.join(line)} |" for line in lines]


def _network(result: Result) -> str:
    return NAMES[result.case.network]


def _figures(result: Result, contender: Contender) -> tuple[str, ...]:
    if contender in result.refusals:
        message = result.refusals[contender].replace("|", r"\|").replace("<", "&lt;")
        return (f"refused: {message}", *["-"] * (len(HEADER) - 4))
    unit = result.costs[BASELINE, 1].flops
    one, ratios = result.costs[contender, 1], result.ratios(contender, 1)
    if not contender.many:
        many = (f"{MANY * one.flops / unit:.2f}", _spread([MANY * ratio for ratio in ratios]), _megabytes(one.peak))
    elif (contender, MANY) in result.costs:
        cost = result.costs[contender, MANY]
        many = (f"{cost.flops / unit:.2f}", _spread(result.ratios(contender, MANY)), _megabytes(cost.peak))
    else:
        many = ("-", "-", "-")
    return (
        f"{one.flops / unit:.2f}",
        many[0],
        _spread(ratios),
        many[1],
        _megabytes(one.peak),
        many[2],
        _megabytes(one.kept),
        f"{median(one.seconds):.2f}",
    )


def _spread(ratios: Sequence[float]) -> str:
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return f"{median(ratios):.2f} ({low:.2f} to {high:.2f})"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f}"
