"""Maps with weights: convolution, dense layer, matrix product, batch normalisation.

They are affine like the rest; what they add is `apply` and `pull`, the map and its transpose for any other weight and
bias, which the classic LRP rules need.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rlrp_nb.engine.layout import PICTURE, channels_first, is_single, laid_out, order_of
from rlrp_nb.engine.product import backward_product, forward_product
from rlrp_nb.engine.rule import Call, Kind, Memory, Rule, along, differentiable
from rlrp_nb.engine.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rlrp_nb.engine.graph import Step

BATCH_STATISTICS = "it normalises by statistics of this batch or image, which R-LRP has no rule for"
Family = Literal["convolution", "dense", "scale"]
FEW = 4
"""Channels of a picture, at most."""


class Weighted(Rule):
    """An affine map ``z = W a + b`` of one tensor.

    Attributes
    ----------
    family
        What a method chooses its rule by: ``convolution``, ``dense`` or ``scale`` (batch normalisation on its own).
    """

    family: Family = "dense"
    new_output: bool = True
    returns: Memory = "new"

    def parameters(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias in the dtype of the sensitivities."""
        scale, axis = call.constant("scale"), call.step.folded
        weight = call.weight() if scale is None or axis is None else along(scale, call.weight(), axis)
        return weight, call.constant("bias")

    @abstractmethod
    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``W a + b`` for another input, weight and bias of the same shapes."""

    @abstractmethod
    def pull(self, call: Call, s: Tensor, weight: Tensor) -> Tensor:
        """Return ``W^T s`` for another weight of the same shape, shape ``(K, *input)``."""

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the transpose of the map."""
        scale = call.constant("scale")
        if scale is None or call.weight().numel() <= s.numel():
            return (self.pull(call, s, self.parameters(call)[0]),)
        # a folded factor is one of the output's channels, too, where there is less to multiply
        factor = self.spread(scale, len(call.output_shape))
        return (self.pull(call, s.mul_(factor) if call.spare else s * factor, call.weight()),)

    def spread(self, bias: Tensor, rank: int) -> Tensor:
        """Shape the bias for an output of `rank` axes whose axis 1 holds the channels."""
        return bias.reshape(1, -1, *[1] * (rank - 2))

    def offset(self, call: Call) -> Tensor | None:
        """Return the bias, shaped to be broadcast over the output."""
        bias = self.parameters(call)[1]
        return None if bias is None else self.spread(bias, len(call.output_shape))


@dataclass(frozen=True)
class Geometry:
    """How a convolution's kernel moves.

    Attributes
    ----------
    stride, padding, dilation, output_padding
        For each axis of its pictures.
    extra
        Zeros that ``same`` puts at the far side, for each axis.
    transposed, groups
        As of the convolution.
    windows
        The windows through which it looks, where it could be a product of what they show and the weight.
    is_stem
        Whether it is the strided convolution of few channels with which networks begin.
    """

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    output_padding: list[int]
    extra: list[int]
    transposed: bool
    groups: int
    windows: Windows | None
    is_stem: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any], weight: Tensor, *, transposed: bool) -> Geometry:
        """Read the arguments of a convolution of any rank."""
        rank, kernel, groups = weight.dim() - 2, weight.shape[2:], arguments["groups"]
        stride, dilation = each(arguments["stride"], rank), each(arguments["dilation"], rank)
        padding, extra = _padding(arguments["padding"], dilation, kernel)
        plain = not transposed and groups == 1 and weight.dim() == PICTURE
        windows = Windows(kernel, tuple(stride), tuple(padding), tuple(dilation)) if plain and not any(extra) else None
        return cls(
            stride,
            padding,
            dilation,
            each(arguments.get("output_padding", 0), rank),
            extra,
            transposed,
            groups,
            windows,
            is_stem=plain
            and weight.shape[1] <= FEW
            and dilation == [1, 1]
            and 1 < max(stride) == min(stride) < min(kernel),
        )

    def is_misread(self, signal: Tensor) -> bool:
        """Tell an input that oneDNN reads beyond its end if it has the strides of channels last.

        With PyTorch 2.14 and 2.15 it does where there is one channel, and what it computes is one column wide.
        """
        if self.windows is None or signal.dim() != PICTURE or signal.shape[1] != 1:
            return False
        return self.windows.grid(signal.shape[2:])[1] == 1


_GEOMETRY = ("stride", "padding", "dilation", "output_padding", "groups", "transposed")


