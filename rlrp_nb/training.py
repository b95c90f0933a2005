"""A small, deterministic training loop for image classifiers, with a progress bar."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import UninitializedParameter, functional
from torch.nn.modules.batchnorm import _BatchNorm  # what PyTorch's own code calls the common class
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from rlrp_nb.checks import LARGEST_SEED, check_tensors, check_whole
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.subject import answer, check_evaluating, check_network, taking
from rlrp_nb.stream import Stream

Augment: TypeAlias = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


_FITTING = "Give images of the shape that it was made for, and batches of two or more if it has a batch-norm."


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave, measured while the network was learning from them."""

    loss: float
    accuracy: float


def fit(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
    augment: Augment | None = None,
    seed: int = 0,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> tuple[Epoch, ...]:
    """Train a classifier with AdamW, a one-cycle learning rate and cross-entropy.

    Everything random depends on `seed` alone, so the same network, images and seed give the
    same weights on the same machine. The global random state is left alone.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (B, C, H, W) to logits (B, classes). Trained in place, and in eval mode afterwards, also after an error.
        A batch-norm none of whose weights requires a gradient keeps its statistics too.
    images : torch.Tensor
        Shape (N, C, H, W), floating point, already preprocessed.
    labels : torch.Tensor
        Shape (N,), int64 class indices.
    epochs : int
        How often every image is seen.
    batch_size : int
        Images per step. A last batch of one image alone joins the one before, since batch-norm needs two.
    learning_rate : float
        The highest one of the cycle.
    weight_decay : float
        AdamW's.
    augment : callable, optional
        Called with each batch (B, C, H, W) and a seeded generator of random numbers; returns the batch to learn from.
        See :func:`jitter`.
    seed : int
        Of the order, the augmentation and any dropout.
    on_epoch : callable, optional
        Called with each epoch's result as soon as it is there, to show it. It may put the network into eval mode, to
        measure or to explain it.

    Returns
    -------
    tuple of Epoch
        Mean loss and accuracy of every epoch, in order.

    Raises
    ------
    InputError
        The images and labels do not belong together, an image holds NaN or infinite values or has another dtype than
        the network, a label is no class of the network, or a number is out of range. Nothing is trained then.
        Or `augment` returns no batch of finite values, or the loss or a gradient is not finite; the network is left as
        it was before that step.
    UnsupportedNetworkError
        The network has no weight that can learn, or none that its logits depend on, it overwrites what its gradient
        needs, or it returns no logits (B, classes), in training mode too.
    """
    _check(images, labels)
    check_network(network)
    epochs, batch_size = check_whole(1, epochs=epochs, batch_size=batch_size)
    (seed,) = check_whole(0, LARGEST_SEED, seed=seed)
    _check_called(augment, on_epoch)
    rate, decay = _rates(learning_rate=learning_rate, weight_decay=weight_decay)
    device = _learning(network, images).device
    generator = torch.Generator().manual_seed(seed)
    images, labels = images.detach().to(device), labels.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * len(_batches(torch.arange(len(images), device="cpu"), batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    history: list[Epoch] = []
    asked = False
    drawn = Stream(seed)  # by dropout, if the network has any
    try:
        with _differentiating(), tqdm(total=steps, desc="training", unit="batch") as bar:
            for _ in range(epochs):
                _set_learning(network)  # each time, since whoever was shown an epoch may have looked at it in eval mode
                loss_sum, correct = 0.0, 0
                for batch in _batches(torch.randperm(len(images), generator=generator, device="cpu"), batch_size):
                    with drawn:
                        chosen = batch.to(device)
                        inputs = images[chosen] if augment is None else _augmented(augment, images[chosen], generator)
                        if not asked:  # only now, since the network may take what `augment` returns and nothing else
                            _check_classes(network, inputs[:1], labels)
                            asked = True
                        with _kept(network):
                            with taking(inputs, _FITTING):
                                logits = network(inputs)
                            _check_logits(logits, len(inputs), labels[chosen], 0)
                            loss = functional.cross_entropy(logits, labels[chosen])
                            optimizer.zero_grad(set_to_none=True)
                            _differentiate(loss, network)
                            _check_finite(loss, network, len(history) + 1)
                        optimizer.step()
                        schedule.step()
                        loss_sum += loss.item() * len(batch)
                        correct += int((logits.argmax(dim=1) == labels[chosen]).sum())
                    bar.update()
                history.append(Epoch(loss_sum / len(images), correct / len(images)))
                bar.set_postfix(loss=f"{history[-1].loss:.4f}", accuracy=f"{history[-1].accuracy:.2%}")
                if on_epoch is not None:
                    on_epoch(history[-1])  # which draws from the caller's own numbers, and may wait for other threads
    finally:
        network.eval()
        for parameter in network.parameters():
            parameter.grad = None
    return tuple(history)


def _check_called(augment: Augment | None, on_epoch: Callable[[Epoch], object] | None) -> None:
    for name, called in (("augment", augment), ("on_epoch", on_epoch)):
        if called is not None and not callable(called):
            raise InputError(f"{name} is a {type(called).__name__}; accepted is a function, or None.")
    if on_epoch is not None and not _takes(on_epoch, 1):
        raise InputError(
            "on_epoch is called with the result of an epoch, and takes no single argument: write lambda epoch: ..."
        )
    if augment is not None and not _takes(augment, 2):
        raise InputError(
            "augment is called with a batch and a generator of random numbers, and takes no two arguments: write "
            "lambda images, generator: transform(images)."
        )


def _takes(function: Callable[..., object], count: int) -> bool:
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        with suppress(ValueError):  # a function in C has no signature
            inspect.signature(called).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _augmented(augment: Augment, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return what `augment` makes of a batch, if it is one."""
    inputs = augment(images, generator)
    if not isinstance(inputs, torch.Tensor) or inputs.dim() == 0 or len(inputs) != len(images):
        given = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else type(inputs).__name__
        raise InputError(
            f"augment returned {given} for a batch {tuple(images.shape)}; accepted is a tensor ({len(images)}, ...)."
        )
    if inputs.dtype != images.dtype:
        raise InputError(f"augment returned {inputs.dtype} for images of {images.dtype}; accepted is the same.")
    if not bool(torch.isfinite(inputs).all()):
        raise InputError("augment returned NaN or infinite values; accepted is a batch of finite ones.")
    return inputs


_LARGEST = 1e30  # far below the largest that float32 has
_ADVICE = {
    "modified by an inplace operation": (
        "It overwrites what its gradient needs, as x.sigmoid() followed by x += 1 does: write x = x + 1 instead."
    ),
    "backward through the graph a second time": (
        "It keeps what was computed with gradients from one batch to the next, or from its making: keep it by "
        "detach(), or compute it anew in forward."
    ),
}
"""What to do about what PyTorch says of a gradient."""


@contextmanager
def _differentiating() -> Iterator[None]:
    """Let gradients be computed, whatever mode the caller is in."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


class _Buffers:
    """The buffers of a network as they are now, such as a batch-norm's statistics."""

    def __init__(self, network: nn.Module) -> None:
        self._held = [
            (module, name, buffer, None if buffer is None else buffer.clone())
            for module in network.modules()
            for name, buffer in module._buffers.items()  # noqa: SLF001 - under each of its names, and where it is None
        ]

    def put_back(self) -> None:
        """Make them what they were, also where the network has put others in their place."""
        with torch.no_grad():
            for module, name, buffer, value in self._held:
                # one that nobody can write into, such as an expanded one, has not changed
                if buffer is not None and value is not None and not torch.equal(buffer, value):
                    buffer.copy_(value)
                setattr(module, name, buffer)


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """Put the buffers back to what they were if a step fails."""
    before = _Buffers(network)
    try:
        yield
    except BaseException:
        before.put_back()
        raise


def _differentiate(loss: torch.Tensor, network: nn.Module) -> None:
    """Give the weights their gradients, or say why they get none."""
    if not loss.requires_grad:
        learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        raise UnsupportedNetworkError(
            f"what {type(network).__name__} returns depends on no weight that can learn ({shortlist(learning)}), so "
            "that nothing is learned: let its forward use them, without torch.no_grad() and detach(), or call "
            "requires_grad_() on the layers that it uses."
        )
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        said = str(error).partition("\n")[0]
        advice = next(
            (advice for part, advice in _ADVICE.items() if part in said), "Look for what it does to gradients."
        )
        raise UnsupportedNetworkError(
            f"the gradient of {type(network).__name__} cannot be computed ({type(error).__name__}: {said}). {advice}"
        ) from error


def _check_finite(loss: torch.Tensor, network: nn.Module, epoch: int) -> None:
    """Refuse to learn from a loss, or from gradients, that are not finite."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    what = (
        f"the loss is {loss.item()}"
        if not bool(torch.isfinite(loss.detach()))
        else "a gradient is not finite"
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        else ""
    )
    if what:
        raise InputError(
            f"{what} in epoch {epoch}, from which nothing can be learned: give a lower learning_rate, or look for what "
            "the network divides by."
        )


@torch.no_grad()
def measure_accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, batch_size: int = 250) -> float:
    """Share of images that a network in eval mode classifies as their label says.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (B, C, H, W) to logits (B, classes).
    images : torch.Tensor
        Shape (N, C, H, W).
    labels : torch.Tensor
        Shape (N,), int64.
    batch_size : int
        Images per step.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        The images and labels do not belong together, an image holds NaN or infinite values, or `batch_size` is no
        positive integer.
    UnsupportedNetworkError
        A part of the network is in training mode, or it returns no finite logits (B, classes).
    """
    _check(images, labels)
    (batch_size,) = check_whole(1, batch_size=batch_size)
    check_evaluating(network)
    weight = next(network.parameters(), images)
    _check_dtype(images, weight)
    hits = 0
    for start in range(0, len(images), batch_size):
        chosen = slice(start, start + batch_size)
        logits = answer(network, images[chosen].to(weight.device))
        _check_logits(logits, len(labels[chosen]), labels[chosen], start)
        if not bool(logits.isfinite().all()):
            last = start + len(logits) - 1
            raise UnsupportedNetworkError(
                f"the network returns NaN or infinite logits for an image of {start} to {last}: they name no class. "
                "Check its weights."
            )
        hits += int((logits.argmax(dim=1) == labels[chosen].to(logits.device)).sum())
    return hits / len(images)


def jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, scale and shift every image a little: by up to 10 degrees, 10 % and 7 % of its side.

    Parameters
    ----------
    images : torch.Tensor
        Shape (B, C, H, W), floating point; what comes in at the borders is 0.
    generator : torch.Generator
        Where the random numbers come from; on the CPU.

    Returns
    -------
    torch.Tensor
        Shape (B, C, H, W).

    Raises
    ------
    InputError
        The images are no floating-point (B, C, H, W).
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.is_floating_point():  # noqa: PLR2004
        given = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise InputError(f"images are {given}; accepted is a floating-point tensor (B, C, H, W).")
    drawn = torch.rand(4, len(images), generator=generator, device="cpu", dtype=torch.float32)
    turn, scale, right, down = (drawn * 2 - 1).to(images)
    angle, scale = turn * math.radians(10), 1 + scale * 0.1
    height, width = images.shape[2:]
    # the grid runs from -1 to 1 along either side, so a shift of 0.14 is 7 % of it
    rows = [
        scale * angle.cos(),
        -scale * angle.sin() * (height / width),
        right * 0.14,
        scale * angle.sin() * (width / height),
        scale * angle.cos(),
        down * 0.14,
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _check(images: torch.Tensor, labels: torch.Tensor) -> None:
    check_tensors(images=images, labels=labels)
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:  # noqa: PLR2004 - (N, C, H, W)
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: give at least one, (N, C, H, W), float."
        )
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise InputError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: give one int64 class index for each "
            f"of the {len(images)} images."
        )
    wrong = (~images.isfinite()).flatten(1).any(1)
    if bool(wrong.any()):
        raise InputError(
            f"image {int(wrong.nonzero()[0])} holds NaN or infinite values, which would make every weight NaN: give "
            "finite ones."
        )


def _rates(**given: float) -> tuple[float, ...]:
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= _LARGEST:
            raise InputError(f"{name}={value!r} has to be a number from 0 to {_LARGEST:g}.")
    return tuple(map(float, given.values()))


def _batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Cut an order into batches, of which the last is larger rather than a single image."""
    batches: list[torch.Tensor] = [*order.split(size)]  # type: ignore[no-untyped-call]
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _set_learning(network: nn.Module) -> None:
    """Put a network into training mode, but for frozen batch-norms."""
    network.train()
    for module in network.modules():
        weights = [*module.parameters(recurse=False)]
        if isinstance(module, _BatchNorm) and weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _learning(network: nn.Module, images: torch.Tensor) -> nn.Parameter:
    """Return the first weight that can learn, or refuse a network without one or of another dtype than the images."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not weights:
        raise UnsupportedNetworkError(
            f"{type(network).__name__} has no weight that requires a gradient, so that none can learn: call "
            "requires_grad_() on the network, or on the layers that are to learn."
        )
    weight = weights[0]
    if any(isinstance(parameter, UninitializedParameter) for parameter in weights):
        raise UnsupportedNetworkError(
            f"{type(network).__name__} has a lazy layer whose weights are not made yet: run it on one image first."
        )
    if weight.is_inference():
        raise UnsupportedNetworkError(
            f"{type(network).__name__} was made under torch.inference_mode, so that it cannot learn: make it outside."
        )
    _check_dtype(images, weight)
    return weight


def _check_dtype(images: torch.Tensor, weight: torch.Tensor) -> None:
    if weight.is_meta:
        raise UnsupportedNetworkError(
            "the network is on the meta device, which keeps no numbers: load its weights, or call "
            "network.to_empty(device='cpu') and let it learn."
        )
    if weight.dtype != images.dtype:
        raise InputError(f"images are {images.dtype}, the network is {weight.dtype}: use images.to({weight.dtype}).")


def _check_classes(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Ask a network in training mode for the number of its classes, by one image and without changing it."""
    network.eval()
    before = _Buffers(network)
    with Stream(0):
        logits = answer(network, inputs)
    before.put_back()
    _set_learning(network)
    _check_logits(logits, len(inputs), labels, 0)


def _check_logits(logits: object, count: int, labels: torch.Tensor, first: int) -> None:
    """Refuse what is no logits of so many images, and labels, from that of image `first` on, that are no class."""
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != count:  # noqa: PLR2004 - (B, classes)
        returned = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        images = f"{count} image{'s' * (count != 1)}"
        raise UnsupportedNetworkError(f"the network returns {returned} for {images}; accepted are logits (B, classes).")
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if bool(wrong.any()):
        image = int(wrong.nonzero()[0])
        raise InputError(
            f"label {int(labels[image])} of image {first + image} is no class of this network; accepted is 0 to "
            f"{logits.shape[1] - 1}."
        )
