"""A twin of a network to trace, and a fingerprint that tells when the network has changed since.

Tracing swaps parameters and calls hooks while it runs. It is done on a structural twin, which has its own module
objects and shares only the tensors, so that the user's network is never touched, not even for a moment and not by
another thread.
"""

from collections import OrderedDict
from types import MethodType
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from rlrp_nb.errors import InputError, UnsupportedNetworkError

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_EVERY_HOOK = (
    *_HOOKS,
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)


# what nn.Module keeps for itself; whether it is in training mode is for everyone
_INTERNAL = frozenset(vars(nn.Module())) - {"training"}


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
        inner = getattr(network, "_orig_mod", None)
        if not isinstance(inner, nn.Module) and type(network).__name__ in {"DataParallel", "DistributedDataParallel"}:
            inner = getattr(network, "module", None)
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
        A batch-norm or dropout layer is in training mode, a lazy layer has no weights yet, or weights are on ``meta``.
    """
    random = [
        f"{name or 'the network'} ({type(module).__name__})"
        for name, module in network.named_modules()
        if module.training
        and (isinstance(module, _BatchNorm | _DropoutNd) or type(module).__name__ == "StochasticDepth")
    ]
    if random:
        raise UnsupportedNetworkError(
            f"the network is in training mode: {_shortlist(random)} would mix the samples of a batch or act at random. "
            "Call network.eval() first."
        )
    lazy = [name for name, tensor in [*network.named_parameters(), *network.named_buffers()] if is_lazy(tensor)]
    if lazy:
        raise UnsupportedNetworkError(
            f"{_shortlist(lazy)} has no weights yet (lazy layer). Run the network once on a real input first."
        )
    meta = [n for n, t in [*network.named_parameters(), *network.named_buffers()] if t.is_meta]
    if meta:
        raise UnsupportedNetworkError(f"{_shortlist(meta)} is on the meta device and has no values. Load the weights.")


def has_forward_hooks(network: nn.Module) -> list[str]:
    """Return the names of the modules that carry a forward hook or pre-hook."""
    return [name or "(root)" for name, m in network.named_modules() if any(getattr(m, hooks) for hooks in _HOOKS)]


def twin_of(network: nn.Module) -> nn.Module:
    """Return a network of new module objects without hooks that shares every tensor with `network`."""
    twins: dict[int, nn.Module] = {}
    shared = {id(t): _traceable(t) for t in [*network.parameters(), *network.buffers()]}
    for module in network.modules():
        twin = module.__class__.__new__(module.__class__)
        twin.__dict__.update(module.__dict__)
        for name in ("_parameters", "_buffers"):
            twin.__dict__[name] = {k: None if t is None else shared[id(t)] for k, t in module.__dict__[name].items()}
        for name in _EVERY_HOOK:
            twin.__dict__[name] = OrderedDict()
        twins[id(module)] = twin
    for module in network.modules():
        twin = twins[id(module)]
        children = cast("dict[str, nn.Module | None]", module.__dict__["_modules"])
        twin.__dict__["_modules"] = {k: None if m is None else twins[id(m)] for k, m in children.items()}
        for key, value in list(twin.__dict__.items()):
            # a stored bound method must call the twin, not lead back to the user's own module
            if isinstance(value, MethodType) and id(value.__self__) in twins:
                twin.__dict__[key] = MethodType(value.__func__, twins[id(value.__self__)])
    return twins[id(network)]


def _traceable(tensor: Tensor) -> Tensor:
    """Return the tensor itself, or a copy of one made in inference mode, which cannot be traced."""
    if not tensor.is_inference():
        return tensor
    return nn.Parameter(tensor.clone(), requires_grad=False) if isinstance(tensor, nn.Parameter) else tensor.clone()


def structure_of(network: nn.Module) -> tuple[Any, ...]:
    """Return what decides the graph apart from the values of tensors: module types, plain attributes, mode and hooks.

    Two equal structures trace to the same graph, so that a layer that was replaced or a stride that was changed after
    the first explanation is noticed.
    """
    return tuple(
        (
            name,
            type(module),
            tuple((k, _mark(v)) for k, v in vars(module).items() if k not in _INTERNAL),
            tuple((k, None if p is None else p.shape) for k, p in module.__dict__["_parameters"].items()),
            sum(len(getattr(module, hooks)) for hooks in _HOOKS),
        )
        for name, module in network.named_modules(remove_duplicate=False)
    )


def _mark(value: Any) -> Any:  # noqa: ANN401 - an attribute can be of any type
    """Return something that is equal as long as an attribute is: its value, if it is plain, or which object it is."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_mark, value))
    if isinstance(value, dict):
        return tuple((k, _mark(v)) for k, v in value.items())
    if isinstance(value, Tensor):
        return id(value), 0 if value.is_inference() else value._version  # noqa: SLF001 - autograd's own count of writes
    return id(value) if callable(value) else None


def _shortlist(names: list[str], most: int = 3) -> str:
    """Join the first few names and say how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
