"""Random networks: any list of whole numbers is read as a network, so that a failing one shrinks to a small one.

Each instruction takes tensors that are there already and adds one. What nobody read in the end goes to the head, so
that every tensor counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

Instruction = tuple[int, int, int, int]

CHANNELS, SIDE, CLASSES = 3, 6, 3
_WIDEST, _LARGEST = 8, 12

ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    functional.relu,
    torch.relu,
    functional.relu6,
    functional.silu,
    functional.gelu,
    functional.hardswish,
    functional.elu,
    functional.selu,
    functional.mish,
    torch.tanh,
    lambda x: functional.leaky_relu(x, 0.1),
    lambda x: functional.hardtanh(x, -0.5, 0.7),
    lambda x: functional.hardtanh(x, 0.0, 0.2),
    functional.celu,
    lambda x: x.clamp(min=0),
)


class Drawn(nn.Module):
    """A network that follows instructions; its modules are made where they are first needed."""

    def __init__(self, instructions: list[Instruction], shape: tuple[int, ...] = (CHANNELS, SIDE, SIDE)) -> None:
        super().__init__()
        self.instructions = instructions
        self.parts = nn.ModuleDict()
        self._generator = torch.Generator().manual_seed(len(instructions))
        self.double().eval()
        with torch.no_grad():
            self(torch.zeros(1, *shape, dtype=torch.float64))
        del self._generator

    def forward(self, x: Tensor) -> Tensor:
        values, read = [x], set()
        for number, (kind, *choices) in enumerate(self.instructions):
            taken, made = STEPS[kind % len(STEPS)](self, values, number, choices)
            read.update(taken)
            values.append(made)
        loose = [value for i, value in enumerate(values) if i not in read]
        features = torch.cat([value.mean((2, 3)) for value in loose], 1)
        return self.part("head", lambda: nn.Linear(features.shape[1], CLASSES))(features)

    def part(self, key: str, make: Callable[[], nn.Module]) -> nn.Module:
        """Return a module, made with random weights and statistics at the first run."""
        if key not in self.parts:
            module = make().double().eval()
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                if tensor.is_floating_point():
                    drawn = torch.randn(tensor.shape, generator=self._generator, dtype=tensor.dtype)
                    scale = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.3
                    tensor.data = drawn.abs() + 0.5 if name == "running_var" else drawn * scale
            self.parts[key] = module
        return self.parts[key]


Read = tuple[tuple[int, ...], Tensor]


def _one(values: list[Tensor], choice: int) -> int:
    return len(values) - 1 - choice % len(values)


def _fitting(values: list[Tensor], to: int, choice: int, *axes: int) -> int:
    """Return another tensor of the same extents along some axes, or the same again where there is none."""
    wanted = [values[to].shape[axis] for axis in axes]
    found = [i for i, value in enumerate(values) if [value.shape[axis] for axis in axes] == wanted]
    return found[choice % len(found)]


def _convolution(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    i, how, out = _one(values, choices[0]), choices[1], 2 + 2 * (choices[2] % 3)
    x = values[i]
    size, stride, groups = (1, 3)[how % 2], (1, 2)[how // 2 % 2], 2 if how // 4 % 3 == 2 and x.shape[1] % 2 == 0 else 1
    bias, shared = how // 12 % 2 == 0, how // 24 % 2
    # a shared module is the same wherever it is called the same
    key = f"conv{'' if shared else number}_{x.shape[1]}_{out}_{size}_{stride}_{groups}_{bias}"
    made = net.part(key, lambda: nn.Conv2d(x.shape[1], out, size, stride, size // 2, groups=groups, bias=bias))(x)
    return (i,), made


def _normalised(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    """A convolution with batch-norm behind it, before it, or behind an activation."""
    i, where, out = _one(values, choices[0]), choices[1] % 3, 2 + 2 * (choices[2] % 3)
    x = values[i]
    width = x.shape[1] if where == 1 else out
    norm = net.part(f"norm{number}", lambda: nn.BatchNorm2d(width))
    conv = net.part(f"before{number}", lambda: nn.Conv2d(x.shape[1], out, 3, padding=1, bias=bool(choices[2] % 2)))
    ways = (lambda: norm(conv(x)), lambda: conv(norm(x)), lambda: norm(conv(x).relu()))
    return (i,), ways[where]()


def _transposed(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    """A transposed convolution, some with batch-norm behind it."""
    i, out = _one(values, choices[0]), 2 + 2 * (choices[1] % 3)
    x = values[i]
    if x.shape[2] * 2 > _LARGEST:
        return _convolution(net, values, number, choices)
    made = net.part(f"up{number}", lambda: nn.ConvTranspose2d(x.shape[1], out, 2, 2))(x)
    return (i,), net.part(f"upnorm{number}", lambda: nn.BatchNorm2d(out))(made) if choices[2] % 2 else made


def _activation(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    i = _one(values, choices[0])
    return (i,), ACTIVATIONS[choices[1] % len(ACTIVATIONS)](values[i])


def _in_place(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    taken, made = _convolution(net, values, number, choices)
    return taken, functional.relu(made, inplace=True)


def _pooling(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    i, how = _one(values, choices[0]), choices[1] % 5
    x = values[i]
    if x.shape[2] < 2:
        return (i,), functional.relu(x)
    pools = (
        lambda: functional.max_pool2d(x, 2, 1),
        lambda: functional.max_pool2d(x, 3, 2, 1),
        lambda: functional.avg_pool2d(x, 2, ceil_mode=True),
        lambda: functional.adaptive_avg_pool2d(x, 2),
        lambda: functional.adaptive_max_pool2d(x, 2),
    )
    return (i,), pools[how]()


def _addition(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    i = _one(values, choices[0])
    j = _fitting(values, i, choices[1], 1, 2)
    x, y = values[i], values[j]
    return (i, j), (x + y, x - 0.5 * y, torch.add(x, y, alpha=0.3), x.clone().add_(y))[choices[2] % 4]


def _concatenation(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    i = _one(values, choices[0])
    several = [i, *(_fitting(values, i, choice, 2) for choice in choices[1:])]
    parts: list[Tensor] = []
    for k in several:
        if sum(part.shape[1] for part in parts) + values[k].shape[1] <= _WIDEST or not parts:
            parts.append(values[k])
    return tuple(several[: len(parts)]) if len(parts) == len(several) else (i,), torch.cat(parts, 1)


def _gate(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    """Squeeze and excitation of a tensor by another one, or by itself."""
    i = _one(values, choices[0])
    j = _fitting(values, i, choices[1], 2)
    x, y = values[i], values[j]
    z = net.part(f"gate{number}", lambda: nn.Conv2d(y.shape[1], x.shape[1], 1))(
        y.mean((2, 3), keepdim=True) if choices[2] % 2 else y
    )
    gate = (torch.sigmoid, functional.hardsigmoid, lambda z: torch.softmax(z, 1))[choices[2] // 2 % 3](z)
    return (i, j), (x * gate if choices[2] // 6 % 2 else gate * x)


def _contraction(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    """Mix channels, rows or columns by a matrix, in one of the ways in which that is written."""
    i, out = _one(values, choices[0]), 2 + 2 * (choices[2] % 3)
    x = values[i]
    of = (1, 1, 3, 3, 2)[choices[1] % 5]
    wide = out if of == 1 else x.shape[of]
    weight = net.part(f"mix{number}", lambda: nn.Linear(x.shape[of], wide, bias=False)).weight
    return (i,), (
        lambda: torch.einsum("nchw,oc->nohw", x, weight),
        lambda: torch.tensordot(weight, x, dims=([1], [1])).transpose(0, 1),
        lambda: torch.inner(x, weight),
        lambda: torch.einsum("wv,nchw->nchv", weight.t(), x),
        lambda: torch.lerp(x, torch.einsum("...hw,gh->...gw", x, weight), 0.3),
    )[choices[1] % 5]()


def _halved(net: Drawn, values: list[Tensor], number: int, choices: list[int]) -> Read:
    """One half of the channels gates the other."""
    i, out = _one(values, choices[0]), 2 + 2 * (choices[1] % 3)
    x = values[i]
    return (i,), functional.glu(net.part(f"halved{number}", lambda: nn.Conv2d(x.shape[1], 2 * out, 1))(x), 1)


def _rearrangement(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    i = _one(values, choices[0])
    x = values[i]
    return (i,), REARRANGEMENTS[choices[1] % len(REARRANGEMENTS)](x)


def _written(_net: Drawn, values: list[Tensor], _number: int, choices: list[int]) -> Read:
    """Write a part of one tensor into another."""
    i = _one(values, choices[0])
    j = _fitting(values, i, choices[1], 1, 2)
    made, rows = values[i].clone(), slice(choices[2] % 2, None, 2)
    made[:, :, rows] = values[j][:, :, rows]
    return (i, j), made


def _half(x: Tensor) -> Tensor:
    return x.chunk(2, 1)[-1] if x.shape[1] > 1 else x * 2


def _layer_norm(x: Tensor) -> Tensor:
    """Over the channels; of one or two channels it would leave hardly more than a sign."""
    if x.shape[1] < 3:
        return 0.2 - x
    return functional.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)


def _shifted(x: Tensor) -> Tensor:
    """Write the channels into their neighbours' places, and double the first one."""
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    y[:, :1] = x[:, -1:]
    y[:, 0] *= 2
    return y


