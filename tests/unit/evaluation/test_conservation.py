"""Tests of the two measures of conservation."""

import pytest
import torch
from torch import nn

import rlrp_nb
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.conservation import conservation_error, share_at_input
from tests.reference import backprop
from tests.reference.networks import images, small_vgg
from tests.unit.evaluation.untouched import untouched

TARGETS = torch.tensor([0, 3, 4])


@pytest.mark.parametrize("method", rlrp_nb.available_methods())
def test_the_error_is_the_worst_residual_of_the_ledger(method):
    network, inputs = small_vgg(), images(3, 12)
    with untouched(network, inputs):
        found = conservation_error(network, inputs, TARGETS, method)
    explanation = rlrp_nb.explain(network, inputs, TARGETS, method)
    rows = [[row.residual for row in explanation.ledger(sample=sample)] for sample in range(3)]
    assert found.tolist() == pytest.approx([max(residuals) for residuals in rows])
    assert (found < 1e-10).all()
    assert (found > 0).any()


def test_float32_balances_to_rounding_only():
    network, inputs = small_vgg().float(), images(3, 12).float()
    error = conservation_error(network, inputs, TARGETS)
    assert ((error > 1e-10) & (error < 1e-4)).all()


def test_lrp_0_keeps_all_where_there_is_no_bias():
    network, inputs = small_vgg(norm=False, bias=False), images(3, 12)
    torch.testing.assert_close(share_at_input(network, inputs, TARGETS, "lrp-0"), torch.ones(3).double())


def test_the_share_is_that_of_the_reference():
    network, inputs = small_vgg(), images(3, 12)
    with untouched(network, inputs):
        found = share_at_input(network, inputs, TARGETS)
    relevance = backprop.relevance(network, inputs, backprop.one_hot(5, TARGETS.tolist()))
    logits = network(inputs).detach()
    expected = [float(relevance[n].sum() / logits[n, TARGETS[n]]) for n in range(3)]
    assert found.tolist() == pytest.approx(expected)


def test_a_logit_of_zero_has_no_share():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).double().eval()
    network[1].weight.data.zero_()
    assert share_at_input(network, torch.ones(1, 1, 2, 2).double(), torch.tensor([0])).isnan().all()


@pytest.mark.parametrize("measure", [conservation_error, share_at_input])
def test_bad_input_is_named(measure):
    network, inputs = small_vgg(), images(3, 12)
    for arguments, words in (
        ((network, inputs, TARGETS + 5), "target 5 of input 0"),
        ((network, inputs[0], TARGETS), "inputs has shape"),
        ((network, inputs, TARGETS, "lrp"), "method 'lrp' is not known"),
    ):
        with pytest.raises(InputError, match=words):
            measure(*arguments)
    with pytest.raises(UnsupportedNetworkError, match="training mode"):
        measure(network.train(), inputs, TARGETS)
