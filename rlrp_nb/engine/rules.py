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
from rlrp_nb.engine.layout import PICTURE, channels_last, order_of
from rlrp_nb.engine.rule import Call, Constant, Gate, Kind, Memory, Refusal, Rule, Slot, unbroadcast
from rlrp_nb.engine.weighted import BATCH_STATISTICS, BatchNorm, Convolution, Dense, Product
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlrp_nb.engine.graph import Step


class Homogeneous(Rule):
    """An op that adds nothing: zero inputs give zero."""

    def offset(self, call: Call) -> None:  # noqa: ARG002 - nothing is added
        """Return None: nothing is added."""
        return


@dataclass(frozen=True)
class Linear(Rule):
    """An op that is linear (or affine) in its inputs, transposed by autograd on a dummy of the input's shape.

    Attributes
    ----------
    batched
        True where the op treats axis 0 as independent samples whatever its length, so that the K targets can be folded
        into it and one pass serves all of them.
    """

    kind: Kind = "affine"
    batched: bool = False
    items: frozenset[int] | None = None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Return the vector-Jacobian product, which for a linear op does not depend on where it is taken."""
        targets = s.shape[0]
        folded = self.batched and targets > 1
        dummies = [
            torch.zeros(
                (targets * shape[0], *shape[1:]) if folded else shape,
                dtype=s.dtype,
                device=s.device,
                requires_grad=True,
            )
            for shape in call.shapes
        ]
        with torch.enable_grad():
            output = call.run(dummies)
        if folded:
            gradients = torch.autograd.grad(output, dummies, s.flatten(0, 1), materialize_grads=True)
            return tuple(g.reshape(targets, -1, *g.shape[1:]) for g in gradients)
        each = [
            torch.autograd.grad(output, dummies, s[k], retain_graph=k + 1 < targets, materialize_grads=True)
            for k in range(targets)
        ]
        return tuple(torch.stack(parts) if targets > 1 else parts[0][None] for parts in zip(*each, strict=True))


@dataclass(frozen=True)
class Pick(Linear):
    """Indexing by lists of places, such as ``x[:, [2, 1, 0]]``."""

    kind: Kind = "shape"

    def problem(self, step: Step) -> str | None:
        """Refuse places that depend on the input, and picking samples."""
        if len(step.sources) > 1 or "self" not in step.roles_by_name():
            return "which places it picks depends on the input"
        axis, places = step.source_batch_dim, step.arguments["indices"]
        alone = axis is not None and (axis >= len(places) or places[axis] is None)
        return None if alone else "it mixes the samples of the batch by picking among them"


@dataclass(frozen=True)
class Placed(Linear):
    """An op that is linear in some arguments while others say where, such as ``torch.where`` by a constant condition.

    What it hands on are the same numbers elsewhere, unless it is given another kind.

    Attributes
    ----------
    places
        The argument that says where, which has to be a constant.
    """

    kind: Kind = "shape"
    places: str = "index"

    def problem(self, step: Step) -> str | None:
        """Refuse places that depend on the input, products, and writing into samples that a list picks."""
        if step.depends(self.places):
            return f"where it reads or writes ({self.places}) depends on the input; only constant places have a rule"
        if "reduce" in step.arguments:
            return f"it reduces by {step.arguments['reduce']!r}; only writing and adding have a rule"
        whole = step.op != "aten.index_put" or (step.batch_dim == 0 and step.arguments["indices"][0] is None)
        return None if whole else "it writes into samples that are picked from the batch"


@dataclass(frozen=True)
class Overwriting(Placed):
    """Writing numbers into places of a tensor, each into one of its own."""

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Refuse places that are written into more than once: which number is left is a matter of chance."""
        if _writes_twice(arguments):
            raise UnsupportedNetworkError(
                f"{step.op} at {step.name} writes several numbers into one place, of which one is left, whichever it "
                "is. Let its places be different ones, or add the numbers up, as index_add and scatter_add do."
            )
        return step.invoke(arguments), None


def _writes_twice(arguments: dict[str, Any]) -> bool:
    """Tell whether one place gets several numbers that can differ, by counting those that each gets."""
    written = arguments.get("values", arguments.get("src", arguments.get("source")))
    if arguments.get("accumulate") or not isinstance(written, Tensor) or written.numel() == 1:
        return False
    counts = torch.zeros_like(arguments["self"], dtype=torch.int64)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    if "indices" in arguments:
        counts = torch.ops.aten.index_put(counts, arguments["indices"], one, accumulate=True)
    elif "src" in arguments:
        index = arguments["index"]
        counts = counts.scatter_add(arguments["dim"], index, one.expand_as(index))
    else:
        counts = counts.index_add(arguments["dim"], arguments["index"], one.expand_as(written))
    return bool((counts > 1).any())


