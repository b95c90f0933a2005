"""A guard over the weights of a network while it is run, in place of a copy of them, which can be large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlrp_nb.engine.building import writes_weights
from rlrp_nb.engine.reach import Reach
from rlrp_nb.engine.structure import memory_of, named_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator


class Guard(TorchDispatchMode):
    """Stops a network, by an `UnsupportedNetworkError`, before it writes into weights or other tensors of its own.

    Parameters
    ----------
    network
        Whose parameters are looked after, and the tensors that it keeps elsewhere; its buffers may be written into.

    Raises
    ------
    UnsupportedNetworkError
        On leaving: a parameter has other numbers in the place of its own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._network, parameters = network, _parameters(network)
        self._memory = {name: memory_of(parameter) for name, parameter in parameters.items()}
        looked_after = [*Reach(network).tensors, *parameters.items()]
        self._names = {place: name for name, tensor in looked_after for place in _places(tensor)}

    def __exit__(self, kind: type[BaseException] | None, *failure: object) -> None:
        """Look whether a weight was replaced, which no op shows."""
        super().__exit__(kind, *failure)  # type: ignore[no-untyped-call]
        now = _parameters(self._network)
        replaced = [name for name, was in self._memory.items() if name not in now or memory_of(now[name]) != was]
        if kind is None and replaced:
            raise writes_weights(replaced)

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


def _parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in named_tensors(network).items() if isinstance(tensor, nn.Parameter)}


def _places(value: Any) -> Iterator[int]:  # noqa: ANN401 - an argument can be of any type
    """Yield the memories in which the numbers of a tensor, or of the tensors in a list, lie."""
    if isinstance(value, Tensor) and (place := memory_of(value)) is not None:
        yield place
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _places(part)
