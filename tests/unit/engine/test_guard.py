import pytest
import torch
from torch import nn

from rlrp_nb.engine.guard import Guard
from rlrp_nb.errors import UnsupportedNetworkError


@pytest.mark.parametrize(
    "write",
    [
        lambda n: n.weight.data.mul_(2),
        lambda n: n.weight.detach()[0].zero_(),
        lambda n: torch.neg(n.bias, out=n.bias),
        lambda n: torch._foreach_mul_([n.bias, n.weight], 2.0),
        lambda n: n.weight.copy_(n.weight + 1),
    ],
)
def test_a_write_into_weights_is_stopped_before_it_is_done(write):
    network = nn.Linear(3, 3)
    before = [p.detach().clone() for p in network.parameters()]
    with torch.no_grad(), Guard(network), pytest.raises(UnsupportedNetworkError, match=r"weights .*(weight|bias)\)"):
        write(network)
    assert all(torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))


def test_writing_elsewhere_is_free():
    network = nn.BatchNorm1d(3)
    with torch.no_grad(), Guard(network):
        network.running_mean.add_(1)
        written = network(torch.ones(2, 3)).mul_(0)
    assert torch.equal(network.running_mean > 0, torch.ones(3, dtype=torch.bool))
    assert not written.any()
