"""From a traced program to a checked graph."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, OutputKind

from rlrp_nb.engine.activations import RANDOM
from rlrp_nb.engine.folding import fold_batch_norm
from rlrp_nb.engine.graph import Constants, Graph, Ref, Step, refs_of
from rlrp_nb.engine.naming import name_steps
from rlrp_nb.engine.orders import Known
from rlrp_nb.engine.roles import assign_roles
from rlrp_nb.engine.rule import Constant, Refusal
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.engine.structure import memory_of
from rlrp_nb.errors import UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from torch.export import ExportedProgram
    from torch.fx import Node

# a view traced on a contiguous tensor fails on another memory layout, where the network itself would copy
_VIEWS: dict[Any, Any] = {torch.ops.aten.view.default: torch.ops.aten.reshape.default}
_aten = torch.ops.aten
# other names of ops, with the same arguments
_ALIASES: dict[Any, Any] = {
    _aten.concat.default: _aten.cat.default,
    _aten.concatenate.default: _aten.cat.default,
    _aten.clip.default: _aten.clamp.default,
    _aten.negative.default: _aten.neg.default,
    _aten.special_expit.default: _aten.sigmoid.default,
    **{
        getattr(alias, overload): getattr(op, overload)
        for alias, op in (
            (_aten.__and__, _aten.bitwise_and),
            (_aten.__or__, _aten.bitwise_or),
            (_aten.__xor__, _aten.bitwise_xor),
            (_aten.multiply, _aten.mul),
            (_aten.subtract, _aten.sub),
            (_aten.divide, _aten.div),
            (_aten.true_divide, _aten.div),
        )
        for overload in ("Tensor", "Scalar")
    },
}
# ops that keep the number of samples even where they work along their axis
_ALONG = {
    f"aten.{name}"
    for name in (
        *("flip", "roll", "rot90", "index_select", "softmax", "_softmax", "cumsum", "cumprod", "sort", "gather"),
        *("take_along_dim", "scatter", "scatter_add", "index_add", "index_copy", "index_fill"),
    )
}
_NAMED = 6  # of many, as in a transformer, the first few
UNRELATED = "the network's output does not depend on its input, so there is nothing to explain."
_MIXED = "it mixes the samples of the batch or moves them into another axis, so that none can be explained alone"
_LOST = (
    "it leaves out the axis of the samples, as flatten() does, and as PyTorch does with leading axes of length 1 of "
    "what is written into places"
)
_WAYS = {
    "no rule for": "\nReplace these parts by supported ones, or add a rule to rlrp_nb.engine.rules.RULES for an op "
    "that is affine or a pointwise activation with phi(0) = 0.",
    _MIXED: "\nA part that takes frames or windows for samples can be run for each of them in a loop, such as "
    "torch.stack([part(x[:, t]) for t in range(x.shape[1])], 1).",
    _LOST: "\nKeep that axis, by flatten(1) in place of flatten(), or try two samples at a time.",
}
"""What to do, by the reason."""


def build(  # noqa: C901, PLR0912, PLR0915 - one branch per kind of node
    program: ExportedProgram, weights: Mapping[str, str], *, batch_size: int | None, norms_apart: bool
) -> Graph:
    """Turn a traced program into a checked graph.

    Parameters
    ----------
    program
        A functional program of ATen ops.
    weights
        What `named_weights` found.
    batch_size
        The batch size for which it was traced, or None where it was traced as a symbol.
    norms_apart
        Whether a batch-norm that is folded into the map before it is computed behind it on the way forward.

    Raises
    ------
    UnsupportedNetworkError
        An op on the way from the logits to the input has no rule; all such ops are listed with the layer they are in.
    """
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs if hasattr(spec.arg, "name")}
    constants, steps = Constants(), []
    indices: dict[Node, int] = {}
    dependent: set[int] = set()  # values that depend on the values of the input
    sized: set[int] = set()  # values that depend on the batch size alone
    batch: Any = batch_size
    input_index = -1
    axes: dict[int, tuple[int | None, int]] = {}  # that of the samples, and how many there are
    for index, node in enumerate(program.graph.nodes):
        indices[node] = index
        if node.op == "placeholder":
            spec = kinds[node.name]
            if spec.kind == InputKind.USER_INPUT:
                input_index, taken = index, node.meta["val"]
                axes[index] = 0, taken.dim()
                dependent.add(index)
                batch = node.meta["val"].shape[0] if batch_size is None else batch_size
            elif spec.kind in {InputKind.PARAMETER, InputKind.BUFFER}:
                constants.state[index] = str(spec.target)
            elif str(spec.target) in weights:
                constants.state[index] = weights[str(spec.target)]
            else:
                constants.tensors[index] = _tensor_constant(program, str(spec.target))
        elif node.op == "call_function" and node.users:
            step = _step(node, indices, dependent, batch)
            if step is None:
                continue
            axes[index] = step.batch_dim, step.rank
            if step.sources:
                source_batch_dim, source_rank = axes[step.sources[0]]
                step = replace(step, source_batch_dim=source_batch_dim, source_rank=source_rank)
            if step.sources and not _ignores_values(step) and not _is_size(node):
                dependent.add(index)
                steps.append(step)
            elif step.sources and _is_size(node) and not step.op.startswith("aten.sym_"):
                raise data_dependent(f"{'.'.join(step.stack[-1:]) or 'the network'} reads a value by {step.op}")
            elif step.sources or _is_size(node) or step.reads() & sized:
                sized.add(index)
                steps.append(replace(step, sources=()))
            else:
                constants.steps.append(step)
        elif node.op not in {"call_function", "output"}:
            raise UnsupportedNetworkError(
                "a part of the network is run in a mode or under a condition of its own, which has no rule: "
                f"{', '.join(str(user.target) for user in node.users)}. Take torch.autocast, torch.set_grad_enabled, "
                "torch.cond and the like out of its forward: explanations are computed in the dtype of the input."
            )
    output = indices[_output(program)]
    if output not in dependent:
        raise UnsupportedNetworkError(UNRELATED)
    known = Known(_lengths(taken), _extents(taken), _Places(program, constants, steps).read)
    named = assign_roles(name_steps(steps, output), input_index, known)
    graph = Graph(input_index, output, tuple(named), constants, batch_size)
    graph = _prune(fold_batch_norm(graph, apart=norms_apart))
    check(graph)
    return graph


class _Places:
    """The constants of a program that say where numbers are put; of the network's own it is noted that they count."""

    def __init__(self, program: ExportedProgram, constants: Constants, steps: Sequence[Step]) -> None:
        self._constants = constants
        self._held = {**program.constants, **program.state_dict}
        self._nodes = [*program.graph.nodes]
        self._steps = {step.index: step for step in (*constants.steps, *steps) if not step.sources}

    def read(self, index: int) -> Any:  # noqa: ANN401 - a tensor or a size
        """Return a constant by its index.

        Raises
        ------
        KeyError
            It is none, or made of weights or at random.
        """
        name = self._constants.state.get(index)
        if name is not None:
            held = self._held[name]
            if not isinstance(held, Tensor) or held.is_floating_point() or held.is_complex():
                raise KeyError(name)
            return self._constants.places.setdefault(name, held.detach().clone())
        if index in self._constants.tensors:
            return self._constants.tensors[index]
        if _is_size(self._nodes[index]):
            size = self._nodes[index].meta["val"]
            return size.node.hint if isinstance(size, torch.SymInt) else size
        step = self._steps[index]
        if step.is_random():
            raise KeyError(step.name)
        return step.invoke(step.filled(self.read))


