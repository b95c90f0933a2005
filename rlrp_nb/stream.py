"""A stream of random numbers of one's own, for whatever draws from the generators of the whole process."""

import random
import threading
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from rlrp_nb.engine.interrupts import held_back

_one_at_a_time = threading.RLock()
_PATIENCE = 0.2  # seconds


class Stream:
    """Random numbers by one seed, in place of PyTorch's, NumPy's and Python's global ones while it is entered.

    It goes on where it was left when it is entered again. Only one is in place at a time, and another thread waits that
    enters one: what is done within should be short, and must not wait for such a thread. What a thread draws outside of
    any is not kept apart.

    Parameters
    ----------
    seed : int
        From 0 to 2^63 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._own: tuple[Any, ...] | None = None
        self._outer: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        """Put it in place."""
        entered = False
        try:
            while not entered:
                with held_back():  # which ends each time, so that whoever waits can be interrupted
                    entered = _one_at_a_time.acquire(timeout=_PATIENCE)
                    if entered:
                        self._begin()
        except BaseException:  # an interrupt that was held back
            if entered:
                self._leave()
            raise
        return self

    def _begin(self) -> None:
        self._outer.append(_states())
        if self._own is None:
            torch.manual_seed(self._seed)
            np.random.seed(self._seed % 2**32)  # noqa: NPY002 - the global one
            random.seed(self._seed)
        else:
            _set(self._own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put back what was there."""
        with held_back():
            self._own = _states()
            self._leave()

    def _leave(self) -> None:
        _set(self._outer.pop())
        _one_at_a_time.release()


def _states() -> tuple[Any, ...]:
    # a GPU that nobody has used has no state yet
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), of_gpus, np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one


def _set(states: tuple[Any, ...]) -> None:
    of_cpu, of_gpus, of_numpy, of_python = states
    torch.set_rng_state(of_cpu)
    if of_gpus:
        torch.cuda.set_rng_state_all(of_gpus)
    np.random.set_state(of_numpy)  # noqa: NPY002 - the global one
    random.setstate(of_python)
