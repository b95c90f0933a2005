"""Faithfulness: how far the score falls when what a heatmap calls important is taken away.

Patches of the input are replaced by a fill, step by step, and the network is asked again after each step. Once the most
relevant patches go first (MoRF), once the least relevant ones (LeRF). With ``f_0`` the score of the whole input and
``f_k`` the score after step ``k`` of ``L``:

- ``AOPC = 1 / (L + 1) * sum_k (f_0 - f_k)`` along MoRF, the area over the perturbation curve (Samek, Binder, Montavon,
  Lapuschkin and Müller, "Evaluating the visualization of what a deep neural network has learned", 2017);
- *Deletion* is the area under MoRF over the share of patches flipped, *Insertion* the area under the curve on which the
  most relevant patches are put into the whole fill (Petsiuk, Das and Saenko, "RISE: Randomized input sampling for
  explanation of black-box models", 2018). Putting the most relevant patches into the fill goes through the same images
  as LeRF, from its end to its beginning, so Insertion is the area under LeRF and needs no images of its own;
- ``ABPC = 1 / (L + 1) * sum_k (f_k in LeRF - f_k in MoRF)``, the area between the two curves, also called symmetric
  relevance gain (Blücher, Vielhaben and Strodthoff, "Decoupling pixel flipping and occlusion strategy for consistent
  XAI benchmarks", 2024).

AOPC, Insertion and ABPC grow with faithfulness, Deletion falls, and a random order has an ABPC of 0 on average. Pixel
flipping itself is by Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise
relevance propagation", 2015. :func:`road` flips pixels too, with the fill of Rong et al., 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.checks import check_choice, check_heatmaps, check_tensors, check_whole, is_real
from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.engine.heap import keep_heap
from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.attribute import check_alone, check_batch
from rlrp_nb.evaluation.fill import broadcast, filled, impute, imputed_at_once
from rlrp_nb.evaluation.memory import batch_size
from rlrp_nb.evaluation.respondent import respondent
from rlrp_nb.evaluation.subject import answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from rlrp_nb.evaluation.fill import Fill

Score: TypeAlias = Literal["probability", "logit", "accuracy"]
Order: TypeAlias = Literal["morf", "lerf"]

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
_PROBABLE = 1e-3  # how near 1 probabilities add up
_ROUNDING = 1e-9  # so that 0.29 of 100 pixels are 29, though the product is a little less


@dataclass(frozen=True)
class Flipping:
    """Scores along both orders of flipping.

    Parameters
    ----------
    morf, lerf : Tensor
        ``(B, L + 1)``, float32 or better: the score before the first step and after each of L steps, most relevant
        first and least relevant first. Both begin with the whole input and end with the whole fill.
    shares : Tensor
        ``(L + 1,)``: the share of patches that is flipped in each column, from 0 to 1.
    """

    morf: Tensor
    lerf: Tensor
    shares: Tensor

    @property
    def aopc(self) -> Tensor:
        """Area over the MoRF curve, ``(B,)``."""
        return (self.morf[:, :1] - self.morf).mean(1)

    @property
    def abpc(self) -> Tensor:
        """Area between the LeRF and the MoRF curve, ``(B,)``."""
        return (self.lerf - self.morf).mean(1)

    @property
    def deletion(self) -> Tensor:
        """Area under the MoRF curve by the trapezoidal rule, ``(B,)``; low for a faithful heatmap."""
        return torch.trapezoid(self.morf, self.shares)

    @property
    def insertion(self) -> Tensor:
        """Area under the curve of the most relevant first put into the fill, ``(B,)``; high for a faithful heatmap.

        Where the patches cannot be divided into equal steps, the first insertion is the small one.
        """
        return torch.trapezoid(self.lerf, self.shares)


def flip(
    network: nn.Module,
    inputs: Tensor,
    heatmaps: Tensor,
    targets: Tensor,
    *,
    patch: int = 16,
    per_step: int = 1,
    fill: Fill | None = None,
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
    fill : Tensor, str or function, optional
        What replaces a patch: anything that can be broadcast to the inputs, or a name of
        :data:`rlrp_nb.evaluation.fill.FILLS`, with the settings that :func:`rlrp_nb.evaluation.fill.filled` has by
        itself. For others, or if the fill depends on what is hidden, give a function: it gets inputs ``(S, C, H, W)``
        and what is hidden in them, bool ``(S, H, W)``, and returns what can be broadcast to those inputs. None takes
        the inputs blurred.
    score : {"probability", "logit", "accuracy"}
        The softmax of the logits, the logits as they are, or 1 where the target has the highest logit and 0 elsewhere.
    batch : int
        How many inputs are flipped at once, steps and samples together, and at most given to the network at once: on a
        CPU it gets fewer, as a few are faster, each, than many. Small ones are imputed more at once. This changes
        results by rounding only.

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
    patch, per_step, batch = check_whole(1, patch=patch, per_step=per_step, batch=batch)
    inputs = _checked(network, inputs, heatmaps, targets, batch)
    check_choice(get_args(Score), score=score)
    patch = min(patch, max(inputs.shape[2:]))  # a larger one is the whole input as well
    ranks = patch_ranks(heatmaps.to(inputs.device), patch)
    count = math.ceil(inputs.shape[2] / patch) * math.ceil(inputs.shape[3] / patch)
    steps = math.ceil(count / per_step)
    flipped = [min(step * per_step, count) for step in range(steps + 1)]
    # The ends of both curves are the same two states.
    states = [(0, many) for many in flipped] + [(count - many, count) for many in flipped[1:-1]]
    scores = _follow(network, inputs, ranks, states, targets=targets, fill=fill, score=score, batch=batch)
    morf = scores[:, : steps + 1]
    return Flipping(
        morf=morf,
        lerf=torch.cat([morf[:, :1], scores[:, steps + 1 :], morf[:, -1:]], dim=1),
        shares=torch.tensor(flipped, dtype=scores.dtype, device=scores.device) / count,
    )


def road(
    network: nn.Module,
    inputs: Tensor,
    heatmaps: Tensor,
    targets: Tensor,
    *,
    shares: Sequence[float] = _SHARES,
    order: Order = "morf",
    score: Score = "probability",
    noise: float = 0.01,
    seed: int = 0,
    batch: int = 64,
) -> Tensor:
    """Remove and debias (ROAD): scores after a share of the pixels has been replaced by noisy linear imputation.

    Rong, Leemann, Borisov, Kasneci and Kasneci, "A consistent and efficient evaluation strategy for attribution
    methods", 2022. The imputation, :func:`rlrp_nb.evaluation.fill.impute`, hides where pixels were removed, so that the
    network cannot tell it from the form of the hole. The accuracy of the paper is the mean of ``score="accuracy"``
    over the samples, where the targets are their true classes.

    Parameters
    ----------
    network, inputs, heatmaps, targets, score, batch
        As in :func:`flip`.
    shares : sequence of float
        Shares of the pixels that are removed, each from 0 to 1, rounded down to whole pixels.
    order : {"morf", "lerf"}
        Whether the most or the least relevant pixels are removed.
    noise, seed
        Of the imputation.

    Returns
    -------
    Tensor
        ``(B, len(shares))``, float32 or better.

    Raises
    ------
    InputError
        Shapes, dtypes or numbers do not fit each other, or the network answers with NaN or infinity.
    UnsupportedNetworkError
        The network is in training mode.
    """
    (batch,) = check_whole(1, batch=batch)
    inputs = _checked(network, inputs, heatmaps, targets, batch)
    check_choice(get_args(Score), score=score)
    check_choice(get_args(Order), order=order)
    shares = tuple(shares) if isinstance(shares, Iterable) else ()
    if not shares or not all(is_real(share) and 0 <= share <= 1 for share in shares):
        raise InputError(f"shares={shares} have to be numbers from 0 to 1, and at least one.")
    ranks = patch_ranks(heatmaps.to(inputs.device), 1)
    count = inputs.shape[2] * inputs.shape[3]
    removed = [math.floor(share * count + _ROUNDING) for share in shares]
    states = [(0, many) if order == "morf" else (count - many, count) for many in removed]
    fill = partial(impute, noise=noise, seed=seed)
    return _follow(network, inputs, ranks, states, targets=targets, fill=fill, score=score, batch=batch)


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

    Raises
    ------
    InputError
        The heatmaps are not real, finite ``(B, H, W)``, or `patch` is no side of a patch.
    """
    check_heatmaps(heatmaps)
    (patch,) = check_whole(1, patch=patch)
    height, width = heatmaps.shape[1:]
    padding = (0, -width % patch, 0, -height % patch)
    planes = torch.stack([heatmaps.double(), torch.ones_like(heatmaps, dtype=torch.float64)], dim=1)
    sums = functional.avg_pool2d(functional.pad(planes, padding), patch, divisor_override=1)
    means = sums[:, 0] / sums[:, 1]
    # A sum rounds, so that patches of one value would not be equal: a mean is nowhere beyond the values it is taken of.
    edge = functional.pad(torch.stack([planes[:, 0], -planes[:, 0]], dim=1), padding, value=-math.inf)
    largest, smallest = functional.max_pool2d(edge, patch).unbind(1)
    means = means.clamp(-smallest, largest).flatten(1)
    order = means.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places).reshape(-1, *sums.shape[2:])
    return ranks.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :height, :width]


