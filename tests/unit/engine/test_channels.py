import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import convnext_tiny, shufflenet_v2_x0_5

import rlrp_nb as rn
from rlrp_nb.engine.channels import channels_of_input
from rlrp_nb.engine.registry import graph_of
from rlrp_nb.models.preprocess import Preprocess


def channels(network, images):
    """Return the axis of the channels by the op of each step."""
    graph = graph_of(network, images)
    return {step.name: graph.channels.get(step.index) for step in graph.steps if step.sources}


def test_channels_follow_permutations_and_end_where_axes_are_mixed(written, images):
    def forward(n, x):
        z = n.conv(x).permute(0, 2, 3, 1)
        z = functional.layer_norm(z, (4,)).relu().transpose(1, 3)
        return n.classify(z.transpose(1, 2).reshape(z.shape[0], 4, 8, 8))

    found = channels(written(forward), images)
    assert found["conv"] == 1
    assert (found["permute"], found["layer_norm"], found["relu"], found["transpose"]) == (3, 3, 3, 1)
    assert found["transpose:2"] == 2
    assert found["reshape"] is None
    assert found["head"] == 1


def test_layers_of_convnext_have_their_channels_last_where_they_are_permuted():
    torch.manual_seed(0)
    network = convnext_tiny(stochastic_depth_prob=0.0).eval()
    first, last = "features.1.0.block.0", "features.1.0.block.3"
    layers = rn.explain(network, torch.randn(1, 3, 64, 64), 1, layers=[first, last]).layers
    assert layers[first].shape[2:] == (96, 16, 16)
    assert layers[last].shape[2:] == (16, 16, 384)
    assert layers.channels == {first: 0, last: 2}


def test_channels_are_known_again_behind_a_shuffle():
    torch.manual_seed(0)
    graph = graph_of(shufflenet_v2_x0_5().eval(), torch.randn(1, 3, 64, 64))
    convolutions = [step for step in graph.steps if step.op.startswith("aten.conv")]
    assert len(convolutions) > 50
    assert {graph.channels[step.index] for step in convolutions} == {1}


def test_samples_that_are_not_counted_by_the_first_axis(written, images):
    network = written(lambda n, x: n.classify(n.conv(x).permute(1, 0, 2, 3).relu().permute(1, 0, 2, 3)))
    layers = rn.explain(network, images, 1, layers="all").layers
    assert layers["relu"].shape[2:] == (4, 8, 8)
    assert layers.channels["relu"] == 0


class Read(nn.Module):
    """A network that does something to its input before a convolution, or a dense layer, reads it."""

    def __init__(self, first, reader):
        super().__init__()
        self.first, self.reader, self.head = first, reader, nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.reader(self.first(x)).relu().flatten(1))


