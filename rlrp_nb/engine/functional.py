"""In-place ops of a traced program, written as what they compute.

``torch.export`` leaves ``relu_`` and ``+=`` as they are. Its own pass that removes them costs more than the tracing
itself, and is needed only where memory is shared through views. In the usual case, an in-place op on a tensor that has
memory of its own, the in-place node can stand for its input in all that follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import default_decompositions

from rlrp_nb.engine.rules import RULES

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from rlrp_nb.engine.rule import Rule

_FRESH = {"affine", "activation", "pooling", "gate"}
_COMPOSITE = frozenset({"glu", "baddbmm", "addcmul", "addcdiv", "lerp", "diff", "trapezoid", "linalg_multi_dot"})


def _lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:  # noqa: ANN401 - a number or a tensor
    output: Tensor = start + weight * (end - start)
    return output


# PyTorch's own way of taking it apart copies memory in its order
_OWN_WAYS = {torch.ops.aten.lerp.Scalar: _lerp, torch.ops.aten.lerp.Tensor: _lerp}


def without_in_place_ops(program: ExportedProgram) -> ExportedProgram:
    """Return a program that computes the same, and in which no op writes into its inputs.

    Parameters
    ----------
    program
        As ``torch.export`` made it; its graph may be changed.
    """
    for node in program.graph.nodes:
        if _is_idle(node):
            node.target = _functional(node)
    writers = [node for node in program.graph.nodes if _writes(node)]
    if not all(_is_known(node) for node in program.graph.nodes) or not all(_is_plain(node) for node in writers):
        functional: ExportedProgram = program.run_decompositions(_composites(program))
        return functional
    position = {node: number for number, node in enumerate(program.graph.nodes)}
    for node in writers:
        written: Any = node.args[0]
        node.target = _functional(node)
        for user in list(written.users):
            if position[user] > position[node]:
                user.replace_input_with(written, node)
    return program


def _composites(program: ExportedProgram) -> dict[Any, Any]:
    """Return how those ops of a program are taken apart that are no more than a few others with a rule."""
    nodes = [n for n in program.graph.nodes if getattr(n.target, "_opname", "").removesuffix("_") in _COMPOSITE]
    nodes = [node for node in nodes if _rule_of(node) is None]  # a user may have given it one
    met = {_functional(node) if _writes(node) else node.target for node in nodes}
    known = default_decompositions() if met else {}
    return {op: _OWN_WAYS.get(op) or known[op] for op in met}


def _writes(node: Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable  # noqa: SLF001 - the op's description


def _is_idle(node: Node) -> bool:
    """Tell in-place dropout that is switched off: it writes nothing."""
    return _writes(node) and "dropout_" in str(node.target) and tuple(node.args[2:3]) == (False,)


def _functional(node: Node) -> Any:  # noqa: ANN401 - an op, or None where there is none
    """Return the op that computes what an in-place op writes."""
    target: Any = node.target
    packet = getattr(torch.ops.aten, target._opname.removesuffix("_"), None)  # noqa: SLF001 - the op's name
    return getattr(packet, target._overloadname, None)  # noqa: SLF001 - likewise


def _is_known(node: Node) -> bool:
    """Tell an op that has a rule; another may be in place, or one of those that are taken apart into ops that have."""
    if not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return True
    return _rule_of(node) is not None or node.target._opname.startswith("sym_")  # noqa: SLF001 - the op's name


def _rule_of(node: Node) -> Rule | None:
    target: Any = node.target
    return RULES.get(f"{target.namespace}.{target._opname.removesuffix('_')}")  # noqa: SLF001 - the op's name


def _is_plain(node: Node) -> bool:
    """Tell an in-place op whose input is neither a view, nor seen through one, nor given from outside."""
    written: Any = node.args[0] if node.args else None
    if not isinstance(written, torch.fx.Node) or _functional(node) is None or not _is_fresh(node):
        return False
    return _is_fresh(written) and all(_is_fresh(user) or user.op == "output" for user in written.users)


def _is_fresh(node: Node) -> bool:
    """Tell an op that returns memory of its own (or, in place, that of its input): known to, or it does not count."""
    if not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return False
    rule = _rule_of(node)
    return rule is not None and rule.kind in _FRESH
