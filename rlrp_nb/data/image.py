"""Pictures in: whatever a person has at hand (file, PIL image, array, tensor) becomes one RGB picture.

Nothing is guessed. A picture that could be read in two ways is refused with the two ways named, because a picture that
is silently too dark or wrongly turned gives a heatmap that is silently wrong.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from rlrp_nb.checks import check_whole
from rlrp_nb.data import cut_off
from rlrp_nb.errors import InputError
from rlrp_nb.home import absolute, expanded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

ImageSource: TypeAlias = "str | PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor"

MAX_PIXELS = 50_000_000

# Only formats whose decoders live inside Pillow: EPS, for one, would start an external program on a stranger's file.
# No AVIF: its frame can be far larger than the file says, and is decoded whole before it is scaled down.
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ACCEPTED = (
    "accepted are a path to a picture file, a PIL image, a NumPy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
    "and a torch tensor (H, W) or (C, H, W)"
)
# What a TIFF says of itself, of which Pillow heeds only a part.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 277, 284, 339
_WHITE_IS_ZERO, _SIGNED, _UNCOMPRESSED, _SEPARATE = 0, 2, 1, 2
_STEPS = {"L;2": 85, "L;4": 17}
"""From one grey of a PNG of two or four bits to the next, of 255."""
_DEEP = "RGB;16B"
"""Three colours of 16 bits in a PNG, of which Pillow keeps the upper eight."""
_MOST_SCANS = 100
"""How many passes over the pixels of a JPEG are accepted."""
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""What stands before each part of a JPEG; within the numbers of a scan only some others do."""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_TILE_SIDES = 322, 323
"""Width and length of the tiles of a TIFF, of which the last may reach over the picture's edges."""
_BLOCK_SIZES = 279, 325
"""How many bytes each strip, or each tile, of a TIFF takes in the file."""
_UNREAD = b"MM\x00\x2b"
"""What TIFFs of more than 4 GB begin with in an order of bytes in which Pillow takes them for smaller ones."""
_PLAIN_NUMBERS = b"P1", b"P2", b"P3"
"""What pictures begin with whose pixels are written as text."""
_MOST_COMMENTS = 1000
_LONGEST = 10_000
"""Characters of a path; systems take about 4,000."""
_FLOAT_SLACK = 1e-6  # rounding of a value that was meant to be 0 or 1


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read one picture as 8-bit RGB.

    Files and PIL images: the EXIF orientation is applied, palettes, grey, CMYK and 16-bit are converted, transparent
    parts are laid over white, and of an animation the first frame of a file is taken. A PIL image that is decoded
    already has the pixels that Pillow gave it, and where it has a transparent colour, it no longer says of how many
    bits: of 8, unless its numbers tell otherwise, and then it is refused. Pillow keeps the orientation of a picture
    that was turned by ``rotate``: turn it by ``PIL.ImageOps.exif_transpose``, which takes it out, or not at all. Arrays
    and tensors: bool, uint8, uint16 (65535 is white) and floating point in [0, 1]. Colour profiles are not applied:
    numbers are taken as sRGB.

    Parameters
    ----------
    source : str, os.PathLike, PIL.Image.Image, numpy.ndarray or torch.Tensor
        The picture. An array has shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a tensor has shape (H, W) or
        (C, H, W) with C of 1, 3 or 4.
    max_pixels : int
        The largest width times height that is decoded. Checked before decoding, so that a small file cannot fill the
        memory.

    Returns
    -------
    PIL.Image.Image
        A new picture of mode RGB; the source is left as it was.

    Raises
    ------
    InputError
        The source is missing, damaged, no picture, too large, or its values have no clear meaning.
    """
    (max_pixels,) = check_whole(1, max_pixels=max_pixels)
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is already there
    if isinstance(source, Image.Image):
        return _from_pil(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, f"the array of shape {source.shape}", max_pixels)
    if torch is not None and isinstance(source, torch.Tensor):
        return _from_tensor(source, max_pixels)
    if isinstance(source, (str, PathLike)):
        return _from_file(source, max_pixels)
    raise InputError(f"a picture cannot be made from {type(source).__name__}: {_ACCEPTED}.")


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read one picture from the bytes of a file, as :func:`load_image` reads a file.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What it is called; only for messages.
    max_pixels : int
        The largest width times height that is decoded.

    Returns
    -------
    PIL.Image.Image
        A picture of mode RGB.

    Raises
    ------
    InputError
        It is empty, damaged, no picture, or too large.
    """
    if not data:
        raise InputError(f"{name!r} is empty (0 bytes): copy or download the picture again.")
    (max_pixels,) = check_whole(1, max_pixels=max_pixels)
    return _decode(BytesIO(data), name, max_pixels)


