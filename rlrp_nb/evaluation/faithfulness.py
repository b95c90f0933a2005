"""Faithfulness by pixel flipping: how far the score falls when what a heatmap calls important is taken away.

Patches of the input are replaced by a fill, step by step, and the network is asked again after each step. Once the most
relevant patches go first (MoRF), once the least relevant ones (LeRF). With ``f_0`` the score of the whole input and
``f_k`` the score after step ``k`` of ``L``:

- ``AOPC = 1 / (L + 1) * sum_k (f_0 - f_k)`` along MoRF, the area over the perturbation curve (Samek, Binder, Montavon,
  Lapuschkin and Müller, "Evaluating the visualization of what a deep neural network has learned", 2017);
- ``ABPC = 1 / (L + 1) * sum_k (f_k in LeRF - f_k in MoRF)``, the area between the two curves, also called symmetric
  relevance gain (Blücher, Vielhaben and Strodthoff, "Decoupling pixel flipping and occlusion strategy for consistent
  XAI benchmarks", 2024).

Both grow with faithfulness, and a random order has an ABPC of 0 on average. Pixel flipping itself is by Bach et al.,
"On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation", 2015.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.errors import InputError, UnsupportedNetworkError

if TYPE_CHECKING:
    from torch import nn

Score: TypeAlias = Literal["probability", "logit"]

_SIGMA = 20 / 224  # of the longer side; the usual blur of ImageNet pictures
_REACH = 1.25  # the kernel ends at so many standard deviations: 51 pixels for a picture of 224
_BATCH_CHANNELS_PLANE = 4


@dataclass(frozen=True)
class Flipping:
    """Scores along both orders of flipping.

    Parameters
    ----------
    morf, lerf : Tensor
        ``(B, L + 1)``, float32 or better: the score before the first step and after each of L steps, most relevant
        first and least relevant first. Both begin with the whole input and end with the whole fill.
    """

    morf: Tensor
    lerf: Tensor

    @property
    def aopc(self) -> Tensor:
        """Area over the MoRF curve, ``(B,)``."""
        return (self.morf[:, :1] - self.morf).mean(1)

    @property
    def abpc(self) -> Tensor:
        """Area between the LeRF and the MoRF curve, ``(B,)``."""
        return (self.lerf - self.morf).mean(1)


def flip(
    network: nn.Module,
    inputs: Tensor,
    heatmaps: Tensor,
    targets: Tensor,
    *,
    patch: int = 16,
    per_step: int = 1,
    fill: Tensor | None = None,
    score: Score = "probability",
    batch: int = 64,
) -> Flipping:
    """Flip the patches of inputs in the order of their heatmaps, and in the opposite order.

    Parameters
    ----------
    network : nn.Module
        In eval mode; returns logits ``(B, classes)``.
    inputs : Tensor
        Floating-point ``(B, C, H, W)``, of the network's dtype and device.
    heatmaps : Tensor
        Real ``(B, H, W)``. A patch is as relevant as the mean of its pixels; of equal patches the upper left one is
        the more relevant.
    targets : Tensor
        int64 ``(B,)``: the class whose score is followed.
    patch : int
        Side of a patch in pixels; 1 flips pixels. Patches at the right and lower edge can be smaller.
    per_step : int
        Patches flipped at once; the last step takes what is left.
    fill : Tensor, optional
        What replaces a patch: anything that can be broadcast to the inputs. None takes the inputs blurred.
    score : {"probability", "logit"}
        The softmax of the logits, or the logits as they are.
    batch : int
        How many inputs the network is given at once, steps and samples together.

    Returns
    -------
    Flipping
        With ``L = ceil(patches / per_step)`` steps.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit each other, or the network answers with NaN or infinity.
    UnsupportedNetworkError
        The network is in training mode.
    """
    _check(network, inputs, heatmaps, targets)
    _check_options(patch, per_step, score, batch)
    filled = _filled(inputs, fill)
    ranks = patch_ranks(heatmaps.to(inputs.device), patch)
    count = math.ceil(inputs.shape[2] / patch) * math.ceil(inputs.shape[3] / patch)
    steps = math.ceil(count / per_step)
    # A state is a half-open interval of ranks that are flipped. The ends of both curves are the same two states.
    flipped = [min(step * per_step, count) for step in range(steps + 1)]
    states = [(0, many) for many in flipped] + [(count - many, count) for many in flipped[1:-1]]
    jobs = [(sample, *state) for sample in range(len(inputs)) for state in states]
    scores = torch.cat(
        [
            _scores(
                network, inputs, filled, ranks, torch.tensor(jobs[start : start + batch]), targets=targets, score=score
            )
            for start in range(0, len(jobs), batch)
        ]
    ).reshape(len(inputs), len(states))
    if not scores.isfinite().all():
        sample = int((~scores.isfinite()).any(1).nonzero()[0])
        raise InputError(f"the network's score for input {sample} is NaN or infinite: look at its weights and inputs.")
    morf = scores[:, : steps + 1]
    return Flipping(morf=morf, lerf=torch.cat([morf[:, :1], scores[:, steps + 1 :], morf[:, -1:]], dim=1))


def patch_ranks(heatmaps: Tensor, patch: int) -> Tensor:
    """Rank the patches of heatmaps, the most relevant first.

    Parameters
    ----------
    heatmaps : Tensor
        Real ``(B, H, W)``.
    patch : int
        Side of a patch in pixels.

    Returns
    -------
    Tensor
        int64 ``(B, H, W)``: the rank of the patch in which a pixel lies, 0 for the most relevant one.
    """
    height, width = heatmaps.shape[1:]
    padding = (0, -width % patch, 0, -height % patch)
    planes = torch.stack([heatmaps.double(), torch.ones_like(heatmaps, dtype=torch.float64)], dim=1)
    sums = functional.avg_pool2d(functional.pad(planes, padding), patch, divisor_override=1)
    means = (sums[:, 0] / sums[:, 1]).flatten(1)
    order = means.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places).reshape(-1, *sums.shape[2:])
    return ranks.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :height, :width]


def blur(inputs: Tensor) -> Tensor:
    """Blur inputs until nothing can be recognised: a Gaussian of 20 pixels where the longer side has 224.

    Parameters
    ----------
    inputs : Tensor
        Floating-point ``(B, C, H, W)``.

    Returns
    -------
    Tensor
        Same shape, dtype and device. Beyond the edge the nearest pixel counts.
    """
    sigma = _SIGMA * max(inputs.shape[2:])
    radius = max(1, round(_REACH * sigma))
    # In float32 at least: the CPU has no half-precision padding, and sums of many small weights want the bits.
    blurred = inputs if inputs.dtype == torch.float64 else inputs.float()
    offsets = torch.arange(-radius, radius + 1, dtype=blurred.dtype, device=inputs.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for shape, padding in (((1, 1, 1, -1), (radius, radius, 0, 0)), ((1, 1, -1, 1), (0, 0, radius, radius))):
        planes = functional.pad(blurred, padding, mode="replicate").flatten(0, 1)[:, None]
        blurred = functional.conv2d(planes, kernel.reshape(shape)).reshape(inputs.shape)
    return blurred.to(inputs.dtype)


def _scores(
    network: nn.Module, inputs: Tensor, filled: Tensor, ranks: Tensor, jobs: Tensor, *, targets: Tensor, score: Score
) -> Tensor:
    """Return the score of each job: a sample, and the interval of ranks that is flipped in it."""
    samples, low, high = jobs.to(inputs.device).unbind(1)
    rank = ranks[samples]
    hidden = (rank >= low[:, None, None]) & (rank < high[:, None, None])
    with torch.no_grad():
        logits = network(torch.where(hidden[:, None], filled[samples], inputs[samples]))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(jobs):  # noqa: PLR2004 - samples, classes
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the network returns {returned} for {len(jobs)} inputs: logits (B, classes) are needed.")
    if not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise InputError(f"targets {targets.tolist()} are not all classes: accepted is 0 to {logits.shape[1] - 1}.")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    values = logits.softmax(1) if score == "probability" else logits
    return values.gather(1, targets.to(inputs.device)[samples][:, None])[:, 0]


def _filled(inputs: Tensor, fill: Tensor | None) -> Tensor:
    if fill is None:
        return blur(inputs)
    try:
        return fill.to(inputs).expand_as(inputs)
    except RuntimeError:
        raise InputError(
            f"the fill has shape {tuple(fill.shape)}, which cannot be broadcast to inputs of {tuple(inputs.shape)}."
        ) from None


def _check(network: nn.Module, inputs: Tensor, heatmaps: Tensor, targets: Tensor) -> None:
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise UnsupportedNetworkError(f"{', '.join(training[:3])} is in training mode: call network.eval() first.")
    if inputs.ndim != _BATCH_CHANNELS_PLANE or not inputs.is_floating_point() or inputs.numel() == 0:
        raise InputError(
            f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}: give floating-point (B, C, H, W), not empty."
        )
    wanted = (len(inputs), *inputs.shape[2:])
    if tuple(heatmaps.shape) != wanted or heatmaps.is_complex():
        raise InputError(f"heatmaps have shape {tuple(heatmaps.shape)}: for these inputs it has to be {wanted}.")
    if not heatmaps.isfinite().all():
        sample = int((~heatmaps.isfinite()).flatten(1).any(1).nonzero()[0])
        raise InputError(f"heatmap {sample} has values that are NaN or infinite: they have no order.")
    if tuple(targets.shape) != (len(inputs),) or targets.dtype != torch.int64:
        raise InputError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}: give int64 ({len(inputs)},), a class each."
        )


def _check_options(patch: int, per_step: int, score: str, batch: int) -> None:
    for name, value in (("patch", patch), ("per_step", per_step), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name}={value!r} has to be a positive integer.")
    if score not in get_args(Score):
        raise InputError(f"score={score!r} is not known: choose 'probability' or 'logit'.")
