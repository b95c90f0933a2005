"""From a picture to the network's input, keeping the picture that the network saw."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from rlrp_nb.checks import is_whole
from rlrp_nb.data.image import MAX_PIXELS, ImageSource, load_image
from rlrp_nb.errors import InputError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Prepared:
    """A picture as a network takes it.

    Attributes
    ----------
    pixels
        The network's input, float32 (C, H, W).
    view
        What it sees, before normalisation: uint8 (H, W, 3).
    """

    pixels: torch.Tensor
    view: torch.Tensor


@dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop, scale to [0, 1], normalise: a picture becomes what a network wants.

    Call it with anything that :func:`rlrp_nb.load_image` reads. :meth:`view` gives the same picture before it is
    normalised, at exactly the network's resolution, so that a heatmap lies over it pixel by pixel.

    Parameters
    ----------
    size : int or tuple of int
        Height and width of the network's input; one number for a square.
    mean, std : float or tuple of float
        Per channel, in units where white is 1: the network receives ``(pixel - mean) / std``. One number serves all
        channels.
    resize : int, optional
        Length of the picture's shorter side before the centre crop. Without it the picture is made just large enough
        to cover `size`, so that as much of it as possible is seen.
    interpolation : str
        "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos"; all but the first are anti-aliased.
    grey : bool
        One grey channel instead of three colours.

    Raises
    ------
    InputError
        A parameter is out of its range.
    """

    size: int | tuple[int, int]
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    resize: int | None = None
    interpolation: str = "bilinear"
    grey: bool = False

    def __post_init__(self) -> None:
        size = tuple(self.size) if isinstance(self.size, tuple | list) else (self.size, self.size)
        if len(size) != 2 or not all(is_whole(side) and int(side) > 0 for side in size):  # noqa: PLR2004 - height, width
            raise InputError(f"size={self.size!r} is not a size: give one positive integer, or (height, width).")
        size = (int(size[0]), int(size[1]))
        if self.resize is not None and not (is_whole(self.resize) and int(self.resize) >= max(size)):
            raise InputError(f"resize={self.resize!r} has to be an integer of at least {max(size)}, to cover {size}.")
        object.__setattr__(self, "resize", None if self.resize is None else int(self.resize))
        if not isinstance(self.interpolation, str) or self.interpolation not in _FILTERS:
            raise InputError(f"interpolation={self.interpolation!r} is not known: choose from {', '.join(_FILTERS)}.")
        if not isinstance(self.grey, bool):
            raise InputError(f"grey={self.grey!r} is not known: give True for one grey channel, or False.")
        channels = 1 if self.grey else 3
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "mean", _per_channel("mean", self.mean, channels))
        object.__setattr__(self, "std", _per_channel("std", self.std, channels))
        if any(value > 1 for value in self._mean):
            raise InputError(
                f"mean={self.mean!r} is beyond 1, and pixels are in [0, 1] here: divide mean and std by 255 where they "
                "are of pixels 0 to 255."
            )
        if not all(np.float32(value) > 0 for value in self._std):
            raise InputError(f"std={self.std!r} has to be positive in every channel, also as a 32-bit number.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the tensor that a picture becomes."""
        return (len(self._mean), *self._size)

    def view(self, image: ImageSource) -> Image.Image:
        """Give the picture that the network sees, before normalisation.

        Parameters
        ----------
        image : path, PIL image, array or tensor
            Anything that :func:`rlrp_nb.load_image` reads.

        Returns
        -------
        PIL.Image.Image
            RGB, of exactly the network's height and width; grey pixels where the network sees grey.

        Raises
        ------
        InputError
            The picture cannot be read, or is so long and narrow that it would have to be enlarged beyond reason.
        """
        picture = load_image(image)
        if self.grey:
            picture = picture.convert("L")
        height, width = self._size
        new_width, new_height = self._resized(*picture.size)
        if new_width * new_height > max(MAX_PIXELS, picture.width * picture.height):
            raise InputError(
                f"the picture is {picture.width} x {picture.height} pixels, too long and narrow: made large enough for "
                f"the network it would be {new_width} x {new_height}. Crop it to the part that matters."
            )
        if (new_width, new_height) != picture.size:
            picture = picture.resize((new_width, new_height), _FILTERS[self.interpolation])
        left, top = round((new_width - width) / 2), round((new_height - height) / 2)
        return picture.crop((left, top, left + width, top + height)).convert("RGB")

    def __call__(self, image: ImageSource) -> torch.Tensor:
        """Turn a picture into the network's input.

        Parameters
        ----------
        image : path, PIL image, array or tensor
            Anything that :func:`rlrp_nb.load_image` reads.

        Returns
        -------
        torch.Tensor
            Shape (C, H, W), float32, on the CPU.

        Raises
        ------
        InputError
            The picture cannot be used; see :meth:`view`.
        """
        return self.normalise(self.view(image))

    def prepare(self, image: ImageSource) -> Prepared:
        """Turn a picture into the network's input and keep what it shows; the picture is read and resized once.

        Parameters
        ----------
        image : path, PIL image, array or tensor
            Anything that :func:`rlrp_nb.load_image` reads.

        Returns
        -------
        Prepared
            On the CPU.

        Raises
        ------
        InputError
            The picture cannot be used; see :meth:`view`.
        """
        view = self.view(image)
        return Prepared(self.normalise(view), torch.from_numpy(np.array(view)))

    def normalise(self, view: Image.Image) -> torch.Tensor:
        """Turn what :meth:`view` gave into the network's input.

        Parameters
        ----------
        view : PIL image
            Of the network's resolution.

        Returns
        -------
        torch.Tensor
            Shape (C, H, W), float32, on the CPU.

        Raises
        ------
        InputError
            The picture is of another size.
        """
        if view.size != self._size[::-1]:
            raise InputError(
                f"the picture is {view.width} x {view.height} pixels, and the network sees {self._size[1]} x "
                f"{self._size[0]}: call the Preprocess itself, which makes it fit, or take its view(picture)."
            )
        # a copy: torch wants memory that it may write to
        pixels = np.array(view.convert("L" if self.grey else "RGB"))
        tensor = torch.from_numpy(pixels.reshape(*self._size, -1)).permute(2, 0, 1).float() / 255
        mean, std = (
            torch.tensor(each, dtype=torch.float32, device="cpu")[:, None, None] for each in (self._mean, self._std)
        )
        return ((tensor - mean) / std).contiguous()

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing; never smaller than the crop."""
        if self.resize is not None:  # as torchvision: the longer side is rounded down
            shorter = min(width, height)
            return self.resize * width // shorter, self.resize * height // shorter
        crop_height, crop_width = self._size
        if width * crop_height >= height * crop_width:  # wider than the crop: the heights fit
            return width * crop_height // height, crop_height
        return crop_width, height * crop_width // width

    @property
    def _size(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def _mean(self) -> tuple[float, ...]:
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def _std(self) -> tuple[float, ...]:
        return self.std if isinstance(self.std, tuple) else (self.std,)


def _per_channel(name: str, value: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    given = value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value
    several = tuple(given) if isinstance(given, tuple | list) else (given,) * channels
    values = [each.item() if isinstance(each, np.generic) else each for each in several]
    largest = float(np.finfo(np.float32).max)  # NaN is not below it either
    if len(values) != channels or not all(isinstance(v, (int, float)) and abs(v) <= largest for v in values):
        raise InputError(
            f"{name}={value!r} has to be one finite number or {channels}, one for each channel, also as a 32-bit "
            "number."
        )
    return tuple(float(v) for v in values)
