import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.scaling import CHECK_EVERY, UNSCALED, Scale, added, passed_on, unscale


def chain(depth, gain):
    """A deep network without bias whose activations stay in range while its sensitivities do not."""
    generator = torch.Generator().manual_seed(depth)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.rand(4, 4, generator=generator) * gain)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(("depth", "gain"), [(1000, 0.5), (150, 0.4), (150, 0.6)])
def test_depth_neither_makes_relevance_vanish_nor_explode(depth, gain):
    network, x = chain(depth, gain), torch.rand(2, 4) + 0.1
    relevance = rn.explain(network, x, [0, 1]).relevance
    assert torch.isfinite(relevance).all()
    assert (relevance.abs().amax(2) > 0).all()
    # only positive numbers: the heatmap of a chain is the product of its matrices up to a factor, followed in float64
    s, a = torch.eye(4, dtype=torch.float64)[:2].expand(2, 2, 4), [x.double()]
    for layer in network:
        a.append(layer.double()(a[-1]).detach())
    for position in reversed(range(len(network))):
        s = s * a[position + 1][:, None] if position % 2 else s @ network[position].weight.detach()
        s = s / s.abs().amax(2, keepdim=True)
    expected = x.double()[:, None] * s
    expected = expected / expected.abs().amax(2, keepdim=True)
    found = relevance.double() / relevance.double().abs().amax(2, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)


class Gated(nn.Module):
    """A layer whose only nonlinearity is a gate."""

    def __init__(self, width):
        super().__init__()
        self.signal, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.signal(x) * self.gate(x).sigmoid()


@pytest.mark.parametrize("block", [Gated, lambda width: nn.Linear(width, width)], ids=["gates", "maps"])
def test_depth_without_activations_does_not_make_relevance_vanish(block):
    torch.manual_seed(0)
    network, x = nn.Sequential(*(block(6) for _ in range(200))).eval(), torch.rand(2, 6) + 0.1
    found = rn.explain(network, x, [0, 1], layers="all")
    exact = rn.explain(network.double(), x.double(), [0, 1])
    assert exact.relevance.abs().max() < 1e-40  # nothing that float32 could hold
    near, true = (e.relevance.double() / e.relevance.double().abs().amax((1, 2), keepdim=True) for e in (found, exact))
    torch.testing.assert_close(near, true, rtol=1e-3, atol=1e-4)
    assert found.ledger().worst_residual < 1e-4


