import io
import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from threading import Event, Thread

import pytest

from rlrp_nb.engine.quiet import quiet

LOGGER = logging.getLogger("torch")


def speak():
    """Warn, print and log."""
    warnings.warn("a warning", stacklevel=1)
    sys.stderr.write("a print")
    logging.getLogger("torch.export").error("a log line")


@contextmanager
def unchanged():
    """Expect what is set for the whole process to be the same afterwards."""
    before = sys.stderr, [*warnings.filters], LOGGER.level
    yield before[0]
    assert (sys.stderr, [*warnings.filters], LOGGER.level) == before


def test_a_quiet_thread_is_not_heard(capsys, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with unchanged(), quiet():
            speak()
    assert capsys.readouterr() == ("", "")
    assert caplog.text == ""


def test_others_are_heard_meanwhile(capsys):
    with unchanged(), quiet(), ThreadPoolExecutor(1) as pool:
        with pytest.warns(UserWarning, match="a warning"):
            pool.submit(speak).result()
        sys.stderr.flush()
    assert capsys.readouterr().err.startswith("a print")


def test_settings_are_put_back_after_an_error():
    with unchanged(), pytest.raises(ZeroDivisionError), quiet():
        1 / 0  # noqa: B018 - an error


def test_what_another_thread_sets_meanwhile_is_left_to_it(capsys):
    """One of them begins earlier and ends earlier, or begins later and ends later, than the quiet one."""
    begun, ended = Event(), Event()

    def work():
        with quiet():
            begun.set()
            ended.wait()

    with unchanged() as stderr:
        heard = io.StringIO()
        thread = Thread(target=work)
        with redirect_stderr(heard), warnings.catch_warnings():
            thread.start()
            begun.wait()
        ended.set()
        thread.join()
        begun.clear()
        ended.clear()
        thread = Thread(target=work)
        thread.start()
        begun.wait()
        with redirect_stderr(heard), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ended.set()
            thread.join()
            speak()
        assert heard.getvalue().startswith("a print")
        assert [str(warning.message) for warning in caught] == ["a warning"]
        sys.stderr.write("heard")  # what is left behind says all
        assert capsys.readouterr().err == "heard"
        with quiet():
            pass
        assert sys.stderr is stderr
