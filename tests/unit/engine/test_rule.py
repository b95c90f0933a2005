import torch
from hypothesis import given
from hypothesis import strategies as st

from rlrp_nb.engine.rule import unbroadcast


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    stretch=st.lists(st.booleans(), min_size=4, max_size=4),
    extra=st.integers(0, 2),
)
def test_unbroadcast_is_the_transpose_of_broadcasting(shape, stretch, extra):
    small = torch.Size(1 if s else n for n, s in zip(shape, stretch, strict=False))
    big = torch.Size([2] * extra + shape)
    s = torch.randn(3, *big, dtype=torch.float64)
    a = torch.randn(small, dtype=torch.float64)
    back = unbroadcast(s, small)
    assert back.shape == (3, *small)
    torch.testing.assert_close((a.expand(big) * s).flatten(1).sum(1), (a * back).flatten(1).sum(1))
