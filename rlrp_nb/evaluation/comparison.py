"""What a comparison found: values of methods and metrics on images, their means, and how far these can be trusted."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.bootstrap import FEW, Floats, Interval, bootstrap, flips_agree
from rlrp_nb.output_file import check_output, write_whole
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from rlrp_nb.evaluation.contender import Contender
    from rlrp_nb.evaluation.metric import Metric
    from rlrp_nb.evaluation.store import Failure
    from rlrp_nb.plots.colormap import Theme

_ROUNDING = 1e-6  # of a value; more than float32 loses, and less than anyone would call a difference
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


class Statistics(NamedTuple):
    """How means are judged.

    Attributes
    ----------
    reference
        Name of the method that others are compared with.
    resamples, confidence, seed
        Of the bootstrap.
    """

    reference: str
    resamples: int
    confidence: float
    seed: int


class Row(NamedTuple):
    """One method under one metric.

    Attributes
    ----------
    method, metric
        Names.
    mean, low, high
        Over the images, with the bootstrap interval; the median, without one, where the metric is timed.
    images
        How many have a value.
    missing
        How many have none.
    difference, difference_low, difference_high
        The mean over the images that both have of this method minus the reference, with its interval; NaN for the
        reference itself.
    rank
        "best" where the difference from every other method has a sign, "tied" for the best and those whose difference
        from it has none, "" for others, and where no way is better. A difference has a sign where its interval excludes
        0 and, of fewer than 30 images, a sign-flip test says so too.
    """

    method: str
    metric: str
    mean: float
    low: float
    high: float
    images: int
    missing: int
    difference: float
    difference_low: float
    difference_high: float
    rank: str


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Methods compared on images; what :func:`rlrp_nb.compare` returns.

    Parameters
    ----------
    contenders : tuple of Contender
        The methods, M of them.
    metrics : tuple of Metric
        The metrics, K of them.
    values : ndarray
        float64 ``(M, K, N)`` for N images, NaN where there is no value. ``comparison["rlrp", "abpc"]`` is one row.
    failures : tuple of Failure
        Each value that is not there though it should be, and why.
    statistics : Statistics
        Reference method and bootstrap.
    setting : tuple of str
        What was compared on and how, a sentence each.
    notes : dict of str to str
        What was found for this network, by method.
    """

    contenders: tuple[Contender, ...]
    metrics: tuple[Metric, ...]
    values: Floats
    failures: tuple[Failure, ...]
    statistics: Statistics
    setting: tuple[str, ...]
    notes: dict[str, str]

    def __repr__(self) -> str:
        counts = zip((*self.values.shape, len(self.failures)), ("method", "metric", "image", "failure"), strict=True)
        parts = [f"{count} {what}" + "s" * (count != 1) for count, what in counts]
        return f"Comparison({', '.join(parts)})"

    def __getitem__(self, names: tuple[str, str]) -> Floats:
        if not isinstance(names, tuple) or len(names) != 2:  # noqa: PLR2004 - a method and a metric
            raise InputError(f"values are taken by method and metric, as comparison['rlrp', 'auc'], not by {names!r}.")
        method, metric = names
        found: Floats = self.values[self._method(method), self._metric(metric)]
        return found.copy()  # to sort or to scale

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return tuple(contender.name for contender in self.contenders)

    @property
    def reference(self) -> str:
        """Name of the method that others are compared with: the one asked for, whatever it is called, or the first."""
        asked = self.statistics.reference
        others = [each.name for each in self.contenders if each.method is not None and each.method.name == asked]
        return next((name for name in (asked, *others) if name in self.methods), self.methods[0])

    def interval(self, method: str, metric: str) -> Interval:
        """Return the mean of a method over the images, with its interval.

        Raises
        ------
        InputError
            There is no such method or metric.
        """
        return self._interval(self[method, metric], metric)

    def difference(self, method: str, metric: str, reference: str | None = None) -> Interval:
        """Return the mean of a method minus a reference over the images that both have, with its interval.

        Of fewer than 30 images the interval is too narrow: whether the two are told apart is what :meth:`sign` says.
        Values that differ by less than a millionth of the larger one are the same: rounding differs by as much.

        Parameters
        ----------
        method, metric : str
            Names.
        reference : str, optional
            None takes that of the comparison.

        Raises
        ------
        InputError
            There is no such method or metric.
        """
        return self._interval(self._gaps(method, metric, reference or self.reference), metric)

    def differences(self, reference: str | None = None) -> dict[str, dict[str, Interval]]:
        """Return the paired differences of all methods from a reference, by metric and method; see :meth:`difference`.

        Raises
        ------
        InputError
            There is no such method.
        """
        against = self.methods[self._method(reference or self.reference)]
        return {
            metric.name: {name: self.difference(name, metric.name, against) for name in self.methods if name != against}
            for metric in self.metrics
        }

    def table(self) -> list[Row]:
        """Return a row for each method and metric that exists for it."""
        ranks = {metric.name: self._ranks(metric) for metric in self.metrics}
        used = self.values.shape[2] - sum(failure.method is None for failure in self.failures)
        rows = []
        for contender in self.contenders:
            for metric in self.metrics:
                if not metric.applies_to(contender):
                    continue
                name = contender.name
                found = self.interval(name, metric.name)
                gap = Interval(math.nan, math.nan, math.nan, 0)
                if name != self.reference:
                    gap = self.difference(name, metric.name)
                rank = ranks[metric.name].get(name, "")
                rows.append(
                    Row(
                        name, metric.name, found.mean, found.low, found.high, found.count, used - found.count,
                        gap.mean, gap.low, gap.high, rank,
                    )
                )  # fmt: skip
        return rows

    def to_csv(self, path: str | PathLike[str]) -> Path:
        """Write the table, one line for each row of :meth:`table`, and return the path.

        Raises
        ------
        FileFormatError
            The name does not end in .csv.
        InputError
            Nothing can be written there.
        """
        place = check_output(path, [".csv"])
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(Row._fields)
        writer.writerows([["" if value != value else value for value in row] for row in self.table()])  # noqa: PLR0124 - NaN
        return write_whole(place, lambda file: file.write(text.getvalue().encode()))

    def to_markdown(self) -> str:
        """Return the table in Markdown, with its footnotes: failures, methods, metrics."""
        return "\n".join([self.grid(), "", self._legend(), "", *self._footnotes()])

    def grid(self) -> str:
        """Return the table alone in Markdown: a line per method, a column per metric."""
        rows = {(row.method, row.metric): row for row in self.table()}
        lines = [
            ["Method", *(f"{_plain(metric.title)}{_ARROWS[metric.better]}" for metric in self.metrics)],
            ["---", *("---:" for _ in self.metrics)],
        ]
        for contender in self.contenders:
            cells = [_cell(rows.get((contender.name, metric.name))) for metric in self.metrics]
            lines.append([_plain(contender.title), *cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def protocol(self) -> str:
        """Return everything that a sceptical reader needs to do the same again, as Markdown."""
        statistics = self.statistics
        return "\n".join(
            [
                *(f"- {printable(sentence)}" for sentence in self.setting),
                (
                    f"- Intervals: {_percent(statistics.confidence)} percentile bootstrap over images, "
                    f"{statistics.resamples} resamples, seed {statistics.seed}; differences are paired, each over the "
                    "images that both methods have; values that agree to a millionth are equal. They are not corrected "
                    "for how many there are."
                    + (
                        f" Of fewer than {FEW} images the interval of a mean is too narrow, and two methods are told "
                        "apart only where a sign-flip test says so too."
                        if self._has_few
                        else ""
                    )
                ),
                "",
                *self._footnotes(),
            ]
        )

    def plot(self, theme: Theme = "light") -> Any:  # noqa: ANN401 - a plotly figure, imported on use
        """Return a plotly figure: a panel per metric, a dot with its interval per method.

        Parameters
        ----------
        theme : {"light", "dark"}
            Page colours.

        Raises
        ------
        MissingPackageError
            plotly is not installed.
        """
        from rlrp_nb.plots.ranking import figure  # noqa: PLC0415 - plots are needed only by those who ask for them

        return figure(self, theme)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _legend(self) -> str:
        few = f" and, of fewer than {FEW} images, a sign-flip test says so too" if self._has_few else ""
        return (
            f"Mean over images [{_percent(self.statistics.confidence)} bootstrap interval]. Bold: better than every "
            f"other method, by a paired difference whose interval excludes 0{few}. Italic: not told apart from the "
            "best."
        )

    @property
    def _has_few(self) -> bool:
        return bool(self.values.shape[2] < FEW)

    def _footnotes(self) -> list[str]:
        lines = ["Methods:", ""]
        for contender in self.contenders:
            note = self.notes.get(contender.name)
            said = f"{contender.description}{f' ({note})' if note else ''}"
            lines.append(f"- **{_plain(contender.title)}**: {_plain(said)}.")
        lines += ["", "Metrics:", ""]
        for metric in self.metrics:
            way = f"{metric.better} is better" if metric.better else "neither way is better"
            only = " Only for this engine's methods." if metric.engine_only else ""
            kind = " Median over images." if metric.timed else ""
            lines.append(
                f"- **{_plain(metric.title)}**: {_plain(metric.measures)}; unit: {_plain(metric.unit)}; {way} "
                f"({_plain(metric.source)}).{only}{kind}"
            )
        if self.failures:
            lines += ["", "Values that are not there:", ""]
        counts = Counter((failure.method, failure.metric, failure.reason) for failure in self.failures)
        titles = {contender.name: contender.title for contender in self.contenders}
        for (method, measured, reason), count in counts.items():
            what = "image" if method is None else titles[method] + ("" if measured is None else f", {measured}")
            lines.append(f"- {_plain(what)}, {count} x: {_plain(reason)}")
        return lines

    def _interval(self, values: Floats, metric: str) -> Interval:
        if self.metrics[self._metric(metric)].timed:
            there = values[~np.isnan(values)]
            return Interval(float(np.median(there)) if len(there) else math.nan, math.nan, math.nan, len(there))
        statistics = self.statistics
        return bootstrap(values, resamples=statistics.resamples, confidence=statistics.confidence, seed=statistics.seed)

    def _gaps(self, method: str, metric: str, reference: str) -> Floats:
        """Return the values of a method minus those of a reference, NaN where one has none."""
        mine, other = self[method, metric], self[reference, metric]
        # Where two methods say the same, rounding can lean to one side on every image.
        rounding = np.abs(mine - other) <= _ROUNDING * np.maximum(np.abs(mine), np.abs(other))
        return np.where(rounding, 0, mine - other)

    def sign(self, method: str, metric: str, reference: str | None = None) -> int:
        """Return the sign of a method's difference from a reference, by which :meth:`table` ranks.

        Parameters
        ----------
        method, metric : str
            Names.
        reference : str, optional
            None takes that of the comparison.

        Returns
        -------
        int
            1 or -1 where the interval of the difference excludes 0 and, of fewer than 30 images, a sign-flip test says
            so too; 0 where the two are not told apart.

        Raises
        ------
        InputError
            There is no such method or metric.
        """
        gaps = self._gaps(method, metric, reference or self.reference)
        found, statistics = self._interval(gaps, metric), self.statistics
        told = found.excludes_zero and (
            found.count >= FEW
            or flips_agree(gaps, resamples=statistics.resamples, confidence=statistics.confidence, seed=statistics.seed)
        )
        return int(np.sign(found.mean)) if told else 0

    def _ranks(self, metric: Metric) -> dict[str, str]:
        """Return which methods are best or tied under a metric."""
        if metric.better is None or metric.timed:
            return {}
        sign = 1 if metric.better == "higher" else -1
        means = {name: sign * self.interval(name, metric.name).mean for name in self.methods}
        there = [name for name in self.methods if not math.isnan(means[name])]
        if len(there) < 2:  # noqa: PLR2004 - one alone is not the best of anything
            return {}
        for best in sorted(there, key=lambda name: -means[name]):
            signs = {name: sign * self.sign(best, metric.name, name) for name in there if name != best}
            # The highest mean can be of easy images alone, and lose on those that another method has as well.
            if -1 in signs.values():
                continue
            tied = [name for name, told in signs.items() if not told]
            return dict.fromkeys([best, *tied], "tied") if tied else {best: "best"}
        return {}

    def _method(self, name: str) -> int:
        if name not in self.methods:
            raise InputError(f"method {name!r} took no part; there are {', '.join(self.methods)}.")
        return self.methods.index(name)

    def _metric(self, name: str) -> int:
        names = [metric.name for metric in self.metrics]
        if name not in names:
            raise InputError(f"metric {name!r} was not measured; there are {', '.join(names)}.")
        return names.index(name)


def _percent(share: float) -> str:
    """Return a share in percent, with the digits it has: 0.999 is not 100 %."""
    return f"{share * 100:.10g}%"


def _plain(text: str) -> str:
    """Return text that Markdown and a terminal show as it is: names are the user's, reasons speak of files and code.

    Notebooks look for mathematics and headings whatever is escaped by a backslash, so these signs are named.
    """
    named = re.sub(r"[&\\$#]", lambda sign: f"&#{ord(sign[0])};", printable(" ".join(text.split())))
    return re.sub(r"(?<!&)[`*_\[\]<>|~]", r"\\\g<0>", named)


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if not row.images:
        return "failed"
    mean = _number(row.mean)
    marked = {"best": f"**{mean}**", "tied": f"*{mean}*"}.get(row.rank, mean)
    interval = "" if math.isnan(row.low) else f" [{_number(row.low)}, {_number(row.high)}]"
    return f"{marked}{interval}{f' (n = {row.images})' if row.missing else ''}"


def _number(value: float) -> str:
    """Return three significant digits, but no more than three after the point of numbers around 1."""
    if value and not 1e-2 <= abs(value) < 1e3:  # noqa: PLR2004 - where the digits after the point say enough
        return f"{value:.2e}" if abs(value) < 1e-3 or abs(value) >= 1e3 else f"{value:.4f}"  # noqa: PLR2004 - likewise
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004 - likewise
