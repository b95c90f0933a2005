"""A gate that is a function of its own signal, number by number, is found through what moves numbers, and no other."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from tests.unit.engine.traced import roles

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
        lambda _, z: z * z.permute(0, 2, 3, 1).sigmoid().flatten(1, 2).transpose(1, 2).unflatten(2, z.shape[2:]),
        lambda _, z: z * z.flatten(2).transpose(1, 2).sigmoid().unflatten(1, z.shape[2:]).permute(0, 3, 1, 2),
        lambda _, z: z * torch.cat([half.sigmoid() for half in z.chunk(2, 1)], 1),
        lambda _, z: z * torch.stack([z, -z], 1).sigmoid()[:, 0],
        lambda _, z: z * torch.stack([row.sigmoid() for row in z.unbind(2)], 2),
        lambda n, z: (z[:, n.order] * z.sigmoid()[:, n.order])[:, n.order],
        lambda n, z: z * z[:, n.order].sigmoid()[:, n.order],
        lambda _, z: z * z[:, [2, 0, 1, 3]].sigmoid()[:, [1, 2, 0, 3]],
        lambda n, z: z * z.index_select(1, n.order).sigmoid().index_select(1, n.order.argsort()),
        lambda n, z: z * z.gather(1, n.order.view(1, 4, 1, 1).expand_as(z)).sigmoid()[:, n.order],
        lambda _, z: z * z[:, torch.arange(4).flip(0)].sigmoid().flip(1),
        lambda n, z: (z[:, n.order].flatten(2) * z[:, n.order].sigmoid().flatten(2)).view_as(z)[:, n.order],
        lambda _, z: (LARGER(z) * LARGER(torch.sigmoid(z)))[..., ::2, ::2],
        lambda _, z: SHUFFLE(UNSHUFFLE(z) * UNSHUFFLE(torch.sigmoid(z))),
    ],
)
def test_silu_written_by_hand_is_explained_as_silu(written, images, silu):
    def network(activation):
        made = written(lambda n, x: n.classify(activation(n, n.conv(x))))
        made.beta, made.betas = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(4, 1, 1))
        made.mean, made.var = torch.zeros(4), torch.ones(4)
        made.register_buffer("order", torch.tensor([1, 0, 3, 2]))
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


def shuffled(z):
    """Shuffle channels by hand, in a way that twice does not undo."""
    return torch.cat([z, -z], 1).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)[:, :4]


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
        lambda _, z: z * shuffled(shuffled(z)).sigmoid(),
        lambda _, z: z * z.flatten(2).flip(2).view_as(z).sigmoid().flip(2),
        lambda _, z: z * UNSHUFFLE(SHUFFLE(z).flatten(1).reshape(-1, 1, 8, 32).sigmoid()).reshape(z.shape),
        lambda _, z: z * torch.cat([half.sigmoid() for half in z.chunk(2, 1)[::-1]], 1),
        lambda _, z: z * torch.stack([z.flip(1), z], 1).sigmoid()[:, 0],
        lambda n, z: z * z[:, n.order].sigmoid(),
        lambda n, z: z * z[:, n.order].sigmoid().flip(1),
        lambda _, z: z * z[:, [1, 2, 0, 3]].sigmoid()[:, [1, 2, 0, 3]],
        lambda n, z: z[:, n.order].view(-1, 2, 2, *z.shape[2:]).transpose(1, 2).reshape(z.shape) * z.sigmoid(),
        lambda _, z: z * torch.cat([z[:, :3].sigmoid(), torch.ones_like(z[:, :1])], 1),
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
    made.register_buffer("order", torch.tensor([1, 0, 3, 2]))
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


def test_a_buffer_by_which_it_was_told_is_looked_at_again(written, images):
    def swish(n, x):
        z = n.conv(x)
        return n.classify(z * torch.sigmoid(z[:, n.order])[:, n.back])

    network = written(swish)
    network.register_buffer("order", torch.tensor([1, 2, 0, 3]))
    network.register_buffer("back", torch.tensor([2, 0, 1, 3]))
    own = rn.explain(network, images, 1).relevance
    network.back.copy_(torch.tensor([1, 2, 0, 3]))  # which does not lead back
    other = rn.explain(network, images, 1).relevance
    gated = written(
        lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(x)[:, n.order][:, n.order].double()).float())
    )
    gated.load_state_dict(network.state_dict(), strict=False)
    gated.register_buffer("order", network.order)
    torch.testing.assert_close(other, rn.explain(gated, images, 1).relevance)
    network.back.copy_(torch.tensor([2, 0, 1, 3]))
    torch.testing.assert_close(rn.explain(network, images, 1).relevance, own)
    assert not torch.allclose(own, other)


def test_a_norm_in_a_gate_is_the_same_beside_ops_that_are_taken_apart(written, images):
    def attended(n, x, *, apart):
        z = n.conv(x)
        y = torch.lerp(z, 2 * z, 0.5) if apart else 1.5 * z
        return n.classify(y * torch.sigmoid(n.norm(y)))

    found = []
    for apart in (False, True):
        network = written(lambda n, x, apart=apart: attended(n, x, apart=apart))
        network.norm = nn.BatchNorm2d(4).eval()
        found.append(rn.explain(network, images, 1).relevance)
    torch.testing.assert_close(*found)


def test_places_at_random_are_not_drawn_to_look_at_them(written, images):
    network = written(lambda n, x: n.classify((z := n.conv(x)) * torch.sigmoid(z[:, torch.randperm(4)])))
    before = torch.get_rng_state()
    with pytest.raises(rn.UnsupportedNetworkError, match="acts at random"):
        rn.explain(network, images)
    assert torch.equal(torch.get_rng_state(), before)
