"""The worker of the widgets: the newest job wins, and none stops it."""

import asyncio
import logging
import threading

import pytest

from rlrp_nb.widgets import latest as module
from rlrp_nb.widgets.latest import Latest


@pytest.fixture(autouse=True)
def _no_loop_of_others():
    """Playwright, where tests before have used it, leaves a loop that counts as running in the main thread."""
    others = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(others)


@pytest.fixture
def patient(monkeypatch):
    """Let no machine be too slow for the main thread to come first."""
    monkeypatch.setattr(module, "_PATIENCE", 600)


def run(*jobs):
    """Submit jobs, each with whether it is brief, from a cell of a kernel whose main thread is free afterwards."""

    async def cell():
        latest = Latest()
        for job, brief in jobs:
            latest.submit(job, brief=brief)
        assert await asyncio.to_thread(latest.wait, 30)

    asyncio.run(cell())


def test_jobs_that_wait_are_replaced_by_the_newest():
    latest, go, begun, done = Latest(), threading.Event(), threading.Event(), []

    def first(current):
        begun.set()
        assert go.wait(30)
        done.append(("first", current()))

    latest.submit(first)
    assert begun.wait(30)
    for name in ("second", "third"):
        latest.submit(lambda current, name=name: done.append((name, current())))
    assert not latest.wait(0.01)
    go.set()
    assert latest.wait(30)
    assert done == [("first", False), ("third", True)]


def test_jobs_that_are_kept_are_done_whatever_comes_later():
    latest, go, begun, done = Latest(), threading.Event(), threading.Event(), []

    def job(name):
        def work(current):
            begun.set()
            assert go.wait(30)
            done.append((name, current()))

        return work

    latest.submit(job("first"), kept=True)
    assert begun.wait(30)
    for name, kept in (("second", True), ("third", False), ("fourth", True), ("fifth", False), ("sixth", False)):
        latest.submit(job(name), kept=kept)
    go.set()
    assert latest.wait(30)
    assert done == [("first", False), ("second", False), ("fourth", False), ("sixth", True)]


def test_a_job_that_fails_is_logged_and_does_not_stop_the_next(caplog):
    latest, done = Latest(), []

    def broken(_current):
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        latest.submit(broken)
        assert latest.wait(30)
    assert "job failed" in caplog.text
    latest.submit(lambda current: done.append(current()))
    assert latest.wait(30)
    assert done == [True]


def test_the_thread_ends_when_there_is_nothing_to_do():
    latest = Latest()
    threads = []
    latest.submit(lambda _current: threads.append(threading.current_thread()))
    assert latest.wait(30)
    threads[0].join(30)
    assert not threads[0].is_alive()


def test_jobs_from_many_threads_run_one_at_a_time():
    latest, running, most = Latest(), [], []

    def job(_current):
        running.append(1)
        most.append(len(running))
        running.pop()

    askers = [threading.Thread(target=lambda: [latest.submit(job) for _ in range(50)]) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert latest.wait(30)
    assert set(most) == {1}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("brief", [True, False])
def test_only_a_brief_job_runs_in_the_main_thread(brief):
    threads = []
    run((lambda _current: threads.append(threading.current_thread()), brief))
    assert [thread is threading.main_thread() for thread in threads] == [brief]


@pytest.mark.usefixtures("patient")
def test_of_brief_jobs_that_come_together_the_newest_runs():
    done = []
    run(*((lambda current, name=name: done.append((name, current())), True) for name in "abc"))
    assert done == [("c", True)]


@pytest.mark.usefixtures("patient")
def test_a_long_job_that_overtakes_a_brief_one_leaves_the_main_thread():
    threads = []
    jobs = [(lambda _current: threads.append(threading.current_thread()), brief) for brief in (True, False)]
    run(*jobs)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_a_main_thread_that_runs_a_cell_is_not_waited_for():
    threads = []

    async def cell():
        latest = Latest()
        latest.submit(lambda _current: threads.append(threading.current_thread()), brief=True)
        assert latest.wait(30)
        await asyncio.sleep(0.01)

    asyncio.run(cell())
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
