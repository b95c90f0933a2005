import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from tests.reference import backprop


def test_relative_activation_takes_the_maximum_of_the_whole_layer_of_each_sample():
    network = nn.ReLU()
    x = torch.tensor([[[1.0, -2.0], [4.0, 0.0]], [[0.5, 0.25], [-1.0, 0.0]]])
    relevance = rn.explain(network, x, torch.ones(2, 1, 2, 2)).relevance[:, 0]
    # R = x * (a / max a) * s with s = 1: the maxima are 4 and 0.5
    torch.testing.assert_close(relevance, torch.tensor([[[0.25, 0.0], [4.0, 0.0]], [[0.5, 0.125], [0.0, 0.0]]]))


def test_a_dead_layer_passes_nothing():
    relevance = rn.explain(nn.ReLU(), -torch.ones(1, 3), torch.ones(1, 1, 3)).relevance
    assert torch.equal(relevance, torch.zeros(1, 1, 3))


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e30, 3e38])
def test_nothing_small_in_a_denominator(size):
    x = torch.tensor([[size, size / 2, -size, 0.0]])
    relevance = rn.explain(nn.ReLU(), x, torch.ones(1, 1, 4)).relevance[0, 0]
    assert torch.isfinite(relevance).all()
    assert relevance[0] == torch.tensor(size)


def test_gradient_of_gates_flows_where_the_gradient_is_asked_for(written, images):
    def squeeze(n, x):
        z = n.conv(x)
        return n.classify(
            torch.softmax(z, 1) * nn.functional.layer_norm(z, (8, 8)) * torch.sigmoid(z.mean((2, 3), keepdim=True))
        )

    network = written(squeeze)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 2].sum(), leaf)
    relevance = rn.explain(network, images, 2, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(relevance, images * gradient)


@pytest.mark.parametrize("samples", [1, 16])
def test_gradient_of_gates_with_batch_norm(samples):
    class Selective(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Sequential(nn.Linear(3, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
            self.head = nn.Linear(192, 2)

        def forward(self, x):
            gate = self.gate(x.mean((2, 3))).sigmoid()[..., None, None]
            return self.head((x * gate).flatten(1))

    network, inputs = Selective().eval(), torch.randn(samples, 3, 8, 8)
    leaf = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(rn.explain(network, inputs, 1, "gradient-x-input").relevance[:, 0], inputs * gradient)


def test_no_gradient_flows_through_a_gate_behind_a_detach(written, images):
    network = written(lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(x).detach())))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 2].sum(), leaf)
    relevance = rn.explain(network, images, 2, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(relevance, images * gradient)


POOLS = {
    "apart": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 1, padding=1),
    "that leaves out rows": nn.MaxPool2d(2, 3),
    "dilated": nn.MaxPool2d(2, 1, dilation=3),
    "beyond the edge": nn.MaxPool2d(3, 2, ceil_mode=True),
    "adaptive": nn.AdaptiveMaxPool2d((2, 5)),
    "in one dimension": nn.Sequential(nn.Flatten(2), nn.MaxPool1d(5, 3)),
    "in three dimensions": nn.Sequential(nn.Unflatten(1, (2, 2)), nn.MaxPool3d(2)),
    "twice": nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(2)),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_behind_an_activation_changes_no_definition(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), POOLS[name], nn.Flatten(), nn.LazyLinear(3)).eval().double()
    x = torch.randn(2, 3, 13, 13, dtype=torch.float64)
    x[1] *= 100  # each sample has its own largest activation
    with torch.no_grad():
        network(x)
    found = rn.explain(network, x, [0, 1, 2])
    for target in range(3):
        expected = backprop.relevance(network, x, backprop.one_hot(3, [target] * 2))
        torch.testing.assert_close(found.relevance[:, target], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("highest", "expected"), [(8.0, 0.5), (1.0, 2.0)])
def test_the_largest_activation_counts_where_no_window_reaches_it_too(highest, expected):
    network = nn.Sequential(nn.ReLU(), nn.MaxPool2d((1, 2)))
    x = torch.tensor([1.0, 2.0, highest]).reshape(1, 1, 1, 3)
    relevance = rn.explain(network, x, torch.ones(1, 1, 1, 1, 1)).relevance.flatten()
    # the picked 2 is multiplied by its share of the largest, 2 / highest or 2 / 2
    torch.testing.assert_close(relevance, torch.tensor([0.0, expected, 0.0]))


