"""Images a second by number of workers, with the script of docs/scale.md; written into that page."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is loaded: nothing is reported to anyone

import pyarrow.parquet as pq
import ray

from benchmarks.machine import facts
from benchmarks.marked import write
from rlrp_nb.data.sample import available_samples, sample_image

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


def script() -> str:
    """Return the script that the page shows first."""
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def seconds(recipe: dict[str, Any], pictures: Path, out: Path, workers: int) -> float:
    """Return how long all images take, workers to be started and networks to be loaded, Ray itself running already."""
    recipe["start"](workers)
    try:
        begin = time.perf_counter()
        recipe["explain_folder"](pictures, out, workers)
        passed = time.perf_counter() - begin
    finally:
        ray.shutdown()
    rows = pq.read_table(out / "rows", columns=["error"])
    assert rows.num_rows == len(list(pictures.iterdir()))
    assert rows["error"].null_count == rows.num_rows
    return passed


def draw(folder: Path, count: int) -> None:
    """Write photographs of scikit-image, each turned a little differently, 320 pixels on the longer side."""
    names = available_samples()
    for number in range(count):
        picture = sample_image(names[number % len(names)])
        picture.thumbnail((320, 320))
        picture.rotate(number // len(names)).save(folder / f"{number:06}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, one worker; the table is only printed")
    quick = parser.parse_args().quick
    count, most = (16, 1) if quick else (384, os.cpu_count() or 1)
    recipe: dict[str, Any] = {"__name__": "explain_folder"}
    exec(compile(script(), "explain_folder.py", "exec"), recipe)  # noqa: S102 - the project's own page
    lines = ["| workers | seconds | images a second | hours for a million |", "|---:|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        draw(pictures, count)
        for workers in sorted({2**power for power in range(most.bit_length())} | {most}):
            print(f"{workers} of {most} workers", file=sys.stderr, flush=True)
            passed = seconds(recipe, pictures, Path(folder) / str(workers), workers)
            rate = count / passed
            lines.append(f"| {workers} | {passed:.0f} | {rate:.2f} | {1e6 / rate / 3600:.0f} |")
    table = "\n".join(lines)
    text = (
        f"{count} photographs of 320 pixels, EfficientNet-Lite0, R-LRP and AOPC. The seconds hold everything but Ray's "
        f"own start.\n\n{table}\n\n" + "\n".join(f"- {fact}" for fact in facts())
    )
    print(text)
    if not quick:
        write(PAGE, "python -m benchmarks.scale", text)


if __name__ == "__main__":
    main()
