"""The diverging colour maps: values to colours, zero exactly in the middle, readable with every kind of colour vision.

Negative relevance is blue, positive relevance is orange to vermilion: the one pair of hues that stays apart for
deuteranopes, protanopes and tritanopes alike. A second palette goes from purple to green, for those to whom blue and
orange mean something else already; its hues were searched for the largest distance under all three, which is smaller.
Both arms have the same lightness at the same distance from zero, so neither sign looks stronger than the other, and
equal steps in value are equal steps in the perceptual space Oklab.

A table has 256 colours, entry 128 is zero, entries 1 and 255 are the ends, and entry 0 repeats entry 1. A value ``v``
takes entry ``128 + sign(v) * floor(min(|v|, limit) / limit * 127 + 0.5)``: that formula, in float64 here and in the
browser, is all that the two halves need to agree to the last bit; a map sent as int8 needs only ``+ 128``.
"""

from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlrp_nb.checks import is_real
from rlrp_nb.errors import InputError

Theme: TypeAlias = Literal["light", "dark"]
Palette: TypeAlias = Literal["blue-orange", "purple-green"]
Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float64]
Path: TypeAlias = tuple[tuple[float, float, float], ...]

ZERO = 128
STEPS = 127

# Each arm is a path in Oklab from the centre outwards: lightness, chroma, hue in degrees.
_PATHS: dict[tuple[Theme, Palette], dict[str, Path]] = {
    ("light", "blue-orange"): {
        "negative": ((0.975, 0.0, 240.0), (0.80, 0.105, 240.0), (0.60, 0.160, 254.0), (0.42, 0.150, 262.0)),
        "positive": ((0.975, 0.0, 75.0), (0.80, 0.150, 68.0), (0.60, 0.190, 43.0), (0.42, 0.150, 34.0)),
    },
    ("dark", "blue-orange"): {
        "negative": ((0.19, 0.0, 258.0), (0.42, 0.150, 260.0), (0.66, 0.165, 250.0), (0.84, 0.120, 232.0)),
        "positive": ((0.19, 0.0, 40.0), (0.42, 0.150, 36.0), (0.66, 0.190, 48.0), (0.84, 0.170, 72.0)),
    },
    ("light", "purple-green"): {
        "negative": ((0.975, 0.0, 322.0), (0.80, 0.173, 322.0), (0.60, 0.231, 322.0), (0.42, 0.170, 322.0)),
        "positive": ((0.975, 0.0, 141.0), (0.80, 0.165, 141.0), (0.60, 0.197, 142.0), (0.42, 0.181, 142.0)),
    },
    ("dark", "purple-green"): {
        "negative": ((0.19, 0.0, 322.0), (0.42, 0.165, 322.0), (0.66, 0.172, 326.0), (0.84, 0.140, 322.0)),
        "positive": ((0.19, 0.0, 142.0), (0.42, 0.160, 142.0), (0.66, 0.198, 139.0), (0.84, 0.140, 142.0)),
    },
}

# Oklab (Ottosson 2020): from cube roots of cone responses, and from cone responses to linear sRGB.
_CONES_FROM_OKLAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_CONES = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def table(theme: Theme = "light", palette: Palette = "blue-orange") -> Bytes:
    """Return the 256 colours of a theme.

    Parameters
    ----------
    theme : {"light", "dark"}
        ``light`` has a near-white centre, ``dark`` a near-black one.
    palette : {"blue-orange", "purple-green"}
        The hues of the negative and the positive side.

    Returns
    -------
    ndarray of uint8, shape (256, 3)
        sRGB colours, read-only; entry 128 is zero, entry 255 the positive end, entries 0 and 1 the negative end.

    Raises
    ------
    InputError
        If the theme or the palette is not one of the two.
    """
    if not isinstance(theme, str) or theme not in get_args(Theme):
        raise InputError(f"there is no colour theme {theme!r}: choose 'light' or 'dark'.")
    if not isinstance(palette, str) or palette not in get_args(Palette):
        raise InputError(f"there is no palette {palette!r}: choose 'blue-orange' or 'purple-green'.")
    return _colours(theme, palette)


@lru_cache(maxsize=len(_PATHS))
def _colours(theme: Theme, palette: Palette) -> Bytes:
    paths = _PATHS[theme, palette]
    negative, positive = _arms(paths["negative"], paths["positive"])
    # Both arms begin at the same neutral centre; it is kept once. Entry 0 repeats the negative end.
    colours = np.concatenate([negative[-1:], negative[:0:-1], positive])
    colours.setflags(write=False)
    return colours


