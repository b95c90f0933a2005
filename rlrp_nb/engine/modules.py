"""The modules of a network by name, as they are registered.

A network may override ``modules``, ``parameters`` and the like for ends of its own, such as to give an optimiser its
head alone, so none of them is asked.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as torch_module

from rlrp_nb.engine.marks import Which
from rlrp_nb.engine.shortlist import shortlist
from rlrp_nb.errors import UnsupportedNetworkError

FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# what nn.Module keeps for itself, and torch.compile in it; whether it is in training mode is for everyone
INTERNAL = frozenset({*vars(nn.Module()), "_compiled_call_impl", "_is_torch_compile"}) - {"training"}


def modules_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return all modules by name, one that is registered twice under both, much as PyTorch does but faster.

    Raises
    ------
    UnsupportedNetworkError
        A module is part of itself, or is one of TorchScript's.
    """
    found: list[tuple[str, nn.Module]] = []
    ahead: list[tuple[str, nn.Module, tuple[int, ...]]] = [("", network, ())]
    while ahead:
        name, module, around = ahead.pop()
        found.append((name, module))
        try:
            children = module.__dict__["_modules"]
        except KeyError:  # what torch.jit.trace returns has none
            raise scripted([name]) from None
        if children:
            if id(module) in around:
                raise UnsupportedNetworkError(
                    f"{name!r} is a module that is registered within itself, so that the network has no end. Keep the "
                    "module around it where PyTorch does not register it, for instance in a tuple: "
                    "self.parent = (network,)."
                )
            within = (*around, id(module))
            ahead += reversed([(f"{name}.{k}" if name else k, m, within) for k, m in children.items() if m is not None])
    return found


def scripted(names: list[str]) -> UnsupportedNetworkError:
    """Return the error for modules of TorchScript."""
    return UnsupportedNetworkError(
        f"{shortlist(names)} is a TorchScript module, whose layers can no longer be followed. Put the original "
        "nn.Module it was scripted or traced from in its place."
    )


def each_module(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return each module once, under the first of its names."""
    first: dict[int, tuple[str, nn.Module]] = {}
    for name, module in modules_of(network):
        first.setdefault(id(module), (name, module))
    return [*first.values()]


def global_hooks() -> list[Which]:
    """Return marks of the forward hooks on all modules, but for PyTorch's own, which only look (counters of FLOPs)."""
    hooks = [*torch_module._global_forward_hooks.values(), *torch_module._global_forward_pre_hooks.values()]  # noqa: SLF001 - they have no public name
    return [Which(hook) for hook in hooks if not str(getattr(hook, "__module__", "")).startswith("torch.")]
