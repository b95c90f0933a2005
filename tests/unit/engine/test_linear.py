"""Ops that autograd transposes."""

import pytest
import torch

from rlrp_nb.engine.linear import Homogeneous, Linear
from rlrp_nb.engine.rule import Call, Slot
from rlrp_nb.engine.tracing import trace
from tests.unit.engine.applied import Applied


def call_of(op, x):
    """Return what a rule may know of an op that was run on an input."""
    (step,) = trace(Applied(op).eval(), x).steps
    return Call(
        step=step,
        at={step.sources[0]: Slot(x.shape)}.__getitem__,
        shapes=(x.shape,),
        output_shape=op(x).shape,
        state=None,
        inputs=(None,),
        output=None,
        dtype=x.dtype,
        device=x.device,
    )


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("targets", [1, 3])
def test_the_transpose_is_that_of_the_matrix(batched, targets):
    x = torch.randn(2, 1, 4, dtype=torch.float64)
    call = call_of(lambda x: torch.nn.functional.avg_pool1d(x, 2, 1), x)
    matrix = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    s = torch.randn(targets, 2, 1, 3, dtype=torch.float64)
    (found,) = Linear(batched=batched).transpose(call, s)
    torch.testing.assert_close(found, s @ matrix)


def test_what_adds_nothing_has_no_offset():
    x = torch.randn(2, 4)
    assert Homogeneous().offset(call_of(torch.neg, x)) is None
    assert torch.equal(Linear().offset(call_of(torch.neg, x)), torch.zeros(2, 4))
