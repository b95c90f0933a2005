"""Small changes of an input that should not change what is said about it.

A perturbation is an object that is called with inputs ``(B, C, H, W)`` and returns changed ones of the same shape,
dtype and device. What is random is drawn on the CPU by a seed: the same inputs give the same answer on every machine,
and the global random numbers are left alone.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rlrp_nb.checks import LARGEST_SEED, check_images, check_whole, is_real, is_whole
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GREY_OR_COLOUR = (1, 3)
_LEVELS = 255


class Perturbation(ABC):
    """A change of inputs ``(B, C, H, W)``."""

    @abstractmethod
    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the changed inputs, of the same shape, dtype and device.

        Raises
        ------
        InputError
            The inputs are not floating-point ``(B, C, H, W)``, or are not what this perturbation can change.
        """

    def common(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts of two heatmaps ``(B, H, W)`` that show the same content, laid over each other.

        All of both, unless the perturbation moves pixels.
        """
        return before, after


@dataclass(frozen=True)
class Noise(Perturbation):
    """Gaussian noise on every value.

    Parameters
    ----------
    deviation : float
        Standard deviation in units of the input or, if `relative`, as a share of each sample's range, its largest
        minus its smallest value.
    relative : bool
        Which of the two.
    seed : int
        Of the noise. Sample i of a batch gets the i-th draw, whatever comes after it.
    """

    deviation: float
    relative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that are no deviation or seed."""
        _not_negative("deviation", self.deviation)
        object.__setattr__(self, "seed", *check_whole(0, LARGEST_SEED, seed=self.seed))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Add the noise."""
        check_images(inputs)
        generator = torch.Generator().manual_seed(self.seed)
        draws = torch.stack(
            [torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float64, device="cpu") for _ in inputs]
        )
        scale = torch.full((len(inputs), 1, 1, 1), self.deviation, dtype=torch.float64, device="cpu")
        if self.relative:
            lowest, highest = inputs.detach().cpu().double().flatten(1).aminmax(dim=1)
            scale = scale * (highest - lowest).reshape(-1, 1, 1, 1)
        return inputs + (draws * scale).to(inputs.device, inputs.dtype)


@dataclass(frozen=True)
class Jpeg(Perturbation):
    """JPEG compression, in memory.

    The inputs are taken to 8 bits, written as JPEG, read again and taken back. Values outside `low` to `high` are cut
    off, and all are rounded to one of 256 levels: that is part of the perturbation.

    Parameters
    ----------
    quality : int
        1 to 100, as Pillow counts it.
    low, high : float or sequence of float
        What black and white, 0 and 255, are in the space of the inputs, one number or one per channel. For inputs
        normalised by mean and standard deviation: ``(0 - mean) / std`` and ``(1 - mean) / std``.
    """

    quality: int
    low: float | Sequence[float] = 0.0
    high: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        """Refuse a quality that JPEG does not have."""
        if not is_whole(self.quality) or not 1 <= int(self.quality) <= 100:  # noqa: PLR2004
            raise InputError(f"quality is {self.quality!r}; accepted is a whole number from 1 to 100.")
        object.__setattr__(self, "quality", int(self.quality))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compress and read again."""
        check_images(inputs)
        channels = inputs.shape[1]
        if channels not in _GREY_OR_COLOUR:
            raise InputError(f"inputs have {channels} channels; JPEG is for pictures of 1 (grey) or 3 (colour).")
        low, high = self._ends("low", self.low, channels), self._ends("high", self.high, channels)
        if not bool((high > low).all()):
            raise InputError(
                f"high is {self.high!r} and low is {self.low!r}; in every channel high has to be above low."
            )
        shares = (inputs.detach().cpu().double() - low) / (high - low)
        pixels = (shares.clamp(0, 1) * _LEVELS).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        read = torch.stack([self._through(picture) for picture in pixels]).permute(0, 3, 1, 2)
        return (read.double() / _LEVELS * (high - low) + low).to(inputs.device, inputs.dtype)

    def _through(self, picture: np.ndarray) -> Tensor:
        """Write and read one picture, uint8 ``(H, W, C)``."""
        file = io.BytesIO()
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        image.save(file, "JPEG", quality=self.quality)
        with Image.open(file) as opened:
            return torch.from_numpy(np.array(opened).reshape(picture.shape))

    @staticmethod
    def _ends(name: str, value: float | Sequence[float], channels: int) -> Tensor:
        try:
            ends = torch.as_tensor(value, dtype=torch.float64, device="cpu").flatten()
        except (TypeError, ValueError, RuntimeError):
            ends = torch.empty(0, device="cpu")  # no numbers at all
        if len(ends) not in {1, channels} or not bool(ends.isfinite().all()):
            raise InputError(
                f"{name} is {value!r}; accepted is a finite number, or one for each of {channels} channels."
            )
        return ends.reshape(1, -1, 1, 1)


@dataclass(frozen=True)
class Brightness(Perturbation):
    """Other lighting: ``inputs * factor + shift``.

    Parameters
    ----------
    factor : float
        At least 0. For inputs that are centred it changes the contrast; to darken or lighten use `shift`.
    shift : float
        In units of the input, the same for all values.
    """

    factor: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that are no factor or shift."""
        _not_negative("factor", self.factor)
        _number("shift", self.shift)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scale and shift the values."""
        check_images(inputs)
        return inputs * self.factor + self.shift


@dataclass(frozen=True)
class Shift(Perturbation):
    """Move the picture; the pixels that are uncovered repeat the nearest one of the edge.

    Parameters
    ----------
    right, down : int
        Pixels; negative numbers move to the left and up. Less than the picture's width and height.
    """

    right: int = 0
    down: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of pixels."""
        object.__setattr__(self, "right", _whole("right", self.right))
        object.__setattr__(self, "down", _whole("down", self.down))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Move the picture."""
        check_images(inputs)
        height, width = inputs.shape[2:]
        self._check_size(height, width)
        padding = (max(self.right, 0), max(-self.right, 0), max(self.down, 0), max(-self.down, 0))
        left, top = max(-self.right, 0), max(-self.down, 0)
        # in float32 at least: the CPU has no half-precision padding, and padding copies values exactly
        wide = inputs if inputs.dtype == torch.float64 else inputs.float()
        padded = functional.pad(wide, padding, mode="replicate")
        return padded[:, :, top : top + height, left : left + width].to(inputs.dtype)

    def common(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is inside the frame before and after the move, the second moved back over the first."""
        height, width = before.shape[1:]
        self._check_size(height, width)
        rows = slice(max(-self.down, 0), height + min(-self.down, 0))
        columns = slice(max(-self.right, 0), width + min(-self.right, 0))
        moved_rows = slice(rows.start + self.down, rows.stop + self.down)
        moved_columns = slice(columns.start + self.right, columns.stop + self.right)
        return before[:, rows, columns], after[:, moved_rows, moved_columns]

    def _check_size(self, height: int, width: int) -> None:
        if abs(self.down) >= height or abs(self.right) >= width:
            raise InputError(
                f"{self} leaves nothing of a picture of {height} x {width}; accepted is less than its height and width."
            )


def uniform(inputs: Tensor, *, radius: float = 0.02, samples: int = 10, seed: int = 0) -> Iterator[Tensor]:
    """Return copies of the inputs, each value moved by a uniform draw from ``-radius`` to ``radius``.

    These are the perturbations of max-sensitivity: points of the ball of that radius in the maximum norm.

    Parameters
    ----------
    inputs : Tensor
        Floating-point ``(B, C, H, W)``.
    radius : float
        In units of the input.
    samples : int
        How many copies.
    seed : int
        Of the draws.

    Returns
    -------
    iterator of Tensor
        Same shape, dtype and device as the inputs. Each copy is made when it is asked for.

    Raises
    ------
    InputError
        The inputs are not floating-point ``(B, C, H, W)``, or a number is not what it has to be.
    """
    check_images(inputs)
    _not_negative("radius", radius)
    (seed,), (samples,) = check_whole(0, LARGEST_SEED, seed=seed), check_whole(1, samples=samples)
    generator = torch.Generator().manual_seed(seed)
    draws = (
        torch.rand(inputs.shape, generator=generator, dtype=torch.float64, device="cpu") * 2 - 1 for _ in range(samples)
    )
    return (inputs + (draw * float(radius)).to(inputs.device, inputs.dtype) for draw in draws)


def _number(name: str, value: float) -> None:
    if not is_real(value) or not -float("inf") < value < float("inf"):
        raise InputError(f"{name} is {value!r}; accepted is a finite number.")


def _not_negative(name: str, value: float) -> None:
    _number(name, value)
    if value < 0:
        raise InputError(f"{name} is {value!r}; accepted is 0 or more.")


def _whole(name: str, value: int) -> int:
    if not is_whole(value):
        raise InputError(f"{name} is {value!r}; accepted is a whole number.")
    return int(value)
