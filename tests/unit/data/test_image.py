"""Pictures of every kind become RGB with the right colours, or are refused with one clear sentence."""

import contextlib
import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from rlrp_nb.data.image import decode_image, load_image
from rlrp_nb.errors import InputError

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 0x0112, 258, 262, 339


def corners():
    """2 x 3 pixels (width 3) whose corners differ, so that every turn and flip shows."""
    picture = Image.new("RGB", (3, 2), BLACK)
    picture.putpixel((0, 0), RED)
    picture.putpixel((2, 0), GREEN)
    picture.putpixel((0, 1), BLUE)
    picture.putpixel((2, 1), WHITE)
    return picture


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "gif"])
def test_lossless_files_keep_their_pixels(tmp_path, suffix):
    path = tmp_path / f"corners.{suffix}"
    corners().save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert pixels(load_image(path)) == pixels(corners())
    assert pixels(load_image(str(path))) == pixels(corners())


def test_jpeg_is_close(tmp_path):
    path = tmp_path / "grey.jpg"
    Image.new("RGB", (16, 16), (120, 130, 140)).save(path, quality=95)
    assert np.abs(np.asarray(load_image(path)).astype(int) - (120, 130, 140)).max() <= 2


def test_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    corners().save(tmp_path / "corners.png")
    assert pixels(load_image("~/corners.png")) == pixels(corners())


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", list(UPRIGHT))
@pytest.mark.parametrize("as_path", [True, False])
def test_exif_orientation_is_applied(tmp_path, orientation, as_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "turned.png"
    corners().save(path, exif=exif)
    with Image.open(path) as opened:
        loaded = load_image(path if as_path else opened)
    assert pixels(loaded) == UPRIGHT[orientation](np.asarray(corners())).tolist()


@pytest.mark.parametrize("orientation", list(UPRIGHT))
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "RGB"])
@pytest.mark.parametrize("as_path", [True, False])
def test_a_tiff_is_turned_where_its_pixels_lie_as_in_memory(tmp_path, orientation, mode, as_path):
    values = np.arange(35, dtype=np.uint16).reshape(5, 7)
    kept = Image.fromarray(values * 1800) if mode == "I;16" else Image.fromarray(np.uint8(values * 7)).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "scan.tif"
    kept.save(path, exif=exif)
    with Image.open(path) as opened:
        loaded = load_image(path if as_path else opened)
        assert opened.filename
    assert pixels(loaded) == UPRIGHT[orientation](np.asarray(load_image(kept))).tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("as_path", [True, False])
def test_a_file_that_is_cut_off_is_refused_whatever_pillow_was_told(tmp_path, monkeypatch, suffix, as_path):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused = pytest.raises(InputError, match=r"damaged|cannot be decoded|not a picture|says that it takes")
    if as_path or suffix == "webp":  # of which Pillow opens none that is cut
        with refused:
            load_image(path)
    else:
        with Image.open(path) as opened, refused:
            load_image(opened)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_picture_as_text_is_not_written_into_the_message():
    with pytest.raises(InputError, match=r"^'data:image/png;base64,A+\.\.\.' has 3,000,022 characters, and is no path"):
        load_image("data:image/png;base64," + "A" * 3_000_000)


def test_palette(tmp_path):
    path = tmp_path / "palette.png"
    corners().quantize(8).save(path)
    with Image.open(path) as opened:
        assert opened.mode == "P"
    assert pixels(load_image(path)) == pixels(corners())


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_entries_become_white(tmp_path, suffix):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 0), 1)
    path = tmp_path / f"palette.{suffix}"
    picture.save(path, transparency=1)
    assert pixels(load_image(path)) == [[list(RED), list(WHITE)]]


