"""Pictures whose truth is known: one geometric shape on a photograph, and the mask of the pixels it covers.

The class is the form alone. Place, size, turn, colour, pattern and photograph are drawn without looking at it, so a
network that knows the class has to look at the shape, and a heatmap that is right lies on it.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from rlrp_nb.data.image import load_image
from rlrp_nb.data.sample import available_samples, sample_image
from rlrp_nb.errors import InputError, MissingPackageError

Images: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Masks: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
_Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_SMALLEST = 16  # fewer pixels do not show which shape it is
_FINE = 4  # outlines are drawn so many times larger; a pixel is as opaque as the share of it that is covered
_RADII = (0.2, 0.36)  # of the side; the smallest shape still shows its form at 64 pixels
_PEBBLE_RADII = (0.05, 0.11)
_DISTANCE = 110.0  # between colours, of 442 from black to white, so that a shape stands out from its ground
_TRIES = 50
_PATTERNS = 5


class Shapes(NamedTuple):
    """Pictures of one shape each.

    Attributes
    ----------
    images
        uint8 ``(N, H, W, 3)``.
    labels
        int64 ``(N,)``: index into the categories.
    masks
        bool ``(N, H, W)``: the pixels of which the shape covers at least half.
    categories
        Names of the classes.
    """

    images: Images
    labels: Labels
    masks: Masks
    categories: tuple[str, ...]


def load_shapes(count: int, *, size: int = 64, seed: int = 0, distractors: int = 0) -> Shapes:
    """Draw pictures of shapes on photographs.

    The photographs come with scikit-image and scikit-learn. Eight pictures in a row, from the first, the ninth and so
    on, show the eight classes once each, in an order drawn anew.

    Parameters
    ----------
    count : int
        How many. Picture i is the same for every count.
    size : int
        Height and width in pixels, 16 or more.
    seed : int
        From 0 on. Other seeds give other pictures: take one for learning and another one for judging.
    distractors : int
        How many pebbles, small and of no regular form, lie on the photograph beside or behind the shape. They have the
        same kinds of colours and patterns, but say nothing about the class and are not in the mask.

    Returns
    -------
    Shapes
        Images, labels, masks and the names of the classes.

    Raises
    ------
    InputError
        A number is not accepted.
    MissingPackageError
        scikit-image or scikit-learn is not installed.
    """
    for name, value, least in (("count", count, 1), ("size", size, _SMALLEST), ("seed", seed, 0)):
        _check_integer(name, value, least)
    _check_integer("distractors", distractors, 0)
    photographs = _photographs()
    images = np.empty((count, size, size, 3), np.uint8)
    masks = np.empty((count, size, size), np.bool_)
    labels = np.empty(count, np.int64)
    kinds = len(_OUTLINES)
    for index in range(count):
        if index % kinds == 0:
            # Three numbers, where a picture has two: no picture draws from the same stream.
            order = np.random.default_rng([seed, index, kinds]).permutation(kinds)
        labels[index] = order[index % kinds]
        random = np.random.default_rng([seed, index])
        canvas = _ground(photographs, size, random)
        for _ in range(distractors):
            radius = random.uniform(*_PEBBLE_RADII)
            canvas = _painted(canvas, _coverage([_pebble(random)], size, radius, random), random)
        outlines = _OUTLINES[CATEGORIES[labels[index]]]
        coverage = _coverage(outlines, size, random.uniform(*_RADII), random)
        images[index] = np.rint(_painted(canvas, coverage, random))
        masks[index] = coverage >= 1 / 2
    return Shapes(images, labels, masks, CATEGORIES)


def _check_integer(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name}={value!r} has to be an integer, {least} or more.")


@cache
def _photographs() -> tuple[Image.Image, ...]:
    """Read all photographs once: two of scikit-learn's and all samples."""
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(
            "two of the photographs behind the shapes come with scikit-learn, which is not installed: "
            "pip install 'rlrp-nb[demo]'."
        )
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "images"
    samples = [sample_image(name) for name in available_samples()]
    return (*samples, *(load_image(folder / name) for name in ("china.jpg", "flower.jpg")))


def _ground(photographs: tuple[Image.Image, ...], size: int, random: np.random.Generator) -> _Floats:
    """Cut a square out of one of the photographs and bring it to the size, ``(size, size, 3)``."""
    photograph = photographs[random.integers(len(photographs))]
    shorter = min(photograph.size)
    side = random.uniform(min(size, shorter / 2), min(4 * size, shorter))
    left, top = (random.uniform(0, length - side) for length in photograph.size)
    cut = photograph.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    pixels: _Floats = np.asarray(cut, dtype=np.float64)
    return pixels[:, ::-1] if random.integers(2) else pixels


def _coverage(outlines: list[_Floats], size: int, radius: float, random: np.random.Generator) -> _Floats:
    """Return the share of each pixel that a turned shape covers, ``(size, size)``; it lies wholly in the picture."""
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = random.uniform(radius, 1 - radius, 2)
    fine = Image.new("L", (size * _FINE, size * _FINE))
    for number, outline in enumerate(outlines):
        points = (centre + radius * outline @ turn) * size * _FINE - 1 / 2
        # The first outline is filled, all others are holes in it.
        ImageDraw.Draw(fine).polygon([(x, y) for x, y in points], fill=0 if number else 255)
    return np.asarray(fine.reduce(_FINE), dtype=np.float64) / 255


