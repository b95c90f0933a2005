import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.layers import Layers

A, B = torch.zeros(1, 1, 4, 2, 2), torch.ones(1, 1, 3)
LAYERS = Layers([(("conv1", "bn1"), A), (("fc",), B)])


def test_each_tensor_is_listed_once_and_found_under_every_name():
    assert list(LAYERS) == ["conv1", "fc"]
    assert len(LAYERS) == 2
    assert LAYERS["bn1"] is LAYERS["conv1"] is A
    assert "bn1" in LAYERS
    assert LAYERS.names_of("bn1") == ("conv1", "bn1")


def test_a_missing_layer_is_told_with_what_is_there():
    with pytest.raises(KeyError, match=r"'conv2' is not here; did you mean 'conv1'.*kept are: conv1, fc"):
        LAYERS["conv2"]
    with pytest.raises(KeyError, match="no layer was kept: pass layers='all'"):
        Layers()["fc"]


def test_a_key_that_is_no_name_is_told_as_well():
    with pytest.raises(KeyError, match="layer 0 is not here"):
        Layers()[0]


def test_repr_gives_shapes():
    assert repr(LAYERS) == "<2 layers: conv1 (4, 2, 2), fc (3,)>"
    assert repr(Layers([(("a\x1b[2J\u202e",), B)])) == r"<1 layers: a\x1b[2J\u202e (3,)>"


class Turned(nn.Module):
    """Its samples are counted by axis 3 at the first layer, and by axis 1 at the second."""

    def __init__(self):
        super().__init__()
        self.last, self.second, self.head = nn.Tanh(), nn.SiLU(), nn.Linear(3 * 3 * 5 * 4, 6)

    def forward(self, x):
        last = self.last(x.permute(1, 2, 3, 0)).permute(3, 0, 1, 2)
        return self.head(self.second(torch.stack([last, -last, 2 * last])).transpose(0, 1).flatten(1))


def test_samples_come_first_whatever_their_axis_in_the_network(tmp_path):
    torch.manual_seed(0)
    network, inputs = Turned().eval(), torch.randn(2, 3, 5, 4)
    explanation = rn.explain(network, inputs, [0, 1, 2], layers="all")
    assert explanation.layers["last"].shape == (2, 3, 3, 5, 4)
    assert explanation.layers["second"].shape == (2, 3, 3, 3, 5, 4)
    for sample in range(2):
        alone = rn.explain(network, inputs[sample : sample + 1], [0, 1, 2], layers="all")
        for name in explanation.layers:
            torch.testing.assert_close(explanation.layers[name][sample], alone.layers[name][0])
    loaded = rn.Explanation.load(explanation.save(tmp_path / "turned.safetensors"))
    assert torch.equal(loaded.layers["last"], explanation.layers["last"])