def test_palette_with_alpha_per_entry(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*BLACK, *BLUE])
    picture.putpixel((1, 0), 1)
    path = tmp_path / "palette.png"
    picture.save(path, transparency=bytes([128, 255]))
    half = pixels(load_image(path))[0][0]
    assert half == [127, 127, 127]
    assert pixels(load_image(path))[0][1] == list(BLUE)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (*RED, 0), WHITE),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (10, 255), (10, 10, 10)),
        ("LA", (10, 0), WHITE),
        ("L", 77, (77, 77, 77)),
        ("1", 1, WHITE),
        ("1", 0, BLACK),
        ("CMYK", (0, 0, 0, 0), WHITE),
        ("CMYK", (0, 255, 255, 0), RED),
        ("I;16", 65535, WHITE),
        ("I;16", 257 * 100, (100, 100, 100)),
        ("I;16B", 257 * 100, (100, 100, 100)),
        ("F", 1.0, WHITE),
        ("F", 0.2, (51, 51, 51)),
        ("HSV", (0, 255, 255), RED),
    ],
)
def test_modes(mode, colour, expected):
    if mode.startswith("I;16"):
        order = ">u2" if mode == "I;16B" else "<u2"
        picture = Image.frombytes(mode, (2, 2), np.full((2, 2), colour, order).tobytes())
    else:
        picture = Image.new(mode, (2, 2), colour)
    assert pixels(load_image(picture)) == [[list(expected)] * 2] * 2


def test_transparent_colour_of_a_grey_and_an_rgb_png(tmp_path):
    Image.new("L", (1, 1), 9).save(tmp_path / "grey.png", transparency=9)
    Image.new("RGB", (1, 1), RED).save(tmp_path / "rgb.png", transparency=RED)
    Image.fromarray(np.array([[300, 301]], np.uint16)).save(tmp_path / "deep.png", transparency=300)
    assert pixels(load_image(tmp_path / "grey.png")) == [[list(WHITE)]]
    assert pixels(load_image(tmp_path / "rgb.png")) == [[list(WHITE)]]
    assert pixels(load_image(tmp_path / "deep.png")) == [[list(WHITE), [1, 1, 1]]]


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert np.abs(np.asarray(load_image(path)).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    assert [grey for grey, _, _ in pixels(load_image(path))[0]] == [0, 0, 1, 128, 255]


def test_16_bit_ppm_is_scaled(tmp_path):
    path = tmp_path / "deep.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 200, 65535))
    assert [grey for grey, _, _ in pixels(load_image(path))[0]] == [0, 1, 255]


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path, size, depth, colour, rows, *chunks):
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(png_chunk(*chunk) for chunk in chunks)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def test_48_bit_rgb_png(tmp_path):
    path = tmp_path / "deep.png"
    write_png(path, (1, 1), 16, 2, b"\0" + struct.pack(">3H", 65535, 257 * 128, 0))
    assert pixels(load_image(path)) == [[[255, 128, 0]]]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (1, 0, b"\x80", (0,), [WHITE, WHITE]),
        (2, 0, b"\x60", (1,), [WHITE, (170,) * 3]),
        (4, 0, b"\x3f", (3,), [WHITE, WHITE]),
        (4, 0, b"\x3a", (10,), [(51,) * 3, WHITE]),
        (16, 2, struct.pack(">6H", 2305, 515, 770, 0, 0, 65535), (2305, 515, 770), [WHITE, BLUE]),
    ],
)
def test_the_transparent_colour_of_a_png_of_other_than_eight_bits(tmp_path, depth, colour, row, transparent, expected):
    path = tmp_path / "transparent.png"
    chunk = b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)
    write_png(path, (2, 1), depth, colour, b"\0" + row, chunk)
    expected = [[list(pixel) for pixel in expected]]
    assert pixels(load_image(path)) == expected
    with Image.open(path) as opened:
        for _ in range(2):  # which are not told apart by what the first has left
            assert pixels(load_image(opened)) == expected


DEEP = (0x1234, 0x5678, 0x9ABC)


