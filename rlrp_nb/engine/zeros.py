"""Products with the zeros from which a recurrent part starts.

The first step of a GRU or an LSTM multiplies a gate by a state of zeros. What comes out depends on nothing, but
was made of a gate, for which it would be taken.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

_MADE = frozenset({f"aten.{name}" for name in ("zeros", "zeros_like", "new_zeros")})
_KEPT = frozenset(
    {
        *(f"aten.{name}" for name in ("alias", "clone", "contiguous", "detach", "_to_copy", "to")),
        *(f"aten.{name}" for name in ("expand", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose")),
        *(f"aten.{name}" for name in ("select", "slice", "chunk", "split", "split_with_sizes", "unbind")),
    }
)
"""Ops of one tensor that make zeros of zeros."""


def without_zero_products(program: ExportedProgram) -> ExportedProgram:
    """Return a program in which a product with zeros of its own shape and dtype is these zeros.

    Parameters
    ----------
    program
        A functional program of ATen ops; its graph may be changed.
    """
    zeros: set[Node] = set()
    for node in list(program.graph.nodes):
        op = _op(node)
        if op in _MADE or (op in _KEPT and node.args[0] in zeros):
            zeros.add(node)
        elif op == "aten.mul":
            factor = next((each for each in node.args if each in zeros and _kind(each) == _kind(node)), None)
            if factor is not None:
                node.replace_all_uses_with(factor)
                program.graph.erase_node(node)
    return program


def _op(node: Node) -> str:
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return f"{target.namespace}.{target._opname}"  # noqa: SLF001 - the op's name
    return "aten.unbind" if target is operator.getitem else ""


def _kind(node: Any) -> tuple[torch.dtype, list[str]]:  # noqa: ANN401 - a node, which an argument need not be
    """Return dtype and lengths, these as texts: one can be a formula in the batch size."""
    value = node.meta["val"]
    return value.dtype, [str(length) for length in value.shape]
