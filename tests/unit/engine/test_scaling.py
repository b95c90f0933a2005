import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.scaling import rescale, unscale


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


def test_rescaling_changes_no_digit(residual, images, monkeypatch):
    expected = rn.explain(residual, images, [0, 1], layers="all")
    for name, value in (("_COMFORT", 0), ("CHECK_EVERY", 1)):
        monkeypatch.setattr(f"rlrp_nb.engine.scaling.{name}", value)
    monkeypatch.setattr("rlrp_nb.engine.propagate.CHECK_EVERY", 1)
    found = rn.explain(residual, images, [0, 1], layers="all")
    assert torch.equal(found.relevance, expected.relevance)
    for name in expected.layers:
        assert torch.equal(found.layers[name], expected.layers[name])
    assert found.ledger() == expected.ledger()


@given(exponent=st.integers(-90, 90), batch_dim=st.integers(0, 2))
def test_rescale_and_unscale_are_inverse(exponent, batch_dim):
    shape = [3, 4, 5]
    shape[batch_dim] = 2
    tensor = torch.randn(2, *shape) * 2.0**exponent
    none = torch.zeros(2, 2, dtype=torch.int32)
    under_way = {7: tensor}
    exponents = rescale((under_way, {}), {7: batch_dim}, none)
    assert under_way[7].abs().max() <= 2.0**41
    assert torch.equal(unscale(under_way[7], exponents, batch_dim), tensor)


def test_what_lies_beyond_the_range_is_given_up_to_a_power_of_two():
    tensor = torch.tensor([[[1.0, 0.5]]])
    for exponent in (-500, 500):
        back = unscale(tensor, torch.full((1, 1), exponent, dtype=torch.int32), 0)
        assert torch.isfinite(back).all()
        assert back[0, 0, 0] == 2 * back[0, 0, 1] > 0


def test_zero_stays_zero():
    under_way = {0: torch.zeros(1, 2, 3)}
    for before in (torch.zeros(1, 2, dtype=torch.int32), torch.tensor([[7, -99]], dtype=torch.int32)):
        assert torch.equal(rescale((under_way,), {0: 0}, before), before)
    assert not unscale(torch.zeros(1, 2, 3), torch.full((1, 2), 99, dtype=torch.int32), 0).any()
