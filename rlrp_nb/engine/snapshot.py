"""What a network must be so that it can be explained, and what stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rlrp_nb.engine.modules import FORWARD_HOOKS, INTERNAL, each_module, global_hooks, modules_of, scripted
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.engine.structure import named_tensors
from rlrp_nb.errors import InputError, UnsupportedNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


_FLOATING = frozenset({"FloatFunctional", "FXFloatFunctional"})
"""What computes with ordinary numbers until a network is quantised, and lies among the modules that do not."""


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
        inner = inner_of(network)
        if inner is None:
            break
        if any(network.__dict__[hooks] for hooks in FORWARD_HOOKS):
            raise UnsupportedNetworkError(
                f"the {type(network).__name__} around the network carries forward hooks, which could change its "
                "output. An explanation follows the network within: remove them, or register them on it."
            )
        network = inner
    if type(network).__module__.startswith("torch.jit"):
        raise UnsupportedNetworkError(
            f"{type(network).__name__} is a TorchScript module, whose layers can no longer be followed. "
            "Pass the original nn.Module it was scripted or traced from."
        )
    return network


def inner_of(network: nn.Module) -> nn.Module | None:
    """Return what a wrapper of PyTorch's wraps, or None where this is none."""
    # a network of the user's own may go by the same names
    kind = type(network)
    held = _WRAPPERS.get(kind.__name__) if kind.__module__.partition(".")[0] in {"torch", "apex"} else None
    inner = None if held is None else getattr(network, held, None)
    return inner if isinstance(inner, nn.Module) else None


def check_mode(network: nn.Module) -> None:
    """Refuse a network whose output would depend on the rest of the batch or on chance.

    Raises
    ------
    UnsupportedNetworkError
        A batch-norm or dropout layer is in training mode, a lazy layer has no weights yet, a layer is quantised or of
        TorchScript, modules are kept in a plain list, or weights are on ``meta``.
    """
    modules, tensors = each_module(network), named_tensors(network)
    random = [
        f"{name or 'the network'} ({type(module).__name__})"
        for name, module in modules
        if module.training
        and (isinstance(module, _BatchNorm | _DropoutNd) or type(module).__name__ == "StochasticDepth")
    ]
    if random:
        raise UnsupportedNetworkError(
            f"the network is in training mode: {shortlist(random)} would mix the samples of a batch or act at random. "
            "Call network.eval() first."
        )
    check_not_cached(network)
    lazy = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if lazy:
        raise UnsupportedNetworkError(
            f"{shortlist(lazy)} has no weights yet (lazy layer). Run the network once on a real input first."
        )
    quantised = [
        f"{name or 'the network'} ({type(module).__name__})"
        for name, module in modules
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized"))
        and "_packed_params" not in name
        and type(module).__name__ not in _FLOATING
    ]
    if quantised:
        raise UnsupportedNetworkError(
            f"{shortlist(quantised)} is quantised: it computes with whole numbers, which no relevance passes. Explain "
            "the network as it was before, in floating point."
        )
    if of_torchscript := [name for name, module in modules if type(module).__module__.startswith("torch.jit")]:
        raise scripted(of_torchscript)
    registered = {id(module) for _, module in modules}
    hidden = [
        f"{name + '.' if name else ''}{key}"
        for name, module in modules
        for key, value in vars(module).items()
        if key not in INTERNAL and any(id(m) not in registered for m in _modules_in(value))
    ]
    if hidden:
        raise UnsupportedNetworkError(
            f"{shortlist(hidden)} holds modules that PyTorch does not know of, so that their weights and mode are not "
            "those of the network. Use nn.ModuleList or nn.ModuleDict instead of a list or dict."
        )
    meta = [name for name, tensor in tensors.items() if tensor.is_meta]
    if meta:
        raise UnsupportedNetworkError(f"{shortlist(meta)} is on the meta device and has no values. Load the weights.")


def check_not_cached(network: nn.Module) -> None:
    """Refuse a network whose parametrised weights PyTorch keeps: a trace would take old ones, and leave empty ones.

    Raises
    ------
    UnsupportedNetworkError
        It has such weights, and ``torch.nn.utils.parametrize.cached`` is at work.
    """
    if not parametrize._cache_enabled:  # noqa: SLF001 - it has no public name
        return
    parametrised = [name for name, module in each_module(network) if parametrize.is_parametrized(module)]
    if parametrised:
        raise UnsupportedNetworkError(
            f"{shortlist(parametrised)} has parametrised weights, which torch.nn.utils.parametrize.cached keeps "
            "while it is at work, whatever they are by now. Call explain outside of it."
        )


def _modules_in(value: object) -> Iterator[nn.Module]:
    """Yield the modules in a list, tuple, set or dict, however nested."""
    ahead, seen = [value], set()
    while ahead:
        part: Any = ahead.pop()
        kind = type(part)  # isinstance() would take a weakref.proxy for what it stands for
        if issubclass(kind, nn.Module):
            yield part
        elif issubclass(kind, list | tuple | set | dict) and id(part) not in seen:
            seen.add(id(part))
            ahead += part.values() if issubclass(kind, dict) else part


def has_forward_hooks(network: nn.Module) -> list[str]:
    """Return the names of the modules that carry a forward hook or pre-hook."""
    everywhere = ["(every module)"] if global_hooks() else []
    return everywhere + [
        name or "(root)" for name, m in modules_of(network) if any(m.__dict__[hooks] for hooks in FORWARD_HOOKS)
    ]


def check_up_to_date(network: nn.Module) -> None:
    """Refuse weights that ``torch.nn.utils`` computes before each run, and that a run would change.

    Pruning, and weight_norm and spectral_norm of the old style, keep what a weight is made of, and make it in a hook.

    Raises
    ------
    UnsupportedNetworkError
        Names them.
    """
    if outdated := _outdated_weights(network):
        raise UnsupportedNetworkError(
            f"{shortlist(outdated)} is out of date: PyTorch computes it before each run, by pruning or by an old "
            "weight_norm or spectral_norm, and what it is made of has changed since the last one. Run the network "
            "once, or make it an ordinary weight by torch.nn.utils.prune.remove or remove_weight_norm; "
            "torch.nn.utils.parametrizations are never out of date."
        )


def _outdated_weights(network: nn.Module) -> list[str]:
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
            held = getattr(module, key)
            if (weight.dtype, weight.device) != (held.dtype, held.device) or not torch.equal(weight, held):
                found.append(f"{name}.{key}".lstrip("."))
    return found
