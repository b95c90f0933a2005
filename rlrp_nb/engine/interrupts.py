"""Interrupts, as by Ctrl-C or a notebook's stop button, held back where they would do harm."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Let the first interrupt wait until the end; a second one comes through, should the end be far.

    Only the main thread is interrupted, and only it can decide about it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    waiting: list[FrameType | None] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            handler(number, frame)
        else:
            waiting.append(frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if waiting:
            handler(signal.SIGINT, waiting.pop())
