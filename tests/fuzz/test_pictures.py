"""Damaged picture files are read as pictures, or refused in words; nothing else comes out."""

import functools
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rlrp_nb.data.image import decode_image, load_image
from rlrp_nb.errors import InputError, RlrpError
from tests.fuzz.profiles import fuzzed

FORMATS = {
    "PNG": {},
    "JPEG": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    "WEBP": {"lossless": True},
    "GIF": {"save_all": True, "append_images": [Image.new("P", (8, 6), 3)]},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
}
LIMIT = 1_000_000  # pixels


@functools.cache
def sound(kind):
    """A small file of a kind, with colours in it."""
    picture, file = Image.linear_gradient("L").resize((8, 6)).convert("RGB"), io.BytesIO()
    picture.save(file, kind, **FORMATS[kind])
    return file.getvalue()


@st.composite
def damaged(draw):
    """A file that was cut, overwritten, stretched or spliced, mostly near its head, where sizes and offsets are."""
    data = bytearray(sound(draw(st.sampled_from(sorted(FORMATS)))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.one_of(st.integers(0, min(63, len(data))), st.integers(0, len(data))))
        way = draw(st.sampled_from(("overwrite", "number", "insert", "remove", "cut", "splice")))
        if way == "overwrite":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif way == "number":
            number = draw(st.sampled_from((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)))
            data[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", number)
        elif way == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif way == "remove":
            del data[at : at + draw(st.integers(1, 8))]
        elif way == "cut":
            del data[at:]
        else:
            data[at:] = sound(draw(st.sampled_from(sorted(FORMATS))))[at:]
    return bytes(data)


def judge(read):
    picture, problem = None, ""
    try:
        picture = read()
    except RlrpError as error:
        problem = str(error)
    if picture is None:
        assert 0 < len(problem) < 1000
    else:
        assert picture.mode == "RGB"
        assert 0 < picture.width * picture.height <= LIMIT
        picture.tobytes()


@fuzzed
@given(data=damaged())
def test_damaged_bytes_are_read_or_refused(data):
    judge(lambda: decode_image(data, "x", max_pixels=LIMIT))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures") / "x.png"


@fuzzed
@given(data=damaged())
def test_damaged_files_are_read_or_refused(path, data):
    path.write_bytes(data)
    judge(lambda: load_image(path, max_pixels=LIMIT))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_damaged_here_was_sound(kind):
    assert decode_image(sound(kind), "x").width in {6, 8}  # JPEG's orientation turns it


@pytest.mark.parametrize("kind", FORMATS)
def test_sound_pictures_just_above_the_limit_are_refused(path, kind):
    file = io.BytesIO()
    Image.new("RGB", (LIMIT // 1000 + 1, 1000)).save(file, kind)
    path.write_bytes(file.getvalue())
    for read in (
        lambda limit: decode_image(file.getvalue(), "x", max_pixels=limit),
        lambda limit: load_image(path, max_pixels=limit),
    ):
        with pytest.raises(InputError, match="1001 x 1000"):
            read(LIMIT)
        assert read(LIMIT + 1000).size == (1001, 1000)