@dataclass(frozen=True)
class Reshape(Homogeneous):
    """View, reshape, flatten, squeeze, clone, dropout in eval mode: the same numbers in the same order."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Run the op; a squeeze leaves the axis of the samples where it is, also for a batch of one."""
        if step.op != "aten.squeeze":
            return step.invoke(arguments), None
        x: Tensor = arguments["self"]
        given = arguments.get("dim", list(range(x.dim())))
        axes = [d % x.dim() for d in ([given] if isinstance(given, int) else given)] if x.dim() else []
        return x.squeeze([d for d in axes if d != step.source_batch_dim]), None

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Give the sensitivity the shape of the input again."""
        return (s.reshape(s.shape[0], *call.shapes[0]),)


class Dropout(Reshape):
    """Dropout that is switched off."""

    def problem(self, step: Step) -> str | None:
        """Refuse dropout that is at work."""
        return RANDOM if step.arguments["train"] else None


@dataclass(frozen=True)
class Permute(Homogeneous):
    """Permute and transpose of axes."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    @staticmethod
    def order(arguments: Mapping[str, Any], rank: int) -> list[int]:
        """Return which axis of the input each axis of the output was."""
        order = list(range(rank))
        if "dims" in arguments:
            order = [d % rank for d in arguments["dims"]]
        elif rank > 1:  # aten.t has no dims and swaps the two axes it has
            a, b = arguments.get("dim0", 0) % rank, arguments.get("dim1", 1) % rank
            order[a], order[b] = b, a
        return order

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Put the axes back."""
        order = self.order(call.arguments, len(call.shapes[0]))
        back = [0] * len(order)
        for new, old in enumerate(order):
            back[old] = new
        return (s.permute(0, *(d + 1 for d in back)),)


@dataclass(frozen=True)
class Pad(Rule):
    """Padding with a constant, which crops where it is negative."""

    kind: Kind = "shape"
    returns: Memory = "parts"

    def problem(self, step: Step) -> str | None:
        """Refuse nothing but a mode that is not known."""
        mode = step.arguments.get("mode", "constant")
        return None if mode in {"constant", "reflect", "replicate", "circular"} else f"its mode {mode!r} has no rule"

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Crop what was padded, pad what was cropped; the other modes send what they repeat to where it came from."""
        if call.arguments.get("mode", "constant") != "constant":
            return _linear.transpose(call, s)
        pad: list[int] = call.arguments["pad"]
        for number, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
            axis = s.dim() - 1 - number
            start, length = max(0, before), s.shape[axis] - max(0, before) - max(0, after)
            s = s.narrow(axis, start, length)
        cropped = [min(0, p) for p in pad]
        return (torch.constant_pad_nd(s, [-p for p in cropped]) if any(cropped) else s,)