def _from_pil(image: Image.Image, max_pixels: int) -> Image.Image:
    try:
        if getattr(image, "tile", None) and image.format == "PNG" and "transparency" in image.info:
            # once it is decoded it does not say of how many bits its transparent colour is
            with _again(image) as opened:
                return _to_rgb(opened, "the PIL image", max_pixels)
        return _to_rgb(image, "the PIL image", max_pixels)
    except InputError:
        raise
    except Exception as error:
        # an image that was only opened is decoded here; it may be damaged, or closed by now
        raise InputError(f"the PIL image cannot be decoded ({_reason(error)}). Load it anew.") from error


@contextmanager
def _again(image: Image.Image) -> Iterator[Image.Image]:
    """Open the file of a PNG once more, at the same picture and with what is said of it; itself where there is none."""
    if not (data := _bytes_of(image)):
        yield image
        return
    with Image.open(BytesIO(data), formats=["PNG"]) as opened:
        opened.seek(image.tell())
        opened.info = {**image.info}
        yield opened


def _from_file(source: str | PathLike[str], max_pixels: int) -> Image.Image:
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        raise InputError(f"{source!r} is a web address, and nothing is fetched: save the picture and give its path.")
    if len(str(source)) > _LONGEST:
        raise InputError(
            f"{str(source)[:30] + '...'!r} has {len(str(source)):,} characters, and is no path: give the path of a "
            "picture file. What holds a picture as text has to be decoded first."
        )
    if not str(source):
        raise InputError("the path of the picture is empty: give the path of a picture file.")
    path = expanded(Path(source))
    try:
        if not path.exists():
            raise InputError(f"there is no file {str(path)!r} (looked for at {str(absolute(path))!r}).")
        if path.is_dir():
            raise InputError(f"{str(path)!r} is a directory: give the path of one picture inside it.")
        if not path.is_file():
            raise InputError(f"{str(path)!r} is not an ordinary file: give the path of a picture file.")
        if path.stat().st_size == 0:
            raise InputError(f"{str(path)!r} is empty (0 bytes): copy or download the picture again.")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
    return _decode(path, str(path), max_pixels)


def _decode(source: Path | BytesIO, name: str, max_pixels: int) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        with Image.open(source, formats=formats) as image:
            return _to_rgb(image, repr(name), max_pixels)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own, fixed limit: met first when it is the lower one
        raise InputError(f"{name!r} is too large to decode safely: {error} Make the picture smaller.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name!r} is not a picture in a format that is read: {', '.join(formats)}.") from error
    except Exception as error:
        # a damaged file can make a decoder raise anything at all
        raise InputError(
            f"{name!r} is damaged, or it cannot be opened ({_reason(error)}). "
            "Copy or download it again, or save it anew with a picture editor."
        ) from error


def _reason(error: Exception) -> str:
    return format_exception_only(error)[-1].strip()


def _to_rgb(image: Image.Image, what: str, max_pixels: int) -> Image.Image:
    """Convert what Pillow opened; every mode that Pillow knows is either converted with a stated rule or refused."""
    _check_size(image.width, image.height, what, max_pixels)
    tags = getattr(image, "tag_v2", {})
    _check_tiles(image, tags, what, max_pixels)
    _check_blocks(image, tags, what)
    _check_scans(image, what)
    _check_comments(image, what)
    source_format = image.format  # forgotten by every operation below
    transparent = _transparent(image, what)
    low = _low_bytes(image) if _layout(image) == _DEEP and isinstance(transparent, tuple) else None
    bits = max(tags.get(_BITS, (0,)))
    _check_tags(image, tags, bits, what)
    _load(image)
    upright = ImageOps.exif_transpose(image)
    if low is not None:
        high = np.asarray(upright)
        seen_through = (high * np.uint16(256) + low == transparent).all(2, keepdims=True)
        return Image.fromarray(np.where(seen_through, np.uint8(255), high))
    if upright.mode.startswith("I") or upright.mode == "F":
        if upright.mode == "F":
            grey = _scale_float(np.asarray(upright), f"{what} with floating-point pixels")
        else:
            grey = _from_integers(upright, source_format, what, bits)
        # of up to eight bits Pillow heeds it
        return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey).convert("RGB")
    if transparent is not None:
        upright.info["transparency"] = transparent
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")


