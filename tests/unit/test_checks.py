from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from rlrp_nb.checks import check_whole, is_real
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


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(2), np.float64(3), float("nan")])
def test_real_numbers_of_python_and_numpy_are_real(value):
    assert is_real(value)


@pytest.mark.parametrize("value", [True, np.True_, "1", None, 1j, Fraction(1, 2), Decimal("0.5"), torch.tensor(0.5)])
def test_what_pytorch_takes_for_no_number_is_not_real(value):
    assert not is_real(value)
