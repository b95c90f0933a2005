"""A still picture of an explanation: photograph, overlay and heatmap with its colour bar, drawn with Pillow alone.

The heatmap panel shows every pixel exactly as it is. The overlay is for the eye: it is smoothed by a small Gaussian, so
that the fine grid which strided convolutions leave in a heatmap does not hide the shape, and it says so.
"""

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rlrp_nb.checks import is_real
from rlrp_nb.class_name import shown_name
from rlrp_nb.engine.agreement import asks_the_same, says_the_same
from rlrp_nb.errors import InputError
from rlrp_nb.plots import colormap
from rlrp_nb.plots.caption import check_explanation, headline, method_title, number

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

MARGIN, GAP, BAR = 36, 20, 18
TITLE, LINE, SMALL = 34, 20, 15
PANEL, ROW = 448, 1700  # wanted width of one panel, and of a whole row of panels, in pixels
COLUMN, WORDS = 176, 112  # least width of a column, for what is written above it, and height of the legend below one
NUMBERS, MEANING = 100, 160  # least height of a colour bar with room for more numbers than its ends, and for words

_INK = {"light": ("#ffffff", "#16181d", "#5b6270"), "dark": ("#101216", "#f3f4f6", "#9aa3b2")}
_FRAME = {"light": "#d8dce3", "dark": "#2b2f37"}
_FADE = {"light": (0.60, 255.0), "dark": (0.50, 0.0)}  # share of the photograph kept, and the grey it fades to
_COLOUR_KEPT = 0.35
_PLAIN = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{GREEK SMALL LETTER ALPHA}": "alpha",
        "\N{GREEK SMALL LETTER BETA}": "beta",
        "\N{GREEK SMALL LETTER GAMMA}": "gamma",
        "\N{GREEK SMALL LETTER EPSILON}": "epsilon",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        # letters without a part that could be dropped as an accent
        **dict(zip("ØøŁłĐđÐð", "OoLlDdDd", strict=True)),
        "Æ": "AE",
        "æ": "ae",
        "Œ": "OE",
        "œ": "oe",
        "ß": "ss",
        "ẞ": "SS",
        "Þ": "Th",
        "þ": "th",
    }
)
_DRAWN = "\N{MIDDLE DOT}\N{HORIZONTAL ELLIPSIS}\N{PLUS-MINUS SIGN}\N{DEGREE SIGN}"


class _Look(NamedTuple):
    opacity: float
    percentile: float
    theme: colormap.Theme

    def check(self) -> None:
        colormap.table(self.theme)
        if not is_real(self.opacity) or not 0 <= self.opacity <= 1:
            raise InputError(f"opacity is {self.opacity!r}: it must be between 0 (only the photograph) and 1.")


def picture(
    explanation: "Explanation",
    target: int = 0,
    sample: int = 0,
    *,
    opacity: float = 0.95,
    percentile: float = 99.5,
    theme: colormap.Theme = "dark",
) -> Image.Image:
    """Draw one heatmap beside the photograph it belongs to.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    target : int
        Position among the explained targets, not a class index.
    sample : int
        Position in the batch.
    opacity : float
        Opacity of the strongest colour of the overlay, 0 to 1.
    percentile : float
        Where the colour scale ends: this percentile of the absolute relevance. 100 clips nothing.
    theme : {"dark", "light"}
        Dark for a screen, light for paper.

    Returns
    -------
    PIL.Image.Image
        An RGB image with photograph, overlay, heatmap and colour bar; only heatmap and colour bar when the explanation
        was made from a plain tensor and holds no photograph.

    Raises
    ------
    InputError
        If an argument is out of its range, the heatmap is not two-dimensional, or it holds NaN or infinity.
    """
    look = _Look(opacity, percentile, theme)
    look.check()
    heatmap, photo = _heatmap(explanation, target, sample), _photo(explanation, sample)
    limit = colormap.symmetric_limit(heatmap, percentile)
    scale = _scale(heatmap.shape, 3)
    exact = _enlarged(colormap.paint(heatmap, limit, theme), scale)
    panels = [("relevance of every pixel", exact)]
    if photo is not None:
        overlay = _overlay(heatmap, photo, scale, look)
        panels = [("what the network saw", _sharp(photo, scale)), ("overlay, smoothed", overlay), *panels]
    sheet = Image.new("RGB", picture_size(heatmap.shape, has_photo=photo is not None), _INK[theme][0])
    draw = ImageDraw.Draw(sheet)
    top = _heading(
        draw,
        _headline(explanation, target, sample),
        f"{explanation.network} · {method_title(explanation.method)}",
        theme,
        sheet.width,
    )
    left = MARGIN
    for caption, panel in panels:
        draw.text((left, top), caption, _INK[theme][2], _font(SMALL))
        _place(sheet, panel, (left, top + LINE + 8), theme)
        left += max(panel.width, COLUMN) + GAP
    _colour_bar(sheet, (left, top + LINE + 8, BAR, exact.height), limit, theme)
    note = _fitting(_scale_note([heatmap], [limit], percentile), sheet.width - 2 * MARGIN, SMALL)
    draw.text((MARGIN, sheet.height - MARGIN), note, _INK[theme][2], _font(SMALL), anchor="ls")
    return sheet


