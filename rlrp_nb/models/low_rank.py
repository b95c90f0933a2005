"""Networks kept as small trained factors: the file they come in, and the dense network that is made of it.

A layer of 512 x 512 kernels of 3 x 3 has 2.4 million weights. Where a network has learnt in the factorised form, its
weights are a product,

    W[o, i, y, x] = sum_p sum_q  expand[o, p] core[p, q, y, x] squeeze[q, i],

a Tucker decomposition along the two channel axes (Tucker, "Some mathematical notes on three-mode factor analysis",
1966; for convolutions Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
applications", 2016). Layers without a spatial extent have no core: W = expand @ squeeze. The product is exact: the
dense network computes what the factors have learnt, up to rounding.

In the file, the layer ``name`` has ``name.expand.weight``, ``name.squeeze.weight`` and, for a kernel larger than
1 x 1, ``name.core.weight``; every other tensor has the name that it has in the network. A linear layer behind a
flattened map may have ``name.positions``: W[o, (i, n)] = (expand @ squeeze)[o, i] positions[n], the same weights at
every position n of the map, each time scaled.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from rlrp_nb.errors import WeightsError
from rlrp_nb.models.weights import load_state

_FACTORS = ("expand.weight", "core.weight", "squeeze.weight", "positions")


def load_factors(network: nn.Module, state: "OrderedDict[str, torch.Tensor]", source: str) -> None:
    """Multiply the factors and make the products the network's own weights.

    One layer after the other: what is in memory at the end is the dense network once, and no more than one layer's
    intermediate product beside it.

    Parameters
    ----------
    network : torch.nn.Module
        Usually built on the meta device. Changed in place: every parameter and buffer is replaced, in float32.
    state : OrderedDict of str to torch.Tensor
        As :func:`rlrp_nb.models.weights.read_state` gives it. Left empty. Layers may be dense or in factors.
    source : str
        Where the weights come from, for the error.

    Raises
    ------
    WeightsError
        Factors are missing or do not fit each other or the network, names or shapes do not fit the network, or a value
        is NaN or infinite.
    """
    wanted = network.state_dict()
    dense: OrderedDict[str, torch.Tensor] = OrderedDict()
    for key, weight in wanted.items():
        layer = key.removesuffix(".weight")
        if key in state:
            dense[key] = state.pop(key)
        elif f"{layer}.expand.weight" in state:
            factors = {part: state.pop(f"{layer}.{part}") for part in _FACTORS if f"{layer}.{part}" in state}
            dense[key] = _checked_product(factors, weight, f"{source}: the factors of {layer}")
    dense.update(state)  # what the network does not know is refused by name
    state.clear()
    load_state(network, dense, source)


def multiply(factors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Multiply the factors of one layer.

    Parameters
    ----------
    factors : mapping of str to torch.Tensor
        "expand.weight" (O, P) or (O, P, 1, 1) and "squeeze.weight" (Q, I) or (Q, I, 1, 1); "core.weight" (P, Q, h, w)
        for a convolution with an extent, else P = Q; "positions" (N,) for a linear layer behind a map.

    Returns
    -------
    torch.Tensor
        The dense weight, float32: (O, I, h, w) for a convolution, (O, I) or (O, I N) for a linear layer.
    """
    expand, squeeze = factors["expand.weight"].float(), factors["squeeze.weight"].float()
    kernel = squeeze.shape[2:]
    expand, squeeze = expand.flatten(1), squeeze.flatten(1)
    if "core.weight" in factors:
        core = factors["core.weight"].float()
        kernel = core.shape[2:]
        left = (expand @ core.flatten(1)).view(len(expand), core.shape[1], -1)  # (O, Q, h w)
        return torch.einsum("oqk,qi->oik", left, squeeze).contiguous().view(len(expand), -1, *kernel)
    product = expand @ squeeze
    if "positions" in factors:
        return (product[:, :, None] * factors["positions"].float()).flatten(1)
    return product.view(*product.shape, *kernel)


def save_factors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a state dict of factors: matrices and kernels in float16, vectors in float32.

    The vectors (biases and all of batch-norm) are few, and a variance can be smaller than float16 can hold.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        Named as the module's first lines say.
    path : pathlib.Path
        The .safetensors file; its folder is made where it is missing.

    Raises
    ------
    WeightsError
        A value is NaN, or too large for float16.
    """
    small = {key: (tensor.half() if tensor.ndim > 1 else tensor).contiguous() for key, tensor in state.items()}
    broken = [key for key, tensor in small.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{broken[0]} has values that float16 cannot hold: nothing was written to {path}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(small, path)
    path.chmod(0o644)  # safetensors writes files that only their owner can read


def _checked_product(factors: Mapping[str, torch.Tensor], wanted: torch.Tensor, what: str) -> torch.Tensor:
    """Multiply only if the product has the form that is wanted: a wrong file must not fill the memory first."""
    shapes = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in factors.items())
    if "squeeze.weight" not in factors:
        raise WeightsError(f"{what} are not complete ({shapes}): copy the file again.")
    expand, squeeze = factors["expand.weight"], factors["squeeze.weight"]
    core = factors.get("core.weight")
    inner = squeeze.shape[:1] * 2 if core is None else core.shape[:2]
    repeats = factors["positions"].numel() if "positions" in factors else 1
    product = (*expand.shape[:1], squeeze.shape[1:2].numel() * repeats, *(squeeze if core is None else core).shape[2:])
    fits = (
        product == tuple(wanted.shape)
        and inner == (expand.shape[1:2].numel(), len(squeeze))
        and all(factor.shape[2:].numel() == 1 and factor.ndim > 1 for factor in (expand, squeeze))
        and all(tensor.is_floating_point() for tensor in factors.values())
    )
    if not fits:
        raise WeightsError(
            f"{what} do not fit each other and a weight of {tuple(wanted.shape)} ({shapes}): give the file of this "
            "very network."
        )
    return multiply(factors)
