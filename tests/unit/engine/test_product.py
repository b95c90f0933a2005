import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from rlrp_nb.engine.product import backward_product, forward_product

OUT, WIDTH = 520, 510
"""265,200 weights: enough to be divided, into parts of any number up to four."""


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def weight():
    return torch.randn(OUT, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(), (1,), (2,), (7,), (1, 1), (3, 2)])
@pytest.mark.parametrize("bias", [torch.randn(OUT), None])
def test_both_ways_equal_float64(weight, shape, bias):
    a, s = torch.randn(*shape, WIDTH), torch.randn(*shape, OUT)
    forward, backward = forward_product(a, weight, bias), backward_product(s, weight)
    expected = functional.linear(a.double(), weight.double(), None if bias is None else bias.double())
    assert forward.shape == (*shape, OUT)
    assert backward.shape == (*shape, WIDTH)
    torch.testing.assert_close(forward.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    expected = s.double() @ weight.double()
    torch.testing.assert_close(backward.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_rows_that_meet_a_zero_are_not_read_where_the_matrix_is_divided(weight, threads, share):
    s = torch.randn(1, OUT) * (torch.rand(1, OUT) < share)
    unread = weight.clone()
    if threads > 1:
        unread[s[0] == 0] = torch.nan
    found = backward_product(s, unread)
    expected = s.double() @ weight.double()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * max(float(expected.abs().max()), 1e-9))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_orders_of_memory_are_left_to_pytorch(weight, dtype):
    a, s = torch.randn(3, WIDTH), torch.randn(3, OUT)
    other = weight.to(dtype)
    assert torch.equal(forward_product(a.to(dtype), other, None), functional.linear(a.to(dtype), other))
    assert torch.equal(backward_product(s.to(dtype), other), s.to(dtype) @ other)
    transposed = weight.t().contiguous().t()
    assert torch.equal(forward_product(a, transposed, None), functional.linear(a, transposed))
    assert torch.equal(backward_product(s, transposed), s @ transposed)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 3])
def test_an_explanation_of_wide_layers_equals_the_one_in_float64(count):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(600, 520), nn.ReLU(), nn.Linear(520, 510), nn.ReLU(), nn.Linear(510, 10)).eval()
    x = torch.randn(count, 600)
    found = rn.explain(network, x, [0, 3]).relevance
    expected = rn.explain(network.double(), x.double(), [0, 3]).relevance
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_default_device_does_not_matter(weight, threads):
    assert threads
    s = torch.randn(1, OUT)
    expected = backward_product(s, weight)
    torch.set_default_device("meta")
    try:
        assert torch.equal(backward_product(s, weight), expected)
    finally:
        torch.set_default_device(None)
