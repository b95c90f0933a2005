from math import pi, sqrt

import pytest
import torch
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.errors import UnsupportedNetworkError
from tests.unit.engine.traced import roles


@pytest.mark.parametrize(
    "gate",
    [
        torch.sigmoid,
        functional.hardsigmoid,
        lambda z: torch.softmax(z, 1),
        lambda z: 1 + torch.sigmoid(z),
        lambda z: torch.sigmoid(z).expand(-1, -1, 8, 8),
    ],
)
def test_squeeze_and_excitation_is_a_gate(written, images, gate):
    def squeeze_and_excite(n, x):
        z = n.conv(x)
        return n.classify(gate(z.mean((2, 3), keepdim=True)) * z)

    found = roles(written(squeeze_and_excite), images)
    assert found["mul"] == (("gate", "signal"), False)


@pytest.mark.parametrize(
    "activation",
    [
        lambda z: z * torch.sigmoid(z),
        lambda z: torch.sigmoid(1.7 * z) * z,
        lambda z: z * functional.hardsigmoid(z),
        lambda z: z * (functional.relu6(z + 3) / 6),
    ],
)
def test_an_activation_written_by_hand_is_told_from_a_gate(written, images, activation):
    found = roles(written(lambda n, x: n.classify(activation(n.conv(x)))), images)
    assert any(gated for _, gated in found.values())


def keras(z):
    return torch.clamp(0.2 * z + 0.5, 0, 1)


def hard(z):
    return functional.hardsigmoid(1.2 * z)


GATES_BY_HAND = {
    "pooled": (lambda z: functional.max_pool2d(keras(z), 3, 1, 1), lambda z: functional.max_pool2d(hard(z), 3, 1, 1)),
    "the sum of two": (lambda z: keras(z) + keras(-z.flip(2)), lambda z: hard(z) + hard(-z.flip(2))),
    "joined": (
        lambda z: torch.cat([keras(z)[:, :2], 1 / (1 + torch.exp(-z[:, 2:]))], 1),
        lambda z: torch.cat([hard(z)[:, :2], torch.sigmoid(z[:, 2:])], 1),
    ),
    "beside a sigmoid": (lambda z: keras(z) * torch.sigmoid(-z), lambda z: hard(z) * torch.sigmoid(-z)),
    "divided by": (lambda z: 1 / (keras(z) + 0.1), lambda z: 1 / (hard(z) + 0.1)),
    "weighted": (
        lambda z: functional.conv2d(keras(z), torch.full((4, 1, 1, 1), 0.3, dtype=z.dtype), groups=4),
        lambda z: 0.3 * hard(z),
    ),
    "relu6": (lambda z: functional.relu6(z + 3) / 6, functional.hardsigmoid),
    "clamp and div": (lambda z: (z + 3).clamp(0, 6).div(6.0), functional.hardsigmoid),
    "in place": (lambda z: z.add(3).clamp_(0.0, 6.0).div_(6), functional.hardsigmoid),
    "keras": (keras, lambda z: functional.hardsigmoid(1.2 * z)),
    "keras, hardtanh": (lambda z: functional.hardtanh(z * 0.2 + 0.5, 0, 1), lambda z: functional.hardsigmoid(1.2 * z)),
    "the rest of one": (lambda z: 1 - keras(z), lambda z: 1 - functional.hardsigmoid(1.2 * z)),
    "reciprocal": (lambda z: 1 / (1 + torch.exp(-z)), torch.sigmoid),
    "power": (lambda z: (1 + torch.exp(-z)) ** -1, torch.sigmoid),
    "a tensor above": (lambda z: torch.tensor(1.0) / (torch.exp(-z) + 1), torch.sigmoid),
    "expit": (torch.special.expit, torch.sigmoid),
    "half a tanh and a half": (lambda z: torch.tanh(z / 2) * 0.5 + 0.5, torch.sigmoid),
    "half a tanh and a half, divided": (lambda z: 0.5 + torch.tanh(z / 2) / 2, torch.sigmoid),
    "tanh": (lambda z: 0.5 * (1 + torch.tanh(z / 2)), torch.sigmoid),
    "two": (lambda z: keras(z) * (1 / (1 + torch.exp(-z))), lambda z: functional.hardsigmoid(1.2 * z) * z.sigmoid()),
    "spread": (
        lambda z: (1 / (1 + torch.exp(-z.mean((2, 3)))))[:, :, None, None].expand_as(z),
        lambda z: torch.sigmoid(z.mean((2, 3), keepdim=True)),
    ),
    "larger": (
        lambda z: functional.interpolate(keras(functional.avg_pool2d(z, 2)), scale_factor=2),
        lambda z: functional.interpolate(functional.hardsigmoid(1.2 * functional.avg_pool2d(z, 2)), scale_factor=2),
    ),
}


