import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.chance import undrawn
from rlrp_nb.errors import InputError, UnsupportedNetworkError


def fail(_):
    raise InputError


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002, S311 - those that networks draw


def test_numbers_that_were_drawn_are_drawn_again():
    with undrawn([torch.device("cpu"), torch.device("meta")]):
        first = draws()
    with pytest.raises(InputError), undrawn([]):
        fail(draws())
    assert draws() == first


class Drawing(nn.Module):
    def forward(self, x):
        drawn = random.random() + np.random.rand() + torch.randn_like(x)  # noqa: NPY002, S311 - likewise
        return self.used(x, drawn)

    def used(self, x, _):
        return x


class Noisy(Drawing):
    def used(self, x, drawn):
        return x + drawn


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Linear(3, 2), Drawing()), nn.Sequential(nn.Linear(3, 2), Noisy())]
)
@pytest.mark.parametrize("hooked", [False, True])
def test_a_network_that_draws_leaves_random_numbers_as_they_were(network, hooked):
    if hooked:
        network[0].register_forward_hook(lambda *_: draws() and None)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - likewise
    torch.manual_seed(0)
    expected = draws()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - likewise
    torch.manual_seed(0)
    with pytest.raises(UnsupportedNetworkError) if isinstance(network[1], Noisy) else nullcontext():
        rn.explain(network.eval(), torch.ones(2, 3))
    assert draws() == expected
