"""Measure, print the table, and put it into the documentation."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before PyTorch is loaded: its profiler talks otherwise

import torch

from benchmarks.cases import FULL, QUICK
from benchmarks.machine import facts
from benchmarks.measure import measure
from benchmarks.table import page

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small pictures, few rounds; the table is only printed")
    quick = parser.parse_args().quick
    torch.set_num_threads(os.cpu_count() or 1)
    cases, rounds, seconds = (QUICK, 2, 1.0) if quick else (FULL, 3, 45.0)
    results = list(measure(cases, rounds, seconds, lambda text: print(text, file=sys.stderr, flush=True)))
    text = page(results, facts(), "python -m benchmarks --quick" if quick else "make bench")
    print(text)
    if not quick:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
