import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.fx import traceback

from rlrp_nb.engine import tracing
from rlrp_nb.engine.alone import told_to_this_thread_alone


class Swapping(torch.optim.SGD):
    """Loses the dict of notes within a call, as where another thread traces."""

    def zero_grad(self, *, set_to_none=True):
        super().zero_grad(set_to_none=set_to_none)
        traceback.current_meta = {}


@pytest.fixture
def zero_grad(monkeypatch):
    monkeypatch.setattr(traceback, "current_meta", {})
    monkeypatch.setattr(torch.compiler, "_is_exporting_flag", True)
    return torch.compiler.disable(Swapping(nn.Linear(2, 2).parameters(), 0.1).zero_grad)


def test_an_optimizer_goes_on_where_only_the_tracing_thread_makes_notes(zero_grad):
    annotate = traceback.annotate
    with told_to_this_thread_alone(), ThreadPoolExecutor(1) as other:
        other.submit(zero_grad).result()
        with traceback.annotate({"seen": 1}):
            assert traceback.current_meta["custom"] == {"seen": 1}
    assert traceback.annotate is annotate


@pytest.mark.parametrize("name", ["is_compiling", "is_exporting"])
def test_only_the_tracing_thread_is_told_that_it_compiles(monkeypatch, name):
    ask = getattr(torch.compiler, name)
    monkeypatch.setattr(torch.compiler, f"_{name}_flag", True)
    with told_to_this_thread_alone(), ThreadPoolExecutor(1) as other:
        assert getattr(torch.compiler, name)()
        assert not other.submit(getattr(torch.compiler, name)).result()
    assert getattr(torch.compiler, name) is ask


class Changing:
    """A flag that another thread sets and clears while it is read."""

    def __init__(self, values):
        self.values = itertools.cycle(values)

    def __bool__(self):
        return next(self.values)


@pytest.mark.parametrize("values", [*itertools.product([False, True], repeat=4)])
def test_an_optimizer_goes_on_where_a_trace_begins_within_its_step(monkeypatch, values):
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], foreach=True)
    weight.grad = torch.ones(3)
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", Changing(values))
    with told_to_this_thread_alone(), ThreadPoolExecutor(1) as other:
        other.submit(torch.compiler.disable(optimizer.step)).result()
    assert bool((weight < 1).all())


def test_a_trace_is_made_where_others_make_no_notes(monkeypatch, residual, images):
    annotate, within = traceback.annotate, []

    def export(*args, **options):
        within.append(traceback.annotate)
        return exported(*args, **options)

    exported = tracing.export
    monkeypatch.setattr(tracing, "export", export)
    tracing.trace(residual, images)
    assert annotate not in within
    assert traceback.annotate is annotate
