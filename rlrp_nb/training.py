"""A small, deterministic training loop for image classifiers, with a progress bar."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.faithfulness import check_evaluating

Augment: TypeAlias = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


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
    images : torch.Tensor
        Shape (N, C, H, W), floating point, already preprocessed.
    labels : torch.Tensor
        Shape (N,), int64 class indices.
    epochs : int
        How often every image is seen.
    batch_size : int
        Images per step.
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
        Called with each epoch's result as soon as it is there, to show it.

    Returns
    -------
    tuple of Epoch
        Mean loss and accuracy of every epoch, in order.

    Raises
    ------
    InputError
        The images and labels do not belong together, or a number is out of range.
    """
    _check(images, labels, epochs, batch_size)
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    images, labels = images.to(device), labels.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps)
    history: list[Epoch] = []
    network.train()
    try:
        with torch.random.fork_rng(), tqdm(total=steps, desc="training", unit="batch") as bar:
            torch.manual_seed(seed)  # dropout, if the network has any
            for _ in range(epochs):
                loss_sum, correct = 0.0, 0
                for batch in torch.randperm(len(images), generator=generator).split(batch_size):  # type: ignore[no-untyped-call]
                    chosen = batch.to(device)
                    inputs = images[chosen] if augment is None else augment(images[chosen], generator)
                    logits = network(inputs)
                    loss = functional.cross_entropy(logits, labels[chosen])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                    loss_sum += loss.item() * len(batch)
                    correct += int((logits.argmax(dim=1) == labels[chosen]).sum())
                    bar.update()
                history.append(Epoch(loss_sum / len(images), correct / len(images)))
                bar.set_postfix(loss=f"{history[-1].loss:.4f}", accuracy=f"{history[-1].accuracy:.2%}")
                if on_epoch is not None:
                    on_epoch(history[-1])
    finally:
        network.eval()
        for parameter in network.parameters():
            parameter.grad = None
    return tuple(history)


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
        The images and labels do not belong together.
    UnsupportedNetworkError
        A part of the network is in training mode.
    """
    _check(images, labels, 1, batch_size)
    check_evaluating(network)
    device = next(network.parameters()).device
    hits = 0
    for start in range(0, len(images), batch_size):
        chosen = slice(start, start + batch_size)
        hits += int((network(images[chosen].to(device)).argmax(dim=1) == labels[chosen].to(device)).sum())
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
    """
    turn, scale, right, down = (torch.rand(4, len(images), generator=generator) * 2 - 1).to(images)
    angle, scale = turn * math.radians(10), 1 + scale * 0.1
    # the grid runs from -1 to 1, so a shift of 0.14 is 7 % of a side
    rows = [
        scale * angle.cos(),
        -scale * angle.sin(),
        right * 0.14,
        scale * angle.sin(),
        scale * angle.cos(),
        down * 0.14,
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _check(images: torch.Tensor, labels: torch.Tensor, epochs: int, batch_size: int) -> None:
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:  # noqa: PLR2004 - (N, C, H, W)
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: give at least one, (N, C, H, W), float."
        )
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise InputError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: give one int64 class index for each "
            f"of the {len(images)} images."
        )
    if epochs < 1 or batch_size < 1:
        raise InputError(f"epochs={epochs} and batch_size={batch_size} have to be at least 1.")
