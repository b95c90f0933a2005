"""The sanity check by random weights: a heatmap of what the network learned has to change when that is lost.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity checks for saliency maps", 2018: the weights of the layers
are drawn anew, from the last layer down, and each time the heatmap is compared with the original one. A method that
still draws the same picture of a network that has forgotten everything shows the input, not the network.

The protocol is that of Quantus (MPRT), so that numbers can be compared:

- a layer is a module with ``reset_parameters``, batch-norm among them, whose statistics go back to mean 0 and variance
  1; the last layer is the one that was registered last;
- each layer is drawn by its own ``reset_parameters``, after the random numbers were set to ``seed + 1``;
- by default the absolute values of the heatmaps are compared, by the correlation of their ranks. Any normalisation by a
  positive factor is without effect on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

from rlrp_nb.checks import LARGEST_SEED, check_choice, check_whole, is_whole
from rlrp_nb.engine.copies import copy_of
from rlrp_nb.engine.reach import Reach
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import Attribute, check_case, heatmaps_of
from rlrp_nb.evaluation.robustness import Measure, comparison
from rlrp_nb.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEARNT = frozenset({"weight", "bias", "running_mean", "running_var"})
"""Buffers of these names are frozen weights, as in torchvision's FrozenBatchNorm2d."""
Order: TypeAlias = Literal["top_down", "bottom_up"]


class Randomised(NamedTuple):
    """How alike heatmaps stay as the network forgets.

    Attributes
    ----------
    names : tuple of str
        ``"original"``, then what was drawn anew: the name of a layer or, for a stage of several layers, the first and
        the last of them in the order of drawing.
    similarities : Tensor
        float64 ``(len(names), B)``; the first row is the similarity with itself, which is 1.
    """

    names: tuple[str, ...]
    similarities: Tensor


def randomised_similarity(
    attribute: Attribute,
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    seed: int = 0,
    order: Order = "top_down",
    cascading: bool = True,
    measure: Measure = "spearman",
    absolute: bool = True,
    stages: int | None = None,
) -> Randomised:
    """Draw the weights of the layers anew, and compare the heatmaps with the original ones after each.

    Parameters
    ----------
    attribute : Attribute
        What is measured. It is given a deep copy of the network.
    network, inputs, targets
        As in ``rlrp_nb.evaluation.attribute.check_case``.
    seed : int
        Of the new weights. PyTorch's global random numbers are put back.
    order : {"top_down", "bottom_up"}
        From the last layer to the first, as in the paper, or the other way.
    cascading : bool
        Whether layers stay random once they are; else each is drawn alone, and the others are as trained.
    measure : {"spearman", "cosine"}
        See ``rlrp_nb.evaluation.robustness``.
    absolute : bool
        Whether the heatmaps' absolute values are compared.
    stages : int, optional
        Draw the layers in so many groups of equal size, one explanation each; None takes every layer by itself. At most
        the number of layers. ResNet50 has 107 layers; ``stages=6`` is enough for the shape of the curve.

    Returns
    -------
    Randomised
        Names and similarities. The last row of a cascade is the wholly random network.

    Raises
    ------
    InputError
        An argument cannot be used as it is, or a heatmap is not as it has to be.
    UnsupportedNetworkError
        The network is in training mode, returns no finite logits ``(B, classes)``, or has weights that cannot be drawn
        anew, since their module has no ``reset_parameters``.
    """
    compare = comparison(measure)
    check_choice(get_args(Order), order=order)
    (seed,) = check_whole(0, LARGEST_SEED - 1, seed=seed)  # the next one is drawn by
    check_case(network, inputs, targets)
    twin = copy_of(network)
    layers = _layers(twin)
    groups = _groups(layers[::-1] if order == "top_down" else layers, stages)
    trained = {name: tensor.clone() for name, tensor in twin.state_dict().items()}

    def heatmaps() -> Tensor:
        found = heatmaps_of(attribute, twin, inputs, targets)
        return found.abs() if absolute else found

    original = heatmaps()
    rows = [compare(original, original)]
    for group in groups:
        if not cascading:
            twin.load_state_dict(trained)
        for name, module in group:
            _draw(name, module, seed)
        rows.append(compare(original, heatmaps()))
    return Randomised(("original", *(_name(group) for group in groups)), torch.stack(rows))


