"""Which denominator the relative activation should have: measure, and write docs/rule.md."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmarks.denominators import DENOMINATORS, bound, relevance
from benchmarks.rule_cases import CASES, MEASURES, Case, measure, pictures
from rlrp_nb.evaluation.bootstrap import Interval, bootstrap
from rlrp_nb.models.zoo import load_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = Path(__file__).parents[1] / "docs" / "rule.md"
JUDGED = MEASURES[:-1]  # sparseness is told, and judges nothing: no amount of it is right
COUNT = 100
NETWORKS_OF_A_KIND = 2
ROUNDING = 1e-5  # what is not farther apart than this is equal

FORMULAS = {
    "layer": "max of a over the layer (the default)",
    "channel": "max of a over the positions of the channel",
    "position": "max of a over the channels at the position",
    "mean": "sum a² / sum a over the layer",
    "one": "1 (no denominator: the product rule)",
    "own": "a (what remains is ReLU's derivative: gradient x input)",
}
TEXT = """\
# The denominator of the rule

Made by `python -m benchmarks.rule_study`, every number and every finding.

## The question

R-LRP passes sensitivities through an activation `a = relu(z)` by `s_z = a / d * s_a`, and `d` is the largest activation
of the layer. Why that, and not the largest of the channel or of the position, a mean, or nothing?

| name | d, for each sample |
|---|---|
{formulas}

ReLU6 has its secant slope `a / z` in front, as in the method. Where `d` is 0, so is `a / d`. In a linear layer every
neuron is a channel of its own, so `channel` is there what `own` is; and the whole layer is one position.

## What follows from the formulas

Checked by the command on random networks in float64; the bound is the largest `a / d` in the networks of this study.

| d | largest a / d | chain: the product rule up to a factor | residual: input scaled by 3, same up to a factor |
|---|---:|---|---|
{properties}

- A denominator that is one number for each layer cancels in a chain, whatever number it is. `layer`, `mean` and `one`
  are the same heatmap there, and only a network with branches of different depth can tell them apart.
- Without any denominator the branches of a residual network are weighed by the scale of the picture: a longer branch
  has more activations as factors. Every other denominator grows with the activation and is free of that.
- `a / d` is at most 1 for a maximum. For `mean` it can exceed 1, and so can what a layer hands on.

## Protocol

- The weights are those of `rlrp_nb.load_model`. The class that is explained is the network's own first choice.
- Digits: the first {count} of those held out from training. Photographs: those of `rlrp_nb.data.sample`, whole and in
  five crops each (four corners, middle) of 3/4 of the shorter side.
- **AOPC, ABPC**: pixel flipping by `rlrp_nb.evaluation.faithfulness.flip`, followed by the probability.
- **noise**: cosine of the heatmaps before and after Gaussian noise, of the same class.
- **mosaic**: share of the positive relevance in the right cell of a 2 x 2 mosaic of pictures of four classes, as many
  mosaics as pictures. Chance is 1/4.
- **Gini**: how unevenly the absolute relevance is spread. Told, not judged: no amount of sparseness is right.
- Two values of one picture that differ by less than 1e-5 count as equal: that is rounding.
- All seeds are 0. Intervals are 95 % percentile bootstrap intervals over pictures, 2,000 resamples. Differences are
  paired: the same picture, `d` against `layer`. Crops of one photograph are not independent, so for photographs the
  intervals are narrower than those of new photographs would be.
- `layer` was compared with `rlrp_nb.explain` before each network was measured: equal to 1e-5 of the largest relevance.

| network | kind | pictures | patches flipped | noise, where white is 1 | cells of a mosaic |
|---|---|---:|---|---:|---|
{protocol}

## Results

For `layer` the mean with its interval; for the others the mean, and the difference from `layer` with its interval.
Bold: the interval excludes 0. More is better, but for Gini.

{tables}

## Findings

{findings}

## What it means