def _load(image: Image.Image) -> None:
    """Decode what is only opened, all of it, by reading its file.

    Where pixels lie in a file as in memory, Pillow maps them instead, and takes the sides that a TIFF will have once it
    is turned for those that it has.
    """
    name = getattr(image, "filename", None)
    if name:
        image.filename = ""  # type: ignore[attr-defined]
    try:
        with cut_off.refused():
            image.load()
    finally:
        if name:
            image.filename = name  # type: ignore[attr-defined]


def _check_tags(image: Image.Image, tags: "Mapping[int, Any]", bits: int, what: str) -> None:
    """Refuse a TIFF of which Pillow reads other pixels than it holds, without a word."""
    if bits in {8, 16} and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise InputError(f"{what} has signed {bits}-bit pixels, and what is black is not known: save it unsigned.")
    packed = tags.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
    misread = image.mode == "LA" or (bits > 8 and not packed)  # noqa: PLR2004 - a byte
    if misread and tags.get(_PLANES) == _SEPARATE and tags.get(_SAMPLES, 1) > 1:
        raise InputError(
            f"{what} has one plane of its {bits}-bit pixels after another, which are not read right: save it with all "
            "values of a pixel side by side."
        )
    native = {"little": b"II", "big": b"MM"}[sys.byteorder]
    if packed and image.mode in {"I", "F"} and getattr(tags, "prefix", native) != native:
        raise InputError(
            f"{what} is compressed and has {bits}-bit pixels in the byte order of other machines, which are not read "
            "right: save it in this machine's order, or uncompressed."
        )