def comparison(
    explanations: Sequence["Explanation"],
    target: int = 0,
    sample: int = 0,
    *,
    opacity: float = 0.95,
    percentile: float = 99.5,
    theme: colormap.Theme = "dark",
) -> Image.Image:
    """Draw the heatmaps of several methods for the same image and class, side by side.

    Methods differ in scale by orders of magnitude, so each one has its own colour scale, and its end is printed.

    Parameters
    ----------
    explanations : sequence of Explanation
        One per method, all of the same image and targets.
    target, sample, opacity, percentile, theme
        As in :func:`picture`.

    Returns
    -------
    PIL.Image.Image
        An RGB image: one column per method, the overlay above the heatmap, the photograph first.

    Raises
    ------
    InputError
        If there is no explanation, or they are not of the same network, image and class; else as :func:`picture`.
    """
    if not isinstance(explanations, Iterable):
        raise InputError(f"explanations is a {type(explanations).__name__}: give a list of explanations.")
    explanations = list(explanations)
    if not explanations:
        raise InputError("there is nothing to compare: the list of explanations is empty. Pass at least one.")
    look = _Look(opacity, percentile, theme)
    look.check()
    heatmaps = [_heatmap(explanation, target, sample) for explanation in explanations]
    first, photo = explanations[0], _photo(explanations[0], sample)
    for other in explanations[1:]:
        _check_alike(first, other, target, sample)
    scale = _scale(heatmaps[0].shape, len(heatmaps) + 1)
    side, height = (scale * length for length in reversed(heatmaps[0].shape))
    column = max(side, COLUMN)
    rows = 1 if photo is None else 2
    size = comparison_size(heatmaps[0].shape, len(heatmaps), has_photo=photo is not None)
    sheet = Image.new("RGB", size, _INK[theme][0])
    draw = ImageDraw.Draw(sheet)
    top = _heading(draw, _headline(first, target, sample), first.network, theme, sheet.width)
    left, below = MARGIN, top + 2 * LINE + 6
    if photo is not None:
        draw.text((left, top), "what the network saw", _INK[theme][1], _font(SMALL + 2))
        _place(sheet, _sharp(photo, scale), (left, below), theme)
        left += column + GAP
    limits = [colormap.symmetric_limit(heatmap, percentile) for heatmap in heatmaps]
    shown = zip(explanations, heatmaps, limits, strict=True)
    for position, (explanation, heatmap, limit) in enumerate(shown, start=1):
        title = method_title(explanation.method)
        title = title if _is_drawn(title) else f"method {position}"  # whose name is in other letters
        draw.text((left, top), _fitting(title, column, SMALL + 2), _INK[theme][1], _font(SMALL + 2))
        draw.text((left, top + LINE + 2), _fitting(_end(limit), column, SMALL - 1), _INK[theme][2], _font(SMALL - 1))
        if photo is not None:
            _place(sheet, _overlay(heatmap, photo, scale, look), (left, below), theme)
        exact = _enlarged(colormap.paint(heatmap, limit, theme), scale)
        _place(sheet, exact, (left, below + (rows - 1) * (height + GAP)), theme)
        left += column + GAP
    if photo is not None:
        _legend(draw, (MARGIN, below + height + GAP, column), theme)
    words = f"Each method has its own scale. {_scale_note(heatmaps, limits, percentile)}"
    note = _fitting(words, sheet.width - 2 * MARGIN, SMALL)
    draw.text((MARGIN, sheet.height - MARGIN), note, _INK[theme][2], _font(SMALL), anchor="ls")
    return sheet


