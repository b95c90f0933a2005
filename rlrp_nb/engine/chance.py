"""Keeping random numbers for the user: a network that draws some while it is looked at takes none from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Undrawn(TorchDispatchMode):
    """Puts PyTorch's random numbers back to where they were before those that its ops draw in this thread.

    Nothing is put back where nothing is drawn: the numbers are those of all threads, and another one that draws
    meanwhile, such as a training, would draw the same twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._before: dict[int, tuple[torch.Generator, Tensor]] = {}

    def __exit__(self, *failure: object) -> None:
        """Put back what was drawn."""
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        for generator, state in self._before.values():
            generator.set_state(state)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - as PyTorch calls it
        """Run an op, having noted from where on it draws."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            generator = kwargs.get("generator")
            if generator is None:
                generator = _default_generator(_device_of(args, kwargs))
            if generator is not None and id(generator) not in self._before:
                self._before[id(generator)] = generator, generator.get_state()
        return func(*args, **kwargs)


def _device_of(args: Any, kwargs: Any) -> torch.device:  # noqa: ANN401 - an op takes anything
    """Return on which device an op draws."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    return torch.device(kwargs.get("device") or (tensors[0].device if tensors else "cpu"))


def _default_generator(device: torch.device) -> torch.Generator | None:
    """Return where the numbers of a device come from; None on those, such as ``meta``, on which none are drawn."""
    if device.type == "cpu":
        return torch.default_generator
    module = getattr(torch, device.type, None)
    generators = getattr(module, "default_generators", ())
    index = device.index if device.index is not None else getattr(module, "current_device", lambda: 0)()
    return generators[index] if index < len(generators) else None
