"""A check around a measure: the network, the inputs and the global random numbers are as they were before."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def untouched(network, *tensors):
    """Assert at the end that nothing has changed."""
    before, random_before = _state(network, tensors), _random_state()
    yield
    after = _state(network, tensors)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name], name
    assert all(parameter.grad is None for parameter in network.parameters())
    assert random_before == _random_state()


def _state(network, tensors):
    modules = list(network.named_modules())
    return {
        **{f"state {name}": tensor.clone() for name, tensor in network.state_dict().items()},
        **{f"mode {name}": module.training for name, module in modules},
        **{f"type {name}": type(module) for name, module in modules},
        **{f"hooks {name}": (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in modules},
        **{f"backward hooks {name}": len(m._backward_hooks) for name, m in modules},
        **{f"requires_grad {name}": parameter.requires_grad for name, parameter in network.named_parameters()},
        **{f"tensor {place}": tensor.detach().clone() for place, tensor in enumerate(tensors)},
        **{f"tensor {place} requires_grad": tensor.requires_grad for place, tensor in enumerate(tensors)},
    }


def _random_state():
    old = np.random.get_state()  # noqa: NPY002 - other packages draw from the old global generator
    return torch.get_rng_state().tolist(), random.getstate(), old[1].tolist(), old[2:]
