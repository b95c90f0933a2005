"""Measure, and write docs/comparison.md with its figures; go on where an interrupted run stopped."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.comparison.drawing import draw
from benchmarks.comparison.page import absent, page, revised
from benchmarks.comparison.subjects import Subject, subjects
from benchmarks.machine import facts
from rlrp_nb.evaluation.comparing import compare

if TYPE_CHECKING:
    from rlrp_nb.evaluation.comparison import Comparison

DOCS = Path(__file__).parents[2] / "docs"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlrp-nb" / "comparison"
QUICK = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for comparison.md and images/")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the values that are there already")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} images each; needs another --out and --cache")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[subject.name for subject in subjects()],
        help="measure only these; the others stay as they are in the page that is there",
    )
    options = parser.parse_args()
    if options.quick and (options.out == DOCS or options.cache == CACHE):
        parser.error("--quick writes no page that is published: give another --out and --cache")
    chosen = [subject for subject in subjects() if not options.only or subject.name in options.only]
    place = options.out / "comparison.md"
    keep = options.only and place.exists()  # what is not measured again stays
    if keep and (missing := absent(place.read_text(encoding="utf-8"), chosen)):
        parser.error(
            f"{place} has no comparison {', '.join(missing)} to be replaced: leave out --only, or give another --out"
        )
    torch.set_num_threads(os.cpu_count() or 1)
    for folder in (options.out / "images", options.cache):
        folder.mkdir(parents=True, exist_ok=True)
    found = []
    for subject in chosen:
        print(f"{subject.title}:", flush=True)
        size = QUICK if options.quick else subject.count
        comparison = measured(replace(subject, count=size), options.cache, quick=options.quick)
        draw(comparison, options.out / "images" / f"comparison-{subject.name}.svg")
        found.append((subject, comparison))
    command = "make compare" if not options.quick else "python -m benchmarks.comparison --quick"
    text = revised(place.read_text(encoding="utf-8"), found) if keep else page(found, facts(), command)
    place.write_text(text, encoding="utf-8")
    print(f"written to {place}", flush=True)


def measured(subject: Subject, cache: Path, *, quick: bool) -> Comparison:
    """Make one comparison, or what is missing of it."""
    model = subject.model(cache, quick)
    images = subject.images(model, subject.count)
    return compare(
        model,
        images.inputs,
        methods=subject.methods,
        metrics=subject.metrics,
        targets=images.targets,
        masks=images.masks,
        path=cache / f"{subject.name}.jsonl",
        **subject.options,
    )


if __name__ == "__main__":
    main()
