"""Maps as bytes: how relevance travels from Python to the browser.

An array is sent as its largest magnitude, the *peak*, and one small code a number: ``value = code * peak`` for float16
codes in [-1, 1], ``value = code / 127 * peak`` for int8. Dividing by the peak first keeps both exact to their last bit
for arrays of any size of number. ``widgets/src/decode.js`` is the other side.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlrp_nb.errors import FileFormatError, InputError

Dtype: TypeAlias = Literal["float16", "int8"]
Tree: TypeAlias = Any  # a nest of dicts, lists and plain values, as JSON has them, with bytes at some leaves

_STEPS = 127
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_EXACT = 1e-3  # how exact the peak has to be: about as exact as the codes are


class Packed(TypedDict):
    """An array ready to be sent; what the browser needs to read it again."""

    dtype: Dtype
    shape: list[int]
    peak: float
    data: bytes


@np.errstate(under="ignore")  # a part far below the peak becomes 0, whatever np.seterr says
def pack(values: ArrayLike, dtype: Dtype = "float16") -> Packed:
    """Turn real numbers into bytes.

    Parameters
    ----------
    values : array_like of real numbers
        An array of any shape.
    dtype : {"float16", "int8"}
        ``float16`` keeps 11 bits of every number, ``int8`` is half as large and keeps each number to 1/254 of the peak.

    Returns
    -------
    Packed
        Little-endian bytes in C order, with dtype, shape and peak.

    Raises
    ------
    InputError
        If a value is NaN or infinite, the largest is beyond what a browser counts in, float32, or the dtype is not one
        of the two.
    """
    if dtype not in get_args(Dtype):
        raise InputError(f"Maps cannot be packed as {dtype!r}; choose one of {', '.join(get_args(Dtype))}.")
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        count = int((~np.isfinite(numbers)).sum())
        raise InputError(
            f"{count} of {numbers.size} values are NaN or infinite and cannot be shown; remove them first."
        )
    peak = float(np.abs(numbers).max(initial=0.0))
    held = float(np.float32(peak)) if peak <= _FLOAT32_MAX else math.inf
    if abs(held - peak) > _EXACT * peak:
        raise InputError(
            f"The largest value is {peak:.3g}, and a browser shows numbers from 1e-42 to {_FLOAT32_MAX:.1e}. Scale the "
            "values first; relevance is scaled by seeds as targets."
        )
    parts = numbers / peak if peak else numbers
    codes = np.rint(parts * _STEPS).astype("i1") if dtype == "int8" else parts.astype("<f2")
    return {"dtype": dtype, "shape": list(numbers.shape), "peak": peak, "data": codes.tobytes()}


@np.errstate(under="ignore")
def unpack(packed: Packed) -> NDArray[np.float32]:
    """Return the numbers that the browser will see, bit by bit.

    Parameters
    ----------
    packed : Packed
        What :func:`pack` made.

    Returns
    -------
    ndarray of float32
        In the shape that was packed.

    Raises
    ------
    FileFormatError
        If the bytes do not fit the shape, or the dtype is unknown.
    """
    if packed["dtype"] not in get_args(Dtype):
        raise FileFormatError(f"Packed dtype {packed['dtype']!r} is unknown; known are {', '.join(get_args(Dtype))}.")
    code_type = np.dtype("i1" if packed["dtype"] == "int8" else "<f2")
    size = int(np.prod(packed["shape"], dtype=np.int64))
    if len(packed["data"]) != size * code_type.itemsize:
        raise FileFormatError(
            f"{len(packed['data'])} bytes cannot hold shape {tuple(packed['shape'])} as {packed['dtype']}: "
            f"{size * code_type.itemsize} are needed. The data is damaged; write it again."
        )
    codes = np.frombuffer(packed["data"], code_type).astype(np.float64)
    parts = codes / _STEPS if packed["dtype"] == "int8" else codes
    return (parts * packed["peak"]).astype(np.float32).reshape(packed["shape"])


def detach(tree: Tree) -> tuple[Tree, list[bytes]]:
    """Take the bytes out of a tree, so that the rest is JSON.

    Parameters
    ----------
    tree : nest of dicts, lists and plain values
        With bytes under the key ``data`` of some dicts.

    Returns
    -------
    tree : the same nest
        With the position of the bytes in place of the bytes.
    blocks : list of bytes
        In the order in which the tree names them.
    """
    blocks: list[bytes] = []

    def walk(branch: Tree) -> Tree:
        if isinstance(branch, bytes):
            blocks.append(branch)
            return len(blocks) - 1
        if isinstance(branch, Mapping):
            return {key: walk(value) for key, value in branch.items()}
        if isinstance(branch, list | tuple):
            return [walk(value) for value in branch]
        return branch

    return walk(tree), blocks


def attach(tree: Tree, blocks: Sequence[bytes]) -> Tree:
    """Put the bytes back that :func:`detach` took out.

    Parameters
    ----------
    tree : nest of dicts, lists and plain values
        With positions under the key ``data``.
    blocks : sequence of bytes
        What the positions point at.

    Returns
    -------
    nest of dicts, lists and plain values
        With bytes under the key ``data``.
    """
    if isinstance(tree, Mapping):
        return {
            key: blocks[value] if key == "data" and isinstance(value, int) else attach(value, blocks)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [attach(value, blocks) for value in tree]
    return tree
