"""The network whose answers are measured: whether it can be, and what it answers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rlrp_nb.engine.explainer import undisturbed
from rlrp_nb.engine.tracing import reason_of
from rlrp_nb.errors import InputError, RlrpError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator


_ADVICE = "Give images as in its training; compare() takes pictures too, with a Classifier, which prepares them."


def check_network(network: object) -> None:
    """Refuse what is no network.

    Raises
    ------
    InputError
        It is no ``nn.Module``.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network is a {type(network).__name__}; accepted is a torch.nn.Module, such as model.network."
        )


def check_evaluating(network: nn.Module) -> None:
    """Refuse a network of which any part is in training mode, whether or not that part would act otherwise then.

    Raises
    ------
    InputError
        It is no ``nn.Module``.
    UnsupportedNetworkError
        Names the first such parts.
    """
    check_network(network)
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise UnsupportedNetworkError(f"{', '.join(training[:3])} is in training mode: call network.eval() first.")


def answer(network: nn.Module, inputs: Tensor) -> Any:  # noqa: ANN401 - a network can return anything
    """Run a network on a copy of some images, and leave it and the mode of gradients as they were.

    Raises
    ------
    InputError
        The network cannot take them.
    """
    with undisturbed(inputs), taking(inputs):
        return network(inputs.clone())  # it may write into what it is given, by an in-place ReLU at its input


def logits_of(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a network says of a copy of some images, ``(B, classes)``, detached.

    Raises
    ------
    InputError
        The network cannot take them.
    UnsupportedNetworkError
        It returns something else.
    """
    logits = answer(network, inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(inputs):  # noqa: PLR2004 - samples, classes
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UnsupportedNetworkError(
            f"the network returns {returned} for {len(inputs)} inputs; accepted are logits (B, classes)."
        )
    return logits.detach()


@contextmanager
def taking(inputs: Tensor, advice: str = _ADVICE) -> Iterator[None]:
    """Say in words that a network cannot take a batch, where it fails.

    Parameters
    ----------
    inputs
        The batch.
    advice
        A sentence that says what to do.

    Raises
    ------
    InputError
        It does; says of which shape the batch is and what the network says.
    """
    try:
        yield
    except RlrpError:
        raise
    except Exception as error:
        raise InputError(
            f"the network cannot take a batch of shape {tuple(inputs.shape)}: {reason_of(error)}. {advice}"
        ) from error
