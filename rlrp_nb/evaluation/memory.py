"""How a network is asked many things fastest: how many inputs at once, and in which order they lie in memory.

Neither changes what is answered but by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlrp_nb.engine.explainer import undisturbed

if TYPE_CHECKING:
    from torch import Tensor, nn

_BYTES = 2**17  # of inputs for each thread: what small networks make of so many stays in the cache of a processor core
_GROWTH = 32  # about how many times the bytes of its input the layers of a convolutional network hold
_AGREE = 1e-3  # of the largest logit; two orders of summation in float32 stay far below


def batch_size(network: nn.Module, inputs: Tensor, most: int) -> int:
    """Return how many inputs a network is best given at once: on a CPU few, elsewhere the most that is allowed.

    Parameters
    ----------
    network : nn.Module
        Its weights are read, and put into another order, for each batch.
    inputs : Tensor
        ``(B, C, H, W)``.
    most : int
        How many are allowed.

    Returns
    -------
    int
        From 1 on. Many, where weights weigh more than what is made of an input, so that they are prepared less often.
        Few, where it is the other way around: where activations outgrow a processor's cache, each input takes longer
        than among a few.
    """
    if inputs.device.type != "cpu":
        return most
    threads, own = torch.get_num_threads(), inputs[0].numel() * inputs.element_size()
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return min(max(_BYTES // own * threads, weights // (_GROWTH * own), threads), most)


def memory_format(network: nn.Module, inputs: Tensor) -> torch.memory_format:
    """Return the order of memory in which a network is asked: channels last, wherever that is faster and harmless.

    On a CPU, in float32, convolutions and pooling are up to three times faster with the channels of a pixel side by
    side. A network can depend on the order (by ``view``, or by strides); then it fails or answers otherwise on the
    first input, and is asked in the ordinary one.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    inputs : Tensor
        ``(B, C, H, W)``, of which the first is tried.

    Returns
    -------
    torch.memory_format
        ``torch.channels_last`` or ``torch.contiguous_format``.
    """
    # with the strides of channels last PyTorch 2.14 and 2.15 read beyond the end of some pictures of one channel
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32 or inputs.shape[1] == 1:
        return torch.contiguous_format
    # copies, as a network may write into what it is given
    ordinary = inputs[:1].clone(memory_format=torch.contiguous_format)
    last = torch.empty_like(ordinary, memory_format=torch.channels_last).copy_(ordinary)
    with undisturbed(inputs):
        expected = network(ordinary)
        try:
            found = network(last)
        except RuntimeError:
            return torch.contiguous_format
    return torch.channels_last if agree(found, expected) else torch.contiguous_format


def agree(found: object, expected: object) -> bool:
    """Tell whether two answers of a network are the same but for rounding; one that is not finite agrees with none.

    Parameters
    ----------
    found, expected : Tensor
        Anything else is not the logits that whoever reads the answers accepts, and agrees with none either.
    """
    if not isinstance(expected, torch.Tensor) or not isinstance(found, torch.Tensor) or found.shape != expected.shape:
        return False
    return bool(expected.isfinite().all() and (found - expected).abs().max() <= _AGREE * expected.abs().max())
