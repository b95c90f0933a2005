"""The same numbers elsewhere; that each op hands back its transpose is shown in test_rules.py."""

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.shapes import Permute
from tests.unit.engine.applied import Applied


@pytest.mark.parametrize("samples", [1, 2])
def test_a_squeeze_leaves_the_axis_of_the_samples(samples):
    network, x = nn.Sequential(nn.AdaptiveAvgPool2d(1), Applied(torch.squeeze)).eval(), torch.rand(samples, 3, 2, 2)
    explanation = rn.explain(network, x, 1)
    assert explanation.logits.shape == (samples, 3)
    expected = torch.zeros_like(x)
    expected[:, 1] = x[:, 1] / 4
    torch.testing.assert_close(explanation.relevance[:, 0], expected)


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ({"dims": [0, -1, 1]}, [0, 2, 1]),
        ({"dim0": 1, "dim1": -1}, [0, 2, 1]),
        ({}, [1, 0, 2]),
    ],
)
def test_which_axis_each_axis_was(arguments, order):
    assert Permute.order(arguments, 3) == order


def test_dropout_of_nothing_is_none():
    network, x = Applied(lambda x: nn.functional.dropout(x, 0.0, training=True)).eval(), torch.rand(2, 5)
    found = rn.explain(network, x, 1)
    assert torch.equal(found.logits, x)
    assert torch.equal(found.relevance[:, 0, 1], x[:, 1])


def test_dropout_that_is_at_work_is_refused():
    network = Applied(lambda x: nn.functional.dropout(x, 0.5, training=True)).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match="random"):
        rn.explain(network, torch.rand(2, 3), 0)


def test_an_empty_part_of_a_concatenation_takes_no_room():
    x = torch.rand(2, 3)
    network = Applied(lambda x: torch.cat([torch.zeros(0), x, x.flip(1)], 1)).eval()
    explanation = rn.explain(network, x, [1, 3])
    assert torch.equal(explanation.relevance[:, 0], x * torch.tensor([0.0, 1, 0]))
    assert torch.equal(explanation.relevance[:, 1], x * torch.tensor([0.0, 0, 1]))
