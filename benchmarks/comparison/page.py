"""The published page: tables, figures, where R-LRP loses, and the whole protocol, all from the numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.comparison.reasons import WHY, losses, wins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.comparison.subjects import Subject
    from rlrp_nb.evaluation.bootstrap import Interval
    from rlrp_nb.evaluation.comparison import Comparison

_HEAD = """\
# What was measured

Made by `{command}`, which measures everything again and writes this page. The command for a network and images of your
own is [`rlrp_nb.compare`](howto/choose-a-method.md).

Every figure is a mean over images with its {confidence:.0%} bootstrap interval. **Bold** is better than every other
method of its table, by a paired difference whose interval excludes 0; *italic* cannot be told apart from the best. No
correction is made for how many differences there are. All methods of a table see the same images, classes and noise.

No single number decides. Flipping (AOPC, ABPC, Insertion, Deletion) asks the network itself, on inputs it has never
seen. Localisation needs a truth, and a network may be right for other reasons. Similarity under noise is also high for
a map that ignores the network: look at the controls first, *Random* in every table and *Edges* in some.
"""

_TAIL = """\
## How it was measured

What holds for every table, beside the protocol below each; `benchmarks/comparison/subjects.py` is the code of it:

- **Digits**: the first 200 of `rlrp_nb.data.digits.split_digits().held_out_images`. In mosaics, such among the first
  440 as are named right with a probability above 0.9.
- **Photographs**: squares with 1, 0.85 and 0.7 times the shorter side of a photograph, cut at up to four places along
  each axis, from one end to the other in equal steps; the order is drawn by seed 0.
- **Shapes**: of `rlrp_nb.data.shapes.load_shapes(416, size=64, seed=1)` the first 200 that are named right.
- **Mosaics**: `rlrp_nb.data.mosaic.mosaics` with seed 0.
- **The class** that is explained and followed is the most probable one of each image; of a mosaic it is that of the
  quarter that is asked for.
- **The rank of a patch** is that of the mean of its heatmap; of equal ones the upper left one comes first.
- **Curves**: after each step, until all is replaced, the score is f_k, and f_0 that of the whole image. AOPC is the
  mean of f_0 - f_k over all k, 0 among them, along the most relevant first; ABPC the mean of the difference of both
  curves. Deletion and Insertion are areas by the trapezoidal rule over the share of patches.
- **The blurred image**: by a Gaussian with a standard deviation of 20 pixels where the longer side has 224, in
  proportion elsewhere; its kernel ends at 1.25 standard deviations, and beyond the edge the nearest pixel counts.

{facts}

The network's weights, the images, the settings and the versions are digested into the files from which an interrupted
run goes on, and a file that does not fit is refused.
"""


def page(found: Sequence[tuple[Subject, Comparison]], facts: Sequence[str], command: str) -> str:
    """Return the page.

    Parameters
    ----------
    found
        What was compared, and what came out.
    facts
        About the machine, a sentence each.
    command
        That makes the page.
    """
    parts = [_HEAD.format(command=command, confidence=found[0][1].statistics.confidence)]
    parts += [_summary(found)]
    parts += [_section(subject, comparison) for subject, comparison in found]
    parts += [_TAIL.format(facts="\n".join(f"- {fact}" for fact in facts))]
    return "\n".join(parts)


def revised(text: str, found: Sequence[tuple[Subject, Comparison]]) -> str:
    """Return a page with some of its comparisons replaced, and all others left as they were.

    Parameters
    ----------
    text
        The page.
    found
        What was compared again, and what came out.

    Raises
    ------
    ValueError
        The page has no such comparison.
    """
    for subject, comparison in found:
        rows = "".join(f"{row}\n" for row in _rows(subject, comparison))
        for pattern, new in zip(_places(subject), (f"{_section(subject, comparison)}\n", rows), strict=True):
            old = pattern.search(text)
            if old is None:
                raise ValueError(f"the page has no comparison {subject.title!r}: measure all of them.")
            text = text[: old.start()] + new + text[old.end() :]
    return text


def absent(text: str, chosen: Sequence[Subject]) -> list[str]:
    """Return the names of the comparisons that a page does not have, so that none of it can be replaced."""
    return [subject.name for subject in chosen if not all(place.search(text) for place in _places(subject))]


def _places(subject: Subject) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds the section of a comparison, and its rows in the table above."""
    title, flags = re.escape(subject.title), re.MULTILINE | re.DOTALL
    return re.compile(rf"^## {title}\n.*?(?=^## )", flags), re.compile(rf"(?:^\| {title} \|[^\n]*\n)+", flags)


def _summary(found: Sequence[tuple[Subject, Comparison]]) -> str:
    lines = [
        "Against how many of the other methods R-LRP is better, worse, or cannot be told apart:",
        "",
        "| Network, images | Metric | Better than | Worse than | Not told apart |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for subject, comparison in found:
        lines += _rows(subject, comparison)
    return "\n".join([*lines, ""])


def _rows(subject: Subject, comparison: Comparison) -> list[str]:
    rows = []
    for metric in comparison.metrics:
        if metric.better is None or metric.timed:
            continue
        gaps = [gap for gap in comparison.differences()[metric.name].values() if gap.count]
        ahead, behind = len(wins(comparison, metric.name)), len(losses(comparison, metric.name))
        rows.append(f"| {subject.title} | {metric.title} | {ahead} | {behind} | {len(gaps) - ahead - behind} |")
    return rows


def _section(subject: Subject, comparison: Comparison) -> str:
    lines = [
        f"## {subject.title}",
        "",
        subject.what,
        "",
        comparison.grid(),
        "",
        f"![{_described(subject, comparison)}](images/comparison-{subject.name}.svg)",
        "",
        *_lost(comparison),
        "<details><summary>Protocol</summary>",
        "",
        comparison.protocol(),
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


def _lost(comparison: Comparison) -> list[str]:
    """Say under which metrics other methods beat R-LRP, by how much, and why that can be."""
    lines: list[str] = []
    for metric in comparison.metrics:
        ahead = losses(comparison, metric.name)
        if ahead:
            named = "; ".join(f"{title} by {_gap(gap)}" for title, gap in ahead)
            lines.append(f"- **{metric.title}**: behind {named}. {WHY.get(metric.name, '')}".rstrip())
    return (
        ["Where R-LRP loses, and why that can be:", "", *lines, ""]
        if lines
        else ["R-LRP loses under none of these metrics.", ""]
    )


def _gap(gap: Interval) -> str:
    low, high = sorted((abs(gap.low), abs(gap.high)))
    return f"{abs(gap.mean):.3g} [{low:.3g}, {high:.3g}]"


def _described(subject: Subject, comparison: Comparison) -> str:
    best = [row for row in comparison.table() if row.rank == "best"]
    titles = {contender.name: contender.title for contender in comparison.contenders}
    names = {metric.name: metric.title for metric in comparison.metrics}
    told = "; ".join(f"{titles[row.method]} is best by {names[row.metric]}" for row in best)
    return f"{subject.title}: dots with intervals, the same numbers as in the table. {told or 'No method is best'}."
