"""What the definition promises whatever the network: invariances, linearity in the seed, finite for finite inputs."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rlrp_nb import available_methods, explain
from tests.reference import backprop, naive
from tests.reference.networks import distance, images, multilayer_perceptron, randomised, small_vgg

property_test = settings(max_examples=12, deadline=None, derandomize=True)
random_seeds = st.integers(0, 10_000)
scales = st.floats(-12, 12).map(lambda exponent: 10.0**exponent)


def relevance(network, x, targets=(0, 2), method="rlrp"):
    return explain(network, x, targets=list(targets), method=method).relevance


def scaled(r):
    """Relevance divided by its largest absolute value, per sample and target."""
    largest = r.abs().flatten(2).amax(2)
    assert (largest > 0).all()
    return r / largest.reshape(*largest.shape, *[1] * (r.dim() - 2))


def redrawn(network, seed):
    """The same network with other weights, written in place: networks are traced once, examples come by the dozen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel()
            parameter.normal_(0, fan_in**-0.5, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            randomised(module, seed)
    return network


shared_vgg = functools.cache(small_vgg)


class Residual(nn.Module):
    """Stem, one residual block, max pooling and a head; homogeneous when it has no biases."""

    def __init__(self, *, bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.head = nn.Linear(4, 3, bias=bias)
        self.double().eval()

    def forward(self, x):
        stem = functional.leaky_relu(self.stem(x), 0.1)
        block = functional.relu(stem + self.second(functional.relu(self.first(stem))))
        return self.head(functional.max_pool2d(block, 3, 2, 1).mean((2, 3)))


shared_residual = functools.cache(Residual)


# ------------------------------------------------------------------------------------------------ scale


@property_test
@given(seed=random_seeds, scale=scales)
def test_the_scale_of_the_input_does_not_matter_without_biases(seed, scale):
    network, x = redrawn(shared_residual(), seed), images(2, 6, seed=seed)
    expected = scaled(relevance(network, x))
    torch.testing.assert_close(scaled(relevance(network, scale * x)), expected, rtol=0, atol=1e-9)


@property_test
@given(seed=random_seeds, scale=scales, layer=st.integers(0, 5))
def test_the_scale_of_a_layer_does_not_matter_without_biases(seed, scale, layer):
    network, x = redrawn(shared_vgg(norm=False, bias=False), seed), images(2, 12, seed=seed)
    before = scaled(relevance(network, x))
    with torch.no_grad():
        [module for module in network if hasattr(module, "weight")][layer].weight *= scale
    torch.testing.assert_close(scaled(relevance(network, x)), before, rtol=0, atol=1e-9)


@property_test
@given(seed=random_seeds, scale=scales)
def test_the_scale_before_and_after_a_residual_block_does_not_matter_without_biases(seed, scale):
    network, x = redrawn(shared_residual(), seed), images(2, 6, seed=seed)
    before = scaled(relevance(network, x))
    with torch.no_grad():
        network.stem.weight *= scale
        network.head.weight /= math.sqrt(scale)
    torch.testing.assert_close(scaled(relevance(network, x)), before, rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------------ writing it otherwise


def folded(network):
    modules = []
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            modules[-1] = fuse_conv_bn_eval(modules[-1], module)
        else:
            modules.append(module)
    return nn.Sequential(*modules).eval()


@functools.cache
def normed_and_folded():
    network = small_vgg()
    return network, folded(network)


@property_test
@given(seed=random_seeds)
def test_folding_batch_norm_changes_nothing(seed):
    normed, plain = normed_and_folded()
    plain.load_state_dict(folded(redrawn(normed, seed)).state_dict())
    x = images(2, 12, seed=seed)
    assert distance(relevance(plain, x).flatten(0, 1), relevance(normed, x).flatten(0, 1)) < 1e-9


def test_cutting_an_affine_map_otherwise_changes_nothing():
    """Average pooling before the linear map, folded into it, or written as a depthwise convolution."""
    torch.manual_seed(0)
    stem, head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 9, 3)
    average = nn.Conv2d(4, 4, 2, stride=2, groups=4, bias=False)
    nn.init.constant_(average.weight, 1 / 4)
    whole = nn.Conv2d(4, 3, 6)
    with torch.no_grad():
        kernel = head.weight.reshape(3, 4, 3, 3)
        whole.weight.copy_(kernel.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4)
        whole.bias.copy_(head.bias)
    tails = ([nn.AvgPool2d(2), nn.Flatten(), head], [average, nn.Flatten(), head], [whole, nn.Flatten()])
    x = images(2, 6)
    first, *others = (relevance(nn.Sequential(stem, nn.ReLU(), *tail).double().eval(), x) for tail in tails)
    for other in others:
        assert distance(other.flatten(0, 1), first.flatten(0, 1)) < 1e-9


class Written(nn.Module):
    """The same network with its activation, pooling and flatten as modules, as functions, or in place."""

    def __init__(self, style):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(16, 3)
        self.style = style
        self.relu, self.pool, self.flatten = nn.ReLU(inplace=style == "in-place modules"), nn.MaxPool2d(2), nn.Flatten()
        self.double().eval()

    def activate(self, z):
        if self.style == "functions":
            return functional.relu(z)
        if self.style == "methods":
            return z.relu()
        if self.style == "in-place functions":
            torch.relu_(z)
            return z
        return self.relu(z)

    def forward(self, x):
        z = self.first(x)
        if self.style == "functions":
            norm = self.norm
            z = functional.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        else:
            z = self.norm(z)
        a = self.activate(z)
        a = self.activate(self.second(a))
        if "functions" in self.style or self.style == "methods":
            return functional.linear(functional.max_pool2d(a, 2).view(len(x), -1), self.head.weight, self.head.bias)
        return self.head(self.flatten(self.pool(a)))


STYLES = ("modules", "in-place modules", "functions", "in-place functions", "methods")


@functools.cache
def written(style):
    return Written(style)


@property_test
@given(seed=random_seeds)
def test_the_way_a_network_is_written_changes_nothing(seed):
    x = images(2, 8, seed=seed)
    first, *others = (relevance(redrawn(written(style), seed), x).flatten(0, 1) for style in STYLES)
    for other in others:
        assert distance(other, first) < 1e-9


class Repeated(nn.Module):
    """One convolution and one activation, applied three times; or three copies of each."""

    def __init__(self, *, copies):
        super().__init__()
        convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.convolutions = nn.ModuleList(copy.deepcopy(convolution) if copies else convolution for _ in range(3))
        relu = nn.ReLU(inplace=True)
        self.relus = nn.ModuleList(nn.ReLU(inplace=True) if copies else relu for _ in range(3))
        self.head = nn.Linear(3, 3)
        self.double().eval()

    def forward(self, x):
        for convolution, relu in zip(self.convolutions, self.relus, strict=True):
            x = relu(convolution(x)) + x
        return self.head(x.mean((2, 3)))


@functools.cache
def repeated_and_copied():
    return Repeated(copies=False), Repeated(copies=True)


@property_test
@given(seed=random_seeds)
def test_a_module_used_several_times_is_as_good_as_copies(seed):
    repeated, copied = repeated_and_copied()
    copied.load_state_dict(redrawn(repeated, seed).state_dict())
    x = images(2, 6, seed=seed)
    once = relevance(repeated, x).flatten(0, 1)
    assert distance(relevance(copied, x).flatten(0, 1), once) < 1e-12
    expected = backprop.relevance(repeated, x, backprop.one_hot(3, [2, 2]))
    assert distance(once[1::2], expected) < 1e-9


@pytest.mark.parametrize("method", available_methods())
def test_the_other_samples_of_the_batch_change_nothing(method):
    network, x = shared_vgg(3), images(4, 12, seed=3)
    x[1] *= 1e6
    x[2] = 0
    together = relevance(network, x, method=method)
    for n in (0, 1, 3):
        alone = relevance(network, x[n : n + 1], method=method)
        assert distance(together[n], alone[0]) < 1e-9
    other_way = relevance(network, x.flip(0), method=method).flip(0)
    assert distance(other_way[[0, 1, 3]], together[[0, 1, 3]]) < 1e-9


# ------------------------------------------------------------------------------------------------ linear in the seed


@pytest.mark.parametrize("method", available_methods())
@pytest.mark.parametrize("build", [shared_vgg, lambda: shared_residual(bias=True)], ids=["VGG", "residual"])
def test_relevance_is_linear_in_the_seed(method, build):
    network, x = build(), images(2, 12, seed=1)
    r = relevance(network, x, targets=[0, 1, 2, (0, 1), (2, 0)], method=method)
    assert distance(r[:, 3], r[:, 0] - r[:, 1]) < 1e-9
    assert distance(r[:, 4], r[:, 2] - r[:, 0]) < 1e-9


def test_many_targets_are_as_good_as_one_at_a_time():
    network, x = shared_vgg(), images(3, 12)
    together = relevance(network, x, targets=range(5))
    for target in range(5):
        assert distance(together[:, target], relevance(network, x, targets=[target])[:, 0]) < 1e-12


# ------------------------------------------------------------------------------------------------ finite


@functools.cache
def single_vgg(*, bias=True):
    """The small VGG in float32."""
    return small_vgg(norm=False, bias=bias).float()


@pytest.mark.parametrize("method", available_methods())
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
def test_a_black_image_has_finite_relevance(method, bias):
    r = relevance(single_vgg(bias=bias), torch.zeros(2, 3, 12, 12), method=method)
    assert r.isfinite().all()
    if method != "epsilon-plus-flat":  # the flat rule looks at no pixel
        assert not r.any()


@pytest.mark.parametrize("layer", [0, 5, 12])
def test_a_dead_layer_has_finite_relevance(layer):
    network, x = small_vgg(norm=False).float(), images(2, 12).float()
    nn.init.constant_(network[layer].bias, -1e4)
    for method in available_methods():
        r = relevance(network, x, method=method)
        assert r.isfinite().all()
        assert not r.any()


@pytest.mark.parametrize("method", available_methods())
@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e-42, 1e-45])
def test_tiny_activations_have_finite_relevance(method, size):
    """Down to the smallest number float32 has: a quotient by it, or its reciprocal, would overflow."""
    r = relevance(single_vgg(bias=False), size * images(2, 12).float(), method=method)
    assert r.isfinite().all()


