"""A rule that is wrong for a network is found out before anything is explained by it."""

import pytest
import torch

import rlrp_nb as rn
from rlrp_nb.engine import registry, shapes, weighted
from rlrp_nb.engine.linear import Linear
from rlrp_nb.engine.rules import BUILT_IN, RULES
from rlrp_nb.errors import UnsupportedNetworkError

DEFECT = r"the engine differs from PyTorch's automatic differentiation by \d+.\d%.*defect of rlrp_nb"


@pytest.fixture
def tried(monkeypatch):
    """What was compared, each time."""
    calls, real = [], registry.check_derivative
    monkeypatch.setattr(registry, "check_derivative", lambda graph, *a: calls.append(graph) or real(graph, *a))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rule", "part", "wrong"),
    [
        (weighted.Convolution, "pull", lambda right: lambda *a: right(*a).flip(-1)),
        (shapes.Permute, "transpose", lambda right: lambda *a: tuple(t * 1.1 for t in right(*a))),
        (Linear, "transpose", lambda right: lambda *a: tuple(torch.zeros_like(t) for t in right(*a))),
    ],
)
def test_a_wrong_rule_is_refused(written, images, dtype, rule, part, wrong, monkeypatch):
    network = written(lambda n, x: n.head(n.conv(x).relu().transpose(2, 3).mean((2, 3)))).to(dtype)
    monkeypatch.setattr(rule, part, wrong(getattr(rule, part)))
    with pytest.raises(UnsupportedNetworkError, match=DEFECT):
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
