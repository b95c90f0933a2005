"""What holds for every test: one torch thread, so that results do not depend on the machine, and fixed seeds."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# no deadline: a test must not depend on how fast the machine is; the same examples on every run
settings.register_profile("rlrp", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("rlrp")


def seed():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - other packages draw from the old global generator
    torch.manual_seed(0)


def pytest_collectstart():
    """Networks that a file makes while it is read are the same, whatever was read before it."""
    seed()


@pytest.fixture(autouse=True)
def _seeds():
    seed()