def named_weights(program: ExportedProgram, weights: Mapping[str, Tensor], others: list[Tensor]) -> dict[str, str]:
    """Return which constants of a program are weights of the network, by name.

    Code that reads the network past its modules, for instance from a global, has its weights written into the program,
    where new ones would not be seen.

    Parameters
    ----------
    program
        As ``torch.export`` made it, which takes a parameter for a tensor of its own in the parameter's memory.
    weights
        The network's parameters and buffers by name.
    others
        Tensors that the network keeps in other attributes. One in a weight's memory stays where it is when the weight
        is replaced.
    """
    kept = {id(tensor) for tensor in others}
    named = {_place_in_memory(tensor): name for name, tensor in reversed([*weights.items()])}
    named.pop(None, None)
    return {
        target: named[place]
        for target, tensor in program.constants.items()
        if isinstance(tensor, Tensor) and id(tensor) not in kept and (place := _place_in_memory(tensor)) in named
    }


def _place_in_memory(tensor: Tensor) -> Hashable:
    """Return where and how the numbers of a tensor lie; None where it has none."""
    try:
        memory = memory_of(tensor) if tensor.numel() else None
    except NotImplementedError:
        raise UnsupportedNetworkError(
            "the network uses torch.func (grad, vmap, jvp and the like) within its forward, which has no rule. Write "
            "that part with ops alone."
        ) from None
    if memory is None:
        return None
    return memory, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def data_dependent(reason: str) -> UnsupportedNetworkError:
    """Return the error for a network without a fixed graph."""
    return UnsupportedNetworkError(
        "the network decides by the values of a tensor what it computes (an if or a loop on data, .item(), or "
        "indexing by a mask), so that it has no fixed graph to explain. Write that part with tensors alone, for "
        "instance with torch.where, or explain the branch you mean as a network of its own; of torchvision's "
        f"transforms take those of torchvision.transforms.v2. ({reason})"
    )


