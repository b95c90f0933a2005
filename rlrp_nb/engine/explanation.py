"""What comes out: relevance, with all that is needed to read it later."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlrp_nb.class_name import distinct_name
from rlrp_nb.engine.accounts import rows_of
from rlrp_nb.engine.layers import Layers
from rlrp_nb.errors import InputError
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from pathlib import Path

    from rlrp_nb.engine.accounts import Account
    from rlrp_nb.engine.ledger import Ledger


@dataclass(eq=False, repr=False)
class Explanation:
    """Why a network gave its answers: the relevance of every input value for every target.

    Attributes
    ----------
    relevance : Tensor
        ``(B, K, *input)``: the contribution of each input value of B samples to K targets, in the unit of the logits up
        to a positive factor per sample. In very deep networks, where it would fall below 2^-100 in float32 (2^-1000 in
        float64), all targets of a sample are multiplied by one power of two that keeps it there. Same device as the
        input, and same dtype; float32 for inputs in half precision, in whose range relevance can vanish.
    logits : Tensor
        ``(B, classes)``: what the network said.
    targets : Tensor
        int64 ``(B, K)``: the class indices that are explained, -1 for a seed given as numbers.
    negatives : Tensor
        int64 ``(B, K)``: the class that is contrasted with, -1 where there is none.
    method, network : str
        Names of the method and of the network.
    layers : Layers
        ``(B, K, *layer)`` by layer name, input side first; empty unless layers were asked for.
    images : Tensor or None
        uint8 ``(B, H, W, 3)``: the pictures as the network saw them, of the size of the heatmap.
    categories : tuple of str or None
        The class names.
    versions : dict of str
        The versions of this package and of torch that computed it.
    channels : int or None
        Which axis of a sample of the input holds its channels, 0 in ``(C, H, W)``; None where none does. The network
        shows it where the first thing that it does is a convolution or batch-norm, be it behind a permutation. Else it
        is 0 for three axes or more, but the last where that alone is as short as colours are: of at most 4.
    seeds : Tensor or None
        ``(B, K, *logits.shape[1:])``: the targets that were given as numbers; None where they are classes.
    """

    relevance: Tensor
    logits: Tensor
    targets: Tensor
    negatives: Tensor
    method: str
    network: str
    layers: Layers = field(default_factory=Layers)
    images: Tensor | None = None
    categories: tuple[str, ...] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    accounts: tuple[Account, ...] | None = None
    replay: Callable[[], tuple[Account, ...]] | None = None
    channels: int | None = 0
    seeds: Tensor | None = None

    @property
    def has_probabilities(self) -> bool:
        """Whether the logits are of several classes, so that their softmax says how sure the network is."""
        return self.logits.dim() == 2 and self.logits.shape[1] > 1  # noqa: PLR2004 - samples and classes

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, ``(B, classes)``, in float32 or better.

        Raises
        ------
        InputError
            There is one logit a sample, of which a softmax is 1 whatever the network says, or they are no classes.
        """
        if not self.has_probabilities:
            raise InputError(
                f"there are no probabilities of logits of shape {tuple(self.logits.shape)}: a softmax takes several "
                "classes, (samples, classes). One logit of a binary classifier is torch.sigmoid(explanation.logits)."
            )
        return (self.logits if self.logits.dtype == torch.float64 else self.logits.float()).softmax(1)

    def heatmap(self, target: int = 0, sample: int = 0) -> Tensor:
        """Return the relevance summed over channels, ``(H, W)``; as it is where the input has no axis of channels.

        Parameters
        ----------
        target
            Position among the targets, 0 to K-1 (not a class index).
        sample
            Position in the batch, 0 to B-1.

        Raises
        ------
        InputError
            There is no such target or sample.
        """
        sample, target = self._position(sample, "sample", 0), self._position(target, "target", 1)
        relevance = self.relevance[sample, target]
        alone = self.channels is None or relevance.dim() == 1
        return relevance.clone() if alone else relevance.sum(self.channels)  # the user's own, to scale or to change

    def label(self, target: int = 0, sample: int = 0) -> str:
        """Return the name of what is explained.

        A class is given by its name, with its number where another has the same, or as ``class 7`` where it has none
        that can be seen; a contrast as two names with a minus sign between them.
        """
        sample, target = self._position(sample, "sample", 0), self._position(target, "target", 1)
        positive, negative = int(self.targets[sample, target]), int(self.negatives[sample, target])
        if positive < 0:
            return f"seed {target}"
        names = [self._name(index) for index in (positive, negative) if index >= 0]
        return " − ".join(names)  # noqa: RUF001 - a minus sign is meant

    def _name(self, index: int) -> str:
        if self.logits.dim() > 2:  # noqa: PLR2004 - an output of more axes than samples and classes
            place = torch.unravel_index(torch.tensor(index, device="cpu"), self.logits.shape[1:])
            return f"output {tuple(int(i) for i in place)}"
        return distinct_name(self.categories, index)

    def _position(self, index: int, what: str, axis: int) -> int:
        count = self.relevance.shape[axis]
        index = index.item() if isinstance(index, Tensor) and not index.dim() else index
        if isinstance(index, bool) or not isinstance(index, Integral) or not -count <= int(index) < count:
            raise InputError(
                f"{what} {index!r} is not there; this explanation has {count}: accepted is 0 to {count - 1}."
            )
        return int(index)

    def ledger(self, target: int = 0, sample: int = 0) -> Ledger:
        """Return the conservation ledger: relevance in and out of every layer, and the identity's residual.

        It is kept when layers are asked for; else it is computed at the first call, by running the network again.

        Raises
        ------
        InputError
            There is no such target or sample, the network has changed since, or the explanation comes from a file
            without a ledger.
        """
        sample, target = self._position(sample, "sample", 0), self._position(target, "target", 1)
        if self.accounts is None:
            if self.replay is None:
                raise InputError(
                    "this explanation has no ledger, and its network is not at hand to compute one; explain again, "
                    "and save after asking for the ledger."
                )
            self.accounts = self.replay()
        return rows_of(self.accounts, target, sample)

    def plot(self, target: int = 0, sample: int = 0) -> Any:  # noqa: ANN401 - a plotly figure, imported on use
        """Return an interactive plotly figure of one heatmap over its picture."""
        from rlrp_nb.plots.figure import figure  # noqa: PLC0415 - plots are needed only by those who ask for them

        return figure(self, target=target, sample=sample)

    def to_html(self, path: str | PathLike[str]) -> Path:
        """Write a self-contained interactive page that opens anywhere, and return its path."""
        from rlrp_nb.export import to_html  # noqa: PLC0415 - likewise

        return to_html(self, path)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write everything to a safetensors file and return its path; `load` brings back the same numbers."""
        from rlrp_nb.engine.storage import save  # noqa: PLC0415 - storage needs this class

        return save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Explanation:
        """Read an explanation from a file that `save` wrote.

        Raises
        ------
        FileFormatError
            The file is damaged, or is no explanation.
        InputError
            There is no such file.
        """
        from rlrp_nb.engine.storage import load  # noqa: PLC0415 - likewise

        return load(path)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind when copied or pickled; the ledger goes along where it was computed."""
        return {**self.__dict__, "replay": None}

    def __repr__(self) -> str:
        samples, targets = self.relevance.shape[:2]
        alike = all(bool((asked == asked[:1]).all()) for asked in (self.targets, self.negatives))
        labels = "classes of each sample's own"
        if alike:
            labels = ", ".join(self.label(k) for k in range(min(targets, 3))) + (", …" if targets > 3 else "")  # noqa: PLR2004
        names = printable(f"{self.method} of {self.network}: {labels}")  # they can be a stranger's, from a file
        return (
            f"<Explanation by {names}; {samples} sample{'s' * (samples != 1)}, "
            f"{targets} target{'s' * (targets != 1)}, {len(self.layers)} layers>"
        )
