import random
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from rlrp_nb.stream import Stream


def seed(number):
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002 - the global one
    random.seed(number)


def drawn():
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002, S311 - likewise


def test_it_draws_by_its_seed_goes_on_where_it_was_left_and_puts_back_what_was_there():
    seed(1)
    expected = [drawn() for _ in range(3)]
    seed(1)
    one, other = Stream(5), Stream(5)
    with one:
        first = drawn()
    outside = [drawn()]
    with one:
        second = drawn()
    outside.append(drawn())
    with other:
        both = [drawn(), drawn()]
    outside.append(drawn())
    assert outside == expected
    assert both == [first, second]
    assert first != second


def test_one_within_another_puts_back_the_outer_one():
    with Stream(5):
        plain = [drawn(), drawn()]
    with Stream(5):
        first = drawn()
        with Stream(6):
            inner = drawn()
        assert [first, drawn()] == plain
    assert inner not in plain


def test_an_error_within_puts_back_too():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), Stream(5):
        _ = torch.rand(1) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)


def of_thread(seed):
    stream, found = Stream(seed), []
    for _ in range(200):
        with stream:
            found.append(drawn())
    return found


def test_threads_draw_as_they_would_alone():
    alone = [of_thread(seed) for seed in range(4)]
    before = torch.get_rng_state(), random.getstate()
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(of_thread, range(4))] == alone
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_an_interrupt_while_it_is_put_in_place_leaves_nothing(monkeypatch):
    before, own, handler = torch.get_rng_state(), torch.manual_seed, signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test's process may ignore

    def interrupted(number):
        own(number)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(torch, "manual_seed", interrupted)
    with pytest.raises(KeyboardInterrupt), Stream(5):
        raise AssertionError("was entered")
    monkeypatch.undo()
    signal.signal(signal.SIGINT, handler)
    assert torch.equal(torch.get_rng_state(), before)
    with ThreadPoolExecutor(1) as other:  # which would wait for ever
        assert other.submit(of_thread, 5).result(60)
