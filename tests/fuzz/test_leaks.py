"""Explanations leave nothing behind: memory stays where it is, and networks that are gone are forgotten."""

import gc
import weakref
from pathlib import Path

import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine import registry
from tests.fuzz.profiles import fuzzed

RUNS = 10_000 if fuzzed.max_examples >= 10_000 else 600
NETWORKS = RUNS // 100
ALLOWED = 1.02


def resident():
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


def test_explanations_in_a_row_leave_nothing_behind():
    network, x = tiny(), torch.randn(4, 3, 8, 8)
    held = 0
    for run in range(RUNS):
        made = rn.explain(network, x, targets=[run % 3, (0, 1)], layers="all" if run % 2 else None)
        made.ledger()
        if run == RUNS // 4:
            held = resident()
    assert resident() <= held * ALLOWED


def test_networks_that_are_gone_are_forgotten():
    x, gone, held = torch.randn(2, 3, 8, 8), [], 0
    known = len(registry._entries)
    for run in range(NETWORKS):
        network = tiny()
        made = rn.explain(network, x, layers="all")
        made.ledger()
        gone.append(weakref.ref(network))
        del network, made
        if run == NETWORKS // 3:
            held = resident()
    assert resident() <= held * ALLOWED
    assert not [reference for reference in gone if reference() is not None]
    assert len(registry._entries) <= known