@dataclass(frozen=True)
class Concatenate(Rule):
    """Concatenation: every part gets its own slice back."""

    kind: Kind = "affine"
    returns: Memory = "parts"

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Cut the sensitivity along the axis of concatenation."""
        dim, parts, start = call.arguments["dim"], [], 0
        axis = 1 + dim % len(call.output_shape)
        for part in call.arguments["tensors"]:
            # a legacy empty 1-d part takes no room, whatever its rank
            length = part.shape[dim] if len(part.shape) == len(call.output_shape) else 0
            if isinstance(part, Slot):
                parts.append(s.narrow(axis, start, length))
            start += length
        return tuple(parts)


@dataclass(frozen=True)
class Copy(Rule):
    """Writing into a part of a tensor, such as ``y[:, 1] *= 2``: what is written takes all, what was there nothing."""

    kind: Kind = "shape"

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Hand the sensitivity to what was written, with that of places into which one number was written summed."""
        operands = (call.arguments["self"], call.arguments["src"])
        there, written = (operand.shape if isinstance(operand, Slot) else None for operand in operands)
        parts = [] if there is None else [s.new_zeros(s.shape[0], *there)]
        return (*parts, *([] if written is None else [unbroadcast(s, written)]))


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
class MaxPool(Homogeneous):
    """Max pooling: the winner takes all.

    Attributes
    ----------
    pool
        The variant of the op that returns the winners' indices too.
    rank
        Number of spatial axes.
    """

    pool: Any
    rank: int
    kind: Kind = "pooling"
    items: frozenset[int] | None = frozenset({0})
    new_output: bool = True
    returns: Memory = "new"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ARG002 - another op is run
        """Keep the winners' indices within each plane."""
        output, winners = self.pool(*arguments.values())
        return output, winners

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Send the sensitivity of every window to its winner; overlapping windows add up."""
        targets, shape = s.shape[0], call.shapes[0]
        if self.pool is torch.ops.aten.max_pool2d_with_indices and len(shape) == PICTURE:
            return (self._pull_planes(call, s),)
        winners = call.state.flatten(-self.rank)
        flat = s.new_zeros((targets, *shape[: -self.rank], shape[-self.rank :].numel()))
        flat.scatter_add_(-1, winners.expand(targets, *winners.shape), s.flatten(-self.rank))
        return (flat.view(targets, *shape),)

    def _pull_planes(self, call: Call, s: Tensor) -> Tensor:
        """Do the same by PyTorch's own op, which takes channels last as well."""
        winners, window = call.state, list(call.arguments.values())[1:6]
        # only its shape and order are read
        order = order_of(winners)
        dummy = torch.empty(call.shapes[0], dtype=s.dtype, device=s.device, memory_format=order)
        each = [channels_last(s_k) if order == torch.channels_last else s_k for s_k in s]
        pulled = [torch.ops.aten.max_pool2d_with_indices_backward(s_k, dummy, *window, winners) for s_k in each]
        return pulled[0][None] if len(pulled) == 1 else torch.stack(pulled)


@dataclass(frozen=True)
class Maximum(Homogeneous):
    """Maximum along axes (``amax``, ``max(dim)``): the winner takes all; a tie goes to the first."""

    kind: Kind = "pooling"
    items: frozenset[int] | None = frozenset({0})

    def problem(self, step: Step) -> str | None:
        """Refuse the maximum of two tensors and that of all numbers, which go by the same name."""
        return None if "dim" in step.arguments else "only the maximum along axes has a rule, such as max(dim) or amax"

    def forward(self, step: Step, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Keep the position of each winner among the flattened reduced axes."""
        x: Tensor = arguments["self"]
        axes = _axes(arguments["dim"], x.dim())
        kept = [d for d in range(x.dim()) if d not in axes]
        return step.invoke(arguments), x.permute(*kept, *axes).flatten(len(kept)).argmax(-1)

    def transpose(self, call: Call, s: Tensor) -> tuple[Tensor, ...]:
        """Send the sensitivity of every maximum to its winner."""
        shape, targets = call.shapes[0], s.shape[0]
        axes = _axes(call.arguments["dim"], len(shape))
        kept = [d for d in range(len(shape)) if d not in axes]
        lengths = [shape[d] for d in axes]
        flat = s.new_zeros((targets, *(shape[d] for d in kept), torch.Size(lengths).numel()))
        winners = call.state.expand(targets, *call.state.shape).unsqueeze(-1)
        flat.scatter_(-1, winners, s.reshape(winners.shape))
        back = [0] * len(shape)
        for new, old in enumerate([*kept, *axes]):
            back[old] = new
        return (flat.reshape(*flat.shape[:-1], *lengths).permute(0, *(d + 1 for d in back)),)


def _axes(dim: int | list[int], rank: int) -> list[int]:
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted(d % rank for d in dims) or list(range(rank))


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


_linear = Linear(kind="shape")
_reshape, _spatial = Reshape(), Linear(batched=True)
_batch_statistics = Refusal(BATCH_STATISTICS)
_attention = Refusal("attention has no R-LRP rule: transformers, vision transformers too, are not supported")

RULES: dict[str, Rule] = {
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
            *("clone", "contiguous", "alias", "lift_fresh_copy", "to", "_to_copy", "type_as"),
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
    "aten.log_softmax": Refusal("the network ends in log_softmax; explain its logits instead: remove this last step"),
    "aten._log_softmax": Refusal("the network ends in log_softmax; explain its logits instead: remove this last step"),
}
"""Backward rules by op name."""
BUILT_IN = MappingProxyType({**RULES})
"""The rules as they came, whatever a user adds."""
