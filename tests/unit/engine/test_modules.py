import time

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.modules import each_module, modules_of
from rlrp_nb.errors import UnsupportedNetworkError


def test_all_modules_are_found_by_all_their_names():
    relu = nn.ReLU()
    network = nn.Sequential(relu, nn.Sequential(nn.Linear(2, 2), relu))
    assert [name for name, _ in modules_of(network)] == ["", "0", "1", "1.0", "1.1"]
    assert [name for name, _ in each_module(network)] == ["", "0", "1", "1.0"]


def test_a_module_within_itself_is_refused_by_name():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    network[1].parent = network
    start = time.monotonic()
    with pytest.raises(UnsupportedNetworkError, match=r"'1.parent' is a module that is registered within itself"):
        rn.explain(network, torch.zeros(1, 3, 4))
    assert time.monotonic() - start < 10
    del network[1].parent
    network[1].parent = (network,)
    rn.explain(network.eval(), torch.zeros(1, 3, 4))
