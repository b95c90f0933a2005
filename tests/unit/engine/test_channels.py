import torch
from torch.nn import functional
from torchvision.models import convnext_tiny, shufflenet_v2_x0_5

import rlrp_nb as rn
from rlrp_nb.engine.registry import graph_of


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
