"""Random networks of the supported ops are explained as automatic differentiation explains them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlrp_nb import explain
from tests.fuzz.profiles import fuzzed
from tests.fuzz.topology import ACTIVATIONS, CHANNELS, CLASSES, SIDE, STEPS, Drawn
from tests.reference import backprop
from tests.reference.networks import images

choices = st.integers(0, 59)
instructions = st.lists(st.tuples(st.integers(0, len(STEPS) - 1), choices, choices, choices), min_size=1, max_size=9)


# every kind of step behind one another, and each in every of its ways in one of the networks
SYSTEMATIC = [
    [(kind, 0, 7 * way + kind, 5 * way + kind) for kind in range(len(STEPS))] for way in range(len(ACTIVATIONS))
]


@fuzzed
@given(instructions=instructions, seed=st.integers(0, 100), batch=st.integers(1, 2))
def test_random_networks_equal_autograd(instructions, seed, batch):
    compare(instructions, seed, batch)


@pytest.mark.parametrize("way", range(len(SYSTEMATIC)))
def test_networks_of_every_kind_of_step_equal_autograd(way):
    compare(SYSTEMATIC[way], seed=way, batch=2)


def compare(instructions, seed, batch):
    network, x = Drawn(instructions), images(batch, SIDE, seed=seed, channels=CHANNELS)
    found = explain(network, x, targets=list(range(CLASSES)), layers="all")
    with torch.no_grad():
        torch.testing.assert_close(found.logits, network(x), rtol=1e-9, atol=1e-12)
    for k in range(CLASSES):
        expected = backprop.relevance(network, x, backprop.one_hot(CLASSES, [k] * batch))
        largest = float(expected.abs().max())
        torch.testing.assert_close(found.relevance[:, k], expected, rtol=0, atol=1e-9 * largest + 1e-300)
        for n in range(batch):
            for row in found.ledger(k, n):
                assert not abs(row.residual) > 1e-10, row
