"""What PyTorch tells every thread while one traces: kept to the one that does.

While a network is exported, PyTorch takes each thread for one that exports. An optimizer in another one then notes its
calls in a dict of the whole process, which the tracing thread exchanges meanwhile, so that the call fails where the
note is to be taken away again; and it takes the ways of compiled code, some of which fail with plain tensors.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def told_to_this_thread_alone() -> Iterator[None]:
    """Let other threads make no notes, and tell them that nothing is compiled.

    Only one thread can be within at a time.
    """
    with ExitStack() as within:
        # before PyTorch 2.9 there are no notes
        within.enter_context(_exchanged(traceback, "annotate", lambda _notes: nullcontext()))
        within.enter_context(_exchanged(torch.compiler, "is_compiling", lambda: False))
        within.enter_context(_exchanged(torch.compiler, "is_exporting", lambda: False))
        yield


@contextmanager
def _exchanged(module: Any, name: str, for_others: Callable[..., Any]) -> Iterator[None]:  # noqa: ANN401 - a module is written into
    """Put another function in the place of one, where there is one, for all threads but this."""
    own, tracing = getattr(module, name, None), threading.get_ident()
    if own is None:
        yield
        return

    def by_thread(*given: Any) -> Any:  # noqa: ANN401 - whatever the function takes and returns
        return own(*given) if threading.get_ident() == tracing else for_others(*given)

    setattr(module, name, by_thread)
    try:
        yield
    finally:
        setattr(module, name, own)