@dataclass(frozen=True)
class Convolution(Weighted):
    """Convolution of any rank, with stride, padding (numbers or ``same``), dilation and groups; transposed too."""

    transposed: bool = False
    family: Family = "convolution"
    kind: Kind = "affine"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Convolve in the way and the order of memory that is faster."""
        signal, weight = arguments["input"], arguments["weight"]
        geometry = self._geometry(step, arguments, weight)
        windows = geometry.windows
        if windows is not None and windows.serve(signal, signal.shape[2:], weight):
            run: Callable[[Mapping[str, Any]], Tensor] = lambda a: windows.convolve(signal, a["weight"], a["bias"])  # noqa: E731
            return step.invoke(arguments, run), None
        misread = geometry.is_misread(signal)
        signal = channels_first(signal) if misread else laid_out(signal, weight, signal.numel())
        return step.invoke({**arguments, "input": signal}), None

    def problem(self, step: Step) -> str | None:
        """Refuse a weight that depends on the input."""
        return None if list(step.roles_by_name()) == ["input"] else "its weight depends on the input"

    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with another weight and bias."""
        own = {"scale": None} if call.step.folded is not None else {}
        a = channels_first(a) if self._geometry(call.step, call.arguments, weight).is_misread(a) else a
        output: Tensor = call.step.invoke({**call.arguments, "input": a, "weight": weight, "bias": bias, **own})
        return output

    def pull(self, call: Call, s: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the convolution with respect to its input alone."""
        shape, targets, flat = call.shapes[0], s.shape[0], s.flatten(0, 1)
        geometry, size = self._geometry(call.step, call.arguments, weight), shape[2:]
        windows = geometry.windows
        if windows is not None and windows.serve(flat, size, weight):
            return windows.pull(flat, weight, size).reshape(targets, *shape)
        if geometry.is_stem:
            return pull_by_phases(s, weight, geometry.stride[0], geometry.padding, size)
        padded = [flat.shape[0], shape[1], *(n + e for n, e in zip(size, geometry.extra, strict=True))]
        s = laid_out(flat, weight, prod(padded))
        if windows is not None and is_single(s):
            missing = windows.missing(size)
            pulled = torch.conv_transpose2d(
                s, weight, None, geometry.stride, geometry.padding, missing, 1, geometry.dilation
            )
            return pulled.reshape(targets, *shape)
        # only its shape and order are read, since no weight gradient is asked for
        dummy = torch.empty(padded, dtype=s.dtype, device=s.device, memory_format=order_of(s))
        moves = geometry.stride, geometry.padding, geometry.dilation
        kind = geometry.transposed, geometry.output_padding, geometry.groups
        backward: Callable[..., tuple[Tensor, ...]] = torch.ops.aten.convolution_backward.default
        pulled = backward(s, dummy, weight, None, *moves, *kind, [True, False, False])[0]
        for axis, n in enumerate(size, start=2):
            pulled = pulled.narrow(axis, 0, n) if pulled.shape[axis] != n else pulled
        return pulled.reshape(targets, shape[0], *pulled.shape[1:])

    def _geometry(self, step: Step, arguments: Mapping[str, Any], weight: Tensor) -> Geometry:
        """Return how the kernel moves, noted where that is the same in every run."""
        known: Geometry | None = step.memo.get("geometry")
        if known is None:
            transposed = self.transposed or arguments.get("transposed", False)
            known = Geometry.of(arguments, weight, transposed=transposed)
            if all(_is_fixed(step.arguments.get(name)) for name in _GEOMETRY):
                step.memo["geometry"] = known
        return known


def _is_fixed(value: Any) -> bool:  # noqa: ANN401 - an argument can be of any type
    """Tell an argument that is the same in every run from one that holds a size computed in it."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(v, int | str | None) for v in values)


def pull_by_phases(s: Tensor, weight: Tensor, stride: int, padding: list[int], size: torch.Size) -> Tensor:
    """Return the transpose of a strided convolution as a plain convolution, which is faster for few channels.

    Each of the ``stride * stride`` phases of the input's pixels is reached by every stride-th row and column of the
    kernel alone: these are the output channels of the convolution, and interleaving them makes the picture (Shi et al.,
    "Is the deconvolution layer the same as a convolutional layer?", 2016).

    Parameters
    ----------
    s
        ``(K, B, channels out, height out, width out)``.
    weight
        ``(channels out, channels in, height, width)``.
    size
        Height and width of the input.

    Returns
    -------
    Tensor
        ``(K, B, channels in, *size)``.
    """
    out, channels, *kernel = weight.shape
    rows, columns = (-(-n // stride) for n in kernel)
    wide = torch.constant_pad_nd(weight, [0, columns * stride - kernel[1], 0, rows * stride - kernel[0]])
    phases = wide.reshape(out, channels, rows, stride, columns, stride).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    phases = phases.reshape(channels * stride**2, out, rows, columns)
    signal = laid_out(s.flatten(0, 1), phases, s.numel())
    found = torch.pixel_shuffle(torch.conv2d(signal, phases, padding=[rows - 1, columns - 1]), stride)
    # rows that no window reaches get nothing
    missing = [p + n - m for p, n, m in zip(padding, size, found.shape[2:], strict=True)]
    found = torch.constant_pad_nd(found, [-padding[1], missing[1], -padding[0], missing[0]])
    return found.reshape(*s.shape[:2], channels, *size)


def each(value: int | list[int], rank: int) -> list[int]:
    """Return a setting of a window for each of its axes, for all of which a single number can stand."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _padding(padding: Any, dilation: list[int], kernel: torch.Size) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Return the padding on both sides, and the extra zeros that ``same`` puts at the far side of even kernels."""
    if padding == "valid":
        return [0] * len(kernel), [0] * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [t // 2 for t in total], [t % 2 for t in total]
    return each(padding, len(kernel)), [0] * len(kernel)


@dataclass(frozen=True)
class Dense(Weighted):
    """Dense layer over the last axis."""

    kind: Kind = "affine"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Multiply by the weight on all cores."""
        if step.folded is not None:
            return step.invoke(arguments), None
        return forward_product(arguments["input"], arguments["weight"], arguments["bias"]), None

    def problem(self, step: Step) -> str | None:
        """Refuse a weight that depends on the input."""
        return None if list(step.roles_by_name()) == ["input"] else "its weight depends on the input"

    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG002
        """Apply another weight and bias."""
        return forward_product(a, weight, bias)

    def pull(self, call: Call, s: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG002 - shapes follow from the weight
        """Multiply by the weight from the other side."""
        return backward_product(s, weight)

    def spread(self, bias: Tensor, rank: int) -> Tensor:
        """Shape the bias for the last axis."""
        return bias.reshape(*[1] * (rank - 1), -1)


@dataclass(frozen=True)
class Product(Weighted):
    """Matrix product of a tensor and a constant, on either side."""

    kind: Kind = "affine"

    def problem(self, step: Step) -> str | None:
        """Refuse a product of two tensors that both depend on the input, as in attention."""
        if len(step.sources) > 1:
            return "it multiplies two signals that both depend on the input, as attention does; neither is a gate"
        if step.op == "aten.addmm" and "self" in step.roles_by_name():
            return "the added matrix depends on the input"
        return None

    def parameters(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Return the constant factor, and the added constant of ``addmm``."""
        (signal,) = call.step.roles_by_name()
        factors = ("mat1", "mat2") if call.step.op == "aten.addmm" else tuple(call.arguments)[:2]
        weight = call.weight(next(name for name in factors if name != signal))
        if call.step.op != "aten.addmm":
            return weight, None
        return weight * call.arguments["alpha"], call.weight("self") * call.arguments["beta"]

    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply by another constant."""
        (signal,) = call.step.roles_by_name()
        product = torch.matmul(weight, a) if signal in {"mat2", "other"} else torch.matmul(a, weight)
        return product if bias is None else product + bias

    def pull(self, call: Call, s: Tensor, weight: Tensor) -> Tensor:
        """Transpose by autograd, which knows every rank a product can have."""
        dummy = torch.zeros(call.shapes[0], dtype=s.dtype, device=s.device, requires_grad=True)
        with torch.enable_grad():
            output = self.apply(call, dummy, differentiable(weight), None)
        last = s.shape[0] - 1
        return torch.stack(
            [torch.autograd.grad(output, dummy, s[k], retain_graph=k < last)[0] for k in range(last + 1)]
        )

    def spread(self, bias: Tensor, rank: int) -> Tensor:  # noqa: ARG002 - addmm broadcasts by itself
        """Return the added constant as it is."""
        return bias


@dataclass(frozen=True)
class BatchNorm(Weighted):
    """Batch or instance normalisation by running statistics, as in eval mode: a factor and a shift per channel."""

    family: Family = "scale"
    kind: Kind = "affine"
    items: frozenset[int] | None = frozenset({0})

    def problem(self, step: Step) -> str | None:
        """Refuse statistics of the batch or image, and parameters that depend on the input."""
        own = step.arguments.get("training") or step.arguments.get("use_input_stats")
        if own or step.arguments["running_mean"] is None:
            return BATCH_STATISTICS
        return None if list(step.roles_by_name()) == ["input"] else "its parameters depend on the input"

    def parameters(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Return the factor and the shift."""
        return scale_and_shift(
            call.constant("weight"),
            call.constant("bias"),
            call.weight("running_mean"),
            call.weight("running_var"),
            call.arguments["eps"],
        )

    def apply(self, call: Call, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG002
        """Apply another factor and shift."""
        scaled = a * self.spread(weight, a.dim())
        return scaled if bias is None else scaled + self.spread(bias, a.dim())

    def pull(self, call: Call, s: Tensor, weight: Tensor) -> Tensor:
        """Multiply by the factor."""
        return s * self.spread(weight, len(call.output_shape))


def scale_and_shift(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the factor and shift per channel to which batch normalisation in eval mode comes down."""
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias
