import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.rule import unbroadcast


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    stretch=st.lists(st.booleans(), min_size=4, max_size=4),
    extra=st.integers(0, 2),
)
def test_unbroadcast_is_the_transpose_of_broadcasting(shape, stretch, extra):
    small = torch.Size(1 if s else n for n, s in zip(shape, stretch, strict=False))
    big = torch.Size([2] * extra + shape)
    s = torch.randn(3, *big, dtype=torch.float64)
    a = torch.randn(small, dtype=torch.float64)
    back = unbroadcast(s, small)
    assert back.shape == (3, *small)
    torch.testing.assert_close((a.expand(big) * s).flatten(1).sum(1), (a * back).flatten(1).sum(1))


class Frozen(nn.Module):
    """A network whose weights and buffers take part in one op, by a function of the network and a signal."""

    def __init__(self, op):
        super().__init__()
        self.conv, self.head, self.op = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), op
        self.matrix, self.slope = nn.Parameter(torch.randn(4, 4)), nn.PReLU(4)
        self.register_buffer("order", torch.tensor([3, 1, 0, 2]))
        self.register_buffer("mask", torch.tensor([True, False, True, True]))

    def forward(self, x):
        return self.head(self.op(self, self.conv(x).relu()).mean((2, 3)))


@pytest.mark.parametrize(
    "op",
    [
        lambda n, z: n.slope(z - 0.1),
        lambda n, z: z[:, n.order],
        lambda n, z: z.index_select(1, n.order),
        lambda n, z: torch.where(n.mask[:, None, None], z, 0.0),
        lambda n, z: (z.transpose(1, 3) @ n.matrix).transpose(1, 3),
        lambda n, z: torch.einsum("bchw,oc->bohw", z, n.matrix),
        lambda n, z: torch.lerp(z, 2 * z, n.matrix[0][:, None, None].sigmoid()),
        lambda n, z: functional.pad(z, (1, 1, 1, 1), mode="reflect") * n.matrix[0][:, None, None],
    ],
)
@pytest.mark.parametrize("method", ["rlrp", "lrp-gamma", "gradient-x-input"])
def test_a_network_that_was_made_in_inference_mode_is_explained_as_another(op, method, images):
    torch.manual_seed(0)
    expected = rn.explain(Frozen(op).eval(), images, 1, method).relevance
    torch.manual_seed(0)
    with torch.inference_mode():
        network = Frozen(op).eval()
    torch.testing.assert_close(rn.explain(network, images, 1, method).relevance, expected)
