"""What decides what a callable computes is part of its identity, and nothing that differs between processes is."""

import copy
import logging
import os
import random
import re
import subprocess
import sys
from array import array
from collections import deque
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.rules import RULES
from rlrp_nb.evaluation.identity import identity, identity_of_network, settings_of

ONES = torch.ones(1, 2)
settings = ModuleType("settings_of_the_test")
settings.FACTOR = 1.0
FACTOR = 1.0


settings.deeper = ModuleType("settings_of_the_test.deeper")
settings.deeper.deepest = ModuleType("settings_of_the_test.deeper.deepest")
settings.deeper.deepest.FACTOR = 1.0
settings.deeper.above = settings


def by_a_module_within_modules(_network, inputs, _targets):
    return inputs.sum(1) * settings.deeper.deepest.FACTOR + len(settings.deeper.above.__name__)


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor

    def also(self, x):
        return x * self.factor


def scaled(x, factor):
    return x * factor


def by_a_global(x):
    return x * FACTOR


def by_a_module(x):
    return sum(part * settings.FACTOR for part in x)


def enclosing(value):
    return lambda x: x * value


def with_default(value):
    return lambda x, factor=value: x * factor


def nested(value):
    for _ in range(30):
        value = [value]
    return value


class Factor(float):
    pass


class Config(dict):
    pass


def with_scale(value, scale):
    value.scale = scale
    return value


def config(scale):
    return with_scale(Config(width=3), scale)


