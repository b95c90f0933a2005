"""The winner takes all; that each op hands back its transpose is shown in test_rules.py."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from tests.unit.engine.applied import Applied


@pytest.mark.parametrize("tie", [0.0, 1.0])
def test_a_tie_of_maxima_has_one_winner(tie):
    network = Applied(lambda x: x.amax(1, keepdim=True)).eval()
    relevance = rn.explain(network, torch.full((1, 4), tie), 0, layers="all").relevance
    assert sorted(relevance.flatten().tolist()) == [0, 0, 0, tie]


def test_windows_that_overlap_add_up():
    x = torch.tensor([[[[1.0, 5.0, 2.0], [0.0, 3.0, 4.0], [0.0, 1.0, 2.0]]]])
    network = Applied(lambda x: functional.max_pool2d(x, 2, 1).flatten(1)).eval()
    relevance = rn.explain(network, x, torch.ones(1, 1, 4)).relevance[0, 0, 0]
    assert relevance.tolist() == [[0, 10, 0], [0, 3, 4], [0, 0, 0]]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_several_targets_are_pulled_as_one_by_one(rank):
    pool = getattr(nn, f"MaxPool{rank}d")(2, 1)
    network, x = nn.Sequential(pool, nn.Flatten(), nn.LazyLinear(3)).eval(), torch.randn(2, 2, *(3,) * rank)
    network(x)
    together = rn.explain(network, x, [0, 1, 2]).relevance
    for k in range(3):
        torch.testing.assert_close(together[:, k], rn.explain(network, x, k).relevance[:, 0])