def similarity_after_randomisation(
    attribute: Attribute,
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    seed: int = 0,
    measure: Measure = "spearman",
    absolute: bool = True,
) -> Tensor:
    """Return how alike the heatmaps of the network and of the wholly random network are: one number for the check.

    It needs two explanations. There is no threshold: compare it with other methods, and with 1, which a picture of the
    input alone gets.

    Parameters
    ----------
    attribute, network, inputs, targets, seed, measure, absolute
        As in `randomised_similarity`.

    Returns
    -------
    Tensor
        float64 ``(B,)``: the last row of `randomised_similarity`.

    Raises
    ------
    InputError, UnsupportedNetworkError
        As `randomised_similarity` raises them.
    """
    found = randomised_similarity(
        attribute, network, inputs, targets, seed=seed, measure=measure, absolute=absolute, stages=1
    )
    return found.similarities[-1]


def _layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that can be drawn anew, in the order of their registration."""
    layers = [(name, m) for name, m in network.named_modules() if callable(getattr(m, "reset_parameters", None))]
    drawn = {id(parameter) for _, module in layers for parameter in module.parameters(recurse=False)}
    left = [name for name, parameter in network.named_parameters() if id(parameter) not in drawn]
    # other buffers are constants, such as the mean of the training images
    left += [
        f"{name}.{key}".removeprefix(".")
        for name, module in network.named_modules()
        if not callable(getattr(module, "reset_parameters", None))
        for key, _ in module.named_buffers(recurse=False)
        if key in _LEARNT
    ]
    if left:
        raise UnsupportedNetworkError(
            f"{shortlist(left)} cannot be drawn anew, since the module has no reset_parameters(); give it this method, "
            "so that the network can become wholly random."
        )
    if hidden := _hidden(network):
        raise UnsupportedNetworkError(
            f"{shortlist(hidden)} leads to weights that are not registered with the network, so that they would stay "
            "trained: put modules into an nn.ModuleList or nn.ModuleDict, and weights into an nn.ParameterList."
        )
    if not layers:
        raise UnsupportedNetworkError("the network has no weights, so that none can be drawn anew.")
    return layers


def _hidden(network: nn.Module) -> list[str]:
    """Name the attributes and methods that lead to weights which the network does not know of."""
    weights = [name for name, held in Reach(network).tensors if isinstance(held, nn.Parameter) or held.requires_grad]
    return list(dict.fromkeys(weights))


def _groups(layers: Sequence[tuple[str, nn.Module]], stages: int | None) -> list[list[tuple[str, nn.Module]]]:
    if stages is None:
        return [[layer] for layer in layers]
    if not is_whole(stages) or not 1 <= int(stages) <= len(layers):
        raise InputError(f"stages is {stages!r}; accepted is None, or 1 to {len(layers)}, the number of layers.")
    return [[layers[i] for i in places] for places in torch.arange(len(layers), device="cpu").tensor_split(int(stages))]


def _name(group: Sequence[tuple[str, nn.Module]]) -> str:
    names = [name or "the network" for name, _ in group]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _draw(name: str, module: nn.Module, seed: int) -> None:
    """Draw the weights of one module; the global random numbers are put back.

    Raises
    ------
    UnsupportedNetworkError
        ``reset_parameters`` leaves some as they are, as where a weight is computed from others before each run.
    """
    with Stream(seed + 1), torch.no_grad():
        own = {key: p for key, p in module.named_parameters(recurse=False) if p.is_floating_point() or p.is_complex()}
        for parameter in own.values():
            parameter.fill_(math.nan)  # what is drawn anew does not depend on it
        reset: Callable[[], None] = module.reset_parameters  # type: ignore[assignment]
        reset()
    left = [f"{name}.{key}".removeprefix(".") for key in own if bool(getattr(module, key).isnan().any())]
    if left:
        raise UnsupportedNetworkError(
            f"{shortlist(left)} cannot be drawn anew: reset_parameters() of {type(module).__name__} leaves it as "
            "it was. Make a pruned or weight-normalised weight an ordinary one by torch.nn.utils.prune.remove or "
            "remove_weight_norm, or let reset_parameters() draw it."
        )
