"""Factors become the dense network that a float64 loop makes of them, or are refused."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rlrp_nb.errors import WeightsError
from rlrp_nb.models.low_rank import load_factors, multiply, save_factors
from rlrp_nb.models.weights import read_state


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_kernel(expand, core, squeeze):
    """W[o, i, y, x] by a loop over all its indices, float64."""
    expand, core, squeeze = (factor.double().numpy() for factor in (expand.flatten(1), core, squeeze.flatten(1)))
    weight = np.zeros((len(expand), squeeze.shape[1], *core.shape[2:]))
    for o, i, y, x in np.ndindex(*weight.shape):
        for p in range(expand.shape[1]):
            for q in range(len(squeeze)):
                weight[o, i, y, x] += expand[o, p] * core[p, q, y, x] * squeeze[q, i]
    return torch.from_numpy(weight)


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 6),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    seed=st.integers(0, 1000),
)
def test_a_kernel_equals_the_loop(sizes, dtype, seed):
    outputs, inputs, p, q, height, width = sizes
    expand = random(outputs, p, 1, 1, seed=seed).to(dtype)
    core = random(p, q, height, width, seed=seed + 1).to(dtype)
    squeeze = random(q, inputs, 1, 1, seed=seed + 2).to(dtype)
    weight = multiply({"expand.weight": expand, "core.weight": core, "squeeze.weight": squeeze})
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.double(), naive_kernel(expand, core, squeeze), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", [(), (1, 1)])
def test_a_matrix_equals_the_loop(form):
    expand, squeeze = random(5, 2, *form).half(), random(2, 7, *form, seed=1).half()
    weight = multiply({"expand.weight": expand, "squeeze.weight": squeeze})
    core = torch.eye(2).view(2, 2, 1, 1)
    assert weight.shape == (5, 7, *form)
    torch.testing.assert_close(weight.double().view(5, 7, 1, 1), naive_kernel(expand, core, squeeze))


def test_positions_share_a_matrix():
    expand, squeeze, positions = random(4, 2), random(2, 3, seed=1), random(6, seed=2)
    weight = multiply({"expand.weight": expand, "squeeze.weight": squeeze, "positions": positions})
    expected = np.zeros((4, 18))
    for o, i, n in np.ndindex(4, 3, 6):
        for r in range(2):
            expected[o, i * 6 + n] += float(expand[o, r]) * float(squeeze[r, i]) * float(positions[n])
    torch.testing.assert_close(weight.double(), torch.from_numpy(expected), atol=1e-6, rtol=1e-5)


def build():
    with torch.device("meta"):
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 1),
            nn.Flatten(),
            nn.Linear(32, 5),
        ).eval()


@pytest.fixture
def state():
    return OrderedDict(
        {
            "0.expand.weight": random(6, 2, 1, 1),
            "0.core.weight": random(2, 4, 3, 3, seed=1),
            "0.squeeze.weight": random(4, 3, 1, 1, seed=2),
            "0.bias": random(6, seed=3),
            "1.weight": random(6, seed=4),
            "1.bias": random(6, seed=5),
            "1.running_mean": random(6, seed=6),
            "1.running_var": torch.full((6,), 1e-9),
            "3.expand.weight": random(8, 2, 1, 1, seed=7),
            "3.squeeze.weight": random(2, 6, 1, 1, seed=8),
            "3.bias": random(8, seed=9),
            "5.expand.weight": random(5, 2, seed=10),
            "5.squeeze.weight": random(2, 8, seed=11),
            "5.positions": torch.ones(4),
            "5.bias": random(5, seed=12),
        }
    )


def test_the_dense_network_computes_what_the_factors_compute(state):
    images = random(2, 3, 2, 2, seed=13)
    part = {key: tensor.clone() for key, tensor in state.items()}
    maps = functional.conv2d(images, part["0.squeeze.weight"])
    maps = functional.conv2d(maps, part["0.core.weight"], padding=1)
    maps = functional.conv2d(maps, part["0.expand.weight"], part["0.bias"])
    norm = (part[f"1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    maps = functional.batch_norm(maps, *norm).relu()
    maps = functional.conv2d(functional.conv2d(maps, part["3.squeeze.weight"]), part["3.expand.weight"], part["3.bias"])
    expected = (maps.sum(dim=(2, 3)) @ part["5.squeeze.weight"].T) @ part["5.expand.weight"].T + part["5.bias"]
    network = build()
    load_factors(network, state, "the file")
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-2 * expected.abs().max().item() / 100)
    assert not state
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_dense_state_is_taken_as_it_is():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    load_factors(network, OrderedDict(dense.state_dict()), "the file")
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in dense.state_dict().items())


def test_round_trip_through_a_file(state, tmp_path):
    path = tmp_path / "new" / "factors.safetensors"
    save_factors(state, path)
    read = read_state(path)
    assert {key: tensor.dtype for key, tensor in read.items()} == {
        key: torch.float16 if tensor.ndim > 1 else torch.float32 for key, tensor in state.items()
    }
    assert all(torch.equal(read[key], tensor.half() if tensor.ndim > 1 else tensor) for key, tensor in state.items())
    assert path.stat().st_mode & 0o777 == 0o644
    load_factors(build(), read, "the file")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e5])
def test_what_float16_cannot_hold_is_not_written(state, tmp_path, value):
    state["0.core.weight"][0, 0, 0, 0] = value
    with pytest.raises(WeightsError, match=r"0.core.weight has values that float16 cannot hold: nothing was written"):
        save_factors(state, tmp_path / "factors.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.squeeze.weight"), r"the file: the factors of 0 are not complete \(expand.weight \(6, 2, 1"),
        (lambda s: s.pop("0.expand.weight"), r"1 missing: 0.weight; 2 not in the network: 0.core"),
        (lambda s: s.pop("0.core.weight"), r"the factors of 0 do not fit each other and a weight of \(6, 3, 3, 3\)"),
        (lambda s: s.pop("5.positions"), r"the factors of 5 do not fit .* a weight of \(5, 32\)"),
        (lambda s: s.pop("5.bias"), "1 missing: 5.bias"),
        (lambda s: s.update({"0.core.weight": torch.zeros(3, 4, 3, 3)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.core.weight": torch.zeros(2, 5, 3, 3)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.core.weight": torch.zeros(2, 4, 5, 5)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.expand.weight": torch.zeros(7, 2, 1, 1)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.expand.weight": torch.zeros(6, 2, 3, 1)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.expand.weight": torch.zeros(6)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.expand.weight": torch.tensor(1.0)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.squeeze.weight": torch.zeros(4)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.squeeze.weight": torch.zeros(4, 3, 3, 3)}), "the factors of 0 do not fit each other"),
        (lambda s: s.update({"0.squeeze.weight": torch.zeros(4, 3, 1, 1).int()}), "the factors of 0 do not fit"),
        (lambda s: s.update({"5.positions": torch.zeros(5)}), "the factors of 5 do not fit"),
        (lambda s: s.update({"5.weight": torch.zeros(5, 32)}), "3 not in the network: 5.expand.weight"),
        (lambda s: s.update({"6.bias": torch.zeros(1)}), "1 not in the network: 6.bias"),
        (lambda s: s["0.core.weight"].fill_(torch.nan), "NaN or infinite values in 0.weight"),
        (lambda s: s["3.squeeze.weight"].view(-1)[:1].fill_(torch.inf), "NaN or infinite values in 3.weight"),
    ],
)
def test_what_does_not_fit_is_refused(state, change, message):
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_factors(build(), state, "the file")


def test_a_wrong_file_does_not_fill_the_memory(state):
    # the product would take 4 TB
    state["0.expand.weight"] = torch.zeros(10**6, 1).view(-1, 1, 1, 1)
    state["0.squeeze.weight"] = torch.zeros(1, 10**6).view(1, -1, 1, 1)
    del state["0.core.weight"]
    with pytest.raises(WeightsError, match="the factors of 0 do not fit each other"):
        load_factors(build(), state, "the file")