def writes_weights(names: list[str]) -> UnsupportedNetworkError:
    """Return the error for a network that changes its own weights."""
    return UnsupportedNetworkError(
        f"the network writes into its own weights or other tensors whenever it is run "
        f"({shortlist(names, _NAMED)}), so that each explanation would speak of others. Do that outside of forward, or "
        "keep what changes in a buffer."
    )


def check(graph: Graph) -> None:
    """Refuse a graph in which sensitivity would meet an op without a rule.

    Raises
    ------
    UnsupportedNetworkError
        Lists every such op with its layers, of many the first few, and the reason.
    """
    reached = graph.reached()
    problems: dict[tuple[str, str], list[str]] = {}
    by_index = {step.index: step for step in graph.steps}
    followed = graph.reached(gates=True)  # gates are held constant, but must be those of the sample alone
    for step in [*graph.constants.steps, *graph.steps]:
        problem = _problem(step, by_index, last=step.index == graph.output) if step.index in reached else None
        if step.index in followed and step.sources:
            problem = problem or _mixing(step)
        if step.is_random() and not problem:
            problem = RANDOM
        if problem:
            problems.setdefault((step.op, problem), []).append(_place(step))
    if graph.batch_size == 1:  # there is nothing to mix
        problems = {
            (op, _LOST if problem == _MIXED and op != "aten.cat" else problem): names
            for (op, problem), names in problems.items()
        }
    missing = {key: names for key, names in problems.items() if key[1] not in {_MIXED, _LOST}}
    problems = missing or problems  # what an op without a rule does to the batch is of no interest
    if problems:
        advice = [way for reason, way in _WAYS.items() if any(reason in problem for _, problem in problems)]
        raise UnsupportedNetworkError(
            "this network cannot be explained as it stands:\n"
            + "\n".join(f"  {op} at {shortlist(names, _NAMED)}: {problem}" for (op, problem), names in problems.items())
            + "".join(advice)
        )


def _place(step: Step) -> str:
    """Say where a step is, and as what it was written where its op alone would not tell."""
    return f"{step.name} (part of {step.within})" if step.within else step.name


def _problem(step: Step, by_index: Mapping[int, Step], *, last: bool) -> str | None:  # noqa: PLR0911 - one return per reason
    rule = step.rule
    if rule is None or rule.kind == "constant":
        return "there is no rule for this op" if step.item is None else f"there is no rule for its output {step.item}"
    if isinstance(rule, Refusal):
        return rule.reason
    if rule.kind == "gate":
        if last:
            return (
                f"the network ends in {step.op.rpartition('.')[2].strip('_')}; explain its logits instead: remove "
                "this last step, or pass the network without it"
            )
        return "it does not map 0 to 0, as an activation must; it is supported where it scales a signal"
    if set(step.roles) == {"gate"}:
        return f"it takes a gate ({_makers(step, by_index)}), which does not map 0 to 0, for a signal"
    if "gate" in step.roles and step.op != "aten.mul":
        return f"it joins a signal and a gate ({_makers(step, by_index)}), where only a * b of the two is supported"
    if not step.floating:
        return "it turns numbers into whole numbers or truth values, which no relevance passes"
    if last and step.batch_dim:
        return f"the samples are counted by axis {step.batch_dim} of the output; accepted is axis 0"
    return rule.problem(step)


