import math
import sys
import threading
import types
import weakref
from collections import Counter, deque
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import rlrp_nb as rn
from rlrp_nb.engine.leavings import taken_away
from rlrp_nb.engine.tracing import trace

SEEN = {}
RECENT, COUNTS, LAST = deque(maxlen=9), Counter(), None


class Memory:
    def __init__(self):
        self.last = None
        self.all, self.records = [], []
        self.runs = self.samples = 0


class Slotted:
    __slots__ = ("last",)


@dataclass
class Record:
    of: dict


class Keeping(nn.Module):
    """Keeps what it computed in an object of another class, in a list in it, and in a global dict."""

    def __init__(self):
        super().__init__()
        self.conv, self.head, self.memory, self.slotted = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), Memory(), Slotted()

    kept: ClassVar = {"y": []}
    last = None

    def forward(self, x):
        global LAST  # noqa: PLW0603 - as networks on the web do
        y = self.conv(x).relu()
        self.memory.last = y
        self.memory.all.append((y,))
        self.memory.records.append(Record({"y": y}))
        self.memory.runs += 1
        self.memory.samples += x.shape[0]
        SEEN["y"] = {"of": y}
        RECENT.append(y)
        COUNTS["samples"] += x.shape[0]
        LAST = self.slotted.last = type(self).last = y
        self.kept["y"].append(y.shape)
        return self.head(y.mean((2, 3)))


def own(value):
    return isinstance(value, Tensor) and not isinstance(value, FakeTensor)


def test_a_trace_leaves_no_tensor_without_values(images):
    network = Keeping().eval()
    SEEN.clear()
    network(images)
    rn.explain(network, images, 1)
    assert own(network.memory.last)
    assert all(own(kept) for (kept,) in network.memory.all)
    assert all(own(record.of["y"]) for record in network.memory.records)
    assert own(SEEN["y"]["of"])
    assert own(network(images))
    assert network.memory.runs >= 2
    assert type(network.memory.samples) is type(COUNTS["samples"]) is int
    assert network.memory.samples % len(images) == 0
    for value in (*RECENT, LAST, network.slotted.last, Keeping.last):
        assert own(value)
    assert {type(length) for shape in Keeping.kept["y"] for length in shape} == {int}


def test_nothing_is_left_where_the_trace_fails_after_it(images):
    network = Keeping().eval()
    before = network.memory.last = torch.ones(1)
    network.head = nn.Softmax(1)
    SEEN.clear()
    with pytest.raises(rn.UnsupportedNetworkError, match="softmax"):
        trace(network, images)
    assert all(own(kept) for (kept,) in network.memory.all)
    assert all(own(record.of["y"]) for record in network.memory.records)
    assert own(network.memory.last)
    assert network.memory.last is not before  # a run without the tracer came first
    assert own(SEEN["y"]["of"])


def test_what_else_was_put_there_meanwhile_stays():
    network = Keeping().eval()
    with taken_away(network):
        network.memory.last, network.memory.runs = "something", 7
    assert (network.memory.last, network.memory.runs) == ("something", 7)
    with FakeTensorMode() as mode, taken_away(network):
        network.memory.last = mode.from_tensor(torch.ones(2))
    assert network.memory.last == "something"


class Guarded:
    """Answers no question but what the network asks."""

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_objects_that_say_nothing_of_themselves_are_left_alone(images):
    network = Keeping().eval()
    gone = Memory()
    network.odd = [Guarded(), weakref.proxy(gone), threading.Lock(), np.random.default_rng(0), torch, math]
    del gone
    assert rn.explain(network, images, 1).relevance.abs().sum() > 0


def test_what_is_kept_in_a_module_of_the_user_s_is_taken_away(images, monkeypatch):
    settings = types.ModuleType("settings_of_a_user")
    settings.seen = 0

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.settings = nn.Linear(192, 5), settings

        def forward(self, x):
            self.settings.seen += x.shape[0]
            return self.head(x.flatten(1))

    monkeypatch.setitem(sys.modules, settings.__name__, settings)
    rn.explain(Counting().eval(), images, 1)
    assert type(settings.seen) is int


def test_what_others_put_there_meanwhile_stays():
    log, table, recent = [{"n": 0}, "old"], {"a": 1, "b": 2}, deque([1, 2, 3], maxlen=3)

    class Logging(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(192, 5)

        def forward(self, x):
            log.append(x)
            table["b"] = x
            recent.append(x)
            return self.head(x.flatten(1))

    network = Logging().eval()
    with FakeTensorMode() as mode, taken_away(network):
        log.append("another thread")
        log.insert(1, mode.from_tensor(torch.ones(2)))
        table["b"], table["c"], table["d"] = mode.from_tensor(torch.ones(2)), 3, [mode.from_tensor(torch.ones(2))]
        recent.append(mode.from_tensor(torch.ones(2)))
    assert log == [{"n": 0}, "old", "another thread"]
    assert list(table.items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert [*recent] == [1, 2, 3]
