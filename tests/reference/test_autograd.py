"""The engine equals R-LRP by automatic differentiation on whole torchvision networks."""

import pytest
import torch

from rlrp_nb import explain
from tests.reference import backprop
from tests.reference.networks import distance, images, torchvision_network

NETWORKS = [
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "mnasnet0_5",
    "regnet_y_400mf",
    "convnext_tiny",
    "alexnet",
]
TARGETS = [1, (7, 4)]


def truth(network, x):
    """Relevance (B, 2, C, H, W) for class 1 and for the contrast of 7 and 4."""
    classes = backprop.one_hot(10, [1, 7, 4])
    seeds = (classes[0], classes[1] - classes[2])
    return torch.stack([backprop.relevance(network, x, seed.expand(len(x), -1)) for seed in seeds], dim=1)


# blocks and leaves whose output is one tensor of the graph, whether batch-norm is folded or not
LAYERS = {
    "resnet18": ["maxpool", "layer1.0", "layer2.1", "layer4.1", "avgpool", "fc"],
    "mobilenet_v2": ["features.0", "features.5", "features.18"],
    "convnext_tiny": ["features.1", "features.4", "avgpool"],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_equals_autograd(name):
    network, x = torchvision_network(name), images(2, 96 if name == "inception_v3" else 64, seed=3)
    expected, layers = truth(network, x), LAYERS.get(name)
    found = explain(network, x, targets=TARGETS, layers=layers)
    with torch.no_grad():
        assert distance(found.logits, network(x)) < 1e-12
    assert distance(found.relevance.flatten(0, 1), expected.flatten(0, 1)) < 1e-9
    if layers:
        expected = backprop.layer_relevances(network, x, backprop.one_hot(10, [TARGETS[0]] * 2), layers)
        for layer in layers:
            assert distance(found.layers[layer][:, 0].flatten(1), expected[layer].flatten(1)) < 1e-9, layer


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_relevance_in_float32_equals_autograd_in_float64(name):
    network, x = torchvision_network(name), images(2, 64, seed=3).float()
    expected = truth(network, x.double())
    found = explain(network.float(), x, targets=TARGETS).relevance
    assert found.dtype == torch.float32
    assert distance(found.flatten(0, 1), expected.flatten(0, 1)) < 1e-4