@pytest.mark.parametrize("turned_by_exif", [False, True])
def test_a_transparent_colour_of_16_bits_is_compared_with_all_of_them(tmp_path, turned_by_exif):
    path = tmp_path / "deep.png"
    row = struct.pack(">6H", *DEEP, *(value + 1 for value in DEEP))
    half = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"
    chunks = [(b"tRNS", struct.pack(">3H", *DEEP)), *([(b"eXIf", half)] if turned_by_exif else [])]
    write_png(path, (2, 1), 16, 2, b"\0" + row, *chunks)
    expected = [list(WHITE), [0x12, 0x56, 0x9A]]
    expected = [expected[::-1] if turned_by_exif else expected]
    assert pixels(load_image(path)) == expected
    with Image.open(path) as opened:
        assert pixels(load_image(opened)) == expected
        assert pixels(opened) == [[[0x12, 0x56, 0x9A]] * 2]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [(2, 0, b"\x60", (1,)), (4, 0, b"\x3a", (10,)), (16, 2, struct.pack(">6H", *DEEP, 0, 0, 0), DEEP)],
)
def test_a_transparent_colour_of_unknown_depth_is_refused(tmp_path, depth, colour, row, transparent):
    path = tmp_path / "transparent.png"
    write_png(path, (2, 1), depth, colour, b"\0" + row, (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    with Image.open(path) as opened:
        for decoded in (opened.copy(), opened):
            with pytest.raises(InputError, match="does not say of how many bits its transparent colour"):
                load_image(decoded)


def test_what_a_transparent_colour_of_few_bits_would_not_change_is_read():
    for greys, transparent in (([0, 85, 255], 3), ([0, 17, 18], 1), ([0, 17], 2), ([34, 51], 0)):
        picture = Image.fromarray(np.array([greys], np.uint8))
        picture.info["transparency"] = transparent
        assert [grey for grey, _, _ in pixels(load_image(picture))[0]] == greys


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["planes", "float32", "int32"])
def test_a_tiff_is_read_right_or_refused(tmp_path, order, compression, kind):
    path = tmp_path / "deep.tiff"
    planes = kind == "planes"
    values = np.array([[0.5, 1.0, 0.25]], np.float32) if kind == "float32" else np.array([[256, 65535, 513]], np.int32)
    if planes:
        values = np.stack([values, values[:, ::-1], values]).astype(np.uint16)
    options = {"photometric": "rgb", "planarconfig": "separate"} if planes else {"photometric": "minisblack"}
    tifffile.imwrite(path, values, byteorder=order, compression=compression, **options)
    foreign = order != {"little": "<", "big": ">"}[sys.byteorder]
    if (planes and not compression) or (not planes and compression and foreign):
        with pytest.raises(InputError, match="which are not read right: save it"):
            load_image(path)
        return
    red = np.asarray(load_image(path))[..., 0].astype(int)
    white = 1 if kind == "float32" else 65535
    assert np.abs(red - (values[0] if planes else values) / white * 255).max() <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_grey_and_alpha_in_planes_is_refused(tmp_path, compression):
    path, values = tmp_path / "planes.tiff", np.array([[[0, 100, 200]], [[255, 255, 255]]], np.uint8)
    options = {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, values, compression=compression, **options)
    with pytest.raises(InputError, match="which are not read right: save it"):
        load_image(path)


def test_32_bit_integers(tmp_path):
    sixteen = Image.fromarray(np.array([[0, 65535, 25700]], dtype=np.int32))
    assert [grey for grey, _, _ in pixels(load_image(sixteen))[0]] == [0, 255, 100]
    path = tmp_path / "deep.tiff"
    for values in ([[0, 200]], [[-1, 70]], [[0, 65536]]):
        Image.fromarray(np.array(values, dtype=np.int32)).save(path)
        with pytest.raises(InputError, match=rf"deep.tiff.*from {values[0][0]} to {values[0][1]}.*white is not known"):
            load_image(path)


def write_tiff(path, values, tag, before, after):
    """Write a grey TIFF, and put another number in the place of one of its tags, which Pillow would not write."""
    Image.fromarray(values).save(path, tiffinfo={SAMPLE_FORMAT: before} if tag == SAMPLE_FORMAT else {})
    entry, other = (struct.pack("<HHIHH", tag, 3, 1, number, 0) for number in (before, after))
    content = path.read_bytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, other))


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        (np.array([[0, 64, 255]], np.uint8), [255, 191, 0]),
        (np.array([[0, 257 * 64, 65535]], np.uint16), [255, 191, 0]),
        (np.array([[0, 0.25, 1]], np.float32), [255, 191, 0]),
    ],
)
def test_a_tiff_whose_white_is_0(tmp_path, values, greys):
    write_tiff(tmp_path / "inverted.tiff", values, PHOTOMETRIC, 1, 0)
    assert [grey for grey, _, _ in pixels(load_image(tmp_path / "inverted.tiff"))[0]] == greys


