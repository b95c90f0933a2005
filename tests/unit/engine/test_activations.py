import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.activations import ACTIVATIONS

PHI = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-2, 3),
    "clamp": lambda z: z.clamp(-1, 2),
    "clamp min": lambda z: z.clamp(min=0),
    "clamp max": lambda z: z.clamp(max=1),
    "leaky_relu": nn.LeakyReLU(0.1),
    "prelu": nn.PReLU(init=0.3),
    "rrelu": nn.RReLU().eval(),
    "threshold": nn.Threshold(0.5, 0.0),
    "elu": nn.ELU(1.5),
    "celu": nn.CELU(0.7),
    "selu": nn.SELU(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU(approximate="tanh"),
    "hardswish": nn.Hardswish(),
    "mish": nn.Mish(),
    "tanh": nn.Tanh(),
    "x * sigmoid(x)": lambda z: z * torch.sigmoid(z),
    "x * hardsigmoid(x)": lambda z: functional.hardsigmoid(z) * z,
    "x * relu6(x + 3) / 6": lambda z: z * functional.relu6(z + 3) / 6,
}


class Pointwise(nn.Module):
    """One activation between an identity and the logits, so that every number can be followed by hand."""

    def __init__(self, phi) -> None:
        super().__init__()
        self.phi = phi

    def forward(self, x):
        return self.phi(1 * x)


networks = {name: Pointwise(phi).double().eval() for name, phi in PHI.items()}


@pytest.mark.parametrize("name", PHI)
@given(values=st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_relevance_before_is_relative_activation_times_relevance_after(name, values):
    z = torch.tensor([[*values, 0.0, 1e-30, -1e-30, 3.0]], dtype=torch.float64)
    a = PHI[name](z).detach() if not isinstance(PHI[name], nn.Module) else networks[name].phi(z).detach()
    weights = torch.linspace(-1, 1, z.shape[1], dtype=torch.float64)
    relevance = rn.explain(networks[name], z, targets=weights.reshape(1, 1, -1)).relevance[0, 0]
    expected = a.abs() / a.abs().max() * (a * weights)
    torch.testing.assert_close(relevance, expected[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PHI)
def test_lrp_0_passes_relevance_unchanged(name):
    z = torch.tensor([[-7.0, -1.5, -0.2, 0.0, 0.3, 2.5, 8.0]], dtype=torch.float64)
    a = networks[name].phi(z).detach()
    relevance = rn.explain(
        networks[name], z, targets=torch.ones(1, 1, 7, dtype=torch.float64), method="lrp-0"
    ).relevance
    torch.testing.assert_close(relevance[0, 0], a[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PHI)
def test_gradient_x_input_takes_the_derivative(name):
    z = torch.tensor([[-7.0, -1.5, -0.2, 0.3, 2.5, 8.0]], dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(networks[name].phi(leaf).sum(), leaf)
    seeds = torch.ones(1, 1, 6, dtype=torch.float64)
    relevance = rn.explain(networks[name], z, targets=seeds, method="gradient-x-input").relevance
    torch.testing.assert_close(relevance[0, 0], (z * gradient)[0])


@pytest.mark.parametrize(
    ("phi", "reason"),
    [
        (nn.Hardtanh(1, 2), "maps 0 to 1"),
        (nn.Hardtanh(-2, -1), "maps 0 to -1"),
        (lambda z: z.clamp(min=0.5), "maps 0 to 0.5"),
        (lambda z: z.clamp(min=torch.zeros(3)), "bounds are tensors"),
        (lambda z: z.clamp(max=torch.ones(3)), "bounds are tensors"),
        (nn.Softplus(), "no rule"),
        (nn.Sigmoid(), "ends in sigmoid"),
    ],
)
def test_an_activation_that_does_not_keep_zero_is_refused(phi, reason):
    with pytest.raises(rn.UnsupportedNetworkError, match=reason):
        rn.explain(Pointwise(phi).eval(), torch.zeros(1, 3))


BOUNDS = {
    "aten.clamp_min": {"min": 0.0},
    "aten.clamp_max": {"max": 1.0},
    "aten.threshold": {"threshold": 0.0, "value": 0},
}


def test_secants_are_finite_at_zero_and_beyond_overflow():
    z = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])
    for name, rule in ACTIVATIONS.items():
        arguments = {"weight": torch.tensor([0.1])} if "prelu" in name else BOUNDS.get(name, {})
        assert torch.isfinite(rule.secant(z, **arguments)).all(), name