The rule for the decision was set beforehand: a denominator is better on a network if its difference from `layer`
excludes 0 in its favour for at least one of {judged}, and against it for none. It becomes the default if it is better
on at least {needed} networks of each kind, chain and residual. None of the candidates has a hyperparameter.

{decision}
"""


@dataclass(frozen=True)
class Result:
    """Means and paired differences on one network.

    Attributes
    ----------
    case
        Network and protocol.
    count
        Number of pictures.
    means, differences
        By denominator and measure; differences from ``layer``.
    """

    case: Case
    count: int
    means: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]]

    def better(self, denominator: str) -> tuple[str, ...]:
        """Return the judged measures whose interval lies above that of no difference."""
        return tuple(name for name in JUDGED if self.differences[denominator][name].low > 0)

    def worse(self, denominator: str) -> tuple[str, ...]:
        """Return the judged measures whose interval lies below it."""
        return tuple(name for name in JUDGED if self.differences[denominator][name].high < 0)


def summarise(case: Case, measured: Mapping[str, Mapping[str, Tensor]]) -> Result:
    """Return intervals of measured values, and of their differences from those of ``layer`` on the same pictures."""
    default = measured["layer"]

    def difference(values: Tensor, name: str) -> Interval:
        apart = values - default[name]
        return bootstrap(torch.where(apart.abs() > ROUNDING, apart, 0).numpy())

    means = {d: {name: bootstrap(values.numpy()) for name, values in row.items()} for d, row in measured.items()}
    differences = {d: {name: difference(values, name) for name, values in row.items()} for d, row in measured.items()}
    return Result(case, len(default["AOPC"]), means, differences)


def winners(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the denominators that the rule for the decision puts before ``layer``."""
    return tuple(
        denominator
        for denominator in DENOMINATORS
        if all(
            sum(
                bool(result.better(denominator)) and not result.worse(denominator)
                for result in results
                if result.case.kind == kind
            )
            >= NETWORKS_OF_A_KIND
            for kind in ("chain", "residual")
        )
    )


def page(results: Sequence[Result], bounds: Mapping[str, float]) -> str:
    """Return the whole page.

    Raises
    ------
    RuntimeError
        What the text says of the formulas is not so.
    """
    _check_text(bounds)
    return TEXT.format(
        formulas="\n".join(f"| `{name}` | {FORMULAS[name]} |" for name in DENOMINATORS),
        properties="\n".join(
            f"| `{name}` | {bounds[name]:.3g} | {_yes(equals_product_rule(name))} | {_yes(ignores_scale(name))} |"
            for name in DENOMINATORS
        ),
        count=COUNT,
        protocol="\n".join(_protocol(result) for result in results),
        tables="\n\n".join(_table(result) for result in results),
        findings="\n".join(_finding(name, results) for name in DENOMINATORS if name != "layer"),
        judged=", ".join(JUDGED),
        needed=NETWORKS_OF_A_KIND,
        decision=_decision(results),
    )


def _check_text(bounds: Mapping[str, float]) -> None:
    cancels = {name for name in DENOMINATORS if equals_product_rule(name)}
    free = {name for name in DENOMINATORS if ignores_scale(name)}
    bounded = {name for name in DENOMINATORS if bounds[name] <= 1}
    if (cancels, free, bounded) != (
        {"layer", "mean", "one"},
        DENOMINATORS.keys() - {"one"},
        DENOMINATORS.keys() - {"one", "mean"},
    ):
        raise RuntimeError(f"the text on the formulas does not hold: {cancels=}, {free=}, {bounded=}.")


def equals_product_rule(denominator: str) -> bool:
    """Whether in a random chain the relevance is that of the product rule up to a positive factor for each sample."""
    inputs, targets = _random_pictures()
    network = _chain()
    return _proportional(relevance(network, inputs, targets, denominator), relevance(network, inputs, targets, "one"))


