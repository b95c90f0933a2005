"""Memory in bytes, from every single allocation and release that PyTorch's CPU allocator reports to its profiler."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most memory that `call` held at any time beyond what was there before, its result included."""
    held = highest = 0
    for change in _changes(call)[1]:
        held += change
        highest = max(highest, held)
    return highest


def kept_bytes(call: Callable[[], Result]) -> tuple[Result, int]:
    """Return the result of `call` and the memory that it left in use."""
    result, changes = _changes(call)
    return result, sum(changes)


def _changes(call: Callable[[], Result]) -> tuple[Result, list[int]]:
    """Return the result of `call` and the change in bytes of every allocation (above 0) and release, in order."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
        gc.collect()
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    memory = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    return result, [event["args"]["Bytes"] for event in memory]
