"""What methods are compared on: images as the network gets them, the classes asked for, and where the truth is.

Images are read batch by batch, once to look at them and once to explain them, so that many need no more memory than a
few.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Container, Iterable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rlrp_nb.checks import is_whole
from rlrp_nb.engine.snapshot import check_mode, unwrap
from rlrp_nb.engine.storage import bytes_of
from rlrp_nb.engine.targets import check_unmasked, tensor_of
from rlrp_nb.errors import InputError, RlrpError
from rlrp_nb.evaluation.attribute import check_alone
from rlrp_nb.evaluation.domain import Range
from rlrp_nb.evaluation.identity import identity_of_network
from rlrp_nb.evaluation.subject import check_evaluating, logits_of

if TYPE_CHECKING:
    from rlrp_nb.models.classifier import Classifier

_PLANE = 2
_CHANNELS_PLANE = 3
_CHANNELS = (1, 3, 4)  # of a picture
_INTEGER_BITS = 64  # of int64, its sign among them


@dataclass(frozen=True, eq=False)
class Cases:
    """Images, targets and masks, checked.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    name : str
        Of the network.
    load : callable
        From the position of an image to its input ``(C, H, W)``.
    marks : dict of int to int
        Checksum of each input as it was when all were looked at.
    blank : Tensor
        A single 0 of the inputs' dtype and device.
    count : int
        How many images there are, broken ones included.
    shape : tuple of int
        ``(C, H, W)`` of every input.
    targets : Tensor
        int64 ``(count,)``: the class to explain, -1 for a broken image.
    masks : Tensor or None
        bool ``(count, H, W)``.
    broken : dict of int to str
        Images that cannot be used, and why.
    domain : Range
        Of the network's input.
    fingerprint : dict of str to str
        Digests of network, images, targets, masks and domain.
    """

    network: nn.Module
    name: str
    load: Callable[[int], Tensor]
    marks: dict[int, int]
    blank: Tensor
    count: int
    shape: tuple[int, int, int]
    targets: Tensor
    masks: Tensor | None
    broken: dict[int, str]
    domain: Range
    fingerprint: dict[str, str]

    def batches(self, size: int) -> list[list[int]]:
        """Return the positions of the images that can be used, in batches."""
        good = [position for position in range(self.count) if position not in self.broken]
        return [good[start : start + size] for start in range(0, len(good), size)]

    def inputs(self, positions: list[int]) -> tuple[Tensor, dict[int, str]]:
        """Return the inputs at these positions, ``(B, C, H, W)``.

        One that can no longer be read, or is another by now, is zeros. The reason is returned too, by its place.
        """
        found, reasons = torch.zeros_like(self.blank.expand(len(positions), *self.shape)), {}
        for place, position in enumerate(positions):
            try:
                one = self.load(position)
            except RlrpError as error:
                reasons[place] = str(error)
                continue
            if zlib.crc32(bytes_of(one)) == self.marks[position]:
                found[place] = one
            else:
                reasons[place] = "it is another than when the comparison began: its file or its preprocessing changed."
        return found, reasons


def take_in(
    model: nn.Module | Classifier,
    images: Any,  # noqa: ANN401 - see below
    targets: Any = None,  # noqa: ANN401 - see below
    masks: Any = None,  # noqa: ANN401 - see below
    *,
    batch: int = 16,
) -> Cases:
    """Check everything that is compared on, before any of it is explained.

    Parameters
    ----------
    model : nn.Module or Classifier
        A network that returns logits ``(B, classes)``, or a classifier from ``load_model``.
    images : Tensor or sequence
        For a network a floating-point tensor ``(N, C, H, W)``, or a list of ``(C, H, W)``. For a classifier also
        pictures: paths, PIL images or arrays, of any sizes.
    targets : int, sequence of int or Tensor, optional
        One class for all images or one for each; None takes the most probable class of each.
    masks : Tensor, array or sequence, optional
        bool ``(N, H, W)`` at the network's resolution: where the object is.
    batch : int
        How many images the network is given at once.

    Raises
    ------
    InputError
        There are no images or none that can be used, they do not stack, or targets or masks do not fit them.
    UnsupportedNetworkError
        The network is in training mode, or does not return logits ``(B, classes)``.
    """
    if isinstance(model, nn.Module) or not hasattr(model, "preprocess"):
        network, name, preprocess = unwrap(model), type(unwrap(model)).__name__, None
    else:
        network, name, preprocess = unwrap(model.network), model.name, model.preprocess
    check_mode(network)
    check_evaluating(network)
    place = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0, device="cpu"))
    count, load = _loader(images, preprocess, place)
    wanted = _targets(targets, count)
    seen = _Seen(count)
    for start in range(0, count, batch):
        inputs = _readable(load, range(start, min(start + batch, count)), seen)
        if inputs:
            seen.take(inputs, logits_of(network, torch.stack(list(inputs.values()))).cpu())
    if len(seen.broken) == count:
        raise InputError(f"none of the {count} images can be used. Image 0: {seen.broken[0]}")
    if batch > 1:
        check_alone(network, seen.last)
    chosen = seen.predicted if wanted is None else torch.where(seen.predicted >= 0, wanted, -1)
    outside = [k for k in range(count) if k not in seen.broken and not 0 <= chosen[k] < seen.classes]
    if outside:
        raise InputError(
            f"target {int(chosen[outside[0]])} of image {outside[0]} is no class of this network: accepted is 0 to "
            f"{seen.classes - 1}."
        )
    truth = None if masks is None else _masks(masks, (count, *seen.shape[1:]), seen.broken)
    domain = Range(seen.low.cpu(), seen.high.cpu())
    if preprocess is not None:
        mean, std = (
            torch.tensor(getattr(preprocess, part), dtype=torch.float32, device="cpu") for part in ("mean", "std")
        )
        domain = Range((0 - mean) / std, (1 - mean) / std)
    fingerprint = {
        "network": f"{name} {identity_of_network(network, seen.last)}",
        "images": f"{count} of shape {seen.shape}, {seen.digest.hexdigest()[:16]}",
        "targets": hashlib.sha256(bytes_of(chosen)).hexdigest()[:16],
        "masks": "none" if truth is None else hashlib.sha256(bytes_of(truth)).hexdigest()[:16],
        "range of the input": hashlib.sha256(bytes_of(torch.stack([domain.low, domain.high]))).hexdigest()[:16],
    }
    blank = torch.zeros((), dtype=place.dtype, device=place.device)
    return Cases(
        network, name, load, seen.marks, blank, count, seen.shape, chosen, truth, seen.broken, domain, fingerprint
    )


class _Seen:
    """What is learnt from looking at all images once."""

    def __init__(self, count: int) -> None:
        self.predicted = torch.full((count,), -1, dtype=torch.int64, device="cpu")
        self.broken: dict[int, str] = {}
        self.digest = hashlib.sha256()
        self.marks: dict[int, int] = {}
        self.first = -1
        self.shape = (0, 0, 0)
        self.low = self.high = self.last = torch.empty(0, device="cpu")
        self.classes = 0

    def look(self, position: int, one: Tensor) -> None:
        """Take the pixels of one image in."""
        channels, height, width = one.shape
        if self.first < 0:
            self.first, self.shape = position, (channels, height, width)
            self.low = self.high = one[:, 0, 0]
        if (channels, height, width) != self.shape:
            raise _ShapeError(
                f"image {position} has shape {tuple(one.shape)}, image {self.first} has {self.shape}: bring them to "
                "one size, or give a Classifier with pictures, which its preprocessing makes fit."
            )
        ends = one.flatten(1).aminmax(dim=1)
        self.low, self.high = self.low.minimum(ends.min), self.high.maximum(ends.max)
        content = bytes_of(one)
        self.digest.update(content)
        self.marks[position] = zlib.crc32(content)

    def take(self, inputs: dict[int, Tensor], logits: Tensor) -> None:
        """Take the logits of a batch in."""
        self.classes = logits.shape[1]
        self.last = torch.stack([*inputs.values()])
        for position, row in zip(inputs, logits, strict=True):
            if bool(row.isfinite().all()):
                self.predicted[position] = row.argmax()
            else:
                self.broken[position] = "the network's logits for it are NaN or infinite."


class _ShapeError(InputError):
    """Images that do not stack: no single one of them is broken."""


def _readable(load: Callable[[int], Tensor], positions: Iterable[int], seen: _Seen) -> dict[int, Tensor]:
    """Return the inputs at these positions but those that cannot be used, which are noted."""
    inputs = {}
    for position in positions:
        try:
            one = load(position)
            if not bool(one.isfinite().all()):
                raise InputError("it holds NaN or infinite values: every pixel has to be a finite number.")
            seen.look(position, one)
        except _ShapeError:
            raise
        except RlrpError as error:
            seen.broken[position] = str(error)
            seen.digest.update(b"broken")
            continue
        inputs[position] = one
    return inputs


def _loader(images: Any, preprocess: Any, place: Tensor) -> tuple[int, Callable[[int], Tensor]]:  # noqa: ANN401
    """Return how many images there are, and the function that gives one of them as an input."""
    if isinstance(images, Tensor) and images.dim() == _CHANNELS_PLANE + 1 and images.is_floating_point():
        items: Any = images.detach()
        picture = False
    elif isinstance(images, str | bytes) or not isinstance(images, Iterable) or not isinstance(images, Sized):
        raise InputError(
            f"images is a {type(images).__name__}: give a list of pictures, or a floating-point tensor (N, C, H, W)."
        )
    else:
        items = list(images)
        picture = preprocess is not None
        if picture and _is_one_picture(images):
            raise InputError(
                f"images is a {type(images).__name__} that looks like one picture, not like several: give [picture] "
                "for one, and list(pictures) for several grey ones."
            )
    if len(items) == 0:
        raise InputError("images is empty: give at least one, and some hundred for narrow intervals.")
    if not picture:
        for position, item in enumerate(items):
            if not _is_plain(item) or not item.is_floating_point() or item.dim() != _CHANNELS_PLANE or not item.numel():
                is_tensor = isinstance(item, Tensor)
                kind = "" if not is_tensor or _is_plain(item) else f", {item.device.type} and {item.layout}"
                given = f"{item.dtype} {tuple(item.shape)}{kind}" if is_tensor else f"a {type(item).__name__}"
                raise InputError(
                    f"image {position} is {given}, and the model is a bare network: give floating-point tensors "
                    "(C, H, W) prepared as in its training, or a Classifier from rlrp_nb.load_model."
                )

    def load(position: int) -> Tensor:
        one: Tensor = preprocess(items[position]) if picture else items[position]
        return one.detach().to(place.device, place.dtype)

    return len(items), load


def _is_one_picture(images: object) -> bool:
    """Tell one picture, whose rows or channels would be taken for pictures, from several grey ones."""
    shape = tuple(images.shape) if isinstance(images, Tensor | np.ndarray) else ()
    if len(shape) == _CHANNELS_PLANE:
        return shape[0 if isinstance(images, Tensor) else -1] in _CHANNELS
    return len(shape) == _PLANE


def _is_plain(value: object) -> bool:
    """Tell a tensor whose numbers are all there from one on the meta device, a sparse one, and what is no tensor."""
    return isinstance(value, Tensor) and not value.is_meta and value.layout == torch.strided


def _targets(targets: Any, count: int) -> Tensor | None:  # noqa: ANN401 - as in take_in
    if targets is None:
        return None
    if is_whole(targets):
        targets = int(targets)
        if targets.bit_length() >= _INTEGER_BITS:
            raise InputError(f"target {targets} is no class of any network: its number is too large.")
        return torch.full((count,), targets, dtype=torch.int64, device="cpu")
    check_unmasked(targets, "targets")
    try:
        wanted = tensor_of(targets)
    except (TypeError, ValueError, RuntimeError):
        wanted = torch.empty(0, device="cpu")
    if tuple(wanted.shape) != (count,) or wanted.dtype not in {torch.int64, torch.int32, torch.int16, torch.uint8}:
        raise InputError(
            f"targets is {type(targets).__name__} of shape {tuple(wanted.shape)}: give a class for all images, or "
            f"{count} integers, one for each."
        )
    return wanted.to("cpu", torch.int64)


def _masks(masks: Any, shape: tuple[int, ...], broken: Container[int]) -> Tensor:  # noqa: ANN401 - as in take_in
    if isinstance(masks, Iterable) and not isinstance(masks, Tensor):
        masks = [*masks]
        for position, mask in enumerate(masks):
            check_unmasked(mask, f"mask {position}")
    try:
        items = (
            masks if isinstance(masks, Tensor) else torch.stack([torch.as_tensor(mask, device="cpu") for mask in masks])
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"masks do not stack ({error}): give bool {shape}.") from error
    if tuple(items.shape) != shape or items.dtype != torch.bool or not _is_plain(items):
        raise InputError(
            f"masks are {items.dtype} of shape {tuple(items.shape)}, {items.device.type} and {items.layout}: for these "
            f"images they have to be bool {shape} with values, at the resolution of the network's input."
        )
    empty = [k for k in (~items.flatten(1).any(1)).nonzero().flatten().tolist() if k not in broken]
    if empty:
        raise InputError(f"mask {empty[0]} has no true pixel: leave out images without an object.")
    return items.cpu()
