"""A twin of a network to trace.

Tracing swaps parameters and calls hooks while it runs. It is done on a structural twin, which has its own module
objects and shares only the tensors, so that the user's network is never touched, not even for a moment and not by
another thread.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from copy import copy
from types import MethodType, SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rlrp_nb.engine.marks import slots_of
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import InputError, UnsupportedNetworkError

FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_EVERY_HOOK = (
    *FORWARD_HOOKS,
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
# what nn.Module keeps for itself; whether it is in training mode is for everyone
INTERNAL = frozenset(vars(nn.Module())) - {"training"}


def unwrap(network: object) -> nn.Module:
    """Return the network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.

    Raises
    ------
    InputError
        `network` is not an ``nn.Module``.
    UnsupportedNetworkError
        `network` is a TorchScript module, which can no longer be traced.
    """
    while True:
        if not isinstance(network, nn.Module):
            raise InputError(
                f"network is a {type(network).__name__}; accepted is a torch.nn.Module (or a Classifier from "
                "rlrp_nb.load_model). Pass the network object itself, not its class, its output or a file name."
            )
        # a network of the user's own may go by the same names
        kind = type(network)
        held = _WRAPPERS.get(kind.__name__) if kind.__module__.partition(".")[0] in {"torch", "apex"} else None
        inner = None if held is None else getattr(network, held, None)
        if not isinstance(inner, nn.Module):
            break
        network = inner
    if type(network).__module__.startswith("torch.jit"):
        raise UnsupportedNetworkError(
            f"{type(network).__name__} is a TorchScript module, whose layers can no longer be followed. "
            "Pass the original nn.Module it was scripted or traced from."
        )
    return network


def check_mode(network: nn.Module) -> None:
    """Refuse a network whose output would depend on the rest of the batch or on chance.

    Raises
    ------
    UnsupportedNetworkError
        A batch-norm or dropout layer is in training mode, a lazy layer has no weights yet, a layer is quantised or of
        TorchScript, modules are kept in a plain list, or weights are on ``meta``.
    """
    random = [
        f"{name or 'the network'} ({type(module).__name__})"
        for name, module in network.named_modules()
        if module.training
        and (isinstance(module, _BatchNorm | _DropoutNd) or type(module).__name__ == "StochasticDepth")
    ]
    if random:
        raise UnsupportedNetworkError(
            f"the network is in training mode: {shortlist(random)} would mix the samples of a batch or act at random. "
            "Call network.eval() first."
        )
    check_not_cached(network)
    lazy = [name for name, tensor in [*network.named_parameters(), *network.named_buffers()] if is_lazy(tensor)]
    if lazy:
        raise UnsupportedNetworkError(
            f"{shortlist(lazy)} has no weights yet (lazy layer). Run the network once on a real input first."
        )
    quantised = [
        f"{name or 'the network'} ({type(module).__name__})"
        for name, module in network.named_modules()
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized"))
        and "_packed_params" not in name
    ]
    if quantised:
        raise UnsupportedNetworkError(
            f"{shortlist(quantised)} is quantised: it computes with whole numbers, which no relevance passes. Explain "
            "the network as it was before, in floating point."
        )
    if scripted := [n for n, module in network.named_modules() if type(module).__module__.startswith("torch.jit")]:
        raise _scripted(scripted)
    registered = {id(module) for module in network.modules()}
    hidden = [
        f"{name + '.' if name else ''}{key}"
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if key not in INTERNAL and any(id(m) not in registered for m in _modules_in(value))
    ]
    if hidden:
        raise UnsupportedNetworkError(
            f"{shortlist(hidden)} holds modules that PyTorch does not know of, so that their weights and mode are not "
            "those of the network. Use nn.ModuleList or nn.ModuleDict instead of a list or dict."
        )
    meta = [n for n, t in [*network.named_parameters(), *network.named_buffers()] if t.is_meta]
    if meta:
        raise UnsupportedNetworkError(f"{shortlist(meta)} is on the meta device and has no values. Load the weights.")


def _scripted(names: list[str]) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        f"{shortlist(names)} is a TorchScript module, whose layers can no longer be followed. Put the original "
        "nn.Module it was scripted or traced from in its place."
    )


def check_not_cached(network: nn.Module) -> None:
    """Refuse a network whose parametrised weights PyTorch keeps: a trace would take old ones, and leave empty ones.

    Raises
    ------
    UnsupportedNetworkError
        It has such weights, and ``torch.nn.utils.parametrize.cached`` is at work.
    """
    if not parametrize._cache_enabled:  # noqa: SLF001 - it has no public name
        return
    parametrised = [name for name, module in network.named_modules() if parametrize.is_parametrized(module)]
    if parametrised:
        raise UnsupportedNetworkError(
            f"{shortlist(parametrised)} has parametrised weights, which torch.nn.utils.parametrize.cached keeps "
            "while it is at work, whatever they are by now. Call explain outside of it."
        )


def _modules_in(value: object) -> list[nn.Module]:
    """Return the modules in a list, tuple, set or dict, however nested."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [m for v in value for m in _modules_in(v)] if isinstance(value, list | tuple | set) else []


def global_hooks() -> list[int]:
    """Return marks of the forward hooks on all modules, but for PyTorch's own, which only look (counters of FLOPs)."""
    hooks = [*torch_module._global_forward_hooks.values(), *torch_module._global_forward_pre_hooks.values()]  # noqa: SLF001 - they have no public name
    return [id(hook) for hook in hooks if not str(getattr(hook, "__module__", "")).startswith("torch.")]


