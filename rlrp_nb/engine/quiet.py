"""What a thread says to nobody: PyTorch's tracer warns, logs and prints half-made graphs, while others are to be heard.

All three go by settings of the whole process, which another thread may set and put back at the same time. So what is
put in their place looks at the thread, and does nothing if it is left behind.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_quiet: set[int] = set()


class _Anything:
    """A pattern that fits every warning of a quiet thread, and none of another."""

    @staticmethod
    def match(text: str) -> bool:  # noqa: ARG004 - as warnings call it
        """Tell whether this thread is quiet."""
        return threading.get_ident() in _quiet


_UNHEARD = ("ignore", _Anything(), Warning, None, 0)


class _Others:
    """A stream for every thread that is not quiet."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what others have to say."""
        return len(text) if threading.get_ident() in _quiet else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self.stream, name)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings, PyTorch's log lines and the standard error of this thread away from the user.

    Only one thread can be quiet at a time.
    """
    logger, filters, stream = logging.getLogger("torch"), _filters(), sys.stderr
    while isinstance(stream, _Others):  # left behind, since no two threads are quiet at once
        stream = stream.stream
    level, others = logger.level, cast("TextIO", _Others(stream))
    _quiet.add(threading.get_ident())
    filters.insert(0, _UNHEARD)
    sys.stderr = others
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        if sys.stderr is others:
            sys.stderr = stream
        for each in (filters, _filters()):  # others may stand in their place by now
            while _UNHEARD in each:
                each.remove(_UNHEARD)
        _quiet.discard(threading.get_ident())


def _filters() -> list[Any]:
    return cast("list[Any]", warnings.filters)
