"""In which order a network is asked: the fast one where it is harmless, the ordinary one else."""

import pytest
import torch
from torch import nn

from rlrp_nb.evaluation.faithfulness import flip
from rlrp_nb.evaluation.memory import batch_size, memory_format


def convolutions(channels=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)).eval()


class Viewing(nn.Module):
    """Flattens by `view`, which channels side by side do not allow."""

    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(2, 6, 3), nn.Linear(216, 4)

    def forward(self, images):
        return self.linear(self.convolution(images).view(len(images), -1))


class Striding(Viewing):
    """Reads memory as it lies: no error in another order, and another answer."""

    def forward(self, images):
        maps = self.convolution(images)
        return self.linear(maps.as_strided((len(images), 216), (216, 1)))


@pytest.mark.parametrize("channels", [2, 3])
def test_convolutions_are_asked_with_the_channels_of_a_pixel_side_by_side(channels):
    network, inputs = convolutions(channels), torch.rand(3, channels, 8, 8)
    assert memory_format(network, inputs) == torch.channels_last
    strides = []
    network[0].register_forward_pre_hook(lambda _, arguments: strides.append(arguments[0].stride()))
    flip(network, inputs, torch.rand(3, 8, 8), torch.tensor([0, 1, 2]), patch=4)
    assert strides[-1] == (64 * channels, 1, 8 * channels, channels)


def test_pictures_of_one_channel_are_asked_in_the_ordinary_order():
    """PyTorch reads beyond the end of some with the strides of the other, and answers with what lies there."""
    assert memory_format(convolutions(), torch.rand(3, 1, 8, 8)) == torch.contiguous_format


@pytest.mark.parametrize("kind", [Viewing, Striding])
def test_a_network_that_depends_on_the_order_is_asked_in_the_ordinary_one(kind):
    torch.manual_seed(0)
    network, inputs = kind().eval(), torch.rand(3, 2, 8, 8)
    assert memory_format(network, inputs) == torch.contiguous_format
    found = flip(network, inputs, torch.rand(3, 8, 8), torch.tensor([0, 1, 2]), patch=4)
    expected = network(inputs).softmax(1)[range(3), [0, 1, 2]]
    torch.testing.assert_close(found.morf[:, 0], expected)


def test_a_network_that_writes_into_its_input_leaves_that_of_the_user():
    network = nn.Sequential(nn.ReLU(inplace=True), convolutions(2)).eval()
    inputs = torch.randn(2, 2, 8, 8)
    before = inputs.clone()
    assert memory_format(network, inputs) == torch.channels_last
    assert torch.equal(inputs, before)


def test_what_was_not_measured_keeps_the_ordinary_order():
    assert memory_format(convolutions().double(), torch.rand(1, 1, 8, 8).double()) == torch.contiguous_format


def test_an_answer_that_is_no_number_decides_nothing():
    network = nn.Sequential(convolutions(), nn.Threshold(torch.inf, torch.nan)).eval()
    assert memory_format(network, torch.rand(1, 1, 8, 8)) == torch.contiguous_format


@pytest.mark.parametrize(
    ("weights", "shape", "most", "expected"),
    [
        (10, (1, 28, 28), 100, 82),  # 2 x 2^17 bytes of inputs
        (10, (1, 28, 28), 64, 64),
        (10, (3, 224, 224), 64, 2),
        (10, (3, 224, 224), 1, 1),
        (16 * 3 * 224 * 224 * 5, (3, 224, 224), 64, 2),
        (32 * 3 * 224 * 224 * 5, (3, 224, 224), 64, 5),  # as heavy as five inputs with their layers
        (32 * 3 * 224 * 224 * 5, (3, 32, 32), 64, 64),
    ],
)
def test_the_lighter_the_inputs_beside_the_weights_the_more_go_at_once(monkeypatch, weights, shape, most, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert batch_size(nn.Linear(1, weights, bias=False), torch.rand(1, *shape), most) == expected


def test_on_an_accelerator_the_most_go_at_once():
    assert batch_size(nn.Linear(1, 1), torch.rand(1, 1, 28, 28, device="meta"), 64) == 64
