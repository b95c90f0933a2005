"""One job at a time: what was asked before the newest and has not begun is forgotten, unless it has to be kept."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

Current: TypeAlias = Callable[[], bool]
Job: TypeAlias = Callable[[Current], None]

_LOG = logging.getLogger(__name__)
# Seconds. Requests that came together are all heard before the newest is begun, and a thread that runs a cell is not
# waited for.
_GATHERED = 0.002
_PATIENCE = 0.05


class _Waiting(NamedTuple):
    ticket: int
    job: Job
    brief: bool
    kept: bool


class Latest:
    """Run jobs one after the other; of those that wait, only the newest is kept, and those that say so.

    A job receives a function that says whether it is still the newest; once it is not, it should deliver nothing unless
    it was to be kept.

    Jobs run in a thread of their own, which ends when there is nothing to do, so that cells can go on. A brief one runs
    in the main thread where that is free. On a processor with as many cores as PyTorch has threads, OpenMP lets them
    wait for each other in a slower way as soon as a second thread computes, which makes explanations take half as long
    again, in the main thread too.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._newest = 0
        self._working = False
        self._taken = True
        self._loop = _main_loop()

    def submit(self, job: Job, *, brief: bool = False, kept: bool = False) -> None:
        """Ask for a job; every earlier one is out of date from now on, and forgotten unless it has begun or is kept.

        Parameters
        ----------
        job : callable
            Called with a function that returns whether the job is still the newest.
        brief : bool
            Whether cells can wait for it.
        kept : bool
            Whether it is done whatever is asked for later.
        """
        with self._changed:
            self._newest += 1
            self._waiting = [each for each in self._waiting if each.kept]
            self._waiting.append(_Waiting(self._newest, job, brief, kept))
            if self._working:
                return
            self._working, self._taken = True, False
        if not brief or self._loop is None or self._loop.is_closed():
            _thread(self._take).start()
            return
        beside = threading.Timer(_PATIENCE, self._take)
        beside.daemon = True
        beside.start()
        self._loop.call_soon_threadsafe(self._loop.call_later, _GATHERED, partial(self._take, beside))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do.

        Parameters
        ----------
        timeout : float or None
            Seconds; None waits as long as it takes.

        Returns
        -------
        bool
            Whether everything is done.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._working, timeout)

    def _take(self, beside: threading.Timer | None = None) -> None:
        """Begin to work, unless another thread has begun; the main thread comes with the one that waits for it."""
        with self._changed:
            if self._taken:
                return
            self._taken = True
        if beside is not None:
            beside.cancel()
        self._work(main=beside is not None)

    def _work(self, *, main: bool = False) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._working = False
                    self._changed.notify_all()
                    return
                if main and not self._waiting[0].brief:
                    _thread(self._work).start()
                    return
                ticket, job, *_ = self._waiting.pop(0)
            try:
                job(partial(self._is_newest, ticket))
            except Exception:  # noqa: BLE001 - the worker must live on, or the next job would never be done
                _LOG.exception("a widget's job failed")

    def _is_newest(self, ticket: int) -> bool:
        return ticket == self._newest


def _thread(work: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=work, name="rlrp_nb widget", daemon=True)


def _main_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the main thread, if this is called in it: a kernel runs its cells there."""
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