@pytest.mark.parametrize(
    ("name", "gate_first", "method"),
    [
        *((name, False, "rlrp") for name in GATES_BY_HAND),
        *(("keras", gate_first, method) for gate_first in (False, True) for method in ("lrp-0", "gradient-x-input")),
        *(("reciprocal", True, method) for method in ("rlrp", "gradient-x-input")),
    ],
)
def test_a_gate_written_by_hand_is_held_as_that_of_pytorch(written, images, name, gate_first, method):
    def gated(n, x, gate):
        signal, value = n.conv(x).relu(), gate(n.conv(x.flip(3)))
        return n.classify(value * signal if gate_first else signal * value)

    by_hand, own = (written(lambda n, x, f=f: gated(n, x, f)) for f in GATES_BY_HAND[name])
    own.load_state_dict(by_hand.state_dict())
    expected = rn.explain(own.double(), images.double(), 1, method)
    found = rn.explain(by_hand.double(), images.double(), 1, method)
    # the derivative of PyTorch's hardsigmoid in double precision is a sixth in single precision
    rtol, atol = (1e-6, 1e-9) if method == "gradient-x-input" else (1e-9, 1e-12)
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "other",
    [
        lambda z: (1 + torch.exp(z)) / 5,
        lambda z: 2 / (3 + torch.exp(z)),
        lambda z: (z + 2).clamp(0, 6),
        lambda z: (z + 3).clamp(0),
        lambda z: (z + 3).clamp(1, 6),
        lambda z: 2 + torch.tanh(z),
        lambda z: 0.5 + torch.tanh(z) / 3,
        torch.exp,
    ],
)
def test_what_is_no_sigmoid_by_hand_is_no_gate(written, images, other):
    with pytest.raises(UnsupportedNetworkError, match="one must be a gate and one a signal"):
        roles(written(lambda n, x: n.classify(n.conv(x).relu() * other(n.conv(x.flip(3))))), images)


@pytest.mark.parametrize("seen", [lambda x: x, lambda x: x.flip(3), lambda x: 2 * x - 0.1])
def test_a_picture_that_is_brought_to_0_and_1_is_no_gate(written, images, seen):
    def dehazed(n, x):
        picture = (seen(x) * 0.5 + 0.5).clamp(0, 1)
        return n.head(torch.cat([n.conv(x).relu()[:, :3] * picture, x[:, :1]], 1).mean((2, 3)))

    with pytest.raises(UnsupportedNetworkError, match="one must be a gate and one a signal"):
        roles(written(dehazed), images)


def test_a_hardsigmoid_by_hand_that_scales_nothing_is_an_activation(written, images):
    network = written(lambda n, x: n.classify(keras(n.conv(x)))).double()
    x = images.double()
    z = 0.2 * network.conv(x) + 0.5
    a = z.clamp(0, 1)
    s = (network.head.weight[1] / 64)[:, None, None] * (z > 0) * (a / z) * a / a.amax((1, 2, 3), keepdim=True)
    expected = x * functional.conv_transpose2d(0.2 * s, network.conv.weight, padding=1)
    torch.testing.assert_close(rn.explain(network, x, 1).relevance[:, 0], expected.detach(), rtol=1e-9, atol=1e-12)


WRITTEN_OUT = {
    "relu": (lambda z: z * (z > 0), functional.relu),
    "relu, by two": (lambda z: z * ((z > 0) & (z > -1) | (z > 0) ^ (z > 0)), functional.relu),
    "mish": (lambda z: z * torch.tanh(functional.softplus(z)), functional.mish),
    "silu": (lambda z: z * (1 / (1 + torch.exp(-z))), functional.silu),
    "hardswish": (lambda z: z * torch.clamp(z / 6 + 0.5, 0, 1), functional.hardswish),
    "gelu": (lambda z: 0.5 * z * (1 + torch.erf(z / sqrt(2))), functional.gelu),
    "gelu, by ndtr": (lambda z: z * torch.special.ndtr(z), functional.gelu),
    "silu, by logarithms": (lambda z: z * functional.logsigmoid(z).exp(), functional.silu),
    "gelu, by tanh": (
        lambda z: 0.5 * z * (1 + torch.tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))),
        lambda z: functional.gelu(z, approximate="tanh"),
    ),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
@pytest.mark.parametrize("method", ["rlrp", "lrp-0", "gradient-x-input"])
def test_an_activation_without_a_sigmoid_is_that_of_pytorch(written, images, name, method):
    by_hand, own = (written(lambda n, x, f=f: n.classify(f(n.conv(x)))) for f in WRITTEN_OUT[name])
    own.load_state_dict(by_hand.state_dict())
    expected = rn.explain(own.double(), images.double(), 1, method, layers="all")
    found = rn.explain(by_hand.double(), images.double(), 1, method)
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "product",
    [
        lambda z: z * z,
        lambda z: (z + 1) * (z + 2),
        lambda z: 2 * z * z,
        lambda z: z.relu() * z.tanh(),
        lambda z: z * z.mean((2, 3), keepdim=True),
        lambda z: z * z.flip(1).tanh(),
        lambda z: z * z.roll(1, 3).abs(),
    ],
)
def test_a_product_of_two_signals_is_no_activation_where_neither_is_a_function_of_the_other(written, images, product):
    with pytest.raises(UnsupportedNetworkError, match="one must be a gate and one a signal"):
        roles(written(lambda n, x: n.classify(product(n.conv(x)))), images)


def test_relu6_of_three_added_twice_is_no_hardsigmoid(written, images):
    def shifted(n, x):
        z = n.conv(x)
        return n.classify(z * functional.relu6(torch.add(z.mean((2, 3), keepdim=True), 3, alpha=2)) / 6)

    with pytest.raises(UnsupportedNetworkError, match="one must be a gate"):
        roles(written(shifted), images)


def test_a_gate_that_mixes_channels_is_no_activation(written, images):
    def mixed(n, x):
        z = n.conv(x)
        return n.classify(z * torch.sigmoid(z.flip(1)))

    found = roles(written(mixed), images)
    assert found["mul"] == (("signal", "gate"), False)
