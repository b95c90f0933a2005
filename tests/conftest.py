"""What holds for every test: one torch thread, so that results do not depend on the machine, and fixed seeds."""

import random

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - other packages draw from the old global generator
    torch.manual_seed(0)