FLAT = nn.Identity()
SHOWN = {
    "channels first": ((3, 9, 7), lambda x: x, nn.LazyConv2d(4, 3), 0),
    "channels last": ((9, 7, 3), lambda x: x.permute(0, 3, 1, 2), nn.LazyConv2d(4, 3), 2),
    "channels last, normalised first": ((9, 7, 3), lambda x: (2 * x - 1).movedim(-1, 1), nn.LazyConv2d(4, 3), 2),
    "channels last, by two swaps": (
        (9, 7, 3), lambda x: x.transpose(1, 3).contiguous().transpose(2, 3), nn.LazyConv2d(4, 3), 2,
    ),
    "channels last, a layer for each pixel": (
        (9, 7, 3), lambda x: functional.linear(x, torch.ones(4, 3)).permute(0, 3, 1, 2), nn.LazyConv2d(4, 3), 2,
    ),
    "padded and batch-norm": ((3, 9, 7), lambda x: functional.pad(x, [1, 1]), nn.LazyBatchNorm2d(), 0),
    "no axis of channels": ((9, 7), lambda x: x.unsqueeze(1), nn.LazyConv2d(4, 3), None),
    "no axis of channels, made three": ((9, 7), lambda x: x[:, None].expand(-1, 3, -1, -1), nn.LazyConv2d(4, 3), None),
    "no axis of channels, last": ((9, 7), lambda x: x[..., None].permute(0, 3, 1, 2), nn.LazyConv2d(4, 3), None),
    "no axis of channels, viewed": ((9, 7), lambda x: x.view(-1, 1, 9, 7), nn.LazyConv2d(4, 3), None),
    "a spectrogram, normalised along its frequencies": (
        (1, 9, 7),
        lambda x: functional.batch_norm(x.transpose(1, 3), torch.zeros(7), torch.ones(7)).transpose(1, 3),
        nn.LazyConv2d(4, 3),
        0,
    ),
    "a signal": ((2, 9), lambda x: x, nn.LazyConv1d(4, 3), 0),
    "a signal, channels last": ((9, 2), lambda x: x.mT, nn.LazyConv1d(4, 3), 1),
    "a volume": ((2, 5, 5, 5), lambda x: x, nn.LazyConv3d(4, 3), 0),
    "numbers": ((9,), lambda x: x, nn.LazyBatchNorm1d(), None),
    "flat": ((3, 9, 7), lambda x: x.flatten(1), FLAT, 0),
    "flat, small maps": ((64, 4, 4), lambda x: x.flatten(1), FLAT, 0),
    "flat, channels last": ((9, 7, 3), lambda x: x.flatten(1), FLAT, 2),
    "flat, no axis of channels": ((9, 7), lambda x: x.flatten(1), FLAT, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_what_reads_the_input_shows_which_of_its_axes_holds_channels(name):
    shape, first, reader, axis = SHOWN[name]
    network, x = Read(first, reader), torch.rand(2, *shape)
    network(x)
    assert channels_of_input(graph_of(network.eval(), x), shape) == axis


def test_prepared_pictures_of_a_classifier_have_their_channels_first():
    reader = Read(lambda x: x.permute(0, 2, 1, 3), nn.LazyConv2d(4, (1, 3)))
    reader(torch.rand(1, 1, 9, 9))
    preprocess = Preprocess(size=9, mean=0.5, std=0.25, grey=True)
    model = rn.Classifier("rows", reader.eval(), ("a", "b", "c"), preprocess, "untrained")
    picture = np.arange(81, dtype=np.uint8).reshape(9, 9)
    found = rn.explain(model, picture)
    prepared = rn.explain(model, model.preprocess(picture)[None])
    assert found.channels == prepared.channels == 0
    assert torch.equal(found.heatmap(), prepared.heatmap())


MATRIX = torch.tensor([[0.3, 0.6, 0.1], [-0.1, -0.3, 0.4], [0.6, -0.5, -0.1]])
COLOURS = {
    "einsum": lambda x: torch.einsum("bchw,dc->bdhw", x, MATRIX),
    "einsum, channels last": lambda x: torch.einsum("bchw,dc->bhwd", x, MATRIX).permute(0, 3, 1, 2),
    "tensordot": lambda x: torch.tensordot(x, MATRIX, dims=([1], [1])).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("way", COLOURS)
def test_other_colours_in_front_of_a_convolution(written, images, way):
    network = written(lambda n, x: n.classify(n.conv(COLOURS[way](x)).relu()))
    found = rn.explain(network, images, 1)
    assert found.channels == 0
    torch.testing.assert_close(found.heatmap(), found.relevance[0, 0].sum(0), rtol=0, atol=0)


def test_channels_behind_a_contraction(written, images):
    def forward(n, x):
        z = torch.tensordot(n.conv(x).relu(), n.head.weight[:, :4], dims=([1], [1]))
        return n.classify(torch.einsum("bhwd,hi->bdiw", z, torch.ones(8, 5))[:, :4])

    found = channels(written(forward), images)
    assert (found["tensordot"], found["einsum"]) == (3, 1)


def test_channels_behind_a_contraction_of_the_input(written, images):
    def forward(n, x):
        z = torch.einsum("bchw,dc->bhwd", x, MATRIX).relu()
        return n.classify(torch.cat([z, z[..., :1]], -1).permute(0, 3, 1, 2))

    found = channels(written(forward), images)
    assert (found["einsum"], found["relu"], found["permute"]) == (3, 3, 1)


@pytest.mark.parametrize(
    "squeezed",
    [
        lambda z: torch.einsum("bchw,bchw->bc", z, z.flip(1)),
        lambda z: torch.einsum("bchw,bdhw->bcd", z, z).mean(2),
        lambda z: torch.einsum("bchw->bc", z),
        lambda z: torch.einsum("bchw,c,h->bc", z, torch.ones(4), torch.ones(8)),
        lambda z: torch.linalg.vecdot(z.flatten(2), z.flatten(2).flip(1)),
        lambda z: torch.tensordot(z, torch.ones(8, 8), dims=([2, 3], [0, 1])),
    ],
)
def test_a_gate_may_contract_what_no_signal_may(written, images, squeezed):
    network = written(lambda n, x: n.classify((z := n.conv(x).relu()) * torch.sigmoid(squeezed(z))[..., None, None]))
    z = network.conv(images).relu()
    gate = torch.sigmoid(squeezed(z))[..., None, None].detach()
    held = written(lambda n, x: n.classify(n.conv(x).relu() * gate))
    held.load_state_dict(network.state_dict())
    found = rn.explain(network, images, 1, layers="all")
    torch.testing.assert_close(found.relevance, rn.explain(held, images, 1).relevance)
