"""Contractions with a constant are the dense layers that they stand for, and say where their axes come from."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.contraction import Contraction
from rlrp_nb.engine.registry import graph_of


def contracted(how):
    """A network whose dense layer over the channels of a picture is written in one of several ways."""
    ways = {
        "linear": lambda n, z: functional.linear(z.permute(0, 2, 3, 1), n.weight).permute(0, 3, 1, 2),
        "einsum": lambda n, z: torch.einsum("bchw,oc->bohw", z, n.weight),
        "constant first": lambda n, z: torch.einsum("oc,bchw->bohw", n.weight, z),
        "tensordot": lambda n, z: torch.tensordot(z, n.weight, dims=([1], [1])).permute(0, 3, 1, 2),
    }

    class Contracted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head, self.weight = nn.Conv2d(3, 8, 3), nn.Linear(5, 4), nn.Parameter(torch.randn(5, 8))

        def forward(self, x):
            return self.head(ways[how](self, self.conv(x).relu()).relu().mean((2, 3)))

    torch.manual_seed(0)
    return Contracted().eval()


@pytest.mark.parametrize("method", ["rlrp", "lrp-0", "lrp-epsilon", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat"])
@pytest.mark.parametrize("how", ["einsum", "constant first", "tensordot"])
def test_a_contraction_is_the_dense_layer_that_it_stands_for(how, method):
    x = torch.randn(2, 3, 8, 7, generator=torch.Generator().manual_seed(0))
    expected = rn.explain(contracted("linear").double(), x.double(), [0, (1, 2)], method).relevance
    found = rn.explain(contracted(how).double(), x.double(), [0, (1, 2)], method).relevance
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    single = rn.explain(contracted(how), x.to(memory_format=torch.channels_last), [0, (1, 2)], method).relevance
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "words"),
    [
        (lambda _, z: torch.einsum("bchw,bdhw->bcd", z, z).mean(2)[..., None, None], "it multiplies two signals"),
        (lambda _, z: torch.einsum("bchw->bc", z)[..., None, None], "its equation takes 1; .* write permute, sum"),
        (lambda n, z: torch.einsum("bchw,c,c->bchw", z, n.one, n.one), "its equation takes 3; .* constants first"),
        (lambda _, z: torch.einsum("bchw,bc->bchw", z, z.mean((2, 3)).sigmoid()), "it joins a signal and a gate"),
    ],
)
def test_what_is_no_contraction_with_a_constant_is_refused(equation, words):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head, self.one = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.head(equation(self, self.conv(x).relu()).mean((2, 3)))

    with pytest.raises(rn.UnsupportedNetworkError, match=rf"aten\.einsum at einsum: {words}"):
        rn.explain(Odd().eval(), torch.randn(2, 3, 8, 8))


class Written(nn.Module):
    """Keeps a part that it is given, in front of a mean and a head."""

    def __init__(self, part):
        super().__init__()
        self.part, self.head = part, nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.part(x).flatten(1))


def constant(*shape):
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)


# of a picture (samples, 3, 5, 7): which of its axes lies along each axis of the output, None for one of the constant
ORDERS = {
    "einsum, last": (lambda x: torch.einsum("bchw,oc->bhwo", x, constant(4, 3)), (0, 2, 3, 1)),
    "einsum, constant first": (lambda x: torch.einsum("oc, bchw -> bohw", constant(4, 3), x), (0, 1, 2, 3)),
    "einsum, two new": (lambda x: torch.einsum("bchw,opc->bhowp", x, constant(4, 2, 3)), (0, 2, None, 3, None)),
    "einsum, two gone": (lambda x: torch.einsum("bchw,ohw->boc", x, constant(4, 5, 7)), (0, None, 1)),
    "einsum, implicit": (lambda x: torch.einsum("achw,cz", x, constant(3, 4)), (0, 2, 3, 1)),
    "einsum, points": (lambda x: torch.einsum("...w,vw->...v", x, constant(4, 7)), (0, 1, 2, 3)),
    "einsum, points within": (lambda x: torch.einsum("b...w,vw->bv...", x, constant(4, 7)), (0, 3, 1, 2)),
    "einsum, points of both": (lambda x: torch.einsum("...w,...w->...", x, constant(5, 7)), (0, 1, 2)),
    "einsum, points and no arrow": (lambda x: torch.einsum("...w,wa", x, constant(7, 4)), (0, 1, 2, 3)),
    "einsum, a diagonal": (lambda x: torch.einsum("bchh,oc->bho", x[..., :5], constant(4, 3)), (0, 2, 1)),
    "tensordot": (lambda x: torch.tensordot(x, constant(3, 4), dims=([1], [0])), (0, 2, 3, 1)),
    "tensordot, negative": (lambda x: torch.tensordot(x, constant(4, 3), dims=([-3], [-1])), (0, 2, 3, 1)),
    "tensordot, two": (lambda x: torch.tensordot(x, constant(7, 5, 4), dims=([3, 2], [0, 1])), (0, 1, None)),
    "inner": (lambda x: torch.inner(x, constant(4, 7)), (0, 1, 2, 3)),
    "inner by a vector": (lambda x: torch.inner(x, constant(7)), (0, 1, 2)),
    "mv": (lambda x: torch.mv(x.flatten(1), constant(105))[:, None], (0,)),
    "vecdot": (lambda x: torch.linalg.vecdot(x, constant(7)), (0, 1, 2)),
    "vecdot, another axis": (lambda x: torch.linalg.vecdot(x, constant(3, 1, 1), dim=1), (0, 2, 3)),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_the_axes(name):
    part, expected = ORDERS[name]
    network, x = Written(part), torch.randn(2, 3, 5, 7)
    network.eval()(x)
    (step,) = (step for step in graph_of(network, x).steps if isinstance(step.rule, Contraction))
    assert step.rule.order(step) == expected
    if step.source_rank == 4:
        lengths, output = (2, 3, 5, 7), part(x)
        assert all(axis is None or n in {lengths[axis], 4} for axis, n in zip(expected, output.shape, strict=True))
