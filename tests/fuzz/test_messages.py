"""Whatever a browser sends, the Explorer answers it or says in words what is wrong, and lives on."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.models.preprocess import Preprocess
from tests.fuzz.profiles import fuzzed
from tests.fuzz.test_pictures import damaged, sound

KINDS = ("explain", "methods", "image", "cover", "channels", "faithfulness")

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-2, 9) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
method = st.sampled_from(("rlrp", "gradient-x-input", "magic", "")) | junk
number = st.integers(-2, 4) | junk
cells = st.lists(
    st.fixed_dictionaries({}, optional={"image": number, "method": method, "target": st.sampled_from("012") | junk})
    | junk,
    max_size=2,
)
fields = {
    "image": number,
    "method": method,
    "methods": st.lists(method, max_size=2) | junk,
    "index": number,
    "negative": st.just(-1) | number,
    "layer": st.sampled_from(("0", "1", "3", "input", "")) | junk,
    "box": st.lists(st.integers(-1, 9) | junk, min_size=3, max_size=5) | junk,
    "classes": st.lists(number, max_size=3) | junk,
    "cells": cells | junk,
    "name": st.text(max_size=100) | junk,
    "status": junk,
    "ask": junk,
}
messages = st.fixed_dictionaries({"kind": st.sampled_from(KINDS) | junk}, optional=fields)
complete = st.fixed_dictionaries({"kind": st.sampled_from(KINDS), **fields})
files = st.lists(st.sampled_from((sound("PNG"), b"", b"no picture")) | damaged() | st.binary(max_size=20), max_size=2)


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    return rn.Classifier("tiny", network, ("cat", "dog", "hen"), Preprocess(size=8), "random numbers")


@pytest.fixture(scope="module")
def explorer(classifier):
    explorer = rn.Explorer(classifier, Image.linear_gradient("L"), targets=[0, 1], layers="all")
    explorer.sent = []
    explorer.send = lambda content, _buffers=None: explorer.sent.append(content)
    yield explorer
    explorer.close()


def ask(explorer, message, buffers):
    explorer.sent.clear()
    explorer._hear(explorer, message, [memoryview(each) for each in buffers])
    assert explorer.wait(120)
    assert not explorer.busy
    # the name of a type of error would be that of one which nobody meant to raise
    assert not re.match(r"\w*(Error|Exception|Warning|Interrupt)\b", explorer.error), (explorer.error, message)
    assert len(explorer.error) < 2000
    del explorer.scene["images"][1:]  # pictures that were added
    explorer._forget()


@fuzzed
@given(message=messages | complete | junk, buffers=files)
def test_the_explorer_answers_or_says_what_is_wrong(explorer, message, buffers):
    ask(explorer, message, buffers)
    assert explorer.error or explorer.sent


def test_a_sound_message_is_answered(explorer):
    ask(explorer, {"kind": "explain", "image": 0, "method": "rlrp", "index": 2, "negative": -1}, [])
    assert len(explorer.sent) == 1
    ask(explorer, {"kind": "image", "name": "x.png", "method": "rlrp"}, [sound("PNG")])
    assert len(explorer.sent) == 1
    ask(explorer, {"kind": "cover", "image": 0, "box": [0, 0, 3.0, 3], "classes": [0]}, [])
    assert len(explorer.sent) == 1


@pytest.mark.parametrize("value", [10**40, -(10**40), 1e300, True, "1", None, [1], 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["image", "index", "negative"])
def test_what_is_no_whole_number_is_named(explorer, key, value):
    message = {"kind": "explain", "image": 0, "method": "rlrp", "index": 2, "negative": -1, key: value}
    ask(explorer, message, [])
    assert not explorer.sent
    assert f"as {key!r}; a whole number is needed" in explorer.error


@pytest.mark.parametrize("key", ["layer", "method"])
@pytest.mark.parametrize("value", [1, None, ["input"], {}])
def test_what_is_no_text_is_named(explorer, key, value):
    ask(
        explorer,
        {"kind": "channels", "image": 0, "method": "rlrp", "index": 2, "negative": -1, "layer": "0", key: value},
        [],
    )
    assert not explorer.sent
    assert f"as {key!r}; a text is needed" in explorer.error


@pytest.mark.parametrize("position", [1, -1, 2**52])
@pytest.mark.parametrize("kind", ["explain", "methods", "cover", "channels"])
def test_an_image_that_is_not_there_is_named(explorer, kind, position):
    message = {"method": "rlrp", "methods": ["rlrp"], "index": 2, "negative": -1, "layer": "0"}
    ask(explorer, {"kind": kind, "image": position, **message, "box": [0, 0, 3, 3], "classes": [0]}, [])
    assert explorer.error == f"There is no image {position}; there are 1."
