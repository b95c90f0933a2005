"""Relevance at the layers of a network, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from torch import Tensor

from rlrp_nb.printable import printable


class Layers(Mapping[str, Tensor]):
    """Relevance by layer name, input side first.

    Iterating gives each tensor once, under the name to show. Every other name of the same tensor is accepted too: the
    batch-norm that was folded into a convolution, or the container that a layer closes.

    Parameters
    ----------
    entries
        The names of each layer, the one to show first, and its relevance ``(B, K, *layer)``.
    channels
        For layers by the name to show, which axis of ``layer`` holds the channels, where that is known.
    """

    def __init__(
        self, entries: Sequence[tuple[Sequence[str], Tensor]] = (), channels: Mapping[str, int] | None = None
    ) -> None:
        self.channels = dict(channels or {})
        self._tensors = {names[0]: tensor for names, tensor in entries}
        self._first = {name: names[0] for names, _ in entries for name in names}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._first:
            near = get_close_matches(str(name), self._first, n=3)
            hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
            kept = f"kept are: {', '.join(self._tensors)}" if self._tensors else "no layer was kept: pass layers='all'"
            raise KeyError(f"layer {name!r} is not here{hint} ({kept})")
        return self._tensors[self._first[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def names_of(self, name: str) -> tuple[str, ...]:
        """Return all names of the layer called `name`, the one to show first."""
        first = self._first[name]
        return (first, *(other for other, f in self._first.items() if f == first and other != first))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{printable(name)} {tuple(tensor.shape[2:])}" for name, tensor in self._tensors.items())
        return f"<{len(self)} layers: {shapes}>"
