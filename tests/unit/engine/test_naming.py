import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.tracing import trace


def test_conv_and_folded_norm_share_a_layer_and_a_block_is_its_last_op(residual, images):
    layers = rn.explain(residual, images, layers="all").layers
    assert layers["1.0.bn1"] is layers["1.0.conv1"]
    assert layers["1.0"] is layers["1.0.relu:2"]
    assert layers["1"] is layers["1.1"]
    assert layers["0"] is layers["0.2"]
    assert "1.0.relu" in list(layers)
    assert "1.0.relu:2" not in list(layers)  # shown as the block it closes


def test_functions_are_named_after_the_module_around_them(written, images):
    graph = trace(written(lambda n, x: n.classify(torch.relu(torch.relu(n.conv(x)) + 1))), images)
    assert list(graph.layers()) == ["conv", "relu", "add", "relu:2", "mean", "head"]


def test_a_function_does_not_take_the_name_of_a_module(images):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return torch.relu(self.relu(self.conv(x)) - 1).mean((2, 3))

    names = list(trace(Mixed().eval(), images).layers())
    assert names == ["conv", "relu", "sub", "relu:2", "mean"]


def test_calls_of_one_module_are_counted(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

        def forward(self, x):
            return self.block(self.block(x)).mean((2, 3))

    layers = rn.explain(Twice().eval(), images, 0, layers="all").layers
    assert list(layers) == ["block.0", "block.1", "block.0:2", "block.1:2", "mean"]
    assert layers["block:2"] is layers["block.1:2"]


def test_an_at_sign_in_a_name_is_part_of_it(images):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({"conv@3x3": nn.Conv2d(3, 3, 3, padding=1), "@1": nn.ReLU()})

        def forward(self, x):
            for _ in range(2):
                x = self.parts["@1"](self.parts["conv@3x3"](x))
            return x.mean((2, 3))

    layers = rn.explain(Named().eval(), images, 0, layers="all").layers
    assert list(layers) == ["parts.conv@3x3", "parts.@1", "parts.conv@3x3:2", "parts.@1:2", "mean"]


def test_a_module_of_several_values_gives_its_name_to_none_and_one_that_works_on_to_its_output(images):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            first, second = self.conv(x).chunk(2, 1)
            return first.relu(), second.tanh()

    class Gated(nn.Module):
        def forward(self, x):
            y = x * 2
            self.seen = y.mean()  # computed last, and not what is returned
            return y

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.gated = Both(), Gated()

        def forward(self, x):
            first, second = self.both(x)
            return self.gated(first + second).mean((2, 3))

    network = Whole().eval()
    explanation = rn.explain(network, images, 0, layers="all")
    assert list(explanation.layers) == ["both.conv", "both.relu", "both.tanh", "add", "gated", "mean"]
    with pytest.raises(rn.InputError, match=r"\['both'\] are not layers"):
        rn.explain(network, images, 0, layers="both")
    assert explanation.layers["gated"].shape == (2, 1, 2, 6, 6)
