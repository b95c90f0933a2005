"""A network together with what is needed to use it: preprocessing, class names, and where its weights come from."""

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, MethodType

import numpy as np
import torch
from torch import nn

from rlrp_nb.class_name import LONGEST
from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.engine.snapshot import has_forward_hooks
from rlrp_nb.engine.twins import twin_of
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.models.preprocess import Preprocess

_KNOWN = ("torch.nn.modules.", "torchvision.models.", "torchvision.ops.", "rlrp_nb.models.")


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """An image classification network that is ready to be explained.

    :func:`rlrp_nb.load_model` makes one by name; wrap a network of your own by calling this class.

    Parameters
    ----------
    name : str
        What the network is called.
    network : torch.nn.Module
        Maps (B, C, H, W) to logits (B, classes); in eval mode. It is kept as it is, not copied.
    categories : sequence or 1-D array of str
        One name per class, in the order of the logits, of at most 1,000 characters each.
    preprocess : Preprocess
        Turns a picture into the network's input.
    weights : str
        A plain sentence: which weights these are and where they come from.

    Raises
    ------
    InputError
        An argument has the wrong type, or the categories are not as many as the network's outputs.
    UnsupportedNetworkError
        The network is in training mode, does not accept what `preprocess` makes, or does not return logits of shape
        (B, classes).

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    >>> Classifier("tiny", network, ("cat", "dog"), Preprocess(size=8, mean=0.5, std=0.5), "random numbers")
    Classifier('tiny', 2 categories, input (3, 8, 8))
    """

    name: str
    network: nn.Module
    categories: tuple[str, ...]
    preprocess: Preprocess
    weights: str

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise InputError(f"network is a {type(self.network).__name__}: it has to be a torch.nn.Module.")
        if not isinstance(self.name, str) or not isinstance(self.weights, str):
            raise InputError(f"name is {self.name!r} and weights is {self.weights!r}: both have to be a str.")
        if not isinstance(self.preprocess, Preprocess):
            raise InputError(f"preprocess is a {type(self.preprocess).__name__}: give a Preprocess(size=..., ...).")
        if isinstance(self.categories, np.ndarray) and self.categories.ndim == 1:  # as a label encoder has them
            object.__setattr__(self, "categories", self.categories.tolist())
        if isinstance(self.categories, str) or not isinstance(self.categories, Sequence):
            raise InputError(f"categories is a {type(self.categories).__name__}: give a sequence of class names.")
        object.__setattr__(self, "categories", tuple(self.categories))
        if not all(isinstance(category, str) for category in self.categories):
            raise InputError("categories contains something that is not a str: give one class name per output.")
        longest = max(map(len, self.categories), default=0)
        if longest > LONGEST:
            raise InputError(
                f"categories has a name of {longest:,} characters: give names of at most {LONGEST:,}, since each is "
                "shown in many places."
            )
        training = [name or "the network" for name, module in self.network.named_modules() if module.training]
        if training:
            raise UnsupportedNetworkError(
                f"{self.name} is in training mode ({', '.join(training[:3])}): call network.eval() first, so that "
                "batch-norm and dropout behave as they do in use."
            )
        outputs = self._count_outputs()
        if outputs != len(self.categories):
            raise InputError(
                f"{self.name} has {outputs} outputs, but {len(self.categories)} categories were given: give one class "
                "name per output, in order."
            )

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, {len(self.categories)} categories, input {self.preprocess.shape})"

    def _count_outputs(self) -> int:
        shape = (1, *self.preprocess.shape)
        logits = None
        if _is_known(self.network):
            with suppress(Exception):  # a network may need real numbers, so it is asked once more, with numbers
                logits = _run_without_numbers(self.network, shape)
        if logits is None:
            try:
                reference = next(self.network.parameters(), torch.empty(0, device="cpu"))
                # what a run leaves behind, in buffers and random numbers, is not the user's network
                with twin_of(self.network, copies=True, hooked=True) as twin, Undrawn(), torch.no_grad():
                    logits = twin(torch.zeros(shape, dtype=reference.dtype, device=reference.device))
            except Exception as error:
                raise UnsupportedNetworkError(
                    f"{self.name} does not accept an input of shape {shape}, which its preprocessing makes: "
                    f"{type(error).__name__}: {error}. Change Preprocess(size=..., grey=...) to what the network wants."
                ) from error
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[0] != 1:  # noqa: PLR2004 - (B, classes)
            returned = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UnsupportedNetworkError(
                f"{self.name} returns {returned} for an input of shape {shape}: it has to return one tensor of logits, "
                "(B, classes)."
            )
        return logits.shape[1]


def _is_known(network: nn.Module) -> bool:
    """Tell a network of which nothing but code of PyTorch, torchvision and this package is run.

    Other code may keep what it makes, such as a grid, where a copy has it in common with the network: in a global, in a
    class. What is made of shapes alone would be of no use there.
    """
    return not has_forward_hooks(network) and all(
        type(module).__module__.startswith(_KNOWN)
        and not any(isinstance(held, FunctionType | MethodType) for held in vars(module).values())
        for module in network.modules()
    )


def _run_without_numbers(network: nn.Module, shape: tuple[int, ...]) -> object:
    """Run only the shapes: a copy of the network's structure on the meta device, without a copy of its weights."""
    memo: dict[int, object] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    skeleton = copy.deepcopy(network, memo)
    dtype = next(network.parameters(), torch.empty(0, device="cpu")).dtype
    with torch.no_grad(), Undrawn():
        return skeleton(torch.empty(shape, dtype=dtype, device="meta"))