def picture_size(shape: tuple[int, ...], *, has_photo: bool = True) -> tuple[int, int]:
    """Return how large :func:`picture` draws.

    Parameters
    ----------
    shape : (height, width)
        Of the heatmap.
    has_photo : bool
        Whether the explanation holds the photograph.

    Returns
    -------
    (int, int)
        Width and height in pixels.
    """
    height, width = (_scale(shape, 3) * length for length in shape)
    panels = 3 if has_photo else 1
    return 2 * MARGIN + panels * (max(width, COLUMN) + GAP) + BAR + 130, 2 * MARGIN + height + 150


def comparison_size(shape: tuple[int, ...], methods: int, *, has_photo: bool = True) -> tuple[int, int]:
    """Return how large :func:`comparison` draws.

    Parameters
    ----------
    shape, has_photo
        As in :func:`picture_size`.
    methods : int
        How many are compared.

    Returns
    -------
    (int, int)
        Width and height in pixels.
    """
    height, width = (_scale(shape, methods + 1) * length for length in shape)
    columns, rows = (methods + 1, 2) if has_photo else (methods, 1)
    below = max((rows - 1) * (height + GAP), (rows - 1) * WORDS)
    return max(2 * MARGIN + columns * (max(width, COLUMN) + GAP) - GAP, 760), 2 * MARGIN + height + GAP + below + 150


