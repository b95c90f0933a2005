import pytest
import torch
from torch.nn import functional

from rlrp_nb.engine.tracing import trace
from rlrp_nb.errors import UnsupportedNetworkError


def roles(network, images):
    return {step.name: (step.roles, step.self_gated) for step in trace(network, images).steps if step.sources}


@pytest.mark.parametrize(
    "gate",
    [
        torch.sigmoid,
        functional.hardsigmoid,
        lambda z: functional.relu6(z + 3) / 6,
        lambda z: torch.softmax(z, 1),
        lambda z: 1 + torch.sigmoid(z),
        lambda z: torch.sigmoid(z).expand(-1, -1, 8, 8),
    ],
)
def test_squeeze_and_excitation_is_a_gate(written, images, gate):
    def squeeze_and_excite(n, x):
        z = n.conv(x)
        return n.classify(gate(z.mean((2, 3), keepdim=True)) * z)

    found = roles(written(squeeze_and_excite), images)
    assert found["mul"] == (("gate", "signal"), False)


@pytest.mark.parametrize(
    "activation",
    [
        lambda z: z * torch.sigmoid(z),
        lambda z: torch.sigmoid(1.7 * z) * z,
        lambda z: z * functional.hardsigmoid(z),
        lambda z: z * (functional.relu6(z + 3) / 6),
    ],
)
def test_an_activation_written_by_hand_is_told_from_a_gate(written, images, activation):
    found = roles(written(lambda n, x: n.classify(activation(n.conv(x)))), images)
    assert any(gated for _, gated in found.values())


def test_a_gate_of_another_tensor_is_no_activation(written, images):
    found = roles(written(lambda n, x: n.classify(n.conv(x) * torch.sigmoid(n.conv(-x)))), images)
    assert not any(gated for _, gated in found.values())


def test_relu6_of_three_added_twice_is_no_hardsigmoid(written, images):
    def shifted(n, x):
        z = n.conv(x)
        return n.classify(z * functional.relu6(torch.add(z, 3, alpha=2)) / 6)

    with pytest.raises(UnsupportedNetworkError, match="one must be a gate"):
        roles(written(shifted), images)


def test_a_gate_that_mixes_channels_is_no_activation(written, images):
    def mixed(n, x):
        z = n.conv(x)
        return n.classify(z * torch.sigmoid(z.flip(1)))

    found = roles(written(mixed), images)
    assert found["mul"] == (("signal", "gate"), False)
