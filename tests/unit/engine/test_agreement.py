"""Two answers of one network differ by rounding alone, and those of two networks by more."""

import pytest
import torch

from rlrp_nb.engine.agreement import says_the_same


@pytest.mark.parametrize(("dtype", "rounded", "other"), [(torch.float32, 5e-4, 3e-3), (torch.float16, 1e-2, 5e-2)])
def test_rounding_is_told_from_another_answer(dtype, rounded, other):
    logits = torch.tensor([10.0, -3.0, 0.5], dtype=dtype)
    change = torch.tensor([0.0, 10.0, 0.0])
    assert says_the_same(logits, logits)
    assert says_the_same(logits + (rounded * change).to(dtype), logits.double())
    assert not says_the_same(logits + (other * change).to(dtype), logits.double())


def test_answers_of_other_length_are_not_the_same():
    assert not says_the_same(torch.zeros(3), torch.zeros(4))
    assert says_the_same(torch.zeros(3), torch.zeros(3))
