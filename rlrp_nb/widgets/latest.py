"""One thread that does the newest job: what was asked before and has not begun is forgotten."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

Current: TypeAlias = Callable[[], bool]
Job: TypeAlias = Callable[[Current], None]

_LOG = logging.getLogger(__name__)


class Latest:
    """Run jobs one after the other beside the main thread; of those that wait, only the newest is kept.

    A job receives a function that says whether it is still the newest, and should deliver nothing once it is not.
    The thread ends when there is nothing to do.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: tuple[int, Job] | None = None
        self._newest = 0
        self._working = False

    def submit(self, job: Job) -> None:
        """Ask for a job; every earlier one is out of date from now on.

        Parameters
        ----------
        job : callable
            Called with a function that returns whether the job is still the newest.
        """
        with self._changed:
            self._newest += 1
            self._waiting = (self._newest, job)
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="rlrp_nb widget", daemon=True).start()

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

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._waiting is None:
                    self._working = False
                    self._changed.notify_all()
                    return
                (ticket, job), self._waiting = self._waiting, None
            try:
                job(partial(self._is_newest, ticket))
            except Exception:  # noqa: BLE001 - the worker must live on, or the next job would never be done
                _LOG.exception("a widget's job failed")

    def _is_newest(self, ticket: int) -> bool:
        return ticket == self._newest
