import copy

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.tracing import trace


def normed(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


def ops(network, x):
    return [step.op for step in trace(network, x).steps if step.sources]


FOLDED = {
    "convolution": ([nn.Conv2d(3, 4, 3), normed(nn.BatchNorm2d(4))], (3, 5, 5)),
    "convolution with groups, without bias": (
        [nn.Conv2d(4, 4, 3, groups=2, bias=False), normed(nn.BatchNorm2d(4))],
        (4, 5, 5),
    ),
    "1-d": ([nn.Conv1d(3, 4, 3), normed(nn.BatchNorm1d(4))], (3, 5)),
    "3-d": ([nn.Conv3d(2, 4, 2), normed(nn.BatchNorm3d(4))], (2, 3, 3, 3)),
    "transposed": ([nn.ConvTranspose2d(3, 4, 3), normed(nn.BatchNorm2d(4))], (3, 5, 5)),
    "dense": ([nn.Linear(3, 4), normed(nn.BatchNorm1d(4))], (3,)),
    "instance": ([nn.Conv2d(3, 4, 3), normed(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))], (3, 5, 5)),
    "not affine": ([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)], (3, 5, 5)),
}
APART = {
    "norm first": ([normed(nn.BatchNorm2d(3)), nn.Conv2d(3, 4, 3, padding=1)], (3, 5, 5)),
    "activation between": ([nn.Conv2d(3, 4, 3), nn.ReLU(), normed(nn.BatchNorm2d(4))], (3, 5, 5)),
    "transposed with groups": ([nn.ConvTranspose2d(4, 4, 3, groups=2), normed(nn.BatchNorm2d(4))], (4, 5, 5)),
    "instance first": ([nn.InstanceNorm1d(3, track_running_stats=True), nn.Conv1d(3, 4, 3, padding=1)], (3, 5)),
    "dense over an axis": ([nn.Linear(3, 4), normed(nn.BatchNorm1d(2))], (2, 3)),
}


@pytest.mark.parametrize("name", [*FOLDED, *APART])
def test_folding_changes_nothing(name):
    layers, shape = (FOLDED | APART)[name]
    torch.manual_seed(0)
    body = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
    x = torch.randn(2, *shape, dtype=torch.float64)
    network = nn.Sequential(body, nn.LazyLinear(3)).double().eval()
    network(x)
    assert any(op in {"aten.batch_norm", "aten.instance_norm"} for op in ops(network, x)) is (name in APART)
    explanation = rn.explain(network, x, [0, 1], layers="all")
    # half of the network is run by hand and its norm written out, so that nothing is left to fold
    norm = next(m for m in body if isinstance(m, nn.modules.batchnorm._NormBase))
    written = nn.Sequential(*(WrittenOut(m) if m is norm else m for m in body), network[1]).eval()
    torch.testing.assert_close(explanation.logits, written(x))
    torch.testing.assert_close(explanation.relevance, rn.explain(written, x, [0, 1]).relevance, rtol=1e-9, atol=1e-12)
    assert explanation.ledger().worst_residual < 1e-10


class WrittenOut(nn.Module):
    """A batch-norm as a product and a sum."""

    def __init__(self, norm):
        super().__init__()
        scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight.detach())
        self.register_buffer("scale", scale)
        self.register_buffer("shift", (0 if norm.bias is None else norm.bias.detach()) - norm.running_mean * scale)

    def forward(self, x):
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * self.scale.reshape(shape) + self.shift.reshape(shape)


def test_a_norm_whose_input_is_used_elsewhere_stays_apart(images):
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), normed(nn.BatchNorm2d(4))

        def forward(self, x):
            z = self.conv(x)
            return (z + self.norm(z)).mean((2, 3))

    assert "aten.batch_norm" in ops(Forked().eval(), images)


def test_half_precision_is_folded_on_the_way_back_alone(residual, images):
    half = residual.bfloat16()
    assert "aten.batch_norm" not in ops(half, images.bfloat16())
    explanation = rn.explain(half, images.bfloat16())
    assert torch.equal(explanation.logits, half(images.bfloat16()))


@pytest.mark.parametrize("method", ["lrp-epsilon", "lrp-gamma", "alpha1beta0", "epsilon-plus-flat"])
@pytest.mark.parametrize("name", FOLDED)
def test_a_network_of_half_precision_is_explained_by_the_same_rule(name, method):
    """Of more than one layer these methods are another rule where the batch-norm is a layer of its own."""
    torch.manual_seed(0)
    modules, shape = FOLDED[name]
    before, norm = copy.deepcopy(modules)
    before.reset_parameters()
    norm.running_mean.normal_()
    images = torch.randn(16, *shape).half()
    network = nn.Sequential(before, norm, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval().float()
    network(images.float())
    half = network.half()
    expected = rn.explain(copy.deepcopy(half).float(), images.float(), 1, method).relevance
    found = rn.explain(half, images, 1, method)
    assert (found.relevance - expected).abs().max() < 0.02 * expected.abs().max()
    assert found.ledger().worst_residual < 1e-2


def test_two_norms_in_a_row(images):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), normed(nn.BatchNorm2d(4)), normed(nn.BatchNorm2d(4)), nn.Flatten()
    ).eval()
    explanation = rn.explain(network, images, 0, layers="all")
    torch.testing.assert_close(explanation.logits, network(images))
    assert explanation.ledger().worst_residual < 1e-4
