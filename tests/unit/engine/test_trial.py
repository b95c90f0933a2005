"""A rule that is wrong for a network is found out before anything is explained by it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine import activations, registry, rules, shapes, weighted
from rlrp_nb.engine.activations import Activation
from rlrp_nb.engine.linear import Linear
from rlrp_nb.engine.rules import BUILT_IN, RULES
from rlrp_nb.errors import UnsupportedNetworkError


def test_neither_a_default_dtype_nor_hooks_of_the_caller_s_have_a_say(written):
    network = written(lambda n, x: n.head(n.conv(x).amax((2, 3))))
    large = torch.randn(1, 3, 128, 128)

    def refuse(_tensor):
        raise AssertionError("asked")

    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
            assert bool(rn.explain(network, large).relevance.any())
    finally:
        torch.set_default_dtype(torch.float32)


ZOOM = nn.functional.affine_grid(
    torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]]), [1, 1, 128, 128], align_corners=False
)
DEFECT = r"aten\.{} at .* is walked back wrongly in this network, by \d+.\d% of .*defect of rlrp_nb"


@pytest.fixture
def tried(monkeypatch):
    """What was compared, each time."""
    calls, real = [], registry.try_steps
    monkeypatch.setattr(registry, "try_steps", lambda graph, *a: calls.append(graph) or real(graph, *a))
    return calls


WRONG = {
    "conv2d": (weighted.Convolution, "pull", lambda right: lambda *a: right(*a).flip(-1)),
    "transpose": (shapes.Permute, "transpose", lambda right: lambda *a: tuple(t * 1.1 for t in right(*a))),
    "mean": (Linear, "transpose", lambda right: lambda *a: tuple(torch.zeros_like(t) for t in right(*a))),
    "add": (rules.Add, "transpose", lambda right: lambda *a: right(*a)[:1]),
    "tanh": (activations.Activation, "slope", lambda right: lambda *a: right(*a) * 0.9),
    "mul": (rules.Multiply, "transpose", lambda right: lambda rule, call, s: right(rule, call, s * (s > 0))),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("op", WRONG)
def test_a_wrong_rule_is_refused(written, images, dtype, op, monkeypatch):
    def use(network, x):
        z = network.conv(x).tanh().transpose(2, 3)
        return network.head((z * z.sigmoid().amax((2, 3), keepdim=True) + z.flip(-1)).mean((2, 3)))

    network = written(use).to(dtype)
    rule, part, wrong = WRONG[op]
    monkeypatch.setattr(rule, part, wrong(getattr(rule, part)))
    with pytest.raises(UnsupportedNetworkError, match=DEFECT.format(op)):
        rn.explain(network, images.to(dtype))
    monkeypatch.undo()
    rn.explain(network, images.to(dtype))


def test_it_is_found_out_once_per_shape(residual, images, tried):
    for batch in (images, images[:1], images):
        rn.explain(residual, batch)
    assert len(tried) == 1
    rn.explain(residual, images[..., :6])
    assert len(tried) == 2


def test_networks_of_a_batch_of_their_own_are_tried_too(written, images, tried):
    network = written(lambda n, x: n.head(n.conv(x).relu().reshape(2, 4, 64).mean(2)))
    rn.explain(network, images)
    assert [graph.batch_size for graph in tried] == [2]


def test_what_a_gradient_passes_and_relevance_does_not_is_no_difference(written, images, tried):
    def gated(network, x):
        z = network.conv(x)
        z = z * torch.sigmoid(z.mean((2, 3), keepdim=True)) * torch.where(z > 0, 1.0, 0.5).softmax(1)
        return network.classify(torch.layer_norm(z, z.shape[1:]))

    rn.explain(written(gated), images)
    assert len(tried) == 1


def test_networks_without_a_gradient_are_no_obstacle(written, images):
    def complex_gate(network, x):
        z = network.conv(x)
        return network.classify(
            z * torch.sigmoid(torch.fft.rfft(z.mean(1, keepdim=True), dim=-1).abs().amax(-1)[..., None])
        )

    assert bool(rn.explain(written(complex_gate), images).relevance.any())


def test_rules_of_one_s_own_are_the_user_s(written, images, monkeypatch):
    monkeypatch.setitem(RULES, "aten.relu", BUILT_IN["aten.tanh"])
    network = written(lambda n, x: n.classify(n.conv(x).relu()))
    assert rn.explain(network, images).relevance.shape == (2, 1, *images.shape[1:])


def test_equal_numbers_of_which_one_is_the_largest_are_no_difference(written, tried):
    network = written(lambda n, x: n.head(n.conv(x).tanh().flatten(2).max(-1)[0]))
    digit = torch.zeros(1, 3, 12, 12)
    digit[..., 5:7, 5:7] = 1
    rn.explain(network, digit)
    assert len(tried) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "op",
    [
        lambda z: z.amax((2, 3)),
        lambda z: nn.functional.grid_sample(z, ZOOM.to(z.dtype).expand(len(z), -1, -1, -1), align_corners=False).mean(
            (2, 3)
        ),
        lambda z: nn.functional.adaptive_avg_pool2d(z[..., :2, :2], 64).mean((2, 3)),
    ],
    ids=["amax", "zoom", "pool"],
)
def test_what_half_precision_rounds_is_no_difference(dtype, op):
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(op(self.conv(x)))

    assert bool(rn.explain(Rounded().to(dtype).eval(), torch.randn(1, 3, 128, 128).to(dtype)).relevance.any())


OWN = {
    "an argument that is not taken": (lambda z: (z.abs() > 0.5).to(z.dtype), r"unexpected keyword argument 'lambd'"),
    "nothing returned": (lambda z, lambd: None, "NoneType"),  # noqa: ARG005 - as a forgotten return
    "another shape": (lambda z, lambd: z.sum() * lambd, r"its secant returned \(\) for z \(1, 4, 8, 8\)"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_rule_of_ones_own_that_cannot_be_used_is_named(written, images, monkeypatch, name):
    secant, reason = OWN[name]
    monkeypatch.setitem(RULES, "aten.hardshrink", Activation(secant))
    network = written(lambda n, x: n.classify(functional.hardshrink(n.conv(x))))
    with pytest.raises(UnsupportedNetworkError, match=rf"rule in RULES for aten.hardshrink.*{reason}.*\(lambd\)"):
        rn.explain(network, images, 1)


def test_a_rule_of_ones_own_that_fits_is_used(written, images, monkeypatch):
    monkeypatch.setitem(RULES, "aten.hardshrink", Activation(lambda z, lambd: (z.abs() > lambd).to(z.dtype)))
    network = written(lambda n, x: n.classify(functional.hardshrink(n.conv(x))))
    assert rn.explain(network, images, 1).relevance.abs().sum() > 0
