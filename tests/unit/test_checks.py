import numpy as np
import pytest
import torch

from rlrp_nb.checks import check_whole
from rlrp_nb.errors import InputError


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.int16])
def test_whole_numbers_of_python_and_numpy_become_ints(kind):
    found = check_whole(1, 200, patch=kind(4), batch=kind(100))
    assert found == (4, 100)
    assert all(type(number) is int for number in found)


@pytest.mark.parametrize("value", [True, np.True_, 4.0, np.float64(4), "4", None, torch.tensor(4), np.int64(0), 201])
def test_what_is_no_whole_number_of_the_range_is_refused_by_its_name(value):
    with pytest.raises(InputError, match=r"^patch=.* has to be an integer from 1 to 200\.$"):
        check_whole(1, 200, patch=value)