def has_forward_hooks(network: nn.Module) -> list[str]:
    """Return the names of the modules that carry a forward hook or pre-hook."""
    everywhere = ["(every module)"] if global_hooks() else []
    return everywhere + [
        name or "(root)" for name, m in modules_of(network) if any(m.__dict__[hooks] for hooks in FORWARD_HOOKS)
    ]


def outdated_weights(network: nn.Module) -> list[str]:
    """Return the names of weights that ``torch.nn.utils`` computes before each run, and that a run would change.

    Pruning, and weight_norm and spectral_norm of the old style, keep what a weight is made of, and make it in a hook.
    """
    found = []
    for name, module in modules_of(network):
        for hook in module.__dict__["_forward_pre_hooks"].values():
            if isinstance(hook, BasePruningMethod):
                key = hook._tensor_name  # noqa: SLF001 - it has no public name
                weight = hook.apply_mask(module)  # type: ignore[no-untyped-call]
            elif isinstance(hook, WeightNorm):
                key, weight = hook.name, hook.compute_weight(module)
            elif isinstance(hook, SpectralNorm):
                key, weight = hook.name, hook.compute_weight(module, do_power_iteration=False)
            else:
                continue
            if not torch.equal(weight, getattr(module, key)):
                found.append(f"{name}.{key}".lstrip("."))
    return found


def twin_of(network: nn.Module, *, own_buffers: bool = False, hooked: bool = False) -> nn.Module:
    """Return a network of new module objects, with lists and dicts of its own.

    Parameters
    ----------
    own_buffers
        Whether it gets copies of the buffers, which are small, so that running it changes none. The rest it shares.
    hooked
        Whether it has the network's hooks.
    """
    # a class may do more than make an object where it is asked for one: torch.fx.GraphModule makes a new class
    twins = {id(module): object.__new__(module.__class__) for module in network.modules()}
    tensors = [*network.parameters(), *network.buffers()]
    copied = {id(t) for t in (network.buffers() if own_buffers else ())}
    given = {id(t): _copy(t) if id(t) in copied or t.is_inference() else t for t in tensors}
    for module in network.modules():
        attributes = {k: _twin_value(v, twins) for k, v in module.__dict__.items() if k not in INTERNAL}
        twins[id(module)].__dict__.update({**module.__dict__, **attributes})
        for key, value in slots_of(module):
            object.__setattr__(twins[id(module)], key, _twin_value(value, twins))
        held = twins[id(module)].__dict__
        for name in ("_parameters", "_buffers"):
            held[name] = {k: None if t is None else given[id(t)] for k, t in module.__dict__[name].items()}
        for name in _EVERY_HOOK:
            held[name] = OrderedDict(module.__dict__[name] if hooked else ())
        children = cast("dict[str, nn.Module | None]", module.__dict__["_modules"])
        held["_modules"] = {k: None if m is None else twins[id(m)] for k, m in children.items()}
    return twins[id(network)]


def separate(network: nn.Module) -> nn.Module:
    """Return a twin that shares the numbers of a network's weights and needs no gradients for them.

    Its modules, parameters and buffers are objects of its own, so that hooks on it, and tensors put in the place of
    its weights, leave the network as it is.
    """
    twin = twin_of(network)
    own: dict[int, Tensor] = {}
    for module in twin.modules():
        for tensors in (module._parameters, module._buffers):  # noqa: SLF001 - named_parameters gives no place to write
            for key, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in own:
                    shared = tensor.detach()
                    is_parameter = isinstance(tensor, nn.Parameter)
                    own[id(tensor)] = nn.Parameter(shared, requires_grad=False) if is_parameter else shared
                cast("dict[str, Tensor | None]", tensors)[key] = own[id(tensor)]
    return twin


def _twin_value(value: Any, twins: dict[int, nn.Module]) -> Any:  # noqa: ANN401, PLR0911 - of any type; one return per kind
    """Return an attribute for the twin: it leads to the twin's modules and to containers that only the twin changes."""
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if isinstance(value, MethodType) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    if type(value) in {list, tuple, set}:
        return type(value)(_twin_value(v, twins) for v in value)
    if type(value) is deque:
        return deque((_twin_value(v, twins) for v in value), value.maxlen)
    if type(value) in {dict, OrderedDict, defaultdict, Counter}:
        own = copy(value)
        for key, held in value.items():
            own[key] = _twin_value(held, twins)
        return own
    if type(value) is SimpleNamespace:
        return SimpleNamespace(**_twin_value(vars(value), twins))
    return copy(value) if type(value) in {bytearray, np.ndarray} else value


def _copy(tensor: Tensor) -> Tensor:
    """Return a copy; a parameter made in inference mode, which cannot be traced, becomes an ordinary one."""
    copied = tensor.detach().clone()
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied


def modules_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return all modules by name, one that is registered twice under both, much as PyTorch does but faster."""
    found, ahead = [], [("", network)]
    while ahead:
        name, module = ahead.pop()
        found.append((name, module))
        try:
            children = module.__dict__["_modules"]
        except KeyError:  # what torch.jit.trace returns has none
            raise _scripted([name]) from None
        if children:
            ahead += reversed([(f"{name}.{k}" if name else k, m) for k, m in children.items() if m is not None])
    return found