def test_a_12_bit_tiff_is_scaled(tmp_path):
    packed = np.frombuffer(bytes([0xFF, 0xF8, 0x00, 0]), np.uint16)[None]  # 4095 and 2048, side by side
    write_tiff(tmp_path / "deep.tiff", packed, BITS, 16, 12)
    assert [grey for grey, _, _ in pixels(load_image(tmp_path / "deep.tiff"))[0]] == [255, 128]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_of_signed_pixels_is_refused(tmp_path, dtype):
    write_tiff(tmp_path / "signed.tiff", np.ones((1, 1), dtype), SAMPLE_FORMAT, 1, 2)
    with pytest.raises(InputError, match=r"signed.tiff.* has signed .*-bit pixels.*save it unsigned"):
        load_image(tmp_path / "signed.tiff")


def test_float_tiff_outside_0_to_1_is_refused(tmp_path):
    path = tmp_path / "float.tiff"
    Image.fromarray(np.array([[0, 180.0]], dtype=np.float32)).save(path)
    with pytest.raises(InputError, match=r"float.tiff.*from 0 to 180.*divide by its white value"):
        load_image(path)


def write_cut_jpeg(folder):
    path = folder / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    return path


def test_a_pil_image_that_cannot_be_decoded(tmp_path):
    path = write_cut_jpeg(tmp_path)
    with Image.open(path) as opened, pytest.raises(InputError, match=r"the PIL image cannot be decoded \(OSError: "):
        load_image(opened)


def test_first_frame_of_an_animation(tmp_path):
    path = tmp_path / "animated.gif"
    Image.new("RGB", (4, 4), RED).save(path, save_all=True, append_images=[Image.new("RGB", (4, 4), BLUE)])
    assert pixels(load_image(path))[0][0] == list(RED)


def test_the_source_is_left_alone():
    source = corners()
    loaded = load_image(source)
    loaded.putpixel((0, 0), BLACK)
    assert source.getpixel((0, 0)) == RED
    array = np.zeros((2, 2, 3), dtype=np.uint8)
    load_image(array).putpixel((0, 0), RED)
    assert not array.any()


# arrays and tensors


