"""What is measured: a function from a network, its inputs and the classes asked for to one heatmap per input.

Every measure that has to explain again (under noise, with other weights) takes such a function, so that R-LRP and any
other method, of this package or not, stand under the same test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rlrp_nb.engine.agreement import says_the_same
from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.engine.explainer import check_inputs, explain
from rlrp_nb.engine.methods import Method, resolve
from rlrp_nb.engine.reach import hooks_of
from rlrp_nb.engine.registry import two_of, with_others
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.subject import answer, check_evaluating, logits_of

Attribute: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a network in eval mode, inputs ``(B, C, H, W)`` and int64 targets ``(B,)`` to heatmaps ``(B, H, W)``."""

_BATCH_CHANNELS_PLANE = 4


def engine_attribute(method: str | Method = "rlrp") -> Attribute:
    """Return the attribute that explains with this package's engine.

    Parameters
    ----------
    method : str or Method
        ``"rlrp"`` or another of ``rlrp_nb.available_methods()``.

    Returns
    -------
    Attribute
        Its heatmap is the relevance summed over channels. Of a network that has them elsewhere than on axis 1 it raises
        `InputError`.

    Raises
    ------
    InputError
        There is no such method.
    """
    chosen = resolve(method)

    def attribute(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        explanation = explain(network, inputs, targets, chosen)
        if explanation.channels:
            raise InputError(
                f"the network takes inputs {tuple(inputs.shape)} with channels on axis {explanation.channels + 1}; "
                "measures take (B, C, H, W): let it permute its input first."
            )
        return explanation.relevance[:, 0].sum(1)

    return attribute


def check_case(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Refuse what cannot be measured, before anything is computed from it.

    Parameters
    ----------
    network : nn.Module
        In eval mode; returns logits ``(B, classes)``. It is run once.
    inputs : Tensor
        Floating-point ``(B, C, H, W)`` with finite values, of the network's dtype and device.
    targets : Tensor
        int64 ``(B,)``: a class each.

    Returns
    -------
    Tensor
        The logits, ``(B, classes)``, detached.

    Raises
    ------
    InputError
        An input or target cannot be used as it is.
    UnsupportedNetworkError
        The network is in training mode, or does not return finite logits ``(B, classes)``.
    """
    inputs = check_batch(network, inputs)
    if not isinstance(targets, Tensor) or tuple(targets.shape) != (len(inputs),) or targets.dtype != torch.int64:
        given = f"{targets.dtype} {tuple(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
        raise InputError(f"targets is {given}; accepted is an int64 tensor ({len(inputs)},), a class for each input.")
    logits = logits_of(network, inputs)
    wrong = (~logits.isfinite()).any(1).nonzero().flatten().tolist()
    if wrong:
        raise UnsupportedNetworkError(
            f"the network's logits for input {wrong[0]} are NaN or infinite; look at its weights, or use float32."
        )
    for sample, target in enumerate(targets.tolist()):
        if not 0 <= target < logits.shape[1]:
            raise InputError(
                f"target {target} of input {sample} is no class of this network; accepted is 0 to "
                f"{logits.shape[1] - 1}."
            )
    return logits


def check_batch(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return the inputs detached, or refuse them or the network; the part of `check_case` that needs no targets.

    Raises
    ------
    InputError
        The network is no ``nn.Module``, or the inputs are no finite floating-point ``(B, C, H, W)`` of its dtype and
        device.
    UnsupportedNetworkError
        The network is in training mode.
    """
    check_evaluating(network)
    inputs = check_inputs(network, inputs)
    if inputs.dim() != _BATCH_CHANNELS_PLANE:
        raise InputError(f"inputs has shape {tuple(inputs.shape)}; accepted is (B, C, H, W).")
    return inputs


def check_alone(network: nn.Module, inputs: Tensor) -> None:
    """Refuse a network whose samples meet, as in a normalisation over the batch: each value would be of its neighbours.

    Parameters
    ----------
    network : nn.Module
        In eval mode. It is run three times on two samples, and takes no random numbers of PyTorch for that.
    inputs : Tensor
        ``(B, C, H, W)``, at least one.

    Raises
    ------
    UnsupportedNetworkError
        What it says of one sample changes with the other.
    """
    with Undrawn():
        said = [answer(network, batch) for batch in with_others(two_of(inputs.detach()))]
    if any(not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 2 for logits in said):  # noqa: PLR2004
        return  # what is wrong with them is said where they are used
    whole, first, second = said
    apart = says_the_same(first[0], whole[0]) and says_the_same(second[1], whole[1])
    if not apart and all(bool(logits.isfinite().all()) for logits in said):
        raise UnsupportedNetworkError(
            "the network's logits of one image change with the images beside it, or at random, so that no value would "
            "be of one image alone. Let it treat each by itself, as batch-norm with running statistics does."
        )


def heatmaps_of(attribute: Attribute, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Ask for heatmaps and check the answer.

    Parameters
    ----------
    attribute : Attribute
        It is given copies of inputs and targets, with gradients enabled and outside of inference mode, so that it may
        differentiate, and without the caller's autocast.
    network, inputs, targets
        As in `check_case`, which is not called here.

    Returns
    -------
    Tensor
        ``(B, H, W)``, detached.

    Raises
    ------
    InputError
        The attribute is no function, its answer is no real tensor ``(B, H, W)``, a heatmap holds NaN or infinite
        values, or the network came back with another mode, ``requires_grad`` or other hooks, forward or backward. All
        three are put back first.
    """
    if not callable(attribute):
        raise InputError(
            f"attribute is {attribute!r}; accepted is a function from a network, inputs and targets to heatmaps, such "
            "as rlrp_nb.evaluation.attribute.engine_attribute('rlrp')."
        )
    before, hooks = _state(network), [(held, {**held}) for held in hooks_of(network)]
    # what is copied outside of inference mode can be differentiated by, also where it was made within
    apart = torch.autocast(inputs.device.type, enabled=False)  # as the engine's own methods are computed
    try:
        with _gradients_kept(network), torch.inference_mode(mode=False), torch.enable_grad(), apart:
            heatmaps = attribute(network, inputs.detach().clone(), targets.clone())
    finally:
        changed = _put_back(network, before, hooks)  # also where it fails, and then says why itself
    if changed:
        raise InputError(
            f"the attribute changed the network: {', '.join(changed[:3])}. It has to leave the network as it was; let "
            "it work on copy.deepcopy(network), or undo what it does."
        )
    wanted = (len(inputs), *inputs.shape[2:])
    if not isinstance(heatmaps, Tensor) or tuple(heatmaps.shape) != wanted or not heatmaps.is_floating_point():
        given = f"{heatmaps.dtype} {tuple(heatmaps.shape)}" if isinstance(heatmaps, Tensor) else type(heatmaps).__name__
        raise InputError(
            f"the attribute returned {given}; for these inputs it has to be a floating-point tensor {wanted}: "
            "relevance summed over channels."
        )
    wrong = (~heatmaps.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if wrong:
        which = f"heatmap {wrong[0]}" if len(heatmaps) > 1 else "the heatmap"
        raise InputError(
            f"{which} has values that are NaN or infinite; nothing can be measured on it. Look at the method and at "
            "what it divides by."
        )
    return heatmaps.detach()


@contextmanager
def _gradients_kept(network: nn.Module) -> Iterator[None]:
    """Let an attribute call ``backward``, which leaves gradients on the weights, and put there what was before."""
    held = [(parameter, parameter.grad) for parameter in network.parameters() if not parameter.is_inference()]
    for parameter, _ in held:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in held:
            parameter.grad = gradient


def _state(network: nn.Module) -> dict[str, object]:
    """Return what an attribute could leave changed, each under a name for the error."""
    return {
        **{f"mode of {name or 'the network'}": module.training for name, module in network.named_modules()},
        **{f"requires_grad of {name}": parameter.requires_grad for name, parameter in network.named_parameters()},
        "hooks of the network": [[*hooks] for hooks in hooks_of(network)],
    }


def _put_back(
    network: nn.Module, before: dict[str, object], hooks: list[tuple[dict[int, Any], dict[int, Any]]]
) -> list[str]:
    """Put back what is another than before, and name it."""
    after = _state(network)
    changed = [what for what in before if after.get(what) != before[what]]
    if not changed:
        return []
    for name, module in network.named_modules():
        module.training = bool(before.get(f"mode of {name or 'the network'}", module.training))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(bool(before.get(f"requires_grad of {name}", parameter.requires_grad)))
    for held, were in hooks:
        held.clear()
        held.update(were)
    return changed
