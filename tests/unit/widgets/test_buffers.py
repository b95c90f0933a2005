"""Maps as bytes: small errors, exact round trips, and bytes that find their places again."""

import json
import re

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.widgets.buffers import attach, detach, pack, unpack

ANY_FLOAT = st.floats(allow_nan=False, allow_infinity=False, width=32)
MAPS = arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, min_side=0, max_side=9), elements=ANY_FLOAT)
# One part in 254 is half a step of int8; float16 keeps 11 bits, and 25 below the peak. Reading rounds to float32.
ROUNDING = {"int8": (0.5 / 127, 0.0), "float16": (2.0**-25, 2.0**-11)}


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@given(values=MAPS)
def test_what_comes_back_is_near_what_was_sent(dtype, values):
    packed = pack(values, dtype)
    back = unpack(packed)
    peak = np.abs(values.astype(np.float64)).max(initial=0)
    of_peak, of_value = ROUNDING[dtype]
    allowed = (of_peak * peak + of_value * np.abs(values.astype(np.float64))) * (1 + 1e-6) + np.finfo(np.float32).tiny
    assert back.shape == values.shape
    assert back.dtype == np.float32
    assert (np.abs(back.astype(np.float64) - values) <= allowed).all()
    assert allowed.max(initial=0) <= peak / 127 + np.finfo(np.float32).tiny


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@given(values=MAPS)
def test_the_sign_never_turns_and_zero_stays_zero(dtype, values):
    back = unpack(pack(values, dtype))
    assert (back[values == 0] == 0).all()
    assert (np.sign(back) * np.sign(values) >= 0).all()


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@pytest.mark.parametrize("peak", [1e-310, 1e-60, 1e-44, 3.5e38, 1e60, 1.7e308])
def test_numbers_that_a_browser_would_show_as_nothing_or_as_infinite_are_refused(dtype, peak):
    for whatever in ("ignore", "raise"):
        with (
            np.errstate(all=whatever),
            pytest.raises(InputError, match=f"largest value is {re.escape(f'{peak:.3g}')}, and a browser shows"),
        ):
            pack([peak, -peak / 2, 0.0], dtype)


@given(peak=st.floats(1e-42, float(np.finfo(np.float32).max)))
def test_the_smallest_and_largest_numbers_of_a_browser_come_back(peak):
    back = unpack(pack([peak, -peak]))
    np.testing.assert_allclose(back.astype(np.float64), [peak, -peak], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@pytest.mark.parametrize("peak", [1.0, 1e-40, 1e38])
def test_what_is_far_below_the_peak_is_nothing_whatever_numpy_is_told_to_raise(dtype, peak):
    values = peak * np.logspace(0, -45, 46)
    quietly = unpack(pack(values, dtype))
    with np.errstate(all="raise"):
        assert np.array_equal(unpack(pack(values, dtype)), quietly)
    assert quietly[0] > 0 == quietly[-1]


def test_the_peak_comes_back_exactly():
    values = np.float32([0.1, -0.3, 0.2])
    assert unpack(pack(values, "int8"))[1] == values[1]
    assert unpack(pack(values, "float16"))[1] == values[1]


def test_int8_takes_a_byte_a_number_and_float16_two():
    values = np.ones((3, 5))
    assert len(pack(values, "int8")["data"]) == 15
    assert len(pack(values)["data"]) == 30


def test_bytes_are_little_endian_on_every_machine():
    assert pack(np.float32([1.0]))["data"] == b"\x00\x3c"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match="1 of 3 values are NaN or infinite"):
        pack([0.0, bad, 1.0])


def test_an_unknown_dtype_is_refused_both_ways():
    with pytest.raises(InputError, match="'int16'; choose one of float16, int8"):
        pack([1.0], "int16")
    with pytest.raises(FileFormatError, match="'int16' is unknown"):
        unpack({**pack([1.0]), "dtype": "int16"})


def test_bytes_that_do_not_fit_the_shape_are_refused():
    with pytest.raises(FileFormatError, match=r"2 bytes cannot hold shape \(3,\) as float16: 6 are needed"):
        unpack({**pack([1.0]), "shape": [3]})


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.builds(lambda data: {"data": data}, st.binary())
KEYS = st.text().filter(lambda key: key != "data")
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))


@given(tree=TREES)
def test_a_tree_without_its_bytes_is_json_and_gets_them_back(tree):
    bare, blocks = detach(tree)
    assert attach(json.loads(json.dumps(bare)), blocks) == tree
