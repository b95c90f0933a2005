import torch

from rlrp_nb.engine.scaling import UNSCALED, Scale
from rlrp_nb.engine.under_way import UnderWay


def ones():
    return torch.ones(1, 2, 3)


def test_what_uses_of_a_value_send_is_added_once():
    under_way = UnderWay({7: 0, 8: 0})
    under_way.send([7, 8], [ones(), ones()], UNSCALED, own=True)
    under_way.send([7], [2 * ones()], UNSCALED, own=True)
    assert torch.equal(under_way.take(7).tensor, 3 * ones())
    assert torch.equal(under_way.take(8).tensor, ones())
    assert under_way.take(7) is None


def test_memory_that_something_else_reads_is_not_written_into():
    shared, own = ones(), ones()
    under_way = UnderWay({0: 0})
    under_way.send([0], [shared], UNSCALED, own=False)
    under_way.send([0], [own], UNSCALED, own=True)
    under_way.send([0], [shared], UNSCALED, own=False)
    parcel = under_way.take(0)
    assert parcel.tensor is own
    assert parcel.own
    assert torch.equal(parcel.tensor, 3 * ones())
    assert torch.equal(shared, ones())


def test_two_that_are_shared_are_added_in_new_memory():
    one, other = ones(), ones()
    under_way = UnderWay({0: 0})
    under_way.send([0, 0], [one, other], UNSCALED, own=False)
    assert torch.equal(under_way.take(0).tensor, 2 * ones())
    assert torch.equal(one, ones())
    assert torch.equal(other, ones())


def test_the_sum_is_looked_at_when_its_eldest_part_is_to_be():
    exponents = torch.zeros(1, 2, dtype=torch.int32)
    under_way = UnderWay({0: 0})
    for passed in (1, 3, 2):
        under_way.send([0], [ones()], Scale(exponents, passed), own=True)
    assert under_way.take(0).scale == (exponents, 3)


def test_parts_of_different_scale_are_brought_to_one():
    under_way = UnderWay({0: 0})
    under_way.send([0], [ones()], UNSCALED, own=False)
    under_way.send([0], [ones()], Scale(torch.full((1, 2), 3, dtype=torch.int32), 0), own=False)
    parcel = under_way.take(0)
    assert parcel.own
    factor = torch.exp2(parcel.scale.exponents.float())[..., None]
    assert torch.equal(parcel.tensor * factor, 9 * ones())
