"""Of black and white after preprocessing: both ends per channel, black never above white."""

import pytest
import torch

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.domain import Range

ENDS = torch.tensor([[-2.0, -1.5, 0.0], [2.0, 2.5, 0.0]])  # a channel may have one value


def test_both_ends_stand_around_inputs_of_any_dtype():
    low, high = Range(*ENDS).around(torch.zeros(2, 3, 4, 4, dtype=torch.float64))
    assert low.dtype == high.dtype == torch.float64
    torch.testing.assert_close(torch.cat([low, high])[:, :, 0, 0], ENDS.double(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 1.0, r"low is a float; accepted is a tensor \(C,\)"),
        (ENDS[0], ENDS, r"high is a tensor \(2, 3\); accepted is a tensor \(C,\)"),
        (ENDS[0], ENDS[1, :1], "low has 3 channels and high has 1"),
        (ENDS[1], ENDS[0], "low is above high"),
    ],
)
def test_what_is_no_range_is_refused(low, high, words):
    with pytest.raises(InputError, match=words):
        Range(low, high)