def _picked(x: Tensor) -> Tensor:
    """Write numbers and columns by lists of places and by a mask."""
    y = x - 0.1
    y[..., [0, -1]] = x[..., [-1, 0]]
    y[:, :, torch.eye(*x.shape[2:], dtype=torch.bool)] = 0.3
    return y


def _summed(x: Tensor) -> Tensor:
    return torch.zeros_like(x).index_add(2, torch.arange(x.shape[2]) // 2, x)


def _warped(x: Tensor) -> Tensor:
    turn = torch.tensor([[[0.7, 0.2, 0.1], [-0.2, 0.7, 0.0]]], dtype=x.dtype).expand(x.shape[0], 2, 3)
    return functional.grid_sample(
        x, functional.affine_grid(turn, list(x.shape), align_corners=False), align_corners=False
    )


REARRANGEMENTS = (
    lambda x: x.flip(1),
    lambda x: x.transpose(2, 3),
    lambda x: functional.pad(x, (0, 1, 0, 1)),
    _half,
    lambda x: -1.5 * x - 0.25,
    lambda x: functional.interpolate(x, size=(4, 4), mode="bilinear", align_corners=False),
    lambda x: functional.interpolate(x, size=(5, 5)),
    _layer_norm,
    _shifted,
    _picked,
    _summed,
    _warped,
    lambda x: torch.where(torch.ones(x.shape[2:], dtype=torch.bool).tril(), x, 0.5 * x.flip(2)),
    lambda x: x.masked_fill(torch.ones(x.shape[2:], dtype=torch.bool).triu(), -0.2),
    lambda x: x.gather(3, torch.arange(x.shape[3]).flip(0).expand(x.shape)).rot90(1, (2, 3)),
)


STEPS = (
    _convolution,
    _normalised,
    _transposed,
    _activation,
    _in_place,
    _pooling,
    _addition,
    _concatenation,
    _gate,
    _rearrangement,
    _written,
    _activation,
    _convolution,
    _contraction,
    _halved,
)
