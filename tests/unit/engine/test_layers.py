import pytest
import torch

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
    with pytest.raises(KeyError, match=r"'conv2' is not here; did you mean conv1.*kept are: conv1, fc"):
        LAYERS["conv2"]
    with pytest.raises(KeyError, match="no layer was kept: pass layers='all'"):
        Layers()["fc"]


def test_a_key_that_is_no_name_is_told_as_well():
    with pytest.raises(KeyError, match="layer 0 is not here"):
        Layers()[0]


def test_repr_gives_shapes():
    assert repr(LAYERS) == "<2 layers: conv1 (4, 2, 2), fc (3,)>"
