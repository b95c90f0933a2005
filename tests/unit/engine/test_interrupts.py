import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
import torch

import rlrp_nb as rn
from rlrp_nb.engine import tracing
from rlrp_nb.engine.interrupts import held_back


@pytest.fixture(autouse=True)
def _interruptible():
    """Let interrupts raise KeyboardInterrupt, as they do but in a process that tests are handed to."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def handled():
    """What a handler of interrupts was called with, which raises nothing."""
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, _: calls.append(number))
    yield calls
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_interrupts_wait_until_the_end(times):
    done = []

    def work():
        with held_back():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is before


def test_it_comes_after_an_error_too():
    def work():
        with held_back():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        work()


def test_the_users_own_handler_hears_of_it_once(handled):
    with held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert handled == []
    assert handled == [signal.SIGINT]
    with held_back():
        pass
    assert handled == [signal.SIGINT]


def test_interrupts_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_decides_nothing(handled):
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def work():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
    assert handled == []


def test_a_trace_is_not_left_behind(images, residual, monkeypatch):
    started = []

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *arguments):
            signal.raise_signal(signal.SIGINT)
            started.append(super().submit(*arguments))
            signal.raise_signal(signal.SIGINT)
            return started[-1]

    with monkeypatch.context() as patch:
        patch.setattr(tracing, "ThreadPoolExecutor", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            rn.explain(residual, images, 0)
    assert [future.done() for future in started] == [True]
    assert not torch.compiler.is_compiling()
    assert torch.isfinite(rn.explain(residual, images, 0).relevance).all()