def _layout(image: Image.Image) -> str:
    """Return how the pixels lie in a PNG that is not decoded yet, or nothing."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0].args) if tiles and image.format == "PNG" else ""


def _transparent(image: Image.Image, what: str) -> "int | bytes | tuple[int, ...] | None":
    """Return the colour that lets white through, of as many bits as the pixels; Pillow leaves it as in the file."""
    transparent: int | bytes | tuple[int, ...] | None = image.info.get("transparency")
    if getattr(image, "tile", None):  # not decoded yet
        return transparent * _STEPS.get(_layout(image), 1) if isinstance(transparent, int) else transparent
    if _may_be_of_other_bits(image, transparent):
        raise InputError(
            f"{what} is decoded already and does not say of how many bits its transparent colour {transparent!r} is: "
            "give the path of its file, or delete image.info['transparency'] if nothing shall be transparent."
        )
    return transparent


def _may_be_of_other_bits(image: Image.Image, transparent: "int | bytes | tuple[int, ...] | None") -> bool:
    """Tell whether pixels that had more or fewer than eight bits in their file would be missed by their colour."""
    if isinstance(transparent, tuple):
        return max(transparent) > np.iinfo(np.uint8).max
    if not isinstance(transparent, int) or image.mode != "L" or image.format not in {None, "PNG"}:
        return False
    greys = set(np.unique(np.asarray(image)).tolist())
    meant = (transparent * step for step in _STEPS.values() if not any(grey % step for grey in greys))
    return any(0 < grey < np.iinfo(np.uint8).max and grey in greys for grey in meant)


def _low_bytes(image: Image.Image) -> "np.ndarray[Any, np.dtype[np.uint8]] | None":
    """Return the lower eight bits of a PNG of 16, upright; None where there is no file to read them from."""
    if not (data := _bytes_of(image)):
        return None
    with Image.open(BytesIO(data), formats=["PNG"]) as again:
        again.seek(image.tell())
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]  # as if the bytes lay the other way round
        return np.asarray(ImageOps.exif_transpose(again))


def _from_integers(
    image: Image.Image, source_format: str | None, what: str, bits: int
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """12 and 16-bit grey: modes I;16, I;16L, I;16B, I;16N, and mode I (32-bit) that holds 16-bit values."""
    values = np.asarray(image)
    if bits == 12:  # noqa: PLR2004 - as many as Pillow puts into mode I;16 as they are
        values = values.astype(np.uint32) * 65535 // 4095
    if image.mode == "I":
        low, high = int(values.min()), int(values.max())
        sixteen = source_format in {"PNG", "PPM"}  # these decoders put 16-bit pixels into mode I, scaled to 65535
        if low < 0 or high > np.iinfo(np.uint16).max or (0 < high <= np.iinfo(np.uint8).max and not sixteen):
            raise InputError(
                f"{what} has 32-bit integer pixels from {low} to {high}, and what is white is not known: give an array "
                "of type uint8 (255 is white), uint16 (65535 is white), or float in [0, 1]."
            )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one grey that lets white through
        values = np.where(values == transparent, np.iinfo(np.uint16).max, values)
    return _scale_uint16(values)


def _from_array(array: "np.ndarray[Any, Any]", what: str, max_pixels: int) -> Image.Image:
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{what} is masked: say what is in the masked places, array.filled(...).")
    if array.size == 0:
        raise InputError(f"{what} is empty: a picture needs at least one pixel.")
    channels_last = (1, 3, 4)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in channels_last):  # noqa: PLR2004 - axes
        hint = ""
        if array.ndim == 3 and array.shape[0] in channels_last:  # noqa: PLR2004 - axes
            hint = " Channels come last in an array: array.transpose(1, 2, 0)."
        elif array.ndim == 4:  # noqa: PLR2004 - axes
            hint = " Give one picture at a time: array[0]."
        raise InputError(f"{what} is not a picture: accepted are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4).{hint}")
    _check_size(array.shape[1], array.shape[0], what, max_pixels)
    pixels = _to_uint8(array, what)
    if pixels.ndim == 3 and pixels.shape[2] == 1:  # noqa: PLR2004 - axes
        pixels = pixels[:, :, 0]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), what, max_pixels)


def _from_tensor(tensor: "Tensor", max_pixels: int) -> Image.Image:
    if tensor.is_nested:
        raise InputError("the tensor is a nested one: give one picture at a time, tensor[0].")
    shape = tuple(tensor.shape)
    what = f"the tensor of shape {shape}"
    if tensor.layout != sys.modules["torch"].strided:
        raise InputError(f"{what} has layout {tensor.layout}: give a dense tensor, tensor.to_dense().")
    if tensor.is_meta:
        raise InputError(f"{what} is on the meta device and has no values: give one that has.")
    if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and shape[0] not in (1, 3, 4)):  # noqa: PLR2004 - axes
        hint = ""
        if tensor.ndim == 4:  # noqa: PLR2004 - axes
            hint = " Give one picture at a time: tensor[0]."
        elif tensor.ndim == 3 and shape[2] in (1, 3, 4):  # noqa: PLR2004 - axes
            hint = " Channels come first in a tensor: tensor.permute(2, 0, 1)."
        raise InputError(f"{what} is not a picture: accepted are (H, W) and (C, H, W) with C of 1, 3 or 4.{hint}")
    values = tensor.detach().cpu().resolve_neg().resolve_conj()
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    try:
        array = values.numpy()
    except TypeError as error:
        raise InputError(
            f"{what} has values of type {tensor.dtype}, which an array cannot hold: accepted are uint8, uint16, bool "
            "and floating point. The values of a quantized tensor are tensor.dequantize()."
        ) from error
    return _from_array(array.transpose(1, 2, 0) if array.ndim == 3 else array, what, max_pixels)  # noqa: PLR2004 - axes


def _to_uint8(array: "np.ndarray[Any, Any]", what: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(array.dtype, np.uint16):  # in any byte order
        return _scale_uint16(array)
    if np.issubdtype(array.dtype, np.floating):
        return _scale_float(array, what)
    raise InputError(
        f"{what} has values of type {array.dtype}, and what is white is not known: accepted are uint8 (255 is white), "
        "uint16 (65535 is white), bool, and float in [0, 1]. For values from 0 to 255: array.astype(numpy.uint8)."
    )


def _scale_uint16(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.uint8]]":
    # 65535 = 255 * 257, so full scale stays full scale; 128 rounds to the nearest of the 256 steps
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _scale_float(values: "np.ndarray[Any, Any]", what: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    if not np.isfinite(values).all():
        raise InputError(f"{what} contains NaN or infinite values: every pixel has to be a number in [0, 1].")
    low, high = float(values.min()), float(values.max())
    if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
        advice = "undo the normalisation, so that black is 0 and white is 1"
        if low >= 0:
            advice = "divide by its white value (array / 255 for 0 to 255, array / 65535 for 16-bit)"
        raise InputError(f"{what} has values from {low:.6g} to {high:.6g}, but float means [0, 1]: {advice}.")
    scaled: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return scaled


def _check_tiles(image: Image.Image, tags: "Mapping[int, Any]", what: str, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles are far larger than the picture: they are decoded whole, each of them."""
    width, height = (max(tags.get(tag, side), 1) for tag, side in zip(_TILE_SIDES, image.size, strict=True))
    count = -(-image.width // width) * -(-image.height // height)
    # along each side the last tile reaches beyond the picture, mostly by less than the picture is long
    if width * height > max_pixels or width * height * count > 4 * max_pixels:
        raise InputError(
            f"{what} is {image.width} x {image.height} pixels in {count:,} tiles of {width} x {height}, each of which "
            f"is decoded whole: accepted is one of up to {max_pixels:,} pixels, and {4 * max_pixels:,} in all. Save it "
            "anew in strips or in smaller tiles."
        )


def _check_blocks(image: Image.Image, tags: "Mapping[int, Any]", what: str) -> None:
    """Refuse a TIFF whose tiles or strips are one block of the file: each reads it anew, and it can be long to read."""
    if tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED or not (data := _bytes_of(image)):
        return
    # libtiff, which decodes it, takes numbers of kinds that Pillow passes over, and of two the other
    written = list(_written_tags(tags, data))
    if data.startswith(_UNREAD) or any(written.count(tag) != (tag in tags) for tag in (*_TILE_SIDES, *_BLOCK_SIZES)):
        raise InputError(
            f"{what} says in two ways, or in one that is not read, how large its tiles or strips are: save it anew "
            "with a picture editor."
        )
    sizes = (tags.get(tag, 0) for tag in _BLOCK_SIZES)
    total = max(size if isinstance(size, int) else sum(size) for size in sizes)
    if total > len(data):  # which holds the tags too, so that those of an honest one are always less
        raise InputError(
            f"{what} has tiles or strips of {total:,} bytes together in a file of {len(data):,}: they lie over each "
            "other, or the file was cut off. Copy it again, or save it anew with a picture editor."
        )


def _written_tags(tags: Any, data: bytes) -> Iterator[int]:  # noqa: ANN401 - a class of Pillow's that has no types
    """Yield the numbers of the tags in a TIFF, as they stand there."""
    order: Literal["little", "big"] = "big" if tags.prefix == b"MM" else "little"
    width, step = (8, 20) if tags._bigtiff else (2, 12)  # noqa: SLF001 - as Pillow read them
    first = tags.offset + width
    count = int.from_bytes(data[tags.offset : first], order)
    for place in range(first, min(first + count * step, len(data)), step):
        yield int.from_bytes(data[place : place + 2], order)


def _check_scans(image: Image.Image, what: str) -> None:
    """Refuse a JPEG that goes over its pixels again and again: each time costs seconds, and takes few bytes."""
    if image.format not in {"JPEG", "MPO"}:
        return
    scans = sum(kind == _SCAN for kind in _markers(_bytes_of(image)))
    if scans > _MOST_SCANS:
        raise InputError(
            f"{what} goes over its pixels {scans:,} times, where a progressive JPEG does about ten times and "
            f"{_MOST_SCANS} are accepted: save it anew with a picture editor."
        )


def _check_comments(image: Image.Image, what: str) -> None:
    """Refuse a picture written as text that is full of comments, each of which is searched for anew."""
    if image.format != "PPM" or not (data := _bytes_of(image)).startswith(_PLAIN_NUMBERS):
        return
    if (comments := data.count(b"#")) > _MOST_COMMENTS:
        raise InputError(
            f"{what} holds {comments:,} comments, and {_MOST_COMMENTS:,} are accepted: take them out, or save it anew "
            "with a picture editor."
        )


def _bytes_of(image: Image.Image) -> bytes:
    """Return the file of a picture that is not decoded yet; nothing where there is none."""
    if not isinstance(image, ImageFile.ImageFile) or image.fp is None:
        return b""
    place = image.fp.tell()
    image.fp.seek(0)
    data: bytes = image.fp.read()
    image.fp.seek(place)
    return data


def _markers(data: bytes) -> Iterator[int]:
    """Yield the kinds of the parts of a JPEG, up to its end: what stands behind it, such as a film, is none of it."""
    place = 0
    while (found := _MARKER.search(data, place)) is not None:
        kind = found[1][0]
        yield kind
        if kind == _END:
            return
        # a part says how long it is; the numbers of a scan, which come behind it, hold no such markers
        length = 0 if kind == _START else int.from_bytes(data[found.end() : found.end() + 2], "big")
        place = found.end() + length


def _check_size(width: int, height: int, what: str, max_pixels: int) -> None:
    if width == 0 or height == 0:
        raise InputError(f"{what} is {width} x {height} pixels: a picture needs at least one pixel.")
    if width * height > max_pixels:
        raise InputError(
            f"{what} is {width} x {height} = {width * height:,} pixels, more than the limit of {max_pixels:,}: make "
            "the picture smaller, or raise load_image(..., max_pixels=...) if you trust it."
        )
