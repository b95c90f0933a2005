"""Notes that PyTorch makes on what it traces: only the thread that traces may make some.

While a network is exported, PyTorch takes every thread for one that exports, and each call of an optimizer in another
one notes something in a dict of the whole process. The tracing thread puts other dicts in its place meanwhile, and the
call fails where the note is to be taken away again.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from torch.fx import traceback

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def noted_by_this_thread_alone() -> Iterator[None]:
    """Keep other threads from making notes.

    Only one thread can be within at a time.
    """
    annotate: Any = getattr(traceback, "annotate", None)
    if annotate is None:  # before PyTorch 2.9 nobody makes any
        yield
        return
    tracing = threading.get_ident()

    def by_this_thread(notes: dict[str, Any]) -> Any:  # noqa: ANN401 - a context manager
        return annotate(notes) if threading.get_ident() == tracing else nullcontext()

    module: Any = traceback
    module.annotate = by_this_thread
    try:
        yield
    finally:
        module.annotate = annotate