def test_a_dead_layer_before_a_pool_passes_nothing():
    network = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    relevance = rn.explain(network, -torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1, 1)).relevance
    assert torch.equal(relevance, torch.zeros(1, 1, 1, 2, 2))


@pytest.mark.parametrize("axes", [1, (2, 3)])
def test_the_gradient_of_equal_maxima_is_shared_as_by_autograd(axes):
    class Largest(nn.Module):
        def forward(self, x):
            return x.amax(axes).flatten(1)

    network, x = nn.Sequential(nn.ReLU(), Largest()), torch.randint(-1, 3, (2, 3, 4, 4)).double()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    assert (gradient == 0.5).any() or (gradient.abs() < 0.5).any()  # some are shared
    torch.testing.assert_close(rn.explain(network, x, 1, "gradient-x-input").relevance[:, 0], x * gradient)


HARD_GATES = {
    "where": lambda v, _: torch.where(v > 0.1, v, 0.1 * v),
    "masked_fill": lambda v, _: v.masked_fill(v < 0.1, -9.0),
    "the place of the maximum": lambda _, y: y.flatten(2).gather(-1, y.flatten(2).argmax(-1, keepdim=True))[..., 0],
    "the largest": lambda v, _: torch.zeros_like(v).scatter(1, *v.topk(2, 1)[::-1]),
    "one of all": lambda v, _: v * functional.one_hot(v.argmax(1), 4).to(v.dtype),
}


@pytest.mark.parametrize("name", HARD_GATES)
def test_the_gradient_goes_through_gates_with_places_and_conditions(written, images, name):
    def gated(n, x):
        y = n.conv(x)
        return n.classify(y * torch.sigmoid(HARD_GATES[name](y.mean((2, 3)), y))[..., None, None])

    network = written(gated)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    found = rn.explain(network, images, [1, 0], "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, images * gradient)


def test_the_gradient_of_complex_numbers_is_refused(written, images):
    network = written(lambda n, x: n.classify(n.conv(x) * torch.sigmoid(torch.fft.rfft(n.conv(x))[..., :1].abs())))
    rn.explain(network, images, 1)
    with pytest.raises(rn.UnsupportedNetworkError, match="computes with complex numbers"):
        rn.explain(network, images, 1, "gradient-x-input")


def test_a_gate_that_pytorch_cannot_differentiate_is_refused_by_its_name(written, images):
    network = written(lambda n, x: n.classify((z := n.conv(x)) * torch.heaviside(z.sigmoid() - 0.5, torch.ones(1))))
    assert bool(rn.explain(network, images).relevance.any())
    with pytest.raises(
        rn.UnsupportedNetworkError, match=r"cannot differentiate aten\.heaviside at .*Use another method"
    ):
        rn.explain(network, images, 0, "gradient-x-input")


def test_attention_within_a_gate_is_held_constant_as_any_gate_is(written, images):
    def attended(network, x):
        z = network.conv(x)
        tokens = z.flatten(2).transpose(1, 2)
        gate = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1).sigmoid()
        return network.classify(z * gate[..., None, None])

    assert bool(rn.explain(written(attended), images).relevance.any())


@pytest.mark.parametrize("layers", [None, "all"])
@pytest.mark.parametrize(
    "activation",
    [torch.relu, torch.tanh, nn.functional.silu, nn.functional.relu6, lambda z: z * torch.sigmoid(z)],
    ids=["relu", "tanh", "silu", "relu6", "by-hand"],
)
def test_a_layer_of_one_number_is_its_own_largest(activation, layers):
    """As behind a squeeze: of no axes but that of the samples."""

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.one = nn.Linear(4, 1)

        def forward(self, x):
            return 2 * activation(self.one(x).squeeze(1)) + x[:, 0]

    network, x = (
        Single().double().eval(),
        torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )
    z = network.one(x).detach()
    s = 2 * activation(z) / z * network.one.weight.detach() * (activation(z) != 0)
    s[:, 0] += 1
    torch.testing.assert_close(rn.explain(network, x, layers=layers).relevance[:, 0], x * s)


def test_a_layer_without_numbers_passes_nothing(written, images):
    network = written(lambda n, x: n.head(torch.cat([z := n.conv(x), z[:, :0].relu()], 1).mean((2, 3))))
    plain = written(lambda n, x: n.head(n.conv(x).mean((2, 3))))
    assert torch.equal(rn.explain(network, images, 1).relevance, rn.explain(plain, images, 1).relevance)
