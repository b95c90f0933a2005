from math import pi, sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.tracing import trace
from rlrp_nb.errors import UnsupportedNetworkError


def roles(network, images):
    return {step.name: (step.roles, step.self_gated) for step in trace(network, images).steps if step.sources}


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


LARGER, UNSHUFFLE, SHUFFLE = nn.UpsamplingNearest2d(scale_factor=2), nn.PixelUnshuffle(2), nn.PixelShuffle(2)


@pytest.mark.parametrize(
    "silu",
    [
        lambda n, z: z * torch.sigmoid(n.beta * z),
        lambda n, z: z * torch.sigmoid(n.betas * z),
        lambda n, z: z * n.beta * torch.sigmoid(z),
        lambda n, z: z * torch.sigmoid(functional.batch_norm(z, n.mean, n.var, eps=1e-9)),
        lambda n, z: z * torch.sigmoid(functional.instance_norm(z, n.mean, n.var, use_input_stats=False, eps=1e-9)),
        lambda _, z: z * torch.sigmoid(z.clone()),
        lambda _, z: z * torch.sigmoid(z).square().sqrt(),
        lambda _, z: z * (torch.sigmoid(z) ** 3 / torch.sigmoid(z).pow(2)),
        lambda _, z: z * (1 / (1 / torch.sigmoid(z))),
        lambda _, z: z * torch.maximum(torch.sigmoid(z), torch.tensor(0.0)),
        lambda _, z: z * torch.where(torch.sigmoid(z) > 2, 1.0, torch.sigmoid(z)),
        lambda _, z: z * torch.sigmoid(z).masked_fill(torch.zeros(1, dtype=torch.bool), 1.0),
        lambda _, z: z.masked_fill(torch.zeros(1, dtype=torch.bool), 1.0) * torch.sigmoid(z),
        lambda _, z: z * torch.sigmoid(z).detach(),
        lambda _, z: z * torch.sigmoid(z).double().float(),
        lambda _, z: z * functional.dropout(torch.sigmoid(z), 0.1, training=False),
        lambda _, z: functional.dropout(z, 0.1, training=False) * torch.sigmoid(z),
        lambda _, z: z * (1 - torch.sigmoid(-z)),
        lambda _, z: z * torch.sigmoid(0.5 * z + z - 0.5 * z),
        lambda _, z: (2 * z) * torch.sigmoid(z) / 2,
        lambda _, z: z.view_as(z) * torch.sigmoid(z),
        lambda _, z: z * torch.sigmoid(z.flatten(1)).view_as(z),
        lambda _, z: z.mul_(torch.sigmoid(z)),
        lambda _, z: z * torch.sigmoid(z).expand_as(z),
        lambda _, z: (z.flatten(1) * torch.sigmoid(z.flatten(1))).view_as(z),
        lambda _, z: (z.flatten(1) * torch.sigmoid(z).flatten(1)).view_as(z),
        lambda _, z: (z.permute(0, 2, 3, 1) * torch.sigmoid(z.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        lambda _, z: (z.permute(0, 2, 3, 1) * torch.sigmoid(z).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        lambda _, z: (2 * z.transpose(2, 3) * torch.sigmoid(z.transpose(2, 3) + 0)).transpose(2, 3) / 2,
        lambda n, z: z * torch.sigmoid(z.permute(0, 2, 3, 1) * n.betas.flatten()).permute(0, 3, 1, 2),
        lambda n, z: z * (z.transpose(1, -1) * n.betas.flatten()).transpose(-1, 1).sigmoid(),
        lambda _, z: z * torch.sigmoid(z.permute(0, 2, 3, 1).transpose(1, 3)).transpose(2, 3),
        lambda _, z: z.permute(0, 2, 3, 1).transpose(1, 2).sigmoid().permute(0, 3, 2, 1).flip(1).flip(1) * z,
        lambda _, z: z * UNSHUFFLE(torch.sigmoid(SHUFFLE(z))),
        lambda _, z: z * SHUFFLE(UNSHUFFLE(z.transpose(2, 3)).sigmoid()).transpose(2, 3),
        lambda _, z: (LARGER(z) * LARGER(torch.sigmoid(z)))[..., ::2, ::2],
        lambda _, z: SHUFFLE(UNSHUFFLE(z) * UNSHUFFLE(torch.sigmoid(z))),
    ],
)
def test_silu_written_by_hand_is_explained_as_silu(written, images, silu):
    def network(activation):
        made = written(lambda n, x: n.classify(activation(n, n.conv(x))))
        made.beta, made.betas = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(4, 1, 1))
        made.mean, made.var = torch.zeros(4), torch.ones(4)
        return made

    expected = rn.explain(network(lambda _, z: functional.silu(z)), images, 1).relevance
    torch.testing.assert_close(rn.explain(network(silu), images, 1).relevance, expected)


@pytest.mark.parametrize(
    "silu",
    [
        lambda z: z[:, :2] * torch.sigmoid(z[:, :2]),
        lambda z: z.chunk(2, 1)[0] * torch.sigmoid(z.chunk(2, 1)[0]),
        lambda z: z[:, :2] * torch.sigmoid(z)[:, :2],
    ],
)
def test_silu_of_a_part_that_is_taken_twice_is_explained_as_silu(written, images, silu):
    def relevance(activation):
        network = written(lambda n, x: n.classify(torch.cat([activation(n.conv(x)), n.conv(x)[:, 2:]], 1)))
        return rn.explain(network, images, 1).relevance

    torch.testing.assert_close(relevance(silu), relevance(lambda z: functional.silu(z[:, :2])))


def summed(z):
    """Return the sums of pairs of rows."""
    pairs = torch.arange(z.shape[2]) // 2
    return torch.zeros_like(z).index_add(2, pairs, z)


def warped(z):
    """Return means of neighbours."""
    grid = functional.affine_grid(
        torch.tensor([[[0.5, 0, 0.1], [0, 0.5, 0]]]).expand(len(z), 2, 3), list(z.shape), align_corners=False
    )
    return functional.grid_sample(z, grid, align_corners=False)


@pytest.mark.parametrize(
    "product",
    [
        lambda _, z: z * torch.sigmoid(z.transpose(2, 3)),
        lambda _, z: z * torch.sigmoid(z.permute(0, 2, 3, 1)).permute(0, 3, 2, 1),
        lambda _, z: z * UNSHUFFLE(SHUFFLE(z).flip(3).sigmoid()),
        lambda _, z: z * z.flip(2).sigmoid().flip(3),
        lambda _, z: z * torch.sigmoid(z.flip(1)),
        lambda _, z: z.flip(2) * torch.sigmoid(z.flip(1)),
        lambda _, z: z[:, :2] * torch.sigmoid(z[:, 2:]),
        lambda _, z: z.flip(1) * torch.sigmoid(z),
        lambda _, z: z.transpose(2, 3).flip(2) * torch.sigmoid(z.flip(2).transpose(2, 3)),
        lambda _, z: z * torch.sigmoid(z.cumsum(1)),
        lambda n, z: z * torch.sigmoid(z + n.conv(z[:, :3])),
        lambda _, z: z * torch.softmax(z, 1),
        lambda _, z: z * torch.sigmoid(functional.instance_norm(z)),
        lambda _, z: functional.relu(z) * torch.sigmoid(z),
        lambda n, z: z[:, :1] * torch.sigmoid(z[:, :1] * n.betas),
        lambda _, z: summed(z) * summed(torch.sigmoid(z)),
        lambda _, z: warped(z) * warped(torch.sigmoid(z)),
        lambda _, z: z[..., :1] * torch.sigmoid(z[..., :1].transpose(2, 3)),
        lambda _, z: z[:, :1, :1] * torch.sigmoid(z[:, :1, :1].reshape(-1, 1, z.shape[3], 1)),
    ],
)
def test_a_gate_of_other_numbers_than_it_multiplies_is_no_activation(written, images, product):
    made = written(lambda n, x: n.classify(product(n, n.conv(x))[:, :1].expand(-1, 4, -1, -1)))
    made.betas = nn.Parameter(torch.randn(4, 1, 1))
    assert not any(gated for _, gated in roles(made, images).values())


def test_a_gate_of_another_tensor_is_no_activation(written, images):
    found = roles(written(lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(-x)))), images)
    assert not any(gated for _, gated in found.values())


@pytest.mark.parametrize("stem", [False, True])
def test_a_gate_that_broadcasts_the_input_is_no_activation(written, stem):
    def bins(n, x, copies=1):
        around = n.betas * x if stem else 0
        return n.classify(
            (x.expand(-1, copies, -1, -1) if copies > 1 else x) * torch.sigmoid(4 * (x - n.betas)) + around
        )

    made, x = written(bins), torch.randn(2, 1, 8, 8)
    made.betas = nn.Parameter(torch.randn(4, 1, 1))
    assert not any(gated for _, gated in roles(made, x).values())
    found = rn.explain(made, x, 1, "lrp-0").relevance
    by_hand = written(lambda n, x: bins(n, x, 4))
    by_hand.betas = made.betas
    torch.testing.assert_close(found, rn.explain(by_hand, x, 1, "lrp-0").relevance)


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