@np.errstate(under="ignore")  # relevance can be as small as a float gets, whatever np.seterr says
def symmetric_limit(values: ArrayLike, percentile: float = 100.0) -> float:
    """Return the value at which the colour scale ends on both sides.

    Parameters
    ----------
    values : array_like of real numbers
        A heatmap of any shape.
    percentile : float
        Percentile of the absolute values, above 0 and at most 100. Below 100 a few extreme pixels are clipped, so that
        the rest shows.

    Returns
    -------
    float
        The limit, at least 0. It is 0 only if every value is 0: where the percentile alone would be 0, as in a map with
        a few lit pixels, the largest absolute value is taken.

    Raises
    ------
    InputError
        If a value is NaN or infinite, there is no value, or the percentile is out of its range.
    """
    magnitude = np.abs(_finite(values))
    if not is_real(percentile) or not 0 < percentile <= 100:  # noqa: PLR2004 - the definition of a percentile
        raise InputError(f"percentile is {percentile!r}; it must be above 0 and at most 100 (100 clips nothing).")
    if magnitude.size == 0:
        raise InputError(f"the heatmap has no values (shape {magnitude.shape}): pass one with at least one pixel.")
    return float(np.percentile(magnitude, percentile)) or float(magnitude.max())


@np.errstate(under="ignore")
def levels(values: ArrayLike, limit: float) -> Bytes:
    """Return the entry of the colour table that each value takes.

    Parameters
    ----------
    values : array_like of real numbers
        Values of any shape; what lies beyond the limit takes the colour at the end.
    limit : float
        Absolute value at both ends of the scale. 0 is allowed and gives the middle of the table everywhere.

    Returns
    -------
    ndarray of uint8, same shape
        Entries 1 to 255; 128 is zero.

    Raises
    ------
    InputError
        If a value or the limit is NaN or infinite, or the limit is negative.
    """
    numbers = _finite(values)
    if not (np.isfinite(limit) and limit >= 0):
        raise InputError(f"the limit of the colour scale is {limit!r}; it must be finite and not negative.")
    if limit == 0:
        return np.full(numbers.shape, ZERO, np.uint8)
    # Clipping and dividing come before the multiplication: neither the largest nor the smallest float overflows.
    steps = np.floor(np.minimum(np.abs(numbers), limit) / limit * STEPS + 0.5)
    return (ZERO + np.sign(numbers) * steps).astype(np.uint8)


def paint(
    values: ArrayLike, limit: float | None = None, theme: Theme = "light", palette: Palette = "blue-orange"
) -> Bytes:
    """Turn values into colours.

    Parameters
    ----------
    values : array_like of real numbers
        A heatmap of any shape.
    limit : float or None
        Absolute value at both ends of the scale; None takes the largest absolute value.
    theme : {"light", "dark"}
        Which colour table.
    palette : {"blue-orange", "purple-green"}
        The hues of the negative and the positive side.

    Returns
    -------
    ndarray of uint8, shape (*values.shape, 3)
        sRGB colours.

    Raises
    ------
    InputError
        As :func:`levels` and :func:`table`.
    """
    return table(theme, palette)[levels(values, symmetric_limit(values) if limit is None else limit)]


def _finite(values: ArrayLike) -> Floats:
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        count = int((~np.isfinite(numbers)).sum())
        raise InputError(
            f"{count} of {numbers.size} values are NaN or infinite and have no colour: "
            "find where they come from first; a relevance map of a finite image is finite."
        )
    return numbers


def _arms(*paths: Path) -> list[Bytes]:
    """Return 128 colours along each path, centre first, at perceptual distances as even as one lightness allows.

    The arms share one spacing, the mean of theirs: a common lightness matters more than the last bit of evenness.
    """
    fine = np.linspace(0, 1, 4096)
    lines = [_into_gamut(_line(path, fine)) for path in paths]
    steps = np.mean([np.linalg.norm(np.diff(line, axis=0), axis=1) for line in lines], axis=0)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.linspace(0, length[-1], STEPS + 1)
    return [_bytes(np.stack([np.interp(even, length, channel) for channel in line.T], axis=1)) for line in lines]


def _line(path: Path, at: Floats) -> Floats:
    lightness, chroma, hue = np.array(path).T
    knots = np.linspace(0, 1, len(path))
    # A cubic through the four points of the path: no band shows where two straight pieces would meet.
    radius, degrees = (np.polyval(np.polyfit(knots, values, len(path) - 1), at) for values in (chroma, hue))
    angle = np.deg2rad(degrees)
    return np.stack([np.interp(at, knots, lightness), radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _into_gamut(lab: Floats) -> Floats:
    """Lower the chroma of each colour, its lightness and hue kept, until sRGB can show it."""
    low, high = np.zeros(len(lab)), np.ones(len(lab))
    for _ in range(30):
        middle = (low + high) / 2
        rgb = _linear_rgb(lab * np.stack([np.ones_like(middle), middle, middle], axis=1))
        fits = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return lab * np.stack([np.ones_like(low), low, low], axis=1)


def _linear_rgb(lab: Floats) -> Floats:
    linear: Floats = ((lab @ _CONES_FROM_OKLAB.T) ** 3) @ _RGB_FROM_CONES.T
    return linear


def _bytes(lab: Floats) -> Bytes:
    linear = np.clip(_linear_rgb(lab), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # noqa: PLR2004 - sRGB
    colours: Bytes = np.rint(255 * encoded).astype(np.uint8)
    return colours