PAIRS = {
    "code": (lambda x: x + 1, lambda x: x - 1),
    "a number in the code": (lambda x: x * 2, lambda x: x * 3),
    "a variable around it": (enclosing(1.0), enclosing(2.0)),
    "a tensor around it": (enclosing(torch.ones(2)), enclosing(torch.zeros(2))),
    "an array around it": (enclosing(np.ones(2)), enclosing(np.zeros(2))),
    "a network around it": (enclosing(nn.LeakyReLU(0.1)), enclosing(nn.LeakyReLU(0.2))),
    "a mode of a network around it": (enclosing(nn.Dropout()), enclosing(nn.Dropout().eval())),
    "an array of objects around it": (enclosing(np.array([1, "a"], object)), enclosing(np.array([2, "a"], object))),
    "a sparse tensor around it": (enclosing(torch.eye(2).to_sparse()), enclosing(2 * torch.eye(2).to_sparse())),
    "a number deep within": (enclosing(nested(1.0)), enclosing(nested(2.0))),
    "a deque around it": (enclosing(deque([1])), enclosing(deque([2]))),
    "a number of a class of its own": (enclosing(Factor(1.0)), enclosing(Factor(2.0))),
    "an attribute of a dict": (enclosing(config(1.0)), enclosing(config(2.0))),
    "an attribute of a tensor": (enclosing(with_scale(torch.ones(2), 1.0)), enclosing(with_scale(torch.ones(2), 2.0))),
    **{
        f"{type(one).__name__} around it": (enclosing(one), enclosing(other))
        for one, other in (
            (slice(1, 2), slice(1, 3)),
            (Path("a"), Path("b")),
            (Decimal(1), Decimal(2)),
            (timedelta(1), timedelta(2)),
            (date(2020, 1, 1), date(2020, 1, 2)),
            (array("d", [1]), array("d", [2])),
            (bytearray(b"1"), bytearray(b"2")),
            (memoryview(b"1"), memoryview(b"2")),
            (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
            ({"a": 1}.values(), {"a": 2}.values()),
            (torch.float32, torch.float64),
            (torch.device("cpu"), torch.device("cpu", 1)),
            (re.compile("a"), re.compile("b")),
            (itemgetter(1), itemgetter(2)),
            (repeat(1), repeat(2)),
        )
    },
    "a function around it": (enclosing(torch.relu), enclosing(torch.tanh)),
    "a default": (with_default(1.0), with_default(2.0)),
    "an object": (Scale(1.0), Scale(2.0)),
    "a method": (Scale(1.0).also, Scale(2.0).also),
    "a partial": (partial(scaled, factor=1.0), partial(scaled, factor=2.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_decides_what_a_callable_computes_is_seen(name):
    one, other = PAIRS[name]
    assert identity(one) == identity(one) != identity(other)


def test_a_path_is_the_same_once_it_was_asked():
    method = enclosing(Path("folder") / "file")
    before = identity(method)
    assert str(method.__closure__[0].cell_contents)
    assert hash(method.__closure__[0].cell_contents)
    assert identity(method) == before


def test_annotations_that_were_asked_for_change_nothing():
    class Plain(nn.Module):
        def forward(self, x):
            return x

    before = identity_of_network(Plain().eval(), ONES)
    assert Plain.__annotations__ == {}
    assert identity_of_network(Plain().eval(), ONES) == before


def test_a_network_that_was_compiled_is_the_same():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    before = identity_of_network(network, ONES)
    torch.compile(network, backend="eager")(ONES)
    network.compile(backend="eager")
    assert identity_of_network(network, ONES) == before


def test_what_is_kept_for_another_size_is_no_part_of_a_network():
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.grids = {}

        def forward(self, x):
            if x.shape not in self.grids:
                self.grids[x.shape] = torch.ones(x.shape)
            return x * self.grids[x.shape]

    network = Placed().eval()
    before = identity_of_network(network, ONES)
    network(torch.ones(1, 7))
    assert identity_of_network(network, ONES) == before


def test_code_counts_also_where_a_run_changes_what_its_class_holds():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            return x.relu()

    network = Counting().eval()
    before = identity_of_network(network, ONES)
    assert identity_of_network(network, ONES) == before

    def forward(self, x):
        type(self).calls += 1
        return x.tanh()

    Counting.forward = forward
    assert identity_of_network(network, ONES) != before


class OfClasses(type):
    @property
    def factor(cls):
        return FACTOR


class Made(metaclass=OfClasses):
    pass


def test_what_a_class_of_classes_does_is_seen(monkeypatch):
    def method(x):
        return x * Made.factor

    before = identity(method)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert identity(method) != before


class Width:
    width = 2


def test_objects_that_were_copied_are_the_same():
    """Of a class whose objects are copied Python notes the names of its slots, in the class."""
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    network.config = Width()
    before = identity_of_network(network, ONES)
    assert type(copy.deepcopy(network.config)) is Width
    assert "__slotnames__" in vars(Width)
    assert identity_of_network(network, ONES) == before


def test_where_a_class_is_written_is_no_part_of_it():
    code = "class Kind:\n    factor = 2\n    def __call__(self, x):\n        return x * self.factor\n"
    found = []
    for before in ("", "# a comment\n\n"):
        names = {"__name__": "of_the_test"}
        exec(before + code, names)  # noqa: S102 - our own words
        found.append(identity(names["Kind"]()))
    names["Kind"].factor = 3
    assert found[0] == found[1] != identity(names["Kind"]())


def test_a_logger_is_its_name():
    logger = logging.getLogger("of.the.test")
    before = identity(partial(scaled, factor=logger))
    logger.setLevel(logging.DEBUG)
    logger.debug("something")
    logger.addHandler(logging.NullHandler())
    assert identity(partial(scaled, factor=logger)) == before
    assert identity(partial(scaled, factor=logging.getLogger("of.another"))) != before


def test_what_a_callable_reads_is_seen(monkeypatch):
    before = identity(by_a_global), identity(by_a_module)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    monkeypatch.setattr(settings, "FACTOR", 2.0)
    assert all(a != b for a, b in zip(before, (identity(by_a_global), identity(by_a_module)), strict=True))


def test_what_modules_within_modules_hold_is_seen(monkeypatch):
    before = identity(by_a_module_within_modules)
    assert identity(by_a_module_within_modules) == before
    monkeypatch.setattr(settings.deeper.deepest, "FACTOR", 2.0)
    assert identity(by_a_module_within_modules) != before


def test_modules_that_hold_each_other_are_looked_at_once_each():
    around = [ModuleType(f"settings_of_the_test.m{n}") for n in range(10)]
    for one in around:
        for other in around:
            setattr(one, other.__name__.rpartition(".")[2], other)
    settings.around = around[0]
    called = "settings.around." + ".".join(f"m{n}" for n in range(10))
    function = eval(f"lambda *_: {called}", {"settings": settings})  # noqa: S307 - written above
    assert identity(function) == identity(function)


def test_layers_of_pytorch_are_known_by_their_settings():
    assert identity(nn.ReLU()).startswith("the callable torch.nn.modules.activation.ReLU (code ")
    assert identity(nn.LeakyReLU(0.1)) != identity(nn.LeakyReLU(0.2))


class Activated(nn.Module):
    def __init__(self, activation, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.activation, self.scale, self.last = nn.Linear(2, 2), activation, scale, None

    def forward(self, x):
        self.last = self.activation(self.layer(x)) * self.scale
        return self.last


def test_a_network_is_known_by_its_functions_and_settings_too():
    network = Activated(torch.relu)
    network(ONES)  # leaves a tensor behind
    same = identity_of_network(network, ONES)
    assert same == identity_of_network(Activated(torch.relu), ONES)
    others = Activated(torch.tanh), Activated(torch.relu, 2.0), Activated(enclosing(1.0))
    assert len({same, *(identity_of_network(other, ONES) for other in others)}) == 4


def with_buffer(value):
    network = Activated(torch.relu)
    network.register_buffer("mean", torch.tensor(value), persistent=False)
    return network


def with_attribute(value):
    network = Activated(torch.relu)
    network.config = value
    return network


def with_module(value):
    module = ModuleType("config_of_the_test")
    module.scale = value
    return with_attribute(module)


def hooked(value):
    network = Activated(torch.relu)
    network.layer.register_forward_hook(lambda _module, _inputs, output: output * value)
    return network


@pytest.mark.parametrize(
    "make",
    {
        "a buffer that is not saved": with_buffer,
        "a tensor": lambda value: with_attribute(torch.tensor(value)),
        "a dict": lambda value: with_attribute({"scale": [value]}),
        "a namespace": lambda value: with_attribute(SimpleNamespace(scale=value)),
        "an object": lambda value: with_attribute(Scale(value)),
        "a Python module": with_module,
        "an array": lambda value: with_attribute(np.array([value])),
        "a hook": hooked,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_network_is_known_by_whatever_it_can_read(make):
    one, same, other = (identity_of_network(make[1](value), ONES) for value in (1.0, 1.0, 2.0))
    assert one == same != other


def test_what_a_run_leaves_behind_in_hooks_and_lists_is_no_part_of_a_network():
    network = Activated(torch.relu)
    network.seen = {}
    network.layer.register_forward_hook(lambda _module, _inputs, output: network.seen.update(last=output))
    before = identity_of_network(network, ONES)
    network(3 * ONES)
    assert "last" in network.seen
    assert identity_of_network(network, ONES) == before


def test_a_rule_of_a_user_s_is_a_part_of_what_is_measured(monkeypatch):
    found = {identity_of_network(Activated(torch.relu), ONES)}
    for factor in (1.0, 2.0, 2.0):
        rule = Activation(lambda z, factor=factor: factor + 0 * z)
        monkeypatch.setitem(RULES, "aten.hardshrink", rule)
        found.add(identity_of_network(Activated(torch.relu), ONES))
    assert len(found) == 3


def test_modules_that_hold_each_other_have_an_end():
    one, other = nn.ReLU(), nn.ReLU()
    one.other, other.other = [other], [one]
    assert identity(enclosing(one)) == identity(enclosing(one))


def test_what_lies_too_deep_to_be_told_apart_is_refused():
    value = []
    for _ in range(200):
        value = [value]
    with pytest.raises(rn.InputError, match="lies more than 100 things deep"):
        identity(enclosing(value))


def test_another_process_finds_the_same_identity():
    code = (
        "from tests.unit.evaluation.test_identity import PAIRS, Activated, by_a_module, identity, identity_of_network\n"
        "import torch\n"
        "print([identity(f) for pair in PAIRS.values() for f in pair], identity(by_a_module))\n"
        "print(identity(lambda x: x in {'a', 'b', 'c'}), identity_of_network(Activated(torch.relu), torch.ones(1, 2)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_comparison_does_not_go_on_with_values_of_another_callable(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval()
    images = torch.rand(2, 3, 8, 8)

    def compare(sign):
        methods = {"mine": lambda _network, inputs, _targets: inputs.sum(1) * sign}
        return rn.compare(
            network, images, methods=methods, metrics=["gini"], fill="mean", path=tmp_path / "values", progress=False
        )

    compare(1.0)
    compare(1.0)
    with pytest.raises(rn.InputError, match="has values of the method 'mine'"):
        compare(-1.0)


def test_settings_are_the_variables_around_a_function():
    assert settings_of(enclosing(1.0)) == settings_of(enclosing(1.0)) != settings_of(enclosing(2.0))
    assert settings_of(scaled) == settings_of(Scale(2)) == ""


def drawing(generator):
    def method(_network, inputs, _targets):
        return inputs[:, 0] * generator.random()

    return method


def showing(picture):
    def method(_network, inputs, _targets):
        return inputs[:, 0] * float(np.asarray(picture).mean())

    return method


@pytest.mark.parametrize("kind", [random.Random, np.random.default_rng, torch.Generator().manual_seed])
def test_generators_of_another_seed_are_another_one(kind):
    made = [identity(drawing(kind(seed))) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]


def test_pictures_of_other_pixels_are_others():
    made = [identity(showing(Image.new("L", (8, 8), value))) for value in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_global_generators_have_no_state_of_their_own():
    global_random, of_numpy = random.random, np.random.rand

    def method(_network, inputs, _targets):
        return inputs[:, 0] * global_random() * of_numpy()

    before = identity(method)
    global_random()
    of_numpy()
    assert identity(method) == before


def test_a_table_of_pandas_is_what_it_holds():
    made = [identity(showing(pd.DataFrame({"a": [1.0, value]}))) for value in (2.0, 2.0, 3.0)]
    assert made[0] == made[1] != made[2]