def _painted(canvas: _Floats, coverage: _Floats, random: np.random.Generator) -> _Floats:
    """Lay a pattern of two colours over the canvas where it is covered."""
    weight = coverage[..., None]
    ground = (canvas * weight).sum((0, 1)) / weight.sum()
    first = _colour(random.uniform(0, 255, (_TRIES, 3)), ground)
    second = _colour((first + random.uniform(0, 255, (_TRIES, 3))) / 2, ground)
    mixed = _pattern(len(canvas), random)[..., None]
    # A photograph is nowhere quite even, so the colours are not either.
    paint = (first * mixed + second * (1 - mixed)) + random.normal(0, 4, canvas.shape)
    return np.clip(canvas * (1 - weight) + paint * weight, 0, 255)


def _colour(tries: _Floats, ground: _Floats) -> _Floats:
    """Choose the first colour that can be told from the ground, or the most distant one if none is far enough."""
    distances = np.linalg.norm(tries - ground, axis=1)
    far = np.flatnonzero(distances > _DISTANCE)
    chosen: _Floats = tries[far[0] if far.size else distances.argmax()]
    return chosen


def _pattern(size: int, random: np.random.Generator) -> _Floats:
    """Return where the first colour shows, 0 to 1, ``(size, size)``: plain, shaded, stripes, checks or dots."""
    kind, angle, phase = random.integers(_PATTERNS), random.uniform(0, np.pi), random.uniform(0, 2 * np.pi, 2)
    waves = 2 * np.pi / random.uniform(0.08, 0.16)
    down, across = np.mgrid[:size, :size] / size
    along = down * np.sin(angle) + across * np.cos(angle)
    beside = down * np.cos(angle) - across * np.sin(angle)
    if kind == 0:
        return np.ones((size, size))
    if kind == 1:
        shade: _Floats = np.clip((along - along.min()) / np.ptp(along), 0, 1)
        return shade
    first, second = np.sin(waves * along + phase[0]), np.sin(waves * beside + phase[1])
    wave = {2: first, 3: first * second, 4: (first + second) / 2 - 0.4}[int(kind)]
    # The edges are soft, over about a pixel.
    edged: _Floats = np.clip(1 / 2 + wave * size / waves, 0, 1)
    return edged


def _circle(radius: float = 1.0, points: int = 90) -> _Floats:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> _Floats:
    outline = _circle(points=10)
    outline[1::2] *= 0.42
    return outline


def _cross(arm: float = 0.3) -> _Floats:
    corner = np.array([[1, -arm], [1, arm], [arm, arm]])
    quarter = np.array([[0, -1], [1, 0]])
    turns = [np.linalg.matrix_power(quarter, turn) for turn in range(4)]
    outline: _Floats = np.concatenate([corner @ turn.T for turn in turns]) / np.hypot(1, arm)
    return outline


def _crescent(distance: float = 0.55, inner: float = 0.8) -> _Floats:
    """Outline of a disc of radius 1 without the disc of the inner radius whose centre is so far to the right."""
    # The circles meet at the height given by both of their equations.
    meet = np.arccos((1 + distance**2 - inner**2) / (2 * distance))
    outer = np.linspace(meet, 2 * np.pi - meet, 80)
    turn = np.arctan2(np.sin(meet), np.cos(meet) - distance)
    back = np.linspace(2 * np.pi - turn, turn, 60)
    bite = np.stack([distance + inner * np.cos(back), inner * np.sin(back)], axis=1)
    return np.concatenate([np.stack([np.cos(outer), np.sin(outer)], axis=1), bite])


def _heart() -> _Floats:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    across = 16 * np.sin(angles) ** 3
    down = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles))
    outline = np.stack([across, down - 2.5], axis=1)
    outline /= np.linalg.norm(outline, axis=1).max()
    return outline


def _pebble(random: np.random.Generator) -> _Floats:
    """Return a smooth closed line without regular form."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    order = np.arange(2, 5)[:, None]
    waves = (random.uniform(0, 0.25, (3, 1)) * np.cos(order * angles + random.uniform(0, 2 * np.pi, (3, 1)))).sum(0)
    outline: _Floats = (1 + waves)[:, None] * _circle(points=40)
    outline /= np.linalg.norm(outline, axis=1).max()
    return outline


# Within the circle of radius 1; what follows the first outline are holes in it.
_OUTLINES = MappingProxyType(
    {
        "circle": [_circle(0.85)],
        "crescent": [_crescent()],
        "cross": [_cross()],
        "heart": [_heart()],
        "ring": [_circle(0.95), _circle(0.55)],
        "square": [_circle(points=4)],
        "star": [_star()],
        "triangle": [_circle(points=3)],
    }
)
CATEGORIES = tuple(_OUTLINES)