def test_tiny_activations_keep_their_relevance():
    """At 1e-30 float32 still has all its digits, so the heatmap is the one of the image itself."""
    network, x = single_vgg(bias=False), images(2, 12).float()
    torch.testing.assert_close(scaled(relevance(network, 1e-30 * x)), scaled(relevance(network, x)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU6(), nn.LeakyReLU(), nn.SiLU(), nn.GELU(), nn.Hardswish(), nn.Tanh(), nn.Hardtanh()],
    ids=lambda module: type(module).__name__,
)
def test_every_activation_is_finite_from_nothing_to_saturation(activation):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), activation, nn.Conv2d(4, 3, 3), activation, nn.Flatten(), nn.Linear(12, 3)
    )
    network = randomised(redrawn(network, 0), bias=0.0)
    precise = copy.deepcopy(network).double()
    for size in (0.0, 1e-45, 1e-30, 1.0, 1e6):
        x = size * images(2, 6)
        assert relevance(network, x.float()).isfinite().all()
        found = relevance(precise, x)[:, 1]
        if size:
            assert distance(found, backprop.relevance(precise, x, backprop.one_hot(3, [2, 2]))) < 1e-9
        else:
            assert not found.any()


def chain(network):
    return [naive.Dense.of(module) for module in network if isinstance(module, nn.Linear)]