def stack(images: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below one another.

    Parameters
    ----------
    images : sequence of PIL.Image.Image
        At least one; of the same theme, so that they look like one sheet.

    Returns
    -------
    PIL.Image.Image
        As wide as the widest, as high as all together.

    Raises
    ------
    InputError
        If there is no picture, or something else in its place.
    """
    if not isinstance(images, Sequence) or not all(isinstance(image, Image.Image) for image in images):
        raise InputError(f"images is a {type(images).__name__}: give a list of PIL images.")
    if not images:
        raise InputError("there is nothing to stack: the list of pictures is empty. Pass at least one.")
    size = (max(image.width for image in images), sum(image.height for image in images))
    sheet = Image.new("RGB", size, images[0].getpixel((0, 0)))
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height
    return sheet


def _heatmap(explanation: "Explanation", target: int, sample: int) -> Floats:
    check_explanation(explanation)
    heatmap = explanation.heatmap(target, sample).detach().cpu().double().numpy()
    if heatmap.ndim != 2:  # noqa: PLR2004 - a picture has two dimensions
        raise InputError(
            f"a picture needs a heatmap of shape (height, width), and this one has shape {heatmap.shape}: "
            "sum or select along the other dimensions and colour it with rlrp_nb.plots.colormap.paint."
        )
    return np.asarray(heatmap)


def _photo(explanation: "Explanation", sample: int) -> Pixels | None:
    if explanation.images is None:
        return None
    photo = np.asarray(explanation.images[sample].cpu().numpy())
    if photo.dtype != np.uint8 or photo.shape != (*explanation.heatmap(0, sample).shape, 3):
        raise InputError(
            f"the explanation's images are {photo.dtype} of shape {photo.shape}: accepted is uint8, (H, W, 3), of the "
            "heatmap's height and width."
        )
    return photo


def _check_alike(first: "Explanation", other: "Explanation", target: int, sample: int) -> None:
    one, two = _photo(first, sample), _photo(other, sample)
    same = one is two if one is None or two is None else np.array_equal(one, two)
    if first.network != other.network:
        raise InputError(
            f"the explanations are of two networks, {first.network!r} and {other.network!r}: draw a comparison of each."
        )
    if first.categories != other.categories:
        raise InputError(
            f"the explanations by {first.method} and {other.method} call the classes of {first.network!r} by different "
            "names: draw a picture of each, or give both the same categories."
        )
    if not same or first.relevance.shape[2:] != other.relevance.shape[2:]:
        raise InputError(
            f"the explanations by {first.method} and {other.method} show different images; "
            "a comparison needs the same image in each."
        )
    if not asks_the_same(first, other, target, sample):
        label, its = first.label(target, sample), other.label(target, sample)
        raise InputError(
            f"the explanations by {first.method} and {other.method} explain different classes "
            f"({label} and {its if its != label else f'another {label}'}); explain the same targets with each."
        )
    if not says_the_same(other.logits[sample], first.logits[sample]):
        raise InputError(
            f"the explanations by {first.method} and {other.method} are of different inputs, or networks called "
            f"{first.network!r} that say something else of it, as before and after training; a comparison needs one "
            "input and one network."
        )


def _scale(shape: tuple[int, ...], columns: int) -> int:
    wanted = min(PANEL, ROW // columns)
    return max(1, round(wanted / max(shape)))


def _enlarged(pixels: Pixels, scale: int) -> Image.Image:
    return Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))


def _sharp(photo: Pixels, scale: int) -> Image.Image:
    # A tiny picture, such as a digit, is its pixels; a photograph is not, and looks better without its squares.
    if scale > 4:  # noqa: PLR2004
        return _enlarged(photo, scale)
    return Image.fromarray(photo).resize((photo.shape[1] * scale, photo.shape[0] * scale), Image.Resampling.BICUBIC)


@np.errstate(under="ignore")  # weak relevance and the tails of the Gaussian become 0, whatever np.seterr says
def _overlay(heatmap: Floats, photo: Pixels, scale: int, look: _Look) -> Image.Image:
    smooth = _smoothed(heatmap, max(heatmap.shape) / 224)
    limit = colormap.symmetric_limit(smooth, look.percentile)
    size = (smooth.shape[1] * scale, smooth.shape[0] * scale)
    # Divided by the limit before it becomes float32, which the smallest relevance would not survive.
    relative = Image.fromarray((smooth / (limit or 1.0)).astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    large = np.asarray(relative, np.float64)
    # The eye should find weak relevance too: opacity grows faster than the value, colour in step with it.
    alpha = look.opacity * np.minimum(np.abs(large), 1)[..., None] ** 0.6
    base = _faded(np.asarray(_sharp(photo, scale), np.float64), look.theme)
    mixed = base * (1 - alpha) + colormap.paint(large, 1.0, look.theme) * alpha
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _faded(photo: Floats, theme: colormap.Theme) -> Floats:
    kept, towards = _FADE[theme]
    grey = (photo @ (0.299, 0.587, 0.114))[..., None]
    faded: Floats = (photo * _COLOUR_KEPT + grey * (1 - _COLOUR_KEPT)) * kept + towards * (1 - kept)
    return faded


def _smoothed(heatmap: Floats, sigma: float) -> Floats:
    """Convolve with a Gaussian of unit sum, edges repeated, so that a constant map stays as it is."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if axis == a else (0, 0) for a in (0, 1)]
        padded = np.pad(heatmap, padding, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        heatmap = windows @ weights
    return heatmap


def _place(sheet: Image.Image, panel: Image.Image, at: tuple[int, int], theme: colormap.Theme) -> None:
    left, top = at
    frame = [left - 1, top - 1, left + panel.width, top + panel.height]
    ImageDraw.Draw(sheet).rectangle(frame, outline=_FRAME[theme])
    sheet.paste(panel, at)


def _heading(draw: ImageDraw.ImageDraw, title: str, subtitle: str, theme: colormap.Theme, width: int) -> int:
    room = width - 2 * MARGIN
    draw.text((MARGIN, MARGIN), _fitting(title, room, TITLE), _INK[theme][1], _font(TITLE))
    draw.text((MARGIN, MARGIN + TITLE + 12), _fitting(subtitle, room, LINE), _INK[theme][2], _font(LINE))
    return MARGIN + TITLE + LINE + 36


def _colour_bar(sheet: Image.Image, box: tuple[int, int, int, int], limit: float, theme: colormap.Theme) -> None:
    left, top, width, height = box
    # Entries 255 down to 1: an odd number, so that zero is exactly in the middle of the bar.
    column = colormap.table(theme)[255:0:-1][:, None]
    bar = Image.fromarray(column).resize((width, height), Image.Resampling.NEAREST)
    sheet.paste(bar, (left, top))
    draw = ImageDraw.Draw(sheet)
    for share in (1.0, 0.5, 0.0, -0.5, -1.0) if height >= NUMBERS else (1.0, -1.0):
        y = top + round((1 - share) / 2 * (height - 1))
        draw.line([(left + width, y), (left + width + 5, y)], _INK[theme][2])
        draw.text((left + width + 10, y), _printable(number(share * limit)), _INK[theme][1], _font(SMALL), anchor="lm")
    for share, words in ((0.75, "speaks for it"), (-0.75, "speaks against")) if height >= MEANING else ():
        y = top + round((1 - share) / 2 * (height - 1))
        draw.text((left + width + 10, y), words, _INK[theme][2], _font(SMALL), anchor="lm")


def _legend(draw: ImageDraw.ImageDraw, box: tuple[int, int, int], theme: colormap.Theme) -> None:
    left, top, width = box
    for row, (entry, words) in enumerate(((208, "speaks for it"), (48, "speaks against it"))):
        y = top + row * (LINE + 8)
        colour = tuple(int(channel) for channel in colormap.table(theme)[entry])
        draw.rectangle([left, y, left + 14, y + 14], colour)
        draw.text((left + 22, y + 7), _fitting(words, width - 22, SMALL), _INK[theme][1], _font(SMALL), anchor="lm")
    for row, words in enumerate(("above: overlay, smoothed", "below: every pixel")):
        y = top + (2 + row) * (LINE + 8)
        draw.text((left, y), _fitting(words, width, SMALL), _INK[theme][2], _font(SMALL))


def _end(limit: float) -> str:
    return f"scale ends at ±{number(limit)[1:]}" if limit else "zero everywhere"


def _scale_note(heatmaps: Sequence[Floats], limits: Sequence[float], percentile: float) -> str:
    # of a few lit pixels the percentile is 0, and the scale ends at the largest
    if all(limit >= np.abs(heatmap).max() for heatmap, limit in zip(heatmaps, limits, strict=True)):
        return "Colours end at the largest absolute relevance."
    return f"Colours end at the {percentile:g}th percentile of the absolute relevance; what lies beyond is clipped."


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting(text: str, width: int, size: int) -> str:
    """Return the text, cut with an ellipsis where it would leave its room."""
    text = _printable(text)
    font = _font(size)
    if len(text) <= width and font.getlength(text) <= width:
        return text
    text = text[:width]  # no character is narrower than a pixel, and a hostile name can be endless
    kept = bisect_right(range(1, len(text) + 1), width, key=lambda count: ceil(font.getlength(text[:count] + "…")))
    return text[:kept].rstrip() + "…"


def _headline(explanation: "Explanation", target: int, sample: int) -> str:
    """Return the headline, in which a class whose name the font cannot draw is called by its number.

    A name that is drawn like another class's, such as one that differs by an accent, has its number behind it.
    """
    label, said = explanation.label(target, sample), headline(explanation, target, sample)
    categories, positive = explanation.categories, int(explanation.targets[sample, target])
    if categories is None or positive < 0 or explanation.logits.dim() != 2:  # noqa: PLR2004 - no class is explained
        return said
    drawn = Counter(_printable(name) for name in categories)
    indices = (positive, int(explanation.negatives[sample, target]))
    names = [(index, shown_name(categories, index).strip()) for index in indices if index >= 0]
    called = " - ".join(
        f"class {index}" if not _is_drawn(name) else f"{name} ({index})" if drawn[_printable(name)] > 1 else name
        for index, name in names
    )
    return called + said.removeprefix(label)


def _is_drawn(text: str) -> bool:
    """Tell a text of which no letter is lost."""
    return _printable(text).count("?") == text.count("?")


def _printable(text: str) -> str:
    """Replace what Pillow's own font cannot draw: signs by plain ones, accents dropped, other scripts by ``?``.

    Blanks and ends of lines, which a name has that was read by ``readlines()``, are one blank, as on a page.
    """
    bare = "".join(c for c in unicodedata.normalize("NFD", text.translate(_PLAIN)) if not unicodedata.combining(c))
    return "".join(c if c.isascii() or c in _DRAWN else "?" for c in " ".join(bare.split()))