@given(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))))
def test_the_same_picture_in_every_wrapping(array):
    expected = pixels(Image.fromarray(np.repeat(array, 3 // array.shape[2], axis=2)))
    channels_first = torch.from_numpy(array.transpose(2, 0, 1).copy())
    for source in (
        array,
        array.astype(np.uint16) * 257,
        array / 255,
        (array / 255).astype(np.float32),
        np.asfortranarray(array),
        channels_first,
        channels_first / 255,
        (channels_first / 255).requires_grad_(),
        channels_first.to(torch.uint16) * 257,
    ):
        assert pixels(load_image(source)) == expected
    if array.shape[2] == 1:
        assert pixels(load_image(array[:, :, 0])) == expected
        assert pixels(load_image(channels_first[0])) == expected


@given(arrays(np.uint16, (1, 4)))
def test_16_bit_is_rounded_to_the_nearest_step(values):
    greys = np.asarray(load_image(values))[..., 0]
    assert (np.abs(greys.astype(float) - values / 257) <= 0.5).all()


def test_alpha_of_arrays_and_tensors():
    array = np.zeros((1, 2, 4), dtype=np.uint8)
    array[0, 1, 3] = 255
    assert pixels(load_image(array)) == [[list(WHITE), list(BLACK)]]
    assert pixels(load_image(torch.from_numpy(array).permute(2, 0, 1))) == [[list(WHITE), list(BLACK)]]


def test_bool_and_half_precision():
    mask = np.array([[True, False]])
    expected = [[list(WHITE), list(BLACK)]]
    tensor = torch.from_numpy(mask)
    for source in (mask, tensor, tensor.to(torch.bfloat16), tensor.half(), mask.astype(np.float16)):
        assert pixels(load_image(source)) == expected


def test_rounding_beyond_0_and_1_is_forgiven():
    assert pixels(load_image(np.array([[1 + 1e-7, -1e-7]]))) == [[list(WHITE), list(BLACK)]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((0, 3), np.uint8), r"shape \(0, 3\) is empty"),
        (torch.zeros(3, 0, 5), r"shape \(0, 5, 3\)|shape \(3, 0, 5\) is empty"),
        (np.zeros(5, np.uint8), r"shape \(5,\) is not a picture"),
        (np.zeros((), np.uint8), r"shape \(\) is not a picture"),
        (np.zeros((2, 2, 2), np.uint8), r"shape \(2, 2, 2\) is not a picture"),
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((1, 8, 9, 3), np.uint8), r"one picture at a time: array\[0\]"),
        (torch.zeros(1, 3, 8, 9), r"one picture at a time: tensor\[0\]"),
        (torch.zeros(8, 9, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(3), r"shape \(3,\) is not a picture"),
        (torch.eye(3).to_sparse(), "to_dense"),
        (torch.zeros(3, 4, 4, device="meta"), "meta device"),
        (np.ma.masked_array(np.zeros((2, 2), np.uint8), mask=True), r"masked.*filled"),
        (np.zeros((2, 2), np.int64), r"type int64.*astype\(numpy.uint8\)"),
        (torch.zeros(2, 2, dtype=torch.int64), "type int64"),
        (np.zeros((2, 2), np.complex64), "type complex64"),
        (torch.zeros(2, 2, dtype=torch.complex64).conj(), "type complex64"),
        (np.array([[None]]), "type object"),
        (np.array([[0.5, np.nan]]), "NaN or infinite"),
        (np.array([[0.5, np.inf]]), "NaN or infinite"),
        (torch.tensor([[0.5, torch.nan]]), "NaN or infinite"),
        (np.array([[0.0, 255.0]]), r"from 0 to 255.*array / 255"),
        (torch.tensor([[-2.1, 2.6]]), r"from -2.1 to 2.6.*undo the normalisation"),
        (b"\x89PNG", "from bytes"),
        (None, "from NoneType"),
        ([[0, 1]], "from list"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_has_no_clear_meaning_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        load_image(source)


# files that are no pictures


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("not a picture at all\n"), "not a picture in a format that is read: PNG, JPEG"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not a picture"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "thing.png"),
    ],
)
def test_files_that_are_no_pictures(tmp_path, make, message):
    path = tmp_path / "thing.png"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("address", ["https://example.org/cat.jpg", "HTTP://example.org/cat.jpg"])
def test_nothing_is_fetched(address):
    with pytest.raises(InputError, match="web address"):
        load_image(address)


def test_impossible_path():
    with pytest.raises(InputError, match=r"cannot be read|there is no file"):
        load_image("a\0b")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not an ordinary file"):
        load_image(tmp_path / "pipe")


def test_truncated_jpeg(tmp_path):
    path = write_cut_jpeg(tmp_path)
    with pytest.raises(InputError, match=r"cut.jpg' is damaged.*truncated"):
        load_image(path)


def test_decompression_bomb_is_refused_before_decoding(tmp_path):
    bomb = tmp_path / "bomb.png"
    write_png(bomb, (8000, 8000), 8, 0, bytes(10))  # 64 million pixels announced, ten bytes there
    with pytest.raises(InputError, match=r"bomb.png' is 8000 x 8000 = 64,000,000 pixels, more than the limit"):
        load_image(bomb)
    with pytest.raises(InputError, match=r"bomb.png' is damaged"):
        load_image(bomb, max_pixels=64_000_000)


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns at the first and raises at the second
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_decompression_bomb_beyond_pillows_own_limit(tmp_path, side, action):
    bomb = tmp_path / "bomb.png"
    write_png(bomb, (side, side), 8, 0, bytes(10))
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        with pytest.raises(InputError, match=r"bomb.png' is (10000 x 10000|too large)"):
            load_image(bomb)


def test_the_limit_holds_for_everything():
    array = np.zeros((4, 5), np.uint8)
    for source in (array, torch.from_numpy(array), Image.fromarray(array)):
        assert load_image(source, max_pixels=20).size == (5, 4)
        with pytest.raises(InputError, match="more than the limit of 19"):
            load_image(source, max_pixels=19)


def seeds():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        file = io.BytesIO()
        picture.save(file, name, **({"exif": exif} if name in {"PNG", "JPEG", "TIFF", "WEBP"} else {}))
        yield file.getvalue()


SEEDS = tuple(seeds())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_a_picture_or_one_clear_error(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert load_image(path).mode == "RGB"


def test_quantized_tensors_are_refused():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*quantized tensor creation")  # torch will have none one day
        quantized = torch.quantize_per_tensor(torch.zeros(3, 4, 4), 0.1, 0, torch.quint8)
    with pytest.raises(InputError, match=r"type torch\.quint8, which an array cannot hold.*tensor\.dequantize\(\)"):
        load_image(quantized)


def test_nested_tensors_are_refused():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*nested tensors is in prototype")
        nested = torch.nested.nested_tensor([torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)])
    with pytest.raises(InputError, match=r"nested one.*tensor\[0\]"):
        load_image(nested)


def test_views_that_numpy_does_not_know_and_any_byte_order_are_read():
    negated = torch.full((3, 4, 4), -1j).conj().imag  # a view whose numbers are negated when they are read
    assert negated.is_neg()
    assert load_image(negated).getpixel((0, 0)) == (255, 255, 255)
    for order in "<>":
        assert load_image(np.full((2, 2), 65535, f"{order}u2")).getpixel((0, 0)) == (255, 255, 255)


def test_the_home_of_a_user_who_has_none_is_refused():
    with pytest.raises(InputError, match="a user who has none"):
        load_image("~nobody-of-this-name/cat.jpg")


def test_a_jpeg_of_very_many_scans_is_refused_at_once():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    assert decode_image(data, "whole.jpg").size == (16, 16)
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff", start + 2 + int.from_bytes(data[start + 2 : start + 4], "big"))
    with pytest.raises(InputError, match=r"goes over its pixels \d,\d\d\d times.*100 are accepted"):
        decode_image(data[:end] + data[start:end] * 2000 + data[end:], "scans.jpg")


def test_what_stands_behind_the_end_of_a_jpeg_or_in_its_notes_is_no_scan_of_it():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 200
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8))
    image.save(file, "JPEG", exif=exif.tobytes() + b"\xff\xda" * 200)
    film = b"\xff\xda" * 500  # as behind the photograph of a telephone
    assert np.array_equal(decode_image(file.getvalue() + film, "motion.jpg"), load_image(Image.open(file)))