def ignores_scale(denominator: str) -> bool:
    """Whether in a random residual network without biases an input three times as bright has the same heatmap."""
    inputs, targets = _random_pictures()
    network = _Residual().double().eval()
    return _proportional(
        relevance(network, inputs, targets, denominator), relevance(network, 3 * inputs, targets, denominator)
    )


def _random_pictures() -> tuple[Tensor, Tensor]:
    return torch.rand(4, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(4)


def _chain() -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return (
            nn.Sequential(
                *(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten()),
                *(nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 4)),
            )
            .double()
            .eval()
        )


class _Residual(nn.Module):
    """One long and one short way from the input to the logits, without biases."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.first, self.second = (nn.Conv2d(c, 6, 3, padding=1, bias=False) for c in (2, 6))
            self.last = nn.Linear(384, 4, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        a = torch.relu(self.first(inputs))
        logits: Tensor = self.last(torch.relu(a + torch.relu(self.second(a))).flatten(1))
        return logits


def _proportional(first: Tensor, second: Tensor) -> bool:
    first, second = (r / r.abs().flatten(1).amax(1)[:, None, None, None] for r in (first, second))
    return torch.allclose(first, second, rtol=0, atol=1e-12)


def _yes(truth: bool) -> str:  # noqa: FBT001 - a word for a truth
    return "yes" if truth else "no"


def _protocol(result: Result) -> str:
    case = result.case
    flipped = f"{case.patch} x {case.patch} pixels, {case.per_step} at once, {'black' if case.black else 'blurred'}"
    cells = f"{'full' if case.whole_cells else 'half'} size"
    return f"| {case.name} | {case.kind} | {result.count} | {flipped} | {case.noise} | {cells} |"


def _table(result: Result) -> str:
    lines = [
        f"**{result.case.name}**, {result.case.kind}, {result.count} pictures",
        "",
        f"| d | {' | '.join(MEASURES)} |",
        f"|---|{'---:|' * len(MEASURES)}",
    ]
    for name in result.means:
        cells = [_cell(name, result.means[name][m], result.differences[name][m]) for m in MEASURES]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(denominator: str, mean: Interval, difference: Interval) -> str:
    if denominator == "layer":
        return f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})"
    text = f"{mean.mean:.3f} ({difference.mean:+.3f}, {difference.low:+.3f} to {difference.high:+.3f})"
    return f"**{text}**" if difference.excludes_zero else text


def _finding(denominator: str, results: Sequence[Result]) -> str:
    parts = []
    for word in ("better", "worse"):
        found = [
            f"{result.case.name} ({', '.join(names)})"
            for result in results
            if (names := getattr(result, word)(denominator))
        ]
        parts.append(f"{word} than `layer` on {'; '.join(found)}" if found else f"nowhere {word}")
    return f"- `{denominator}` is {', and '.join(parts)}."


def _decision(results: Sequence[Result]) -> str:
    kinds = [result.case.kind for result in results]
    short = [kind for kind in ("chain", "residual") if kinds.count(kind) < NETWORKS_OF_A_KIND]
    found = winners(results)
    if found:
        return f"By this rule {', '.join(f'`{name}`' for name in found)} should become the default."
    ways = f" Fewer than {NETWORKS_OF_A_KIND} networks were measured that are {' or '.join(short)}." if short else ""
    return f"No denominator meets that, so the largest activation of the layer stays the default.{ways}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rule_study", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one network, few pictures; the page is only printed")
    quick = parser.parse_args().quick
    cases, count = (CASES[:1], 12) if quick else (CASES, COUNT)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = [summarise(case, measure(case, count, say)) for case in cases]
    text = page(results, _bounds(cases))
    print(text)
    if not quick:
        PAGE.write_text(text, encoding="utf-8")


def _bounds(cases: Sequence[Case]) -> dict[str, float]:
    """Return the largest relative activation by denominator, over the first pictures of every network."""
    models = [load_model(case.name) for case in cases]
    return {name: max(bound(model.network, pictures(model, 8), name) for model in models) for name in DENOMINATORS}


if __name__ == "__main__":
    main()