def _follow(
    network: nn.Module,
    inputs: Tensor,
    ranks: Tensor,
    states: Sequence[tuple[int, int]],
    *,
    targets: Tensor,
    fill: Fill | None,
    score: Score,
    batch: int,
) -> Tensor:
    """Return the scores of all inputs in all states, ``(B, states)``; a state is the interval of ranks it flips."""
    targets = targets.to(inputs.device)
    keep_heap()
    with undisturbed(inputs):
        fixed, together = _fixed(inputs, fill), batch_size(network, inputs, batch)
        ask, order = respondent(network, inputs, together)
    ranks, bounds = _without_idle(ranks, states, None if fixed is None else (fixed != inputs).any(1))
    # One number for each state of each sample, in their order: neighbours in a batch share their input and their fill.
    base = int(bounds.max()) + 1
    samples = torch.arange(len(inputs), device=inputs.device)[:, None]
    keys, same = torch.unique((samples * base + bounds[..., 0]) * base + bounds[..., 1], return_inverse=True)
    scores = []
    for part in keys.tensor_split(-(-len(keys) // _flipped_at_once(inputs, fill, batch, together))):
        sample, low, high = part // base**2, part // base % base, part % base
        rank, chosen = ranks.index_select(0, sample), inputs.index_select(0, sample)
        first, end = (bound.to(rank.dtype)[:, None, None] for bound in (low, high))  # of one dtype, compared faster
        hidden = (rank >= first) & (rank < end)
        with undisturbed(inputs):
            flipped = torch.empty_like(chosen, memory_format=order)
            shown = _imagined(fill, chosen, hidden) if fixed is None else fixed.index_select(0, sample)
            torch.where(hidden[:, None], shown, chosen, out=flipped)
            parts = -(-len(flipped) // together)  # of equal size: a small last one costs more, each, than the others
            logits = [ask(few) for few in flipped.tensor_split(parts)]
        answered = zip(logits, targets[sample].tensor_split(parts), strict=True)
        scores += [_score(*pair, score) for pair in answered]
    found = torch.cat(scores)[same]
    if not found.isfinite().all():
        first = int((~found.isfinite()).any(1).nonzero()[0])
        raise InputError(f"the network's score for input {first} is NaN or infinite: look at its weights and inputs.")
    return found


def _flipped_at_once(inputs: Tensor, fill: Fill | None, batch: int, together: int) -> int:
    """Return how many inputs are flipped at once: no more than the network gets, unless the fill gains by more."""
    if fill == "imputation" if isinstance(fill, str) else getattr(fill, "func", None) is impute:
        return max(batch, imputed_at_once(inputs))
    return batch if callable(fill) else together


def _without_idle(ranks: Tensor, states: Sequence[tuple[int, int]], differs: Tensor | None) -> tuple[Tensor, Tensor]:
    """Leave out of the count the patches that look like their fill, so that states that look the same are the same.

    Such patches are many where the ground is black and the fill too. ``differs`` ``(B, H, W)`` says which pixels do
    not look like their fill; None that nobody knows. Returns ranks ``(B, H, W)`` and bounds ``(B, states, 2)``, both
    int32, in which a patch that changes nothing has the rank of the next one that does, and empty intervals are (0, 0).
    """
    samples, pixels = len(ranks), ranks.flatten(1)
    counted = torch.zeros(samples, int(ranks.max()) + 2, dtype=torch.int32, device=ranks.device)
    if differs is None:
        counted[:, 1:] = 1
    else:
        counted.scatter_reduce_(1, pixels + 1, differs.flatten(1).int(), "amax")
    before = counted.cumsum(1, dtype=torch.int32)  # of the patches that change something, how many come before
    bounds = before[:, torch.tensor(states, device=ranks.device)]
    empty = bounds[..., :1] == bounds[..., 1:]
    return before.gather(1, pixels).reshape(ranks.shape), bounds.masked_fill(empty, 0)


def _fixed(inputs: Tensor, fill: Fill | None) -> Tensor | None:
    """Return what stands in inputs where they are hidden, or None if that depends on what is hidden."""
    if isinstance(fill, Tensor):
        return broadcast(fill, inputs)
    if callable(fill) or (isinstance(fill, str) and fill == "imputation"):
        return None
    return filled(inputs, "blur" if fill is None else fill)


def _imagined(fill: Fill | None, inputs: Tensor, hidden: Tensor) -> Tensor:
    if not callable(fill):
        return broadcast(impute(inputs, hidden), inputs)
    # copies, as a function may write into what it is given
    return broadcast(fill(inputs.clone(), hidden.clone()), inputs)


def _score(logits: Tensor, targets: Tensor, score: Score) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(targets):  # noqa: PLR2004 - samples, classes
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the network returns {returned} for {len(targets)} inputs: logits (B, classes) are needed.")
    if not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise InputError(
            f"targets {sorted(set(targets.tolist()))} are not all classes: accepted is 0 to {logits.shape[1] - 1}."
        )
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if logits.shape[1] == 1 and score != "logit":
        raise InputError(
            f"the network has one logit, whose softmax is 1 whatever it says, so that {score!r} tells nothing: give "
            "score='logit'."
        )
    if score == "accuracy":
        # A logit that is NaN is highest nowhere: it is passed on, not counted as an error of the network.
        return torch.where(logits.isfinite().all(1), (logits.argmax(1) == targets).to(logits.dtype), torch.nan)
    if score == "probability" and _are_probabilities(logits):
        raise InputError(
            "the network returns probabilities, whose softmax tells little: remove the softmax at its end, or give "
            "score='logit', which takes its outputs as they are."
        )
    values = logits.softmax(1) if score == "probability" else logits
    return values.gather(1, targets[:, None])[:, 0]


def _are_probabilities(logits: Tensor) -> bool:
    """Tell outputs of a softmax: of a few samples, logits could add up to 1 by chance."""
    sums = logits.double().sum(1)
    return bool((logits >= 0).all()) and len(logits) > 1 and bool(((sums - 1).abs() < _PROBABLE).all())


def _checked(network: nn.Module, inputs: Tensor, heatmaps: Tensor, targets: Tensor, batch: int) -> Tensor:
    """Return the inputs detached, or name what cannot be measured."""
    check_tensors(inputs=inputs, targets=targets)
    inputs = check_batch(network, inputs)
    check_heatmaps(heatmaps, (len(inputs), *inputs.shape[2:]))
    if tuple(targets.shape) != (len(inputs),) or targets.dtype != torch.int64:
        raise InputError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}: give int64 ({len(inputs)},), a class each."
        )
    if batch > 1:
        check_alone(network, inputs)
    else:
        answer(network, inputs[:1])
    return inputs