def _makers(step: Step, by_index: Mapping[int, Step]) -> str:
    """Name the ops that made gates of signals, from which an op takes its gates; other ops can stand between."""
    made, ahead, seen = [], [step], {step.index}
    while ahead:
        taken = ahead.pop()
        for index, role in zip(taken.sources, taken.roles, strict=True):
            if role == "gate" and index not in seen:
                seen.add(index)
                source = by_index[index]
                if "signal" in source.roles:
                    made.append(f"{source.op} at {_place(source)}")
                else:
                    ahead.append(source)
    return shortlist(made, _NAMED)


def _mixing(step: Step) -> str | None:
    """Tell an op whose result for one sample depends on the others."""
    if step.batch_dim is None:
        return _MIXED
    axes: Any = step.arguments.get("dims", step.arguments.get("dim"))
    axes = [axes] if isinstance(axes, int) else axes
    if step.op in _ALONG and (not axes or step.batch_dim in [d % step.rank for d in axes]):
        return _MIXED
    return None


def _prune(graph: Graph) -> Graph:
    """Leave out the steps that the output does not need."""
    needed, steps = {graph.output}, []
    for step in reversed(graph.steps):
        if step.index in needed:
            needed.update(step.reads())
            steps.append(step)
    parts = {index: part for index, part in graph.constants.parts.items() if index in needed}
    needed.update(whole for whole, _ in parts.values())
    computed = []
    for step in reversed(graph.constants.steps):
        if step.index in needed:
            needed.update(step.reads())
            computed.append(step)
    state = {index: name for index, name in graph.constants.state.items() if index in needed}
    tensors = {index: tensor for index, tensor in graph.constants.tensors.items() if index in needed}
    constants = Constants(state, tensors, computed[::-1], parts, graph.constants.places)
    return replace(graph, steps=tuple(reversed(steps)), constants=constants)


def _output(program: ExportedProgram) -> Node:
    (node,) = (n for n in program.graph.nodes if n.op == "output")
    # a network that writes into its input or a buffer returns these too; only what it returns to its caller counts
    specs = program.graph_signature.output_specs
    written = [str(spec.target) for spec in specs if spec.kind == OutputKind.PARAMETER_MUTATION]
    if written:
        raise writes_weights(written)
    outputs = [out for out, spec in zip(node.args[0], specs, strict=True) if spec.kind == OutputKind.USER_OUTPUT]
    if len(outputs) != 1 or not isinstance(outputs[0], torch.fx.Node) or program.call_spec.out_spec.num_children:
        raise UnsupportedNetworkError(
            f"the network returns {len(outputs)} values or a container; accepted is one tensor of logits. Wrap it in a "
            "module that returns the logits alone."
        )
    return outputs[0]


def _tensor_constant(program: ExportedProgram, target: str) -> Tensor:
    value = program.constants.get(target)
    if not isinstance(value, Tensor):
        raise UnsupportedNetworkError(f"the network keeps {target!r} as a {type(value).__name__}, which has no rule.")
    return value.detach()


def _ignores_values(step: Step) -> bool:
    """Tell an op such as ``zeros_like``, which reads only the shape of the tensor that depends on the input."""
    read = {name for name, value in step.arguments.items() if set(refs_of(value)) & set(step.sources)}
    return isinstance(step.rule, Constant) and read == {"self"}


def _is_size(node: Node) -> bool:
    return isinstance(node.meta.get("val"), int | float | bool | torch.SymInt | torch.SymFloat | torch.SymBool)


def _lengths(value: Tensor) -> tuple[str, ...]:
    return tuple(map(str, value.shape))


def _extents(value: Tensor) -> tuple[int, ...] | None:
    """Return the lengths at the batch size of the example by which the network was traced; None where data decide."""
    found = [n.node.hint if isinstance(n, torch.SymInt) else n for n in value.shape]
    return None if None in found else tuple(found)


