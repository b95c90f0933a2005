"""Every activation of torch.nn: explained as automatic differentiation says, or refused by its name."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import activation

import rlrp_nb as rn
from tests.reference import backprop
from tests.reference.networks import distance

EXPLAINED = {
    "CELU": nn.CELU(2.0),
    "ELU": nn.ELU(0.5),
    "GELU": nn.GELU(),
    "GELU, tanh": nn.GELU("tanh"),
    "Hardswish": nn.Hardswish(),
    "Hardtanh": nn.Hardtanh(),
    "Hardtanh, lopsided": nn.Hardtanh(-2.0, 0.5),
    "Hardtanh, from 0": nn.Hardtanh(0.0, 0.5),
    "LeakyReLU": nn.LeakyReLU(0.3),
    "Mish": nn.Mish(),
    "PReLU": nn.PReLU(init=0.3),
    "PReLU, by channel": nn.PReLU(6),
    "ReLU": nn.ReLU(),
    "ReLU6": nn.ReLU6(),
    "RReLU": nn.RReLU(),
    "SELU": nn.SELU(),
    "SiLU": nn.SiLU(),
    "Tanh": nn.Tanh(),
    "Tanhshrink": nn.Tanhshrink(),
    "Threshold": nn.Threshold(0.0, 0.0),
    "Threshold, above 0": nn.Threshold(0.5, 0.0),
    "Threshold, below 0": nn.Threshold(-0.5, 0.0),
}
REFUSED = {
    "Hardshrink": (nn.Hardshrink(), r"bend \(part of hardshrink\)"),
    "Hardsigmoid": (nn.Hardsigmoid(), r"it takes a gate \(aten.hardsigmoid at bend\), which"),
    "Hardtanh, away from 0": (nn.Hardtanh(0.5, 1.0), "hardtanh at bend: it maps 0 to 0.5"),
    "LogSigmoid": (nn.LogSigmoid(), "log_sigmoid at bend"),
    "LogSoftmax": (nn.LogSoftmax(-1), "log_softmax at bend"),
    "Sigmoid": (nn.Sigmoid(), r"it takes a gate \(aten.sigmoid at bend\), which"),
    "Softmax": (nn.Softmax(-1), r"it takes a gate \(aten.softmax at bend\), which"),
    "Softmax2d": (nn.Softmax2d(), r"it takes a gate \(aten.softmax at bend\), which"),
    "Softmin": (nn.Softmin(-1), r"it takes a gate \(aten.softmax at bend \(part of softmin\)\), which"),
    "Softplus": (nn.Softplus(), "softplus at bend"),
    "Softshrink": (nn.Softshrink(), r"bend \(part of softshrink\)"),
    "Softsign": (nn.Softsign(), r"bend \(part of softsign\)"),
    "Threshold, to a value": (nn.Threshold(0.5, 0.1), r"threshold at bend: it puts 0\.1 in place of small values"),
}


class Function(nn.Module):
    """An activation that is called as a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z)


def bent(bend, *, seed=0):
    """A convolution, the activation, and a convolution, in float64, with values in every part of the activation."""
    torch.manual_seed(seed)
    network = nn.Sequential()
    network.first, network.bend = nn.Conv2d(3, 6, 3), bend
    network.last = nn.Conv2d(3 if isinstance(bend, nn.GLU) else 6, 4, 4)  # one of its halves is a gate
    with torch.no_grad():
        network.first.weight.mul_(8)
    network.flat = nn.Flatten()
    return network.double().eval()


def pictures():
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_every_activation_is_tried():
    with_one_input = {name for name in activation.__all__ if name != "MultiheadAttention"}
    assert {name.partition(",")[0] for name in (*EXPLAINED, *REFUSED, "GLU")} == with_one_input


@pytest.mark.parametrize("name", EXPLAINED)
def test_activations_are_explained_as_autograd_says(name):
    network, x = bent(EXPLAINED[name]), pictures()
    z = network.first(x)
    assert z.min() < -4
    assert z.max() > 7  # ReLU6 and Hardswish bend within
    found = rn.explain(network, x, targets=[0, 3], layers="all")
    for k, target in enumerate((0, 3)):
        truth = backprop.relevance(network, x, backprop.one_hot(4, [target] * 2))
        assert distance(found.relevance[:, k], truth) < 1e-12
    assert found.ledger(1, 1).worst_residual < 1e-12


def test_the_gate_of_a_glu_is_held_constant():
    network, x = bent(nn.GLU(1)), pictures()
    leaf = x.clone().requires_grad_()
    signal, gate = network.first(leaf).chunk(2, 1)
    logits = network.flat(network.last(signal * gate.detach().sigmoid()))
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), leaf, retain_graph=True)
    torch.testing.assert_close(rn.explain(network, x, 3).relevance[:, 0], x * gradient, rtol=1e-10, atol=1e-12)
    (gradient,) = torch.autograd.grad(network(leaf)[:, 3].sum(), leaf)
    found = rn.explain(network, x, 3, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, x * gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_activation_from_0_is_refused_by_name(name):
    bend, words = REFUSED[name]
    with pytest.raises(rn.UnsupportedNetworkError, match=words):
        rn.explain(bent(bend), pictures())


def test_slopes_that_are_drawn_are_refused():
    network = bent(nn.RReLU())
    network.bend.train()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"rrelu.* at bend.*: it acts at random"):
        rn.explain(network, pictures())


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functional.hardshrink, "hardshrink"),
        (functional.softshrink, "softshrink"),
        (functional.softsign, "softsign"),
        (functional.normalize, "normalize"),
    ],
)
def test_a_function_of_several_ops_is_named(function, name):
    with pytest.raises(rn.UnsupportedNetworkError, match=rf"at bend \(part of {name}\): "):
        rn.explain(bent(Function(function)), pictures())


def test_an_op_that_was_called_itself_is_named_once():
    with pytest.raises(rn.UnsupportedNetworkError, match=r"aten.abs at bend: there is no rule for this op") as refusal:
        rn.explain(bent(Function(torch.abs)), pictures())
    assert "part of" not in str(refusal.value)


def test_a_gate_that_is_added_is_named_where_it_was_made():
    with pytest.raises(rn.UnsupportedNetworkError) as refusal:
        rn.explain(bent(Function(lambda z: z + 2 * torch.sigmoid(z - 1).mean(1, keepdim=True))), pictures())
    assert "aten.add at bend: it joins a signal and a gate (aten.sigmoid at bend.sigmoid), " in str(refusal.value)
