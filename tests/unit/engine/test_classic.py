import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.classic import Epsilon, Gamma
from rlrp_nb.engine.methods import epsilon_plus_flat, lrp_epsilon, lrp_gamma

# the numbers are small enough to check on paper: z = 2*1 - 1*3 + 0.5*4 - 0.5 = 0.5
WEIGHT, BIAS, INPUT = [2.0, -1.0, 0.5], -0.5, [1.0, 3.0, 4.0]


@pytest.fixture
def neuron():
    layer = nn.Linear(3, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([WEIGHT]))
        layer.bias.fill_(BIAS)
    return layer


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("lrp-0", [2.0, -3.0, 2.0]),
        (lrp_epsilon(0.5), [1.0, -1.5, 1.0]),
        # positive contributions count 1.5 times: 3 - 3 + 3 - 0.5 = 2.5 in the denominator
        (lrp_gamma(0.5), [0.5 * 3 / 2.5, -0.5 * 3 / 2.5, 0.5 * 3 / 2.5]),
        ("alpha1beta0", [0.25, 0.0, 0.25]),
        (epsilon_plus_flat(), [0.5 / 3] * 3),
    ],
)
def test_one_neuron_on_paper(neuron, method, expected):
    relevance = rn.explain(neuron, torch.tensor([INPUT], dtype=torch.float64), 0, method).relevance
    torch.testing.assert_close(relevance.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-9)


def test_flat_counts_only_what_lies_inside_the_picture():
    layer = nn.Sequential(nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Flatten()).double()
    x = torch.tensor([[[1.0, 0.0, 2.0]]], dtype=torch.float64)
    z = layer(x).detach()[0]
    relevance = rn.explain(layer, x, torch.eye(3, dtype=torch.float64)[None], "epsilon-plus-flat").relevance[0, :, 0]
    torch.testing.assert_close(relevance[0], torch.stack([z[0] / 2, z[0] / 2, 0 * z[0]]))
    torch.testing.assert_close(relevance[1], (z[1] / 3).expand(3))  # an input of 0 gets its share too


@pytest.mark.parametrize("method", ["lrp-epsilon", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat"])
def test_books_balance(residual, images, method):
    ledger = rn.explain(residual.double(), images.double(), "top2", method, layers="all").ledger(1, 1)
    assert ledger.worst_residual < 1e-10
    assert all(0 <= row.factor <= 1 + 1e-9 for row in ledger if row.op == "relu")


def test_breaking_a_rule_shows_in_the_books(residual, images, monkeypatch):
    monkeypatch.setattr(Epsilon, "back", lambda _, rule, call, s: rule.transpose(call, s)[0])  # forgets to damp
    ledger = rn.explain(residual.double(), images.double(), 0, "lrp-epsilon", layers="all").ledger()
    assert ledger.worst_residual > 1e-3


@pytest.mark.parametrize(("rule", "name"), [(Epsilon, "epsilon"), (Gamma, "gamma")])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_parameters_out_of_range_are_refused(rule, name, value):
    with pytest.raises(rn.InputError, match=f"{name} is .*above 0"):
        rule(value)


@pytest.mark.parametrize("make", [lrp_epsilon, epsilon_plus_flat])
@pytest.mark.parametrize("epsilon", [1e300, 1e-300])
def test_an_epsilon_that_the_dtype_cannot_hold_is_refused_where_it_is_used(residual, images, make, epsilon):
    with pytest.raises(rn.InputError, match=r"epsilon is 1e[+-]300, which torch.float32 cannot hold; .* in float64\."):
        rn.explain(residual, images, 1, make(epsilon))
    assert torch.isfinite(rn.explain(residual.double(), images.double(), 1, make(epsilon)).relevance).all()