def _step(node: Node, indices: dict[Node, int], dependent: set[int], batch: Any) -> Step | None:  # noqa: ANN401
    """Turn a node into a step; None for an op whose outputs are taken one by one by later nodes."""
    item, made_by, value = None, node, node.meta.get("val")
    if node.target is operator.getitem and isinstance(node.args[0], torch.fx.Node):
        made_by, item = node.args[0], node.args[1]
    elif isinstance(value, list | tuple):
        return None
    function = _ALIASES.get(made_by.target, made_by.target)
    arguments, keywords, op = _bind(made_by, function)
    if op == "aten.linear" and arguments["weight"].meta["val"].dim() == 1:
        if arguments["bias"] is not None:
            raise UnsupportedNetworkError(
                "a linear layer whose weight has one axis, and which has a bias, has no rule: write x @ weight + bias."
            )
        function, op = _aten.matmul.default, "aten.matmul"
        arguments = {"self": arguments["input"], "other": arguments["weight"]}
    if op == "aten.type_as" and value is not None:  # of the other tensor it reads the type alone
        function, op = _aten.to.device, "aten.to"
        arguments = {"self": arguments["self"], "device": value.device, "dtype": value.dtype}
    arguments = {k: _refer(v, indices) for k, v in arguments.items()}
    stack = tuple(
        f"{path}:{int(call) + 1}" if call.isdecimal() else path
        for key, (path, _) in (made_by.meta.get("nn_module_stack") or {}).items()
        for call in [key.rpartition(f"{path}@")[2]]  # of a second call the tracer writes the number behind the path
        if path and path != key
    )
    return Step(
        index=indices[node],
        op=op,
        function=_VIEWS.get(function, function),
        arguments=arguments,
        keywords=keywords,
        item=item if isinstance(item, int) else None,
        sources=tuple(i for i in refs_of(arguments) if i in dependent),
        batch_dim=_batch_dim(value, batch),
        rank=value.dim() if isinstance(value, Tensor) else 0,
        lengths=_lengths(value) if isinstance(value, Tensor) else (),
        extents=_extents(value) if isinstance(value, Tensor) else None,
        floating=value.is_floating_point() if isinstance(value, Tensor) else False,
        stack=stack,
        within=_caller(made_by, op),
    )


def _caller(node: Node, op: str) -> str:
    """Return the function that the network called, or nothing where it goes by the name of the op."""
    function: str = node.meta.get("torch_fn", ("", ""))[1].rpartition(".")[2].strip("_")
    return "" if function == op.rpartition(".")[2].strip("_") else function


def _bind(node: Node, target: Any) -> tuple[dict[str, Any], int, str]:  # noqa: ANN401 - whatever a node calls
    """Return a node's arguments by name with defaults, how many are keyword-only, and the op's name."""
    if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return {str(i): v for i, v in enumerate(node.args)}, 0, f"python.{getattr(target, '__name__', target)}"
    arguments, keywords = {}, 0
    for position, parameter in enumerate(target._schema.arguments):  # noqa: SLF001 - the op's own description
        if position < len(node.args):
            value: Any = node.args[position]
        else:
            value = node.kwargs.get(parameter.name, parameter.default_value if parameter.has_default_value() else None)
        arguments[parameter.name] = value
        keywords += parameter.kwarg_only
    return arguments, keywords, f"{target.namespace}.{target._opname}"  # noqa: SLF001 - likewise


def _refer(value: Any, indices: dict[Node, int]) -> Any:  # noqa: ANN401 - an argument can be of any type
    if isinstance(value, torch.fx.Node):
        return Ref(indices[value])
    if isinstance(value, list | tuple):
        return [_refer(v, indices) for v in value]
    return value


def _batch_dim(value: Any, batch: Any) -> int | None:  # noqa: ANN401 - numbers or symbols
    """Return the axis whose length is the batch size, where no other axis has to do with it."""
    if not isinstance(value, Tensor):
        return None
    if isinstance(batch, int):
        return 0 if value.dim() and value.shape[0] == batch else None
    symbol, lengths = batch.node.expr, list[Any](value.shape)
    touched = [
        (axis, n.node.expr)
        for axis, n in enumerate(lengths)
        if isinstance(n, torch.SymInt) and n.node.expr.free_symbols
    ]
    if len(touched) != 1:
        return None
    axis, length = touched[0]
    # an unsimplified expression is compared by its values at two batch sizes
    same = length.free_symbols == {symbol} and all(int(length.subs(symbol, n)) == n for n in (7, 11))
    return axis if same else None
