"""Damaged files of explanations are refused in words, and what is read can be used: no other error comes later."""

import functools
import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

import rlrp_nb as rn
from rlrp_nb.errors import RlrpError
from rlrp_nb.export import render
from rlrp_nb.report import as_data, class_bars
from rlrp_nb.widgets.scene import build_scene
from tests.fuzz.profiles import fuzzed

DTYPES = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@functools.cache
def sound():
    """The bytes of a small explanation with everything in it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    made = rn.explain(network, torch.randn(2, 3, 4, 4), [0, (1, 2)], layers="all")
    made.images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    made.categories = ("cat", "dog", "hen")
    with tempfile.TemporaryDirectory() as folder:
        return made.save(Path(folder) / "x.safetensors").read_bytes()


def header_of(data):
    return json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["rlrp_nb"])


MARKS = st.sampled_from((b'"', b"[", b"]", b"{", b"}", b",", b"9", b"-")) | st.binary(max_size=2)


@st.composite
def overwritten(draw):
    """Bytes written over, mostly in the header."""
    data = bytearray(sound())
    header = int.from_bytes(data[:8], "little") + 8
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.one_of(st.integers(0, header), st.integers(0, len(data) - 1)))
        data[at : at + 1] = draw(MARKS)
    if draw(st.integers(0, 4)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def change_header(draw, header):
    key = draw(st.sampled_from(sorted(header)))
    found = header[key]
    if isinstance(found, list) and found and draw(st.booleans()):
        found[draw(st.integers(0, len(found) - 1))] = draw(plain)
    else:
        header[key] = draw(plain)


def change_tensor(draw, tensors):
    name = draw(st.sampled_from(sorted(tensors)))
    tensor, way = tensors[name], draw(st.sampled_from(("missing", "dtype", "shape", "shorter", "value")))
    if way == "missing":
        del tensors[name]
    elif way == "dtype":
        real = tensor.real.clone() if tensor.is_complex() else tensor  # it was changed already; the rest has no place
        tensors[name] = real.to(draw(st.sampled_from(DTYPES)))
    elif way == "shape":
        tensors[name] = torch.zeros(draw(st.lists(st.integers(0, 3), max_size=6)), dtype=tensor.dtype)
    elif way == "shorter":
        tensors[name] = tensor.flatten()[:-1].clone()
    elif tensor.is_floating_point() and tensor.numel():
        worst = draw(st.sampled_from((float("nan"), float("inf"), -7.0)))
        tensor.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = worst
    elif tensor.dtype == torch.int64:
        tensors[name] = tensor + draw(st.integers(-5, 5))


@st.composite
def rewritten(draw):
    """A sound safetensors file of an explanation that makes no sense."""
    header, tensors = header_of(sound()), load(sound())
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            change_header(draw, header)
        else:
            change_tensor(draw, tensors)
    return save(tensors, {"rlrp_nb": json.dumps(header)})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("explanations") / "x.safetensors"


def use(path):
    """Do with a file whatever can be done with it."""
    made = rn.Explanation.load(path)
    repr(made)
    made.heatmap(-1, -1)
    made.label(-1, -1)
    if made.accounts is not None:
        repr(made.ledger())
        as_data(made)
    class_bars(made)
    render(build_scene([made]))


def judge(path, data):
    path.write_bytes(data)
    problem = ""
    try:
        use(path)
    except RlrpError as error:
        problem = str(error)
    assert len(problem) < 2000


@fuzzed
@given(data=overwritten())
def test_overwritten_files_are_refused_or_usable(path, data):
    judge(path, data)


@fuzzed
@given(data=rewritten())
def test_files_that_make_no_sense_are_refused_or_usable(path, data):
    judge(path, data)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"format": ' + "[" * 99_999, "NaN", '"x"', "[]", ""])
def test_headers_that_a_reader_chokes_on_are_refused(path, text):
    path.write_bytes(save({"a": torch.zeros(1)}, {"rlrp_nb": text}))
    with pytest.raises(rn.FileFormatError):
        rn.Explanation.load(path)


def test_what_is_damaged_here_was_sound(path):
    path.write_bytes(sound())
    made = rn.Explanation.load(path)
    assert made.ledger().worst_residual < 1e-4
    assert '"cat"' in render(build_scene([made]))
