"""How much a heatmap changes when its input changes a little.

The class that is explained is the same before and after: the target given, whatever the network says of the changed
input. What moves is then the explanation, and not the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from rlrp_nb.checks import check_choice, check_heatmaps
from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.attribute import Attribute, check_batch, check_case, heatmaps_of
from rlrp_nb.evaluation.perturbation import Perturbation, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

Measure: TypeAlias = Literal["cosine", "spearman"]


def max_sensitivity(
    attribute: Attribute,
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Tensor:
    """Return the largest relative change of the heatmap within a small ball around the input.

    ``max_d ||e(x + d) - e(x)||_2 / ||e(x)||_2``, d being drawn uniformly from the ball of `radius` in the maximum norm:
    max-sensitivity of Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (in)fidelity and sensitivity of explanations",
    2019. The lower, the more robust.

    Parameters
    ----------
    attribute : Attribute
        What is measured.
    network, inputs, targets
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    radius : float
        In units of the input.
    samples : int
        How many perturbations are tried. More can only raise the number.
    seed : int
        Of ``rlrp_nb.evaluation.perturbation.uniform``: methods measured with one seed meet the same perturbations.

    Returns
    -------
    Tensor
        float64 ``(B,)``. For an ``e(x)`` of zeros: 0 if it stays one, else infinite.

    Raises
    ------
    InputError
        An argument cannot be used as it is, or a heatmap is not as it has to be.
    UnsupportedNetworkError
        The network is in training mode, or returns no finite logits ``(B, classes)``.
    """
    check_case(network, inputs, targets)
    perturbed = uniform(inputs, radius=radius, samples=samples, seed=seed)
    before = heatmaps_of(attribute, network, inputs, targets).double().flatten(1)
    length = before.norm(dim=1)
    largest = torch.zeros_like(length)
    for changed in perturbed:
        after = heatmaps_of(attribute, network, changed, targets).double().flatten(1)
        change = (after - before).norm(dim=1)
        largest = largest.maximum(torch.where(change > 0, change / length, 0))
    return largest


def similarity(
    attribute: Attribute,
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    perturbation: Perturbation | Callable[[Tensor], Tensor],
    *,
    measure: Measure = "cosine",
) -> Tensor:
    """Return how alike the heatmaps before and after a perturbation are.

    After a ``Shift`` the heatmap is moved back first, and only the pixels that both frames show are compared.

    Parameters
    ----------
    attribute : Attribute
        What is measured.
    network, inputs, targets
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    perturbation : Perturbation or callable
        From ``rlrp_nb.evaluation.perturbation``, or any function from inputs to changed inputs of the same shape.
    measure : {"cosine", "spearman"}
        The cosine of the two heatmaps, or the correlation of their ranks; see `cosine` and `spearman`.

    Returns
    -------
    Tensor
        float64 ``(B,)``, from -1 to 1, 1 for no change.

    Raises
    ------
    InputError
        An argument cannot be used as it is, the perturbation returns something else than such inputs, or a heatmap is
        not as it has to be.
    UnsupportedNetworkError
        The network is in training mode, or returns no finite logits ``(B, classes)``.
    """
    compare = comparison(measure)
    if not callable(perturbation):
        raise InputError(f"perturbation is {perturbation!r}; accepted is a function from inputs to changed inputs.")
    check_case(network, inputs, targets)
    changed = perturbation(inputs.detach().clone())
    if not isinstance(changed, Tensor) or changed.shape != inputs.shape or changed.dtype != inputs.dtype:
        given = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
        raise InputError(
            f"perturbation {perturbation!r} returned {given}; it has to keep {inputs.dtype} {tuple(inputs.shape)}."
        )
    changed = check_batch(network, changed)
    before = heatmaps_of(attribute, network, inputs, targets)
    after = heatmaps_of(attribute, network, changed, targets)
    if isinstance(perturbation, Perturbation):
        before, after = perturbation.common(before, after)
    return compare(before, after)


def comparison(measure: Measure) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of that name.

    Raises
    ------
    InputError
        There is none.
    """
    check_choice(get_args(Measure), measure=measure)
    return {"cosine": cosine, "spearman": spearman}[measure]


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of two heatmaps, taken as vectors.

    Parameters
    ----------
    first, second : Tensor
        Real ``(B, H, W)``.

    Returns
    -------
    Tensor
        float64 ``(B,)``. Where one heatmap is zero everywhere it is 0, where both are it is 1.
    """
    _check_alike(first, second)
    return _cosine(first.double().flatten(1), second.double().flatten(1))


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return the rank correlation of two heatmaps (Spearman, 1904); equal values share the mean of their ranks.

    Parameters
    ----------
    first, second : Tensor
        Real ``(B, H, W)``.

    Returns
    -------
    Tensor
        float64 ``(B,)``. Where one heatmap is the same everywhere it is 0, where both are it is 1.
    """
    _check_alike(first, second)
    ranks = [_ranks(heatmaps.double().flatten(1)) for heatmaps in (first, second)]
    return _cosine(*(rank - rank.mean(1, keepdim=True) for rank in ranks))


def _check_alike(first: Tensor, second: Tensor) -> None:
    check_heatmaps(first)
    check_heatmaps(second)
    if first.shape != second.shape:
        raise InputError(f"heatmaps of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be compared.")


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    # the largest value is brought to 1 first, so that no square leaves the range of float64
    peaks = [vectors.abs().amax(1, keepdim=True) for vectors in (first, second)]
    first, second = (v / torch.where(p > 0, p, 1) for v, p in zip((first, second), peaks, strict=True))
    lengths = first.norm(dim=1) * second.norm(dim=1)
    value = ((first * second).sum(1) / torch.where(lengths > 0, lengths, 1)).clamp(-1, 1)
    both_empty = (peaks[0] == 0) & (peaks[1] == 0)
    return torch.where(both_empty[:, 0], 1, value)


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row, from 0."""
    values = values.contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above - 1).double() / 2
