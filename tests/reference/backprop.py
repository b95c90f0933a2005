"""R-LRP of any network by automatic differentiation: the second, independent reference.

The network is run unchanged under a torch-function mode. Calls of pointwise activations, gates and layer-norm are
answered with autograd functions whose backward is the one of the definition; everything else keeps its own
vector-Jacobian product, which is what the definition asks for affine maps and max pooling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Iterable

ACTIVATIONS = frozenset(
    {
        functional.relu,
        functional.relu_,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        functional.relu6,
        functional.hardtanh,
        functional.hardtanh_,
        functional.leaky_relu,
        functional.leaky_relu_,
        functional.silu,
        functional.gelu,
        functional.hardswish,
        functional.mish,
        functional.elu,
        functional.celu,
        functional.selu,
        functional.prelu,
        functional.rrelu,
        functional.rrelu_,
        functional.threshold,
        functional.threshold_,
        functional.tanh,
        torch.tanh,
        torch.tanh_,
        torch.Tensor.tanh,
        torch.Tensor.tanh_,
        torch.Tensor.clamp,
        torch.Tensor.clamp_,
        torch.Tensor.clamp_min,
        torch.Tensor.clamp_min_,
        torch.clamp,
        torch.clamp_min,
        torch.clip,
    }
)
GATES = frozenset(
    {
        functional.sigmoid,
        torch.sigmoid,
        torch.sigmoid_,
        torch.Tensor.sigmoid,
        torch.Tensor.sigmoid_,
        functional.hardsigmoid,
        functional.softmax,
        torch.softmax,
        torch.Tensor.softmax,
    }
)


class _Scaled(torch.autograd.Function):
    """Forward: the given value, in place where the network asked for it. Backward: times the given coefficient."""

    @staticmethod
    def forward(ctx, z, value, coefficient, inplace):
        ctx.save_for_backward(coefficient)
        if inplace:
            z.copy_(value)
            ctx.mark_dirty(z)
            return z
        return value.clone()

    @staticmethod
    def backward(ctx, s_a):
        (coefficient,) = ctx.saved_tensors
        return coefficient * s_a, None, None, None


def relevance_coefficient(z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """``(a / z) * |a| / max|a|`` with the maximum over everything but the batch; 0 for a dead layer and at z = 0."""
    largest = a.abs().flatten(1).amax(1).reshape(-1, *[1] * (a.dim() - 1))
    rho = torch.where(largest > 0, a.abs() / largest, 0.0)
    return torch.where(z != 0, a / z, 0.0) * rho


class RelativeRelevance(TorchFunctionMode):
    """Answers activations, gates and layer-norm with the backward of the method, and nothing else."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in ACTIVATIONS or func in GATES:
            z, *rest = args
            scratch = z.detach().clone()
            before = scratch.clone()
            value = func(scratch, *rest, **kwargs)
            inplace = value.data_ptr() == scratch.data_ptr()
            coefficient = torch.zeros_like(value) if func in GATES else relevance_coefficient(before, value)
            return _Scaled.apply(z, value, coefficient, inplace)
        if func is functional.tanhshrink:  # a sum of two branches, of which one is an activation
            return args[0] - self.__torch_function__(torch.tanh, types, args)
        if func is functional.glu:  # one half is a gate
            signal, gate = args[0].chunk(2, *args[1:], **kwargs)
            return signal * gate.detach().sigmoid()
        if func is functional.layer_norm:
            return _layer_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    dims = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(dims, keepdim=True)
    deviation = (x.detach().var(dims, correction=0, keepdim=True) + eps).sqrt()
    y = centred / deviation
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def relevance(network: torch.nn.Module, x: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """R-LRP relevance of the input, shaped like ``x``, for a seed (batch, classes) on the output."""
    return layer_relevances(network, x, seed, ())[""]


def layer_relevances(
    network: torch.nn.Module, x: torch.Tensor, seed: torch.Tensor, names: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Relevance of the input under ``""`` and of the output of every named module (used once) under its name."""
    values: dict[str, torch.Tensor] = {}
    sensitivities: dict[str, torch.Tensor] = {}

    def record(name, output):
        values[name] = output.detach().clone()
        output.register_hook(lambda s: sensitivities.__setitem__(name, s))

    modules = dict(network.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _module, _args, output, name=name: record(name, output))
        for name in names
    ]
    leaf = x.detach().clone().requires_grad_()
    try:
        with RelativeRelevance():
            output = network(leaf * 1)  # times 1: a leaf must not be changed by an in-place activation
        (s_x,) = torch.autograd.grad(output, leaf, seed)
    finally:
        for handle in handles:
            handle.remove()
    return {"": x * s_x} | {name: values[name] * sensitivities[name] for name in values}


def one_hot(classes: int, targets: Iterable[int], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Seeds (batch, classes) with a one at each sample's target."""
    return functional.one_hot(torch.tensor(list(targets)), classes).to(dtype)
