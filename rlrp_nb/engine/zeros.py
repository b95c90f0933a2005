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

_MADE = frozenset({f"aten.{name}" for name in ("zeros", "zeros_like", "new_zeros", "zero")})
_FILLED = {"aten.full": 1, "aten.full_like": 1, "aten.new_full": 2, "aten.fill": 1, "aten.constant_pad_nd": 2}
"""Ops that put one number everywhere, or around, and which argument that is."""
_KEPT = frozenset(
    {
        *(f"aten.{name}" for name in ("alias", "clone", "contiguous", "detach", "_to_copy", "to", "neg")),
        *(
            f"aten.{name}"
            for name in ("expand", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "t")
        ),
        *(f"aten.{name}" for name in ("select", "slice", "chunk", "split", "split_with_sizes", "unbind", "repeat")),
    }
)
"""Ops that make zeros of zeros, their first argument."""
_JOINED = frozenset({"aten.cat", "aten.stack"})


def without_zero_products(program: ExportedProgram) -> ExportedProgram:
    """Return a program in which a product of a value with zeros is zeros like it, if it has its shape and dtype.

    Parameters
    ----------
    program
        A functional program of ATen ops; its graph may be changed.
    """
    zeros: set[Node] = set()
    for node in list(program.graph.nodes):
        if _is_zeros(node, zeros):
            zeros.add(node)
        elif _op(node) in {"aten.mul", "aten.multiply"} and not zeros.isdisjoint(node.args):
            other = next((each for each in node.args if each not in zeros), None)
            if _kind(node) != _kind(other):
                continue
            with program.graph.inserting_before(node):
                blank = program.graph.call_function(torch.ops.aten.zeros_like.default, (other,))
            blank.meta = {**node.meta}
            node.replace_all_uses_with(blank)
            program.graph.erase_node(node)
            zeros.add(blank)
    return program


def _is_zeros(node: Node, zeros: set[Node]) -> bool:
    op, given = _op(node), list[Any](node.args)
    if op in _FILLED:
        filled = given[_FILLED[op]] if len(given) > _FILLED[op] else 0
        return type(filled) in {int, float} and filled == 0 and (op != "aten.constant_pad_nd" or given[0] in zeros)
    if op in _JOINED:
        return zeros.issuperset(given[0])
    return op in _MADE or (op in _KEPT and given[0] in zeros)


def _op(node: Node) -> str:
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return f"{target.namespace}.{target._opname}"  # noqa: SLF001 - the op's name
    return "aten.unbind" if target is operator.getitem else ""


def _kind(node: Any) -> tuple[torch.dtype, list[str]] | None:  # noqa: ANN401 - a node, which an argument need not be
    """Return dtype and lengths, these as texts: one can be a formula in the batch size."""
    value = getattr(node, "meta", {}).get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return value.dtype, [str(length) for length in value.shape]
