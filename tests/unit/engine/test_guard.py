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


@pytest.mark.parametrize(
    "replace",
    [
        lambda n: setattr(n.weight, "data", n.weight.data * 2),
        lambda n: setattr(n, "weight", nn.Parameter(n.weight * 2)),
        lambda n: delattr(n, "weight"),
    ],
)
def test_weights_that_were_replaced_are_noticed_on_leaving(replace):
    network = nn.Linear(3, 3)
    with pytest.raises(UnsupportedNetworkError, match=r"weights .*\(weight\)"), torch.no_grad(), Guard(network):
        replace(network)


def test_what_fails_on_the_way_is_not_hidden():
    network = nn.Linear(3, 3)
    with pytest.raises(ZeroDivisionError), Guard(network):
        network.weight.data = torch.full((3, 3), 1 / 0)


def test_a_tensor_in_an_attribute_is_guarded_by_its_name():
    network = nn.Sequential(nn.Linear(3, 3))
    network[0].kept = {"mean": torch.zeros(3)}
    with torch.no_grad(), Guard(network), pytest.raises(UnsupportedNetworkError, match=r"\(0\.kept\)"):
        network[0].kept["mean"].add_(1)
    assert not network[0].kept["mean"].any()
