"""The relative activation ``a / d`` with other denominators than the layer's maximum, by automatic differentiation.

Written apart from the engine, and checked against it where both have the same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Denominator: TypeAlias = Callable[[Tensor], Tensor]

# nn.ReLU6 is a hardtanh from 0 to 6
_ACTIVATIONS = frozenset(
    {
        functional.relu,
        functional.relu6,
        functional.hardtanh,
        torch.relu,
        torch.relu_,
        Tensor.relu,
        Tensor.relu_,
    }
)


def _largest(a: Tensor, dims: tuple[int, ...]) -> Tensor:
    return a.amax(dims, keepdim=True)


def layer(a: Tensor) -> Tensor:
    """Return the largest activation of the layer, one number for each sample."""
    return _largest(a, tuple(range(1, a.ndim)))


def channel(a: Tensor) -> Tensor:
    """Return the largest activation of each channel; a neuron of a linear layer is a channel of its own."""
    return _largest(a, tuple(range(2, a.ndim))) if a.ndim > 2 else a  # noqa: PLR2004 - samples and channels


def position(a: Tensor) -> Tensor:
    """Return the largest activation at each position, over channels."""
    return _largest(a, (1,))


def mean(a: Tensor) -> Tensor:
    """Return the mean activation of the layer, each activation weighted by itself: ``sum a^2 / sum a``."""
    dims = tuple(range(1, a.ndim))
    total = a.sum(dims, keepdim=True)
    return torch.where(total > 0, (a * a).sum(dims, keepdim=True) / total, total)


def one(a: Tensor) -> Tensor:
    """Return 1: the product rule."""
    return torch.ones_like(layer(a))


def own(a: Tensor) -> Tensor:
    """Return the activation itself, so that what remains is the derivative: gradient x input."""
    return a


DENOMINATORS: dict[str, Denominator] = {
    "layer": layer,
    "channel": channel,
    "position": position,
    "mean": mean,
    "one": one,
    "own": own,
}


class _Passed(torch.autograd.Function):
    """Forward: the activation. Backward: times a coefficient."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Tensor, coefficient: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - PyTorch's
        ctx.save_for_backward(coefficient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, sensitivity: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - likewise
        (coefficient,) = ctx.saved_tensors
        return coefficient * sensitivity, None, None


class Relative(TorchFunctionMode):
    """While it is on, ReLU and ReLU6 pass sensitivities on by ``(a / z) * a / d``.

    Attributes
    ----------
    bound
        The largest ``a / d`` so far.
    """

    def __init__(self, denominator: str | Denominator) -> None:
        super().__init__()
        self._denominator = DENOMINATORS[denominator] if isinstance(denominator, str) else denominator
        self.bound = 0.0

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - PyTorch's signature
        types: Any,  # noqa: ANN401 - likewise
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - likewise
        if func not in _ACTIVATIONS:
            return func(*args, **(kwargs or {}))
        z = args[0].detach()
        value = func(z.clone(), *args[1:], **(kwargs or {}))
        divisor = self._denominator(value)
        share = torch.where(divisor > 0, value / divisor, 0)
        self.bound = max(self.bound, float(share.max()))
        return _Passed.apply(args[0], value, torch.where(z > 0, value / z, 0) * share)


def relevance(network: nn.Module, inputs: Tensor, targets: Tensor, denominator: str | Denominator) -> Tensor:
    """Return the relevance of the inputs, in their shape and float64.

    Parameters
    ----------
    network : nn.Module
        Of convolutions, linear maps, batch-norm in eval mode, ReLU, ReLU6 and pooling; returns logits.
    inputs : Tensor
        ``(B, ...)``. Their dtype is the network's; products without a denominator can leave the range of float32.
    targets : Tensor
        int64 ``(B,)``: the class that is explained.
    denominator : str or callable
        One of `DENOMINATORS`, or a function like these.
    """
    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), Relative(denominator):
        logits = network(leaf)
    (sensitivity,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaf)
    return inputs.double() * sensitivity.double()


def bound(network: nn.Module, inputs: Tensor, denominator: str) -> float:
    """Return the largest ``a / d`` in the network."""
    with torch.no_grad(), Relative(denominator) as mode:
        network(inputs)
    return mode.bound
