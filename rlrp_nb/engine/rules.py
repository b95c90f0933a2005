"""One backward rule per ATen op, in one table.

A rule says how one op hands the sensitivity of its output back to its inputs. Most ops are affine: their rule is the
transpose of their linear part. Adding an op is adding an entry to `RULES`, keyed by the op's name without its overload
(``"aten.relu"``); for an op that is linear in its inputs, ``Linear()`` is all that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.engine.activations import ACTIVATIONS, RANDOM
from rlrp_nb.engine.contraction import Contraction
from rlrp_nb.engine.linear import Homogeneous, Linear
from rlrp_nb.engine.places import Copy, Overwriting, Pick, Placed
from rlrp_nb.engine.pooling import Maximum, MaxPool
from rlrp_nb.engine.rule import Call, Constant, Gate, Kind, Memory, Refusal, Rule, Slot, unbroadcast
from rlrp_nb.engine.rule_table import RuleTable
from rlrp_nb.engine.shapes import Concatenate, Dropout, Pad, Permute, Reshape
from rlrp_nb.engine.weighted import BATCH_STATISTICS, BatchNorm, Convolution, Dense, Product

if TYPE_CHECKING:
    from rlrp_nb.engine.graph import Step


@dataclass(frozen=True)
class Add(Rule):
    """Sum and difference of two tensors, or of a tensor and a constant.

    Attributes
    ----------
    signs
        The factor of each operand; ``alpha`` multiplies the operand it belongs to.
    scaled
        Which operand ``alpha`` multiplies.
    """

    signs: tuple[int, int] = (1, 1)
    scaled: int = 1
    kind: Kind = "affine"
    new_output: bool = True

    def overwrite(self, arguments: dict[str, Any], name: str) -> Tensor | None:
        """Add to the one or to the other, where both have the shape and dtype of the sum."""
        one, other = arguments["self"], arguments["other"]
        if self.signs != (1, 1) or arguments.get("alpha", 1) != 1 or not isinstance(other, Tensor):
            return None
        if one.shape != other.shape or one.dtype != other.dtype:
            return None
        into, added = (one, other) if name == "self" else (other, one)
        return into.add_(added)

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Hand the same sensitivity to both operands, with the factor of each."""
        operands = (call.arguments["self"], call.arguments["other"])
        parts = []
        for position, (operand, sign) in enumerate(zip(operands, self.signs, strict=True)):
            if isinstance(operand, Slot):
                factor = sign * (call.arguments.get("alpha", 1) if position == self.scaled else 1)
                parts.append(unbroadcast(s if factor == 1 else s * factor, operand.shape))
        return tuple(parts)


@dataclass(frozen=True)
class Multiply(Homogeneous):
    """Product with a constant, or of a signal and a gate: the gate is held constant, the signal takes all."""

    kind: Kind = "affine"
    returns: Memory = "new"

    def problem(self, step: Step) -> str | None:
        """Refuse a product of two signals, or of gates alone."""
        if step.roles.count("signal") == 1:
            return None
        return "it multiplies two tensors that both depend on the input, of which one must be a gate and one a signal"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Keep the gate's value."""
        gates = [arguments[name] for name, role in step.roles_by_name().items() if role == "gate"]
        return step.invoke(arguments), gates[0] if gates else None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Multiply by the factor that is held constant."""
        factor = call.state
        if factor is None:
            (factor,) = (v for k, v in call.arguments.items() if k in {"self", "other"} and not isinstance(v, Slot))
        if isinstance(factor, Tensor):
            factor = factor.to(call.dtype)
        return (unbroadcast(s * factor, call.shapes[0]),)


@dataclass(frozen=True)
class Divide(Homogeneous):
    """Division by a constant."""

    kind: Kind = "affine"
    returns: Memory = "new"

    def problem(self, step: Step) -> str | None:
        """Refuse a denominator that depends on the input, and rounding."""
        if list(step.roles_by_name()) != ["self"]:
            return "the denominator depends on the input; only division by a constant is affine"
        return "rounding division is not affine" if step.arguments.get("rounding_mode") else None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Divide by the same constant."""
        other = call.arguments["other"]
        return (unbroadcast(s / (other.to(call.dtype) if isinstance(other, Tensor) else other), call.shapes[0]),)


