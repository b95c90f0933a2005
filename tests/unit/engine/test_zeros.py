import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.errors import UnsupportedNetworkError

CHANNELS = 4


class Recurrent(nn.Module):
    """Looks at the columns of an image one after another, from a state of zeros or from none."""

    def __init__(self, zeros=None):
        super().__init__()
        self.zeros = zeros
        self.head = nn.Linear(CHANNELS, 5)

    def forward(self, x):
        state = None if self.zeros is None else self.zeros(x)
        for column in x.unbind(3):
            state = self.step(column.flatten(1), state)
        return self.head(self.seen(state))

    def seen(self, state):
        return state


class GRU(Recurrent):
    def __init__(self, zeros=None):
        super().__init__(zeros)
        self.gates = nn.Linear(24, 2 * CHANNELS)
        self.gates_of_state = nn.Linear(CHANNELS, 2 * CHANNELS, bias=False)
        self.new = nn.Linear(24, CHANNELS)
        self.new_of_state = nn.Linear(CHANNELS, CHANNELS, bias=False)

    def step(self, x, h):
        if h is None:
            return (1 - self.gates(x).sigmoid()[:, CHANNELS:]) * self.new(x).tanh()
        r, z = (self.gates(x) + self.gates_of_state(h)).sigmoid().chunk(2, 1)
        return (1 - z) * (self.new(x) + self.new_of_state(r * h)).tanh() + z * h


class LSTM(Recurrent):
    def __init__(self, zeros=None):
        super().__init__(zeros)
        self.all = nn.Linear(24, 4 * CHANNELS)
        self.all_of_state = nn.Linear(CHANNELS, 4 * CHANNELS, bias=False)

    def step(self, x, state):
        if state is None:
            i, f, g, o = self.all(x).chunk(4, 1)
            c = i.sigmoid() * g.tanh()
        else:
            h, before = state
            i, f, g, o = (self.all(x) + self.all_of_state(h)).chunk(4, 1)
            c = f.sigmoid() * before + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def seen(self, state):
        return state[0]


def made(network):
    torch.manual_seed(0)
    for p in network.parameters():
        nn.init.normal_(p, std=0.4)
    return network.eval().double()


ZEROS = {
    "zeros": lambda x: torch.zeros(len(x), CHANNELS, dtype=x.dtype),
    "of the input": lambda x: x.new_zeros(len(x), CHANNELS),
    "like a part": lambda x: torch.zeros_like(x[:, 0, :CHANNELS, 0]),
    "one for all": lambda x: torch.zeros(1, CHANNELS, dtype=x.dtype).expand(len(x), -1),
    "a row for all": lambda x: torch.zeros(1, CHANNELS, dtype=x.dtype),
    "full": lambda x: torch.full((len(x), CHANNELS), 0.0, dtype=x.dtype),
    "filled": lambda x: x.new_full((len(x), CHANNELS), 0),
    "emptied": lambda x: torch.ones(len(x), CHANNELS, dtype=x.dtype).zero_(),
    "repeated": lambda x: torch.zeros(1, CHANNELS, dtype=x.dtype).repeat(len(x), 1),
    "joined": lambda x: torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x.new_zeros(len(x), CHANNELS - 1)], 1),
    "half of some": lambda x: torch.zeros(len(x), 2 * CHANNELS, dtype=x.dtype).chunk(2, 1)[0],
    "for each layer": lambda x: torch.zeros(2, len(x), CHANNELS, dtype=x.dtype)[1].to(x.device),
}


@pytest.mark.parametrize(
    ("zeros", "kind", "method"),
    [*((zeros, GRU, "rlrp") for zeros in ZEROS), ("zeros", LSTM, "rlrp"), ("zeros", LSTM, "lrp-epsilon")],
)
def test_a_state_of_zeros_is_as_none(images, zeros, kind, method):
    begin = ZEROS[zeros]
    network = made(kind(begin if kind is GRU else lambda x: (begin(x), begin(x))))
    expected = rn.explain(made(kind()), images.double(), 1, method)
    found = rn.explain(network, images.double(), 1, method)
    assert expected.relevance.abs().sum() > 0
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.logits, network(images.double()))


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_the_gradient_is_that_of_autograd(images, kind):
    begin = ZEROS["zeros"]
    network = made(kind(begin if kind is GRU else lambda x: (begin(x), begin(x))))
    x = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 2].sum(), x)
    found = rn.explain(network, images.double(), 2, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(found, (gradient * x).detach(), rtol=1e-9, atol=1e-12)


def test_zeros_that_spread_or_change_the_dtype_stay_a_factor(written, images):
    def spread(n, x):
        return n.classify(n.conv(x) * torch.zeros(1, 4, 1, 1) + n.conv(x))

    def cast(n, x):
        z = n.conv(x)
        return n.classify((z * torch.zeros_like(z, dtype=torch.float64)).float() + z)

    for network in map(written, (spread, cast)):
        plain = written(lambda n, x: n.classify(n.conv(x)))
        expected, found = (rn.explain(each, images, 1) for each in (plain, network))
        torch.testing.assert_close(found.relevance, expected.relevance)
        torch.testing.assert_close(found.logits, network(images))


def test_zeros_into_which_something_was_written_are_none(written, images):
    def filled(n, x):
        z = n.conv(x).relu()
        state = torch.zeros_like(z)
        state[:, :2] = 1
        return n.classify(z * state)

    network = written(filled)
    found = rn.explain(network, images, 1).relevance
    assert found.abs().sum() > 0
    torch.testing.assert_close(rn.explain(network, images, 1).logits, network(images))


def test_ones_are_no_zeros(written, images):
    def joined(n, x):
        gate = n.conv(x).sigmoid()
        return n.classify(gate * torch.ones_like(gate) + n.conv(x))

    with pytest.raises(UnsupportedNetworkError, match="joins a signal and a gate"):
        rn.explain(written(joined), images, 1)
