"""Captum's calling convention, for code that is written for it, and Quantus's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlrp_nb.engine.explainer import check_inputs, explain
from rlrp_nb.engine.methods import Method, resolve
from rlrp_nb.engine.targets import check_unmasked, tensor_of
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from rlrp_nb.engine.explanation import Explanation


class RLRP:
    """Attribution with Captum's calling convention.

    Parameters
    ----------
    network : nn.Module
        In eval mode, returning logits.
    method : str or Method
        ``"rlrp"`` or another of ``available_methods()``.
    """

    def __init__(self, network: nn.Module, method: str | Method = "rlrp") -> None:
        if not isinstance(network, nn.Module):
            raise InputError(f"network is a {type(network).__name__}; accepted is a torch.nn.Module.")
        self.network = network
        self.method = resolve(method)

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: None = None) -> Any:  # noqa: ANN401 - a tensor, or a tuple of one as in Captum
        """Return the relevance of every input value.

        Parameters
        ----------
        inputs : Tensor or tuple of one Tensor
            ``(B, …)``.
        target : optional
            As in Captum: an int, or a tuple of one, for all samples; a tensor ``(B,)`` or a list with one per sample;
            for outputs of more axes a tuple, or a list with one tuple per sample; None where the network has one output
            only.
        additional_forward_args : None
            Accepted as Captum's tools hand it on; a network is explained by its one input.

        Returns
        -------
        Tensor or tuple of one Tensor
            Shaped like `inputs`.

        Raises
        ------
        InputError
            A target is missing or out of range, or there are several inputs.
        """
        if additional_forward_args is not None:
            raise InputError(
                "additional_forward_args is given; accepted is None, since R-LRP explains one input: keep the others "
                "in the network as buffers."
            )
        if isinstance(inputs, tuple):
            if len(inputs) != 1:
                raise InputError(
                    f"inputs is a tuple of {len(inputs)}; accepted is one tensor, since R-LRP explains one input."
                )
            return (self.attribute(inputs[0], target),)
        if isinstance(target, list):
            count = len(check_inputs(self.network, inputs))
            if len(target) != count:
                raise InputError(
                    f"target is a list of {len(target)} for {count} samples; accepted is one entry per sample."
                )
            target = [_bare(t) for t in target]
            if any(isinstance(t, tuple) for t in target):
                each = [explain(self.network, inputs[i : i + 1], [t], self.method) for i, t in enumerate(target)]
                _check_no_contrast(each, target)
                return torch.cat([explanation.relevance[:, 0] for explanation in each])
            target = _numbers(target, "target")
        explanation = explain(self.network, inputs, _single(target), self.method)
        _check_no_contrast([explanation], target)
        if target is None and explanation.logits[0].numel() > 1:
            raise InputError(
                f"target is None, but the network has {explanation.logits[0].numel()} outputs; accepted is the index "
                "of one, or a tensor with one per sample."
            )
        return explanation.relevance[:, 0]


def _check_no_contrast(explanations: list[Explanation], target: Any) -> None:  # noqa: ANN401 - as in Captum
    """Refuse a tuple that was taken for a contrast, since in Captum it stands for one output of several axes."""
    if any(bool((explanation.negatives >= 0).any()) for explanation in explanations):
        raise InputError(
            f"target {target!r} has a tuple, but the network has one axis of classes; pass an index for each sample."
        )


def _bare(target: Any) -> Any:  # noqa: ANN401 - as in Captum
    """Return the class of a tuple of one; anything else as it is."""
    return target[0] if isinstance(target, tuple) and len(target) == 1 else target


def _single(target: Any) -> Any:  # noqa: ANN401 - as in Captum
    """Return a target that stands for one class of each sample, or refuse it."""
    target = _bare(target)
    if getattr(target, "ndim", 0) > 0 and not isinstance(target, Tensor):
        target = _numbers(target, "target")
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool or target.dim() > 1:
            raise InputError(
                f"target is a tensor of {target.dtype} and shape {tuple(target.shape)}; accepted is one integer class "
                "per sample, (B,). For several targets or seeds use rlrp_nb.explain."
            )
        return int(target) if target.numel() == 1 else target
    if target is None or isinstance(target, int | tuple) or hasattr(target, "__index__"):
        return target
    raise InputError(f"target is {target!r}; accepted is a class index, or a tensor or list with one per sample.")


def quantus_explain(model: nn.Module, inputs: Any, targets: Any, **options: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """Explain a batch for Quantus: pass this function as ``explain_func``.

    Parameters
    ----------
    model
        The network.
    inputs
        Array or tensor ``(B, …)``.
    targets
        One class per sample, ``(B,)``.
    options
        ``method``: ``"rlrp"`` or another method. ``device``, which Quantus may pass, is where the network is already.

    Returns
    -------
    numpy.ndarray
        Relevance, shaped like `inputs`.

    Raises
    ------
    InputError
        An option is not known, or the inputs or targets are not what is accepted.
    """
    unknown = set(options) - {"method", "device"}
    if unknown:
        raise InputError(f"options {sorted(unknown)} are not known; accepted are 'method' and 'device'.")
    explainer = RLRP(model, options.get("method", "rlrp"))
    batch, classes = _numbers(inputs, "inputs"), _numbers(targets, "targets").reshape(-1)
    if classes.dtype == torch.bool or len(classes) != len(batch) or bool((classes != classes.to(torch.int64)).any()):
        raise InputError(
            f"targets holds {len(classes)} numbers of {classes.dtype} for {len(batch)} samples; accepted is one class "
            "index per sample."
        )
    place = next(model.parameters(), torch.empty(0, device="cpu"))
    relevance: Tensor = explainer.attribute(batch.to(place), classes.to(torch.int64))
    array: np.ndarray[Any, Any] = relevance.cpu().numpy()
    return array


def _numbers(values: Any, name: str) -> Tensor:  # noqa: ANN401 - an array, a tensor or a list
    """Return the numbers of what Quantus passes, or say what is wrong with them."""
    check_unmasked(values, name)
    try:
        numbers = tensor_of(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} holds no numbers ({error}); accepted is an array or a tensor of them.") from error
    if numbers.is_complex() or not numbers.dim():
        raise InputError(
            f"{name} is {numbers.dtype} of shape {tuple(numbers.shape)}; accepted are real numbers, (B, …)."
        )
    return numbers