@dataclass(frozen=True)
class LayerNorm(Rule):
    """Layer normalisation: the standard deviation is held constant, the rest is affine."""

    kind: Kind = "affine"
    items: frozenset[int] | None = frozenset({0})

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ARG002 - the native op is run
        """Keep the reciprocal standard deviation."""
        output, _, scale = torch.ops.aten.native_layer_norm(
            arguments["input"],
            arguments["normalized_shape"],
            arguments["weight"],
            arguments["bias"],
            arguments["eps"],
        )
        return output, scale

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Undo weight and scale, then take out the mean, as the centring did."""
        weight = call.constant("weight")
        s = s * call.state.to(call.dtype) if weight is None else s * weight * call.state.to(call.dtype)
        axes = tuple(range(-len(call.arguments["normalized_shape"]), 0))
        return (s - s.mean(dim=axes, keepdim=True),)

    def offset(self, call: Call) -> Tensor | None:
        """Return the bias."""
        return call.constant("bias")


_reshape, _spatial = Reshape(), Linear(batched=True)
_batch_statistics = Refusal(BATCH_STATISTICS)
_attention = Refusal("attention has no R-LRP rule: transformers, vision transformers too, are not supported")
_log_softmax = Refusal(
    "it does not map 0 to 0, as an activation must; where a network ends in it, explain its logits instead: remove "
    "this last step"
)

_RULES: dict[str, Rule] = {
    **ACTIVATIONS,
    # maps with weights
    **{f"aten.conv{n}d": Convolution() for n in (1, 2, 3)},
    **{f"aten.conv_transpose{n}d": Convolution(transposed=True) for n in (1, 2, 3)},
    "aten.convolution": Convolution(),
    "aten.linear": Dense(),
    "aten.mm": Product(),
    "aten.matmul": Product(),
    "aten.bmm": Product(),
    "aten.addmm": Product(),
    **{f"aten.{name}": Contraction() for name in ("einsum", "tensordot", "inner", "mv", "linalg_vecdot")},
    "aten.batch_norm": BatchNorm(),
    "aten._native_batch_norm_legit_no_training": BatchNorm(),
    "aten.instance_norm": BatchNorm(),
    # sums and products
    "aten.add": Add(),
    "aten.sub": Add(signs=(1, -1)),
    "aten.rsub": Add(signs=(-1, 1), scaled=0),
    "aten.neg": Linear(),
    "aten.mul": Multiply(),
    "aten.div": Divide(),
    "aten.layer_norm": LayerNorm(),
    "aten.native_layer_norm": LayerNorm(),
    # pooling and resampling
    "aten.max_pool1d": MaxPool(torch.ops.aten.max_pool1d_with_indices, 1),
    "aten.max_pool2d": MaxPool(torch.ops.aten.max_pool2d_with_indices, 2),
    "aten.max_pool3d": MaxPool(torch.ops.aten.max_pool3d_with_indices, 3),
    "aten.max_pool2d_with_indices": MaxPool(torch.ops.aten.max_pool2d_with_indices, 2),
    "aten.max_pool3d_with_indices": MaxPool(torch.ops.aten.max_pool3d_with_indices, 3),
    "aten.adaptive_max_pool1d": MaxPool(torch.ops.aten.adaptive_max_pool1d, 1),
    "aten.adaptive_max_pool2d": MaxPool(torch.ops.aten.adaptive_max_pool2d, 2),
    "aten.adaptive_max_pool3d": MaxPool(torch.ops.aten.adaptive_max_pool3d, 3),
    "aten.amax": Maximum(),
    "aten.max": Maximum(),
    **{f"aten.{kind}avg_pool{n}d": _spatial for kind in ("", "adaptive_", "_adaptive_") for n in (1, 2, 3)},
    **{f"aten.upsample_nearest{n}d": _spatial for n in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{n}d": _spatial for n in (1, 2, 3)},
    "aten.upsample_linear1d": _spatial,
    "aten.upsample_bilinear2d": _spatial,
    "aten._upsample_bilinear2d_aa": _spatial,
    "aten.upsample_bicubic2d": _spatial,
    "aten._upsample_bicubic2d_aa": _spatial,
    "aten.upsample_trilinear3d": _spatial,
    "aten.pixel_shuffle": _spatial,
    "aten.pixel_unshuffle": _spatial,
    "aten.channel_shuffle": _spatial,
    "aten.im2col": _spatial,
    "aten.col2im": _spatial,
    "aten.grid_sampler": Placed(kind="affine", places="grid"),
    "aten.pad": Pad(),
    "aten.constant_pad_nd": Pad(),
    **{
        f"aten.{kind}_pad{n}d": Linear(kind="shape", batched=True)
        for kind in ("reflection", "replication")
        for n in (1, 2, 3)
    },
    # reductions
    "aten.mean": Linear(),
    "aten.sum": Linear(),
    # the same numbers elsewhere
    **{
        f"aten.{name}": _reshape
        for name in (
            *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"),
            *("clone", "contiguous", "alias", "lift_fresh_copy", "to", "_to_copy"),
        )
    },
    **{f"aten.{name}": Dropout() for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")},
    "aten.permute": Permute(),
    "aten.transpose": Permute(),
    "aten.t": Permute(),
    "aten.cat": Concatenate(),
    "aten.copy": Copy(),
    **{
        f"aten.{name}": Linear(kind="shape")
        for name in (
            *("split", "split_with_sizes", "chunk", "unbind", "slice", "select", "narrow", "index_select"),
            *("unfold", "expand", "repeat", "stack", "flip", "roll", "diagonal", "slice_scatter", "select_scatter"),
            *("tile", "repeat_interleave", "rot90"),
        )
    },
    "aten.index": Pick(),
    "aten.where": Placed(places="condition"),
    "aten.masked_fill": Placed(places="mask"),
    "aten.index_put": Overwriting(kind="affine", places="indices"),  # which may add
    "aten.scatter": Overwriting(),
    "aten.index_copy": Overwriting(),
    "aten.take_along_dim": Placed(places="indices"),
    "aten.gather": Placed(),
    "aten.index_fill": Placed(),
    "aten.scatter_add": Placed(kind="affine"),
    "aten.index_add": Placed(kind="affine"),
    # gates and constants
    "aten.sigmoid": Gate(),
    "aten.hardsigmoid": Gate(),
    "aten.softmax": Gate(),
    "aten._softmax": Gate(),
    **{
        f"aten.{name}": Constant()
        for name in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "fill", "zero")
    },
    # known, and refused
    "aten.native_dropout": Refusal(RANDOM),
    "aten.rrelu_with_noise": Refusal(RANDOM),
    **{
        f"aten.{name}": _batch_statistics
        for name in (
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_functional",
            "native_batch_norm",
        )
    },
    "aten.group_norm": Refusal("group normalisation has no R-LRP rule; layer and batch normalisation have"),
    "aten.native_group_norm": Refusal("group normalisation has no R-LRP rule; layer and batch normalisation have"),
    "aten.scaled_dot_product_attention": _attention,
    "aten._native_multi_head_attention": _attention,
    "aten._transformer_encoder_layer_fwd": _attention,
    "aten.log_softmax": _log_softmax,
    "aten._log_softmax": _log_softmax,
}
RULES = RuleTable(_RULES)
"""Backward rules by op name."""
BUILT_IN = MappingProxyType(_RULES)
"""The rules as they came, whatever a user adds."""
