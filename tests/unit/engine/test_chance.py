import random
import threading
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.chance import Undrawn
from rlrp_nb.errors import InputError, UnsupportedNetworkError


def fail(_):
    raise InputError


def test_numbers_that_were_drawn_are_drawn_again():
    own = torch.Generator().manual_seed(0)

    def draws():
        return torch.rand(3).tolist(), torch.empty(2).normal_(generator=own).tolist(), torch.randperm(4).tolist()

    with Undrawn():
        first = draws()
    with pytest.raises(InputError), Undrawn():
        fail(draws())
    assert draws() == first


def test_numbers_that_others_draw_are_not_put_back():
    with Undrawn():
        nn.Linear(3, 2)(torch.ones(1, 3))
        thread = threading.Thread(target=lambda: found.append(torch.rand(()).item()))
        found = []
        thread.start()
        thread.join()
    assert torch.rand(()).item() not in found


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return self.used(x, torch.randn_like(x) + torch.rand(x.shape, generator=self.generator))

    def used(self, x, _):
        return x


class Noisy(Drawing):
    def used(self, x, drawn):
        return x + drawn


def look(*_):
    torch.rand(3)


@pytest.mark.parametrize("kind", [Drawing, Noisy])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_network_that_draws_leaves_random_numbers_as_they_were(kind, hooked):
    network = nn.Sequential(nn.Linear(3, 2), kind()).eval()
    if hooked:
        network[0].register_forward_hook(look)
    torch.manual_seed(0)
    expected = torch.rand(()).item(), network[1].generator.get_state()
    torch.manual_seed(0)
    with pytest.raises(UnsupportedNetworkError) if kind is Noisy else nullcontext():
        rn.explain(network, torch.ones(2, 3))
    assert torch.rand(()).item() == expected[0]
    assert torch.equal(network[1].generator.get_state(), expected[1])


def test_a_thread_that_draws_beside_an_explanation_draws_no_number_twice():
    done, drawn = threading.Event(), []

    def draw():
        while not done.is_set():
            drawn.append((random.random(), torch.rand((), dtype=torch.float64).item()))  # noqa: S311 - the very thing

    thread = threading.Thread(target=draw)
    thread.start()
    for width in (2, 3):
        rn.explain(nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2)).eval(), torch.ones(2, 3))
    done.set()
    thread.join()
    for numbers in zip(*drawn, strict=True):
        assert len(set(numbers)) == len(numbers)
