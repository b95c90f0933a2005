"""Every classification CNN of torchvision: equal to R-LRP by automatic differentiation, and the books balance."""

import copy
import math

import pytest
import torch
from torch import nn
from torchvision import models

from benchmarks.breadth import refusals
from rlrp_nb import explain
from rlrp_nb.models import torchvision_cnn
from tests.reference import backprop, zoo
from tests.reference.networks import distance, images, torchvision_network

# one of each family is compared in float64, to the last digits, and at some layers: blocks and leaves whose output is
# one tensor of the graph, whether batch-norm is folded or not
IN_FLOAT64 = {
    "alexnet": [],
    "convnext_tiny": ["features.1", "features.4", "avgpool"],
    "densenet121": [],
    "efficientnet_b0": [],
    "googlenet": [],
    "inception_v3": [],
    "mnasnet0_5": [],
    "mobilenet_v2": ["features.0", "features.5", "features.18"],
    "mobilenet_v3_small": [],
    "regnet_y_400mf": [],
    "resnet18": ["maxpool", "layer1.0", "layer2.1", "layer4.1", "avgpool", "fc"],
    "resnet50": [],
    "shufflenet_v2_x0_5": [],
    "squeezenet1_1": [],
    "vgg11_bn": [],
}

# pools nowhere, and has 645 million weights, with which a minute goes in float64
IN_FLOAT32 = {"regnet_y_128gf"}


def best(logits):
    """A contrast of two classes, and another class: SqueezeNet ends in a ReLU, where the others are dead."""
    first, second, third = logits.sum(0).topk(3).indices.tolist()
    return [(second, third), first]


def truth(network, x, targets, classes):
    """Relevance (B, K, C, H, W) for contrasts and classes."""

    def seed(target):
        plus, *minus = target if isinstance(target, tuple) else (target,)
        hot = backprop.one_hot(classes, [plus, *minus], x.dtype)
        return (hot[0] - hot[1] if minus else hot[0]).expand(len(x), -1)

    return torch.stack([backprop.relevance(network, x, seed(target)) for target in targets], dim=1)


def check_sums(ledger, found, target, sample):
    """Hold the columns against each other, and their sums against the logits and the relevance of the input."""
    for row in ledger:
        kept = row.relevance_in + row.bias
        if math.isnan(row.factor):
            assert row.relevance_out == kept == 0, row
        else:
            assert kept == pytest.approx(row.factor * row.relevance_out, rel=1e-6), row
    # what the users of a value hand to it is what it hands on, but for the logits, where relevance comes in
    logits, positive, negative = found.logits[sample], *(t[sample, target] for t in (found.targets, found.negatives))
    arrives = logits[positive] - (logits[negative] if negative >= 0 else 0)
    handed = arrives + sum(row.relevance_in for row in ledger)
    left = found.relevance[sample, target].sum() + sum(row.relevance_out for row in ledger)
    assert float(left) == pytest.approx(float(handed), rel=1e-9)


def test_every_classifier_is_explained_or_refused_by_name():
    assert set(IN_FLOAT64) <= set(torchvision_cnn.names())
    assert len(torchvision_cnn.names()) >= 68
    assert len(refusals()) == len(models.list_models(module=models)) - len(torchvision_cnn.names())
    for name, sentence in refusals():
        assert sentence.startswith(f"{name!r} is a vision transformer; only classification CNNs")


@pytest.mark.parametrize("name", torchvision_cnn.names())
def test_the_books_balance_and_relevance_equals_autograd(name):
    layers = IN_FLOAT64.get(name)
    # in float32 rounding decides about winners of max pooling, and in the deepest networks about everything
    dtype, samples = torch.float32 if name in IN_FLOAT32 else torch.float64, 1 if layers is None else 2
    network, x = zoo.network(name, dtype), images(samples, zoo.size(name), seed=3).to(dtype)
    with torch.no_grad():
        logits = network(x)
    # what is linear in the classes in one network of a family is so in the others
    targets = best(logits)[: 1 if layers is None else 2]
    found = explain(network, x, targets=targets, layers="all")
    assert distance(found.logits, logits) < (1e-4 if layers is None else 1e-12)
    # the reference runs every batch-norm by itself: folding must change nothing
    expected = truth(network, x, targets, logits.shape[1])
    assert distance(found.relevance.flatten(0, 1), expected.flatten(0, 1)) < (1e-4 if layers is None else 1e-9)
    for target in range(len(targets)):
        for sample in range(samples):
            ledger = found.ledger(target, sample)
            assert len(ledger) > 5
            for row in ledger:
                assert abs(row.residual) < (1e-4 if layers is None else 1e-10), row
            assert ledger.worst_residual > 0  # rounding leaves something: nothing left means that nothing was added up
            if layers is not None:
                check_sums(ledger, found, target, sample)
    if layers:
        hot = backprop.one_hot(logits.shape[1], [targets[1]] * samples)
        at_layers = backprop.layer_relevances(network, x, hot, layers)
        for layer in layers:
            assert distance(found.layers[layer][:, 1].flatten(1), at_layers[layer].flatten(1)) < 1e-9, layer


def test_networks_of_relu6_are_tried_where_it_clips():
    network, x = zoo.network("mobilenet_v2", torch.float64), images(2, 64, seed=3)
    activations = [module for module in network.modules() if isinstance(module, nn.ReLU6)]
    shares = []
    for module in activations:
        module.register_forward_hook(lambda _module, _inputs, a: shares.append(float((a == 6).double().mean())))
    network(x)
    assert len(shares) == len(activations) > 30
    assert sum(share > 0 for share in shares) > len(shares) / 2


class WrittenOut(nn.Module):
    """A batch-norm as a product and a sum, which nothing can fold."""

    def __init__(self, norm):
        super().__init__()
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shape = (1, -1, 1, 1)
        self.register_buffer("factor", factor.reshape(shape))
        self.register_buffer("shift", (norm.bias - norm.running_mean * factor).reshape(shape))

    def forward(self, x):
        return x * self.factor + self.shift


def written_out(network):
    """Replace every batch-norm of a copy."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, key, WrittenOut(child).eval())
    return network


@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"]
)
def test_batch_norm_written_out_changes_nothing(name):
    network, x = zoo.network(name, torch.float64), images(2, 64, seed=3)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    plain = written_out(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    folded, unfolded = (explain(each, x, targets=[1, (7, 4)]).relevance.flatten(0, 1) for each in (network, plain))
    assert distance(folded, unfolded) < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_relevance_in_float32_equals_autograd_in_float64(name):
    network, x = torchvision_network(name), images(2, 64, seed=3).float()
    targets = [1, (7, 4)]
    expected = truth(network, x.double(), targets, 10)
    found = explain(network.float(), x, targets=targets).relevance
    assert found.dtype == torch.float32
    assert distance(found.flatten(0, 1), expected.flatten(0, 1)) < 1e-4
