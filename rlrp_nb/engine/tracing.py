"""Tracing a network with ``torch.export``, and saying in words why a network cannot be traced."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from functools import cache
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.overrides import TorchFunctionMode

from rlrp_nb.engine.alone import told_to_this_thread_alone
from rlrp_nb.engine.building import build, data_dependent, named_weights
from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.engine.functional import without_in_place_ops
from rlrp_nb.engine.guard import Guard
from rlrp_nb.engine.interrupts import held_back
from rlrp_nb.engine.leavings import taken_away
from rlrp_nb.engine.modules import each_module, global_hooks
from rlrp_nb.engine.quiet import quiet
from rlrp_nb.engine.reach import Reach
from rlrp_nb.engine.snapshot import check_not_cached, check_up_to_date
from rlrp_nb.engine.structure import named_tensors
from rlrp_nb.engine.twins import separate, twin_of
from rlrp_nb.engine.zeros import without_zero_products
from rlrp_nb.errors import InputError, RlrpError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rlrp_nb.engine.graph import Graph

_tracing = threading.Lock()  # torch.export keeps global state while it runs
_is_traced: ContextVar[bool] = ContextVar("_is_traced", default=False)
"""Whether this thread is at work for a trace, which a trace within it would wait for."""
_HALF = {torch.float16, torch.bfloat16}
# by which torch.export walks over a network, and which a network may override for ends of its own
_WALKS = ("modules", "named_modules", "parameters", "named_parameters", "buffers", "named_buffers")


def trace(network: nn.Module, inputs: Tensor, *, for_any_batch: bool = True) -> Graph:
    """Trace `network` on the shape of `inputs` and return its checked graph.

    Tracing runs in a thread of its own, so that no mode of the caller's thread (inference mode, autocast, a dispatch
    mode) finds its way into the graph. Its context variables do.

    Parameters
    ----------
    for_any_batch
        Whether the batch size stays open, where the network allows it.

    Raises
    ------
    InputError
        The network itself fails on an input of this shape.
    UnsupportedNetworkError
        It has control flow that depends on data, an op without a rule, or parametrised weights that are cached.
    """
    check_not_cached(network)
    if _is_traced.get():
        raise UnsupportedNetworkError(
            "the network explains another one within its forward, which cannot be traced: an explanation has no rule. "
            "Explain that one first, and let the heatmap be an input or a buffer of this one."
        )
    # what the network makes at its first run and keeps, such as a grid in a cache, must not be made by the tracer
    try:
        own = run_twin(network, inputs, guarded=True)
    except InputError:
        check_up_to_date(network)  # after a change of dtype or device they do not fit the others
        raise
    if for_any_batch and len(inputs) != 2:  # noqa: PLR2004 - as many as it is traced with
        with suppress(RlrpError):  # it may take one sample only
            run_twin(network, torch.cat([inputs[:1], inputs[:1]]), guarded=True)
    if isinstance(own, Tensor) and not own.numel():
        raise UnsupportedNetworkError(
            f"the network returns a tensor of shape {tuple(own.shape)}, which holds no logits to explain."
        )
    # an interrupt while the thread starts would leave it behind, tracing, while the next trace begins
    with held_back(), _tracing, taken_away(network), ThreadPoolExecutor(1, thread_name_prefix="rlrp-trace") as pool:
        try:
            return pool.submit(copy_context().run, _trace, network, inputs, for_any_batch).result()
        except UnsupportedNetworkError as error:
            if global_hooks():
                raise UnsupportedNetworkError(
                    "a forward hook on all modules of PyTorch is on (register_module_forward_hook), which is called "
                    "while the network is traced too, with tensors without values. If it reads them, remove it, or "
                    f"register it on the network's own layers. Without regard to it: {error}"
                ) from error
            raise


def _trace(network: nn.Module, inputs: Tensor, for_any_batch: bool) -> Graph:  # noqa: FBT001 - through a thread
    _is_traced.set(True)  # of a context of this trace alone
    _start_autograd()
    # two samples, since a batch of one would be traced as the constant 1
    example = torch.zeros((2, *inputs.shape[1:]), dtype=inputs.dtype, device=inputs.device)
    failure: Exception | None = None
    # code that reads the network from a global of its own finds the network, not the twin
    weights, others = named_tensors(network), [tensor for _, tensor in Reach(network).tensors]
    if for_any_batch:
        with _lent(network) as twin:
            try:
                program = _export(twin, example, dynamic=True)
            except Exception as error:  # noqa: BLE001 - torch.export raises whatever the network raises
                failure = error
                run_twin(network, inputs, guarded=True)  # again, now that the tracer has run it with two samples
            else:
                names = named_weights(program, weights, others)
                return build(program, names, batch_size=None, norms_apart=_computes_in_half(program))
    with _lent(network) as twin:
        try:
            program = _export(twin, torch.zeros_like(inputs), dynamic=False)
        except Exception as error:  # noqa: BLE001 - likewise
            raise _untraceable(failure or error) from (failure or error)
        names = named_weights(program, weights, others)
        return build(program, names, batch_size=len(inputs), norms_apart=_computes_in_half(program))


def _computes_in_half(program: ExportedProgram) -> bool:
    """Tell a network of which a part is in half precision, where a folded batch-norm would round otherwise."""
    values = (node.meta.get("val") for node in program.graph.nodes)
    return any(isinstance(value, Tensor) and value.dtype in _HALF for value in values)


@cache
def _start_autograd() -> None:
    """Start autograd before the first trace.

    When it starts it counts the devices, and starts a thread for each. Behind a trace, PyTorch counts devices that are
    not there, and with such threads no process that is forked later, such as a loader of data, could use autograd.
    """
    leaf = torch.ones((), dtype=torch.float32, device="cpu", requires_grad=True)
    torch.autograd.grad(leaf * 1, leaf)


@contextmanager
def _lent(network: nn.Module) -> Iterator[nn.Module]:
    """Lend a twin to be traced, which shows the tracer all its parts, and empty its weights afterwards.

    The tracer leaves cycles that hold them until Python happens to look for cycles. With VGG16 that is half a gigabyte,
    which would outlive the network.
    """
    with separate(network) as twin:
        for _, module in each_module(twin):
            for name in _WALKS:
                if getattr(type(module), name) is not getattr(nn.Module, name):
                    module.__dict__[name] = MethodType(getattr(nn.Module, name), module)
        weights = named_tensors(twin)
        try:
            yield twin
        finally:
            for tensor in weights.values():
                if tensor.layout == torch.strided:  # a sparse one takes no other in its place
                    tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _export(twin: nn.Module, example: Tensor, *, dynamic: bool) -> ExportedProgram:
    shapes = ({0: Dim("batch")},) if dynamic else None
    with quiet(), told_to_this_thread_alone(), torch.no_grad():
        try:
            program = export(twin, (example,), dynamic_shapes=shapes, strict=False)
        except RuntimeError as error:
            if _FROM_NOWHERE not in str(error):
                raise
            with _DataDetached():
                program = export(twin, (example,), dynamic_shapes=shapes, strict=False)
        return without_zero_products(without_in_place_ops(program))


class _DataDetached(TorchFunctionMode):
    """Answers ``weight.data``, which the tracer takes for a tensor from nowhere, by ``weight.detach()``."""

    def __torch_function__(
        self,
        function: Any,  # noqa: ANN401 - as PyTorch declares it
        types: Any,  # noqa: ANN401 - likewise
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - likewise
        """Call another function in the place of this one."""
        return (torch.Tensor.detach if function == _DATA else function)(*args, **kwargs or {})


_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_FROM_NOWHERE = "fake tensor in the exported program constant"
"""What PyTorch says where a network reads ``weight.data``."""


def run_twin(network: nn.Module, inputs: Tensor, *, guarded: bool = False) -> Any:  # noqa: ANN401 - a network can return anything
    """Return what the network returns for this input, by running a twin of it without hooks.

    Parameters
    ----------
    guarded
        Whether it is stopped before it writes into its weights, or into tensors that are no buffers: they can be
        large, and the twin has no copy of them.
        Once a network was traced it is known that it does not.

    Raises
    ------
    InputError
        The network fails by itself; says in which layer.
    UnsupportedNetworkError
        It was going to write into its weights.
    """
    _check_takes_one(network)
    entered: list[tuple[str, nn.Module]] = []
    with twin_of(network, copies=True) as twin:
        for name, module in each_module(twin):
            module.register_forward_pre_hook(lambda m, _, name=name: entered.append((name, m)))
            module.register_forward_hook(lambda *_: entered.pop() and None)
        try:
            with torch.no_grad(), Undrawn(), Guard(twin) if guarded else nullcontext():
                return twin(_copy(inputs))
        except RlrpError:
            raise
        except Exception as error:  # noqa: BLE001 - a network can raise anything
            name, module = entered[-1] if entered else ("", twin)
            where = f"at layer {name!r} ({type(module).__name__})" if name else f"in {type(module).__name__}.forward"
            raise InputError(
                f"the network cannot be run on an input of shape {tuple(inputs.shape)}: {where}: {reason_of(error)}. "
                + _remedy(error)
            ) from None  # the tracer's hundred frames would hide what matters


def _remedy(error: Exception) -> str:
    if isinstance(error, KeyError):
        return (
            "If it works by itself: it is run as a twin of other modules, which a table by id() does not hold; use the "
            "modules or their names."
        )
    if any(word in _text(error) for word in ("requires_grad", "require grad")):
        return (
            "Explanations need no gradients, and the network is run without: in its forward, ask for one or hook a "
            "tensor only if torch.is_grad_enabled()."
        )
    return "Pass a batch of the shape that the network was made for, such as (batch, channels, height, width)."


def reason_of(error: BaseException) -> str:
    """Return what an error says, in a line, or its type where it says nothing."""
    return next((line.strip() for line in _text(error).splitlines() if line.strip()), type(error).__name__)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a class of errors of the user's can do anything
        return ""


def _copy(inputs: Tensor) -> Tensor:
    """Return a copy; of a contiguous one with the usual strides, as PyTorch misreads some pictures with others."""
    return inputs.clone(memory_format=torch.contiguous_format) if inputs.is_contiguous() else inputs.clone()


def _check_takes_one(network: nn.Module) -> None:
    """Refuse a network of several inputs, or of none."""
    try:
        signature = inspect.signature(network.forward)
    except (TypeError, ValueError):  # not a function of Python: it says itself what it takes
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise InputError(
            f"{type(network).__name__}.forward{signature} cannot be called with one tensor ({error}), and an input is "
            "one tensor. Wrap the network in a module whose forward takes it alone, and which holds the other inputs "
            "as buffers."
        ) from None


def _untraceable(error: Exception) -> UnsupportedNetworkError:
    text = _text(error).lower()
    if any(word in text for word in ("data-dependent", "data dependent", "unbacked", "could not guard")):
        return data_dependent(f"PyTorch says: {reason_of(error)}")
    if isinstance(error, RecursionError):
        return UnsupportedNetworkError(
            "the network could not be traced by torch.export, which came to no end: a list or dict in an attribute "
            "holds itself, or a function calls itself too often. Keep such a list in an object of a class of your own."
        )
    return UnsupportedNetworkError(
        f"the network could not be traced by torch.export ({type(error).__name__}: {reason_of(error)}). Check that "
        "torch.export.export(network, (inputs,)) works, and write what it complains about with PyTorch ops."
    )