class Pair(nn.Module):
    """Two chains side by side: while one is walked back, the other's sensitivity waits."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x):
        return self.one(x) + self.other(x)


@pytest.mark.parametrize("depths", [(160, 159), (159, 160), (160, 2)])
@pytest.mark.parametrize("layers", [None, "all"])
def test_a_branch_that_waits_and_one_that_is_deep_are_added_as_they_are(depths, layers):
    network, x = Pair(*(chain(depth, 0.3) for depth in depths)).eval(), torch.rand(2, 4) + 0.1
    found = rn.explain(network, x, [0, 1], layers=layers)
    exact = rn.explain(network.double(), x.double(), [0, 1], layers=layers)
    assert exact.relevance.abs().max() < 1e-40 or 2 in depths  # nothing that float32 could hold
    for one, other in [
        (found.relevance, exact.relevance),
        *zip(*(e.layers.values() for e in (found, exact)), strict=True),
    ]:
        # of a sample both targets are scaled by one factor
        near = one.double() / one.double().abs().amax((1, 2), keepdim=True)
        torch.testing.assert_close(near, other / other.abs().amax((1, 2), keepdim=True), rtol=1e-3, atol=1e-4)


def test_rescaling_changes_no_digit(residual, images, monkeypatch):
    expected = rn.explain(residual, images, [0, 1], layers="all")
    for name, value in (("_COMFORT", 0), ("CHECK_EVERY", 1)):
        monkeypatch.setattr(f"rlrp_nb.engine.scaling.{name}", value)
    found = rn.explain(residual, images, [0, 1], layers="all")
    assert torch.equal(found.relevance, expected.relevance)
    for name in expected.layers:
        assert torch.equal(found.layers[name], expected.layers[name])
    assert found.ledger() == expected.ledger()


TIME_TO_LOOK = Scale(None, CHECK_EVERY - 1)


@given(exponent=st.integers(-90, 90), batch_dim=st.integers(0, 2))
def test_what_is_brought_into_range_can_be_brought_back(exponent, batch_dim):
    shape = [3, 4, 5]
    shape[batch_dim] = 2
    tensor = torch.randn(2, *shape) * 2.0**exponent
    scaled, scale = passed_on(tensor, TIME_TO_LOOK, batch_dim)
    assert scaled.abs().max() < 2.0**30
    assert scale.passed == 0
    assert (scale.exponents is None) == (scaled is tensor)
    assert torch.equal(unscale(scaled, scale.exponents, batch_dim), tensor)


def test_a_tensor_is_looked_at_after_so_many_steps():
    tensor, scale = torch.full((1, 1, 2), 2.0**-60), UNSCALED
    for passed in range(1, CHECK_EVERY):
        same, scale = passed_on(tensor, scale, 0)
        assert same is tensor
        assert scale == (None, passed)
    scaled, scale = passed_on(tensor, scale, 0)
    assert torch.equal(scaled, torch.full((1, 1, 2), 0.5))
    assert scale.passed == 0
    assert torch.equal(scale.exponents, torch.full((1, 1), -59, dtype=torch.int32))


def test_exponents_add_up():
    tensor, before = torch.full((1, 2, 1), 2.0**50), torch.tensor([[100, -7]], dtype=torch.int32)
    scaled, scale = passed_on(tensor, Scale(before, CHECK_EVERY - 1), 0)
    assert torch.equal(scaled, torch.full((1, 2, 1), 0.5))
    assert torch.equal(scale.exponents, before + 51)


@given(
    first=st.integers(-400, 400),
    second=st.integers(-400, 400),
    sizes=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    batch_dim=st.integers(0, 1),
)
def test_tensors_of_different_scale_add_to_the_true_sum(first, second, sizes, batch_dim):
    shape = [3, 3]
    shape[batch_dim] = 2
    tensors = [torch.randn(2, *shape) * 2.0**size for size in sizes]
    exponents = [
        torch.full((2, 2), e, dtype=torch.int32) + torch.tensor([[0, 1], [2, 3]]).int() for e in (first, second)
    ]
    (one, other), (e_one, e_other) = tensors, exponents
    total, scale = added((one, Scale(e_one, 2)), (other, Scale(e_other, 1)), batch_dim)
    assert scale.passed == 2
    assert total.abs().max() <= 2
    spread = [2, 1, 1]
    spread[1 + batch_dim] = 2
    true = [t.double() * torch.exp2(e.double()).reshape(spread) for t, e in zip(tensors, exponents, strict=True)]
    found = total.double() * torch.exp2(scale.exponents.double()).reshape(spread)
    torch.testing.assert_close(found, true[0] + true[1], rtol=1e-6, atol=1e-6 * float((true[0] + true[1]).abs().max()))


def test_nothing_has_no_scale():
    nothing, something = torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.25]]])
    far, near = (torch.full((1, 1), e, dtype=torch.int32) for e in (300, -300))
    for pair in (
        ((nothing, Scale(far, 0)), (something, Scale(near, 0))),
        ((something, Scale(near, 0)), (nothing, UNSCALED)),
    ):
        total, scale = added(*pair, 0)
        assert torch.equal(total, something)
        assert scale.exponents == -300
    total, scale = added((nothing, Scale(far, 0)), (nothing, UNSCALED), 0)
    assert not total.any()
    assert scale.exponents == 0


def test_what_lies_beyond_the_range_is_given_up_to_a_power_of_two():
    tensor = torch.tensor([[[1.0, 0.5]]])
    for exponent in (-500, 500):
        back = unscale(tensor, torch.full((1, 1), exponent, dtype=torch.int32), 0)
        assert torch.isfinite(back).all()
        assert back[0, 0, 0] == 2 * back[0, 0, 1] > 0


def test_zero_stays_zero():
    zeros = torch.zeros(1, 2, 3)
    assert passed_on(zeros, TIME_TO_LOOK, 0) == (zeros, UNSCALED)
    assert not unscale(zeros, torch.full((1, 2), 99, dtype=torch.int32), 0).any()