def direction(layers, x, seed):
    """Relevance of the input of a ReLU chain divided by its largest, by a walk that is normalised at every layer."""
    inputs, _ = naive.dense_record(layers, x)
    s = np.asarray(seed, dtype=np.float64)
    for number in reversed(range(len(layers))):
        s = layers[number].weight.T @ s
        s = s * inputs[number]  # without the layer's maximum, a common factor
        s = s / np.abs(s).max()
    return torch.tensor(s)


def test_a_thousand_layers_keep_their_relevance():
    """In float32. Averaging layers first: nothing grows, nothing dies, so that all thousand are there to compare.

    Then random ones, whose relevance is far too small for float32; the heatmap must be the right one up to its scale.
    """
    network, x = multilayer_perceptron(24, *[24] * 999, 3, bias=False).float(), images(1, 24, channels=1)[:, 0, 0]
    with torch.no_grad():
        for module in network[::2]:
            module.weight.abs_().div_(module.weight.sum(1, keepdim=True))
    truth = torch.tensor(naive.dense_relevances(chain(network), x[0].numpy(), [0, 1, 0])[0])
    assert distance(relevance(network, x.float(), targets=[1])[0], truth[None]) < 1e-3

    torch.manual_seed(0)
    for module in network[::2]:
        nn.init.kaiming_normal_(module.weight)
    found = relevance(network, x.float(), targets=[1])
    assert found.isfinite().all()
    assert (scaled(found)[0, 0] - direction(chain(network), x[0].numpy(), [0, 1, 0])).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_networks_have_finite_relevance(dtype):
    network, x = shared_vgg(2), images(2, 12, seed=2)
    expected = relevance(network, x)
    found = relevance(copy.deepcopy(network).to(dtype), x.to(dtype))
    assert found.isfinite().all()
    correlation = torch.stack([found.double().flatten(2), expected.flatten(2)])
    cosine = functional.cosine_similarity(*correlation, dim=-1)
    assert (cosine > 0.98).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_network_survives_black_images(dtype):
    found = relevance(small_vgg(2).to(dtype), torch.zeros(1, 3, 12, 12, dtype=dtype))
    assert found.isfinite().all()
