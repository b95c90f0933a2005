"""The worker of the widgets: the newest job wins, and none stops it."""

import logging
import threading

from rlrp_nb.widgets.latest import Latest


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
