"""Pointwise activations phi with phi(0) = 0: their secant slope phi(z)/z in closed form.

The closed form is what keeps small numbers out of the denominator: at z = 0 it has the limit, not 0/0.
The derivative is needed by gradient x input alone and is left to autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.engine.rule import Call, Kind, Memory, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rlrp_nb.engine.graph import Step


RANDOM = "it acts at random; call network.eval(), or pass training=False"


@dataclass(frozen=True)
class Activation(Rule):
    """A pointwise activation.

    Attributes
    ----------
    secant
        ``secant(z, **arguments)`` returns phi(z)/z with its limit at 0; the arguments are the op's own, by name.
    reads_output
        True where the secant is as well computed from a = phi(z), which is never negative, so that z need not be kept
        (ReLU). Then `product` must be given.
    refuses
        ``refuses(arguments)`` returns why phi(0) is not 0 for these arguments, or None.
    product
        ``product(z, **arguments)`` returns ``|a| a / z`` with fewer steps than by the secant slope, or None; like the
        secant it may be given a for z where `reads_output`.
    monotone
        True where phi never falls, so that the largest |a| is that of the smallest or of the largest z.
    in_place
        The op in the memory of its input, where there is one; given all its arguments.
    """

    secant: Callable[..., Tensor]
    reads_output: bool = False
    refuses: Callable[[Mapping[str, Any]], str | None] | None = None
    product: Callable[..., Tensor | None] = lambda *_, **__: None
    monotone: bool = False
    in_place: Callable[..., Tensor] | None = None
    kind: Kind = "activation"
    new_output: bool = True
    returns: Memory = "new"

    def problem(self, step: Step) -> str | None:
        """Refuse arguments for which the activation does not map 0 to 0."""
        return self.refuses(step.arguments) if self.refuses else None

    def slope(self, call: Call, z: Tensor) -> Tensor:
        """Return phi(z)/z for the values that are kept: z, or a where `reads_output`."""
        return self.secant(z, **_others(call))

    def overwrite(self, arguments: dict[str, Any], name: str) -> Tensor | None:  # noqa: ARG002 - it has one input
        """Run the op in the memory of its input, where it can."""
        return None if self.in_place is None else self.in_place(*arguments.values())

    def weighted_slope(self, call: Call, z: Tensor) -> Tensor:
        """Return ``|a| phi(z)/z``, the slope of R-LRP before it is divided by the layer's largest activation."""
        product = self.product(z, **_others(call))
        return call.run([z]).abs() * self.slope(call, z) if product is None else product

    def largest(self, call: Call, z: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return ``max |a|`` over `axes`, which are kept with length 1."""
        if self.reads_output:
            return extreme(torch.amax, z, axes)
        if self.monotone:
            ends = torch.stack([extreme(torch.amax, z, axes), extreme(torch.amin, z, axes)])
            return call.run([ends]).abs().amax(0)
        return largest_size(call.run([z]), axes)


def extreme(reduce: Callable[..., Tensor], a: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return ``reduce(a, axes)``, by ``torch.amax`` or ``torch.amin``, with the axes kept with length 1.

    Over no axes, as in a layer of one number for each sample, it is `a` itself, where PyTorch would reduce all of them,
    and that of an empty layer is 0.
    """
    if not a.numel():
        return a.new_zeros([1 if axis in axes else length for axis, length in enumerate(a.shape)])
    return reduce(a, axes, keepdim=True) if axes else a


def largest_size(a: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return ``max |a|`` over `axes`, which are kept with length 1, without another tensor of the size of `a`."""
    return torch.maximum(extreme(torch.amax, a, axes), -extreme(torch.amin, a, axes))


def _others(call: Call) -> dict[str, Any]:
    """Return the arguments of an activation besides its input."""
    if len(call.step.arguments) == 1:
        return {}
    others = list(call.arguments.items())[1:]
    return {k: v.to(call.dtype) if isinstance(v, Tensor) else v for k, v in others}


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _leaky(z: Tensor, slope: float) -> Tensor:
    return torch.where(z > 0, torch.ones_like(z), torch.full_like(z, slope))


def _clamped(z: Tensor, low: float | None, high: float | None) -> Tensor:
    slope = torch.ones_like(z)
    if high is not None:
        slope = torch.where(z > high, high / z if high else 0.0, slope)
    if low is not None:
        slope = torch.where(z < low, low / z if low else 0.0, slope)
    return slope


def _clamped_product(z: Tensor, low: float | None, high: float | None) -> Tensor | None:
    """Return ``a a / z`` for a clamp from 0: z itself up to `high`, and ``high high / z`` beyond, the smaller there."""
    if low != 0 or not high:
        return None
    beyond = torch.div(z.new_tensor(high * high), z)
    return torch.minimum(z, beyond, out=beyond).relu_()


def _clamp_refusal(low: Any, high: Any) -> str | None:  # noqa: ANN401 - a number, a tensor or none
    if not (isinstance(low, int | float | None) and isinstance(high, int | float | None)):
        return "its bounds are tensors, and accepted are numbers, such as clamp(min=0)"
    if (low is not None and low > 0) or (high is not None and high < 0):
        kept = low if low is not None and low > 0 else high
        return f"it maps 0 to {kept}, and R-LRP is defined for activations that keep 0"
    return None


def _expm1_over(z: Tensor) -> Tensor:
    return torch.where(z == 0, torch.ones_like(z), torch.expm1(z) / torch.where(z == 0, torch.ones_like(z), z))


def _elu(z: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    return torch.where(z > 0, torch.full_like(z, scale), scale * alpha * input_scale * _expm1_over(z * input_scale))


def _gelu(z: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * (1 + torch.tanh(sqrt(2 / torch.pi) * (z + 0.044715 * z**3)))
    return 0.5 * torch.erfc(z * -sqrt(0.5))


def _tanh(z: Tensor) -> Tensor:
    return torch.where(z == 0, torch.ones_like(z), torch.tanh(z) / torch.where(z == 0, torch.ones_like(z), z))


def _prelu(z: Tensor, weight: Tensor) -> Tensor:
    shape = [1] * z.dim()
    if z.dim() > 1:
        shape[1] = -1
    return torch.where(z > 0, torch.ones_like(z), weight.reshape(shape if weight.numel() > 1 else [1] * z.dim()))


ACTIVATIONS: dict[str, Rule] = {
    "aten.relu": Activation(_step, reads_output=True, product=lambda a: a, in_place=torch.relu_),
    "aten.hardtanh": Activation(
        lambda z, min_val=-1.0, max_val=1.0: _clamped(z, min_val, max_val),
        refuses=lambda a: _clamp_refusal(a["min_val"], a["max_val"]),
        product=lambda z, min_val=-1.0, max_val=1.0: _clamped_product(z, min_val, max_val),
        monotone=True,
        in_place=torch.ops.aten.hardtanh_.default,
    ),
    "aten.relu6": Activation(
        lambda z: _clamped(z, 0.0, 6.0),
        product=lambda z: _clamped_product(z, 0.0, 6.0),
        monotone=True,
        in_place=torch.ops.aten.relu6_.default,
    ),
    "aten.clamp": Activation(
        lambda z, min=None, max=None: _clamped(z, min, max),  # noqa: A006 - the op's own argument names
        refuses=lambda a: _clamp_refusal(a["min"], a["max"]),
    ),
    "aten.clamp_max": Activation(
        lambda z, max: _clamped(z, None, max),  # noqa: A006 - the op's own argument name
        refuses=lambda a: _clamp_refusal(None, a["max"]),
    ),
    "aten.clamp_min": Activation(
        lambda z, min: _clamped(z, min, None),  # noqa: A006 - the op's own argument name
        refuses=lambda a: _clamp_refusal(a["min"], None),
    ),
    "aten.leaky_relu": Activation(lambda z, negative_slope=0.01: _leaky(z, negative_slope)),
    "aten.rrelu": Activation(
        # in eval mode its slope is the middle of those that it draws from in training
        lambda z, lower=1 / 8, upper=1 / 3, **_: _leaky(z, (lower + upper) / 2),
        refuses=lambda a: RANDOM if a["training"] else None,
    ),
    "aten.threshold": Activation(
        lambda z, threshold, value: (z > threshold).to(z.dtype),  # noqa: ARG005 - the op's own argument names
        refuses=lambda a: f"it puts {a['value']} in place of small values, and accepted is 0" if a["value"] else None,
    ),
    "aten.prelu": Activation(_prelu),
    "aten._prelu_kernel": Activation(lambda z, weight: torch.where(z > 0, torch.ones_like(z), weight)),
    "aten.elu": Activation(_elu),
    "aten.celu": Activation(lambda z, alpha=1.0: _elu(z, alpha, 1.0, 1.0 / alpha)),
    "aten.selu": Activation(lambda z: _elu(z, 1.6732632423543772, 1.0507009873554805)),
    "aten.silu": Activation(torch.sigmoid, in_place=torch.ops.aten.silu_.default),
    "aten.gelu": Activation(_gelu),
    "aten.hardswish": Activation(functional.hardsigmoid, in_place=torch.ops.aten.hardswish_.default),
    "aten.mish": Activation(lambda z: torch.tanh(functional.softplus(z))),
    "aten.tanh": Activation(_tanh),
}
"""Activations by op name. To add one, give its secant slope in closed form."""
