"""Convolutions that look through few windows at a picture, as matrix products.

Each pixel of the output is the product of the weight and of what one window of the input shows. With these side by
side, a convolution is the product of two matrices, which oneDNN computes with the weight as it lies. For a convolution
it first copies the weight into an order of its own, which takes up to as long as the convolution itself where there are
few windows and many channels, as in the last layers of a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.engine.layout import channels_last, is_single

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW_PIXELS, _FEW_WINDOWS = 2**9, 2**6
"""Up to so many windows the copy of the weight is worth to be spared, if they are single pixels, and if they overlap,
so that what they show has to be written out."""
_LARGE = 2**18
"""From so many weights on, the copy takes longer than that writing."""


def is_product(signal: Tensor, weight: Tensor) -> bool:
    """Tell whether a convolution can be computed as a product of what lies in memory as it is.

    Parameters
    ----------
    signal
        Its input, or its output on the way back.
    weight
        ``(channels out, channels in, height, width)``.
    """
    return is_single(signal) and weight.dtype == signal.dtype and weight.is_contiguous() and _has_product()


@cache
def _has_product() -> bool:
    """Tell whether PyTorch has the op."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution, rows and columns in turn.

    Attributes
    ----------
    kernel, stride, padding, dilation
        Of the convolution.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Return how many windows a picture of a size has below and beside each other."""
        rows, columns = [room // stride + 1 for room, stride in zip(self._rooms(size), self.stride, strict=True)]
        return rows, columns

    def missing(self, size: Sequence[int]) -> list[int]:
        """Return how many rows and columns at the end of a picture of a size no window reaches, for lack of a next."""
        return [room % stride for room, stride in zip(self._rooms(size), self.stride, strict=True)]

    def _rooms(self, size: Sequence[int]) -> list[int]:
        """Return by how many rows and columns the first window of a picture of a size can move."""
        sides = zip(size, self.kernel, self.padding, self.dilation, strict=True)
        return [n + 2 * p - d * (k - 1) - 1 for n, k, p, d in sides]

    @cached_property
    def are_pixels(self) -> bool:
        """Whether each window shows one pixel of the picture."""
        return max(*self.kernel, *(p + 1 for p in self.padding)) == 1

    def serve(self, signal: Tensor, size: Sequence[int], weight: Tensor) -> bool:
        """Tell whether a convolution of pictures of a size is to be computed as a product.

        Parameters
        ----------
        signal
            Its input, or its output on the way back.
        size
            Height and width of its input.
        weight
            ``(channels out, channels in, *kernel)``.
        """
        return self.are_few(signal.shape[0], size, weight) and is_product(signal, weight)

    def are_few(self, samples: int, size: Sequence[int], weight: Tensor) -> bool:
        """Tell whether the convolution of pictures of a size is faster as a product."""
        if not self.are_pixels and weight.numel() < _LARGE:
            return False
        rows, columns = self.grid(size)
        return samples * rows * columns <= (_FEW_PIXELS if self.are_pixels else _FEW_WINDOWS)

    def convolve(self, signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of ``(B, channels in, H, W)``, with channels last."""
        rows, columns = self.grid(signal.shape[2:])
        if self.are_pixels:
            shown = channels_last(self._seen(signal)).permute(0, 2, 3, 1)
        else:
            shown = functional.unfold(signal, self.kernel, self.dilation, self.padding, self.stride).transpose(1, 2)
        matrix = weight.flatten(1)
        # the numbers of a bias are read one after the other, whatever its strides
        found = _product(shown.reshape(-1, matrix.shape[1]), matrix, None if bias is None else bias.contiguous())
        return found.view(signal.shape[0], rows, columns, matrix.shape[0]).permute(0, 3, 1, 2)

    def pull(self, s: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """Return the transpose of the convolution, with channels last.

        Parameters
        ----------
        s
            ``(B, channels out, H out, W out)``.
        size
            Height and width of the input.

        Returns
        -------
        Tensor
            ``(B, channels in, *size)``.
        """
        count, out, rows, columns = s.shape
        channels = weight.shape[1]
        shown = _product(channels_last(s).permute(0, 2, 3, 1).reshape(-1, out), weight.flatten(1).t(), None)
        if self.are_pixels and max(self.stride) == 1:
            return shown.view(count, rows, columns, channels).permute(0, 3, 1, 2)
        by_place = shown.view(count, rows, columns, channels, *self.kernel)
        whole = s.new_zeros(count, *size, channels)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                (seen, pixels), (seen_across, pixels_across) = (
                    self._reach(0, i, rows, size),
                    self._reach(1, j, columns, size),
                )
                whole[:, pixels, pixels_across] += by_place[:, seen, seen_across, :, i, j]
        return whole.permute(0, 3, 1, 2)

    def _seen(self, signal: Tensor) -> Tensor:
        """Return the pixels that windows of one pixel show."""
        return signal if max(self.stride) == 1 else signal[..., :: self.stride[0], :: self.stride[1]]

    def _reach(self, axis: int, place: int, count: int, size: Sequence[int]) -> tuple[slice, slice]:
        """Return which windows show a pixel at one place of theirs, not padding, and which pixels these are."""
        stride, shift = self.stride[axis], place * self.dilation[axis] - self.padding[axis]
        first = max(0, -(shift // stride))
        end = max(first, min(count, (size[axis] - 1 - shift) // stride + 1))
        start = first * stride + shift
        return slice(first, end), slice(start, start + (end - first) * stride, stride)


def _product(rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``rows matrix^T + bias``."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, matrix, bias, "none", [], "")  # noqa: SLF001 - see above
    return found
