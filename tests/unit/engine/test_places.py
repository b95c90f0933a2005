"""Reading and writing by constant places; that each op hands back its transpose is shown in test_rules.py."""

import pytest
import torch
from torch import Tensor, nn

import rlrp_nb as rn
from tests.unit.engine.applied import Applied, changed

REFUSED = {
    "where": (
        lambda x: torch.where(x > 0, x, 2 * x),
        r"writes \(condition\) depends on the input; only constant places",
    ),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 3.0), r"\(mask\) depends on the input"),
    "gather": (lambda x: x.gather(1, (x > 0).long()), r"\(index\) depends on the input"),
    "index_put": (
        lambda x: torch.ops.aten.index_put(x, [None, (x[0, :1] > 9).long()], x[:, :1]),
        r"\(indices\) depends on the input",
    ),
    "index_put of samples": (
        lambda x: x.index_put((torch.tensor([1]),), x[:, :1].new_ones(())),
        "it writes into samples that are picked from the batch",
    ),
    "scatter by a product": (
        lambda x: x.scatter(1, torch.zeros(len(x), 1).long(), 2.0, reduce="multiply"),
        "it reduces by 'multiply'; only writing and adding have a rule",
    ),
    "gather of samples": (lambda x: x.gather(0, torch.zeros(1, 4).long().expand(len(x), 4)), "it mixes the samples"),
    "index_add of samples": (
        lambda x: x.index_add(0, torch.tensor([0, 1, 1]), x.flip(1)),
        "mixes the samples|index_add",
    ),
    "bmm": (lambda x: torch.bmm(x[:, None], x[..., None])[:, 0], "it multiplies two signals"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_places_that_depend_on_the_input_or_pick_samples_are_refused(name):
    op, reason = REFUSED[name]
    with pytest.raises(rn.UnsupportedNetworkError, match=reason):
        rn.explain(Applied(op).eval(), torch.randn(3, 4), 0)


class OfOneSize(nn.Module):
    """A network that is traced for one batch size, and writes into places."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.view(len(x), -1) * 2
        y[:, [2, 1]] = y[:, [0, 3]]
        return y


def test_a_batch_of_one_that_loses_its_axis_is_said_to_mix_nothing():
    network, x = OfOneSize().eval(), torch.randn(2, 4)
    expected = torch.stack([torch.tensor([2.0, 0, 0, 0]) * row for row in x])
    torch.testing.assert_close(rn.explain(network, x, 2).relevance[:, 0], expected)
    with pytest.raises(
        rn.UnsupportedNetworkError, match=r"leaves out the axis of the samples.*\n.*two samples at a time"
    ):
        rn.explain(network, x[:1], 2)


def test_nothing_may_be_written_too():
    def forward(x):
        y = x.view(len(x), -1) * 2  # for which it is traced for this number of samples
        y[:, 4:] = x[:, 4:]
        return y

    x = torch.randn(2, 4)
    expected = x * torch.tensor([0.0, 2, 0, 0])
    torch.testing.assert_close(rn.explain(Applied(forward).eval(), x, 1).relevance[:, 0], expected)


TWICE = {
    "index_put": changed(lambda y, x: y.__setitem__((slice(None), [0, 1, 1]), x[:, :3])),
    "scatter": lambda x: x.scatter(1, torch.tensor([[0, 2, 2]]).expand(len(x), 3), x.flip(1)),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([3, 3]), x[:, :2]),
}


@pytest.mark.parametrize("name", TWICE)
def test_places_that_are_written_into_twice_are_refused(name):
    with pytest.raises(rn.UnsupportedNetworkError, match=rf"aten\.{name} at {name}.* writes several numbers into one"):
        rn.explain(Applied(TWICE[name]).eval(), torch.randn(3, 4), 0)


def test_one_number_of_the_input_that_is_written_into_a_place_twice_is_refused():
    network = Applied(changed(lambda y, x: y.__setitem__((slice(None), [1, 1, 3]), x.sum(1, keepdim=True)))).eval()
    for samples in (1, 2):
        with pytest.raises(rn.UnsupportedNetworkError, match="writes several numbers into one place"):
            rn.explain(network, torch.randn(samples, 4), 0)
    constant = Applied(changed(lambda y, _: y.__setitem__((slice(None), [1, 1, 3]), 2.0))).eval()
    x = torch.randn(1, 4)
    assert torch.equal(rn.explain(constant, x, 2).relevance[0, 0], x[0] * torch.tensor([0, 0, 1.5, 0]))


@pytest.mark.parametrize("op", [torch.scatter, torch.scatter_add])
def test_numbers_without_a_place_are_named(op):
    network = Applied(lambda x: op(torch.zeros_like(x), 1, torch.tensor([[0, 2]]).expand(len(x), 2), x)).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"numbers of shape \(3, 4\) for places of shape \(3, 2\)"):
        rn.explain(network, torch.randn(3, 4), 0)


@pytest.mark.parametrize("fill", [lambda x, at: x.index_fill(1, at, 3.0), lambda x, at: x.scatter(1, at[None], 3.0)])
def test_one_number_may_be_written_into_a_place_twice(fill):
    x = torch.randn(1, 4)
    found = rn.explain(Applied(lambda x: fill(x, torch.tensor([1, 1]))).eval(), x, [0, 1]).relevance[0]
    assert torch.equal(found, torch.stack([x[0] * torch.tensor([1.0, 0, 0, 0]), torch.zeros(4)]))


def test_sums_of_the_input_by_places_are_no_moves_of_it():
    """The flat rule carries relevance to where numbers came from, and would hand each summand the whole."""
    bins = torch.tensor([0, 0, 1, 1])
    network = nn.Sequential(Applied(lambda x: x.new_zeros(len(x), 2).index_add(1, bins, x)), nn.Linear(2, 3)).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match="the flat rule needs a convolution or dense layer at the inp"):
        rn.explain(network, torch.rand(2, 4), 0, "epsilon-plus-flat")


def test_the_gradient_goes_through_a_gate_that_is_written_by_parts(written, images):
    def gated(n, x):
        z = n.conv(x)
        gate = torch.ones_like(z)
        gate[:, :2] = torch.sigmoid(z.mean((2, 3), keepdim=True))[:, :2]
        return n.classify(z * gate)

    network = written(gated)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    found = rn.explain(network, images, 1, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, images * gradient)
