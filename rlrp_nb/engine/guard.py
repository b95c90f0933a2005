"""A guard over the weights of a network while it is run, in place of a copy of them, which can be large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlrp_nb.engine.building import writes_weights

if TYPE_CHECKING:
    from collections.abc import Iterator


class Guard(TorchDispatchMode):
    """Stops a network, by an `UnsupportedNetworkError`, before it writes into its weights.

    Parameters
    ----------
    network
        Whose parameters are looked after; its buffers may be written into.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {place: name for name, p in network.named_parameters() for place in _places(p)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - as PyTorch calls it
        """Run an op, if it writes into no weight."""
        kwargs = kwargs or {}
        parameters = func._schema.arguments if func._schema.is_mutable else []  # noqa: SLF001 - the op's own description
        for position, parameter in enumerate(parameters):
            if parameter.is_write:
                into = args[position] if position < len(args) else kwargs.get(parameter.name)
                if written := [self._names[place] for place in _places(into) if place in self._names]:
                    raise writes_weights(written)
        return func(*args, **kwargs)


def _places(value: Any) -> Iterator[int]:  # noqa: ANN401 - an argument can be of any type
    """Yield the memories in which the numbers of a tensor, or of the tensors in a list, lie."""
    if isinstance(value, Tensor) and value.layout == torch.strided:
        yield value.untyped_storage()._cdata  # noqa: SLF001 - which memory it is; its address is 0 where it is empty
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _places(part)