def tiled(width, height, tile_width, tile_height, *, shared=False, kinds=None, twice=None):
    """Return a grey TIFF whose tiles have blocks of their own, or all one; some numbers of another kind, or twice."""
    count = -(-width // tile_width) * -(-height // tile_height)
    data = zlib.compress(bytes(tile_width * tile_height), 9)
    values = {
        256: [width],
        257: [height],
        258: [8],
        259: [8],
        262: [1],
        277: [1],
        322: [tile_width],
        323: [tile_height],
    }
    values |= {324: [0] * count, 325: [len(data)] * count}
    tags = [tag for tag in values for _ in range(1 + (tag == twice))]
    place = table = 8 + 2 + 12 * len(tags) + 4
    sizes = {tag: 8 if tag in (kinds or {}) else 4 for tag in tags}
    content = table + sum(sizes[tag] * len(values[tag]) for tag in tags)
    values[324] = [content + (0 if shared else index * len(data)) for index in range(count)]
    entries, behind = [], []
    for tag in tags:
        numbers = b"".join(value.to_bytes(sizes[tag], "little") for value in values[tag])
        entries.append(struct.pack("<HHI", tag, (kinds or {}).get(tag, 4), len(values[tag])))
        entries.append(numbers if len(numbers) == 4 else struct.pack("<I", place))
        behind.append(numbers if len(numbers) != 4 else b"")
        place += len(behind[-1])
    head = [b"II*\0", struct.pack("<IH", 8, len(tags)), *entries, struct.pack("<I", 0), *behind]
    return b"".join(head).ljust(content, b"\0") + data * (1 if shared else count)


def test_tiles_far_larger_than_the_picture_are_refused_before_they_are_decoded():
    for sides in ((16, 16, 256, 256), (300, 20, 256, 256), (40, 600, 48, 64)):
        assert decode_image(tiled(*sides), "tiles.tif").size == sides[:2]
    for sides in ((16, 16, 8000, 8000), (16, 1600, 2_000_000, 16)):
        with pytest.raises(InputError, match="each of which is decoded whole"):
            decode_image(tiled(*sides), "tiles.tif")


def test_tiles_that_are_one_block_of_the_file_are_refused():
    data = tiled(1600, 160, 16, 16, shared=True)
    with pytest.raises(
        InputError, match=r"of 1\d,\d{3} bytes together in a file of \d,\d{3}: they lie over each other"
    ):
        decode_image(data, "tiles.tif")
    assert decode_image(tiled(1600, 160, 16, 16), "tiles.tif").size == (1600, 160)


def test_strips_that_are_one_block_of_the_file_are_refused(tmp_path):
    path = tmp_path / "strips.tif"
    noise = np.random.default_rng(0).integers(0, 256, (400, 40), np.uint8)
    for compression in ("tiff_adobe_deflate", "tiff_lzw", "packbits", "jpeg", "raw"):
        Image.fromarray(noise).save(path, compression=compression, tiffinfo={278: 40}, strip_size=1600)
        assert load_image(path).size == (40, 400)
    Image.fromarray(noise).save(path, compression="tiff_adobe_deflate", tiffinfo={278: 40})
    with Image.open(path) as image:
        places, count = image.tag_v2[273], len(image.tag_v2[273])
        sizes = image.tag_v2[279]
    assert count > 1
    data = path.read_bytes()
    one = data
    for kind in "HI":  # whichever the numbers fit into
        one = one.replace(struct.pack(f"<{count}{kind}", *sizes), struct.pack(f"<{kind}", len(data) // 2) * count)
        one = one.replace(struct.pack(f"<{count}{kind}", *places), struct.pack(f"<{kind}", places[0]) * count)
    with pytest.raises(InputError, match="they lie over each other"):
        decode_image(one, "strips.tif")


@pytest.mark.parametrize(
    "changed", [{"kinds": {325: 17}}, {"kinds": {322: 17, 323: 17}}, {"twice": 325}, {"twice": 322}]
)
def test_sizes_of_tiles_that_the_decoder_would_read_otherwise_are_refused(changed):
    with pytest.raises(InputError, match=r"in two ways, or in one that is not read.*save it anew"):
        decode_image(tiled(64, 64, 16, 16, **changed), "tiles.tif")


def test_a_picture_in_text_that_is_full_of_comments_is_refused():
    few, many = (b"P1\n2 1\n" + b"#\n" * count + b"0 1\n" for count in (100, 5000))
    assert np.asarray(decode_image(few, "few.pbm")).tolist() == [[[255] * 3, [0] * 3]]
    with pytest.raises(InputError, match=r"5,000 comments, and 1,000 are accepted"):
        decode_image(many, "many.pbm")


def test_a_run_of_bytes_that_begin_a_marker_is_passed_over_at_once():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)).save(file, "JPEG")
    data = file.getvalue()
    place = data.index(b"\xff\xda") + 20
    # a search that began anew at each of them would take weeks
    decode_image(data[:place] + b"\xff" * 10_000_000 + b"\x00" + data[place:], "run.jpg")


def test_avif_is_refused_in_words():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), RED).save(file, "AVIF")
    with pytest.raises(InputError, match="not a picture in a format that is read: PNG, JPEG"):
        decode_image(file.getvalue(), "photo.avif")


def test_an_empty_path_is_named():
    with pytest.raises(InputError, match="the path of the picture is empty"):
        load_image("")


@pytest.mark.parametrize("limit", [None, 0, "many"])
def test_a_limit_that_is_no_number_of_pixels_is_named(limit):
    with pytest.raises(InputError, match=r"max_pixels=.* has to be a positive integer"):
        load_image(Image.new("RGB", (2, 2)), max_pixels=limit)
