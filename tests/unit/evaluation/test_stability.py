"""Tests of amplification and of small denominators against loops in float64 that are written out."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb
from rlrp_nb.engine.methods import lrp_epsilon, lrp_gamma
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.stability import (
    amplification,
    amplification_by_layer,
    denominators_by_layer,
    small_denominators,
)
from tests.reference.networks import images, randomised, small_vgg
from tests.unit.evaluation.untouched import untouched

EPSILON = 1e-5  # so small that there is something to count


def dense(*matrices, bias=None):
    """Return a ReLU chain with these weights, for inputs (B, 1, 1, n), in float64."""
    layers = [nn.Flatten()]
    for matrix in matrices:
        weight = torch.tensor(matrix, dtype=torch.float64)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
        layer.weight.data = weight
        if bias is not None:
            layer.bias.data = torch.linspace(-bias, bias, weight.shape[0]).double()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def naive(network, values, target, *, relative):
    """Return the ratio of each layer of a dense chain, neuron by neuron."""
    maps = [module for module in network if isinstance(module, nn.Linear)]
    activations = [values]
    for place, module in enumerate(maps):
        weight, bias = module.weight.tolist(), None if module.bias is None else module.bias.tolist()
        z = [
            sum(w * a for w, a in zip(row, activations[-1], strict=True)) + (0 if bias is None else bias[j])
            for j, row in enumerate(weight)
        ]
        activations.append(z if place == len(maps) - 1 else [max(v, 0.0) for v in z])
    relevance = [v if j == target else 0.0 for j, v in enumerate(activations[-1])]
    ratios = []
    for place in reversed(range(len(maps))):
        above, below, weight = activations[place + 1], activations[place], maps[place].weight.tolist()
        divisor = [max(above) if relative and place < len(maps) - 1 else a for a in above]
        handed = [
            sum(below[i] * weight[j][i] * relevance[j] / divisor[j] for j in range(len(above)) if above[j])
            for i in range(len(below))
        ]
        ratios.append(sum(map(abs, handed)) / sum(map(abs, relevance)))
        relevance = handed
    return ratios


@pytest.mark.parametrize(("method", "relative"), [("rlrp", True), ("lrp-0", False), ("gradient-x-input", False)])
@pytest.mark.parametrize("bias", [None, 0.3])
def test_a_dense_chain_equals_the_loop(method, relative, bias):
    generator = torch.Generator().manual_seed(1)
    sizes = itertools.pairwise([6, 7, 5, 4])
    matrices = [torch.randn(above, below, generator=generator).tolist() for below, above in sizes]
    network = dense(*matrices, bias=bias)
    inputs, targets = torch.randn(3, 1, 1, 6, generator=generator).double(), torch.tensor([0, 3, 1])
    with untouched(network, inputs):
        found = amplification_by_layer(network, inputs, targets, method)
    assert found.layers == ("5", "4", "2")
    for n in range(3):
        expected = naive(network, inputs[n].flatten().tolist(), int(targets[n]), relative=relative)
        assert found.ratios[:, n].tolist() == pytest.approx(expected)
    torch.testing.assert_close(found.largest, found.ratios.max(0).values)
    torch.testing.assert_close(amplification(network, inputs, targets, method), found.largest)
    alone = amplification(network, inputs[1:2], targets[1:2], method)
    torch.testing.assert_close(alone, found.largest[1:2])


@pytest.mark.parametrize("tiny", [1e-2, 1e-6, 1e-12])
def test_a_tiny_denominator_makes_lrp_0_explode_and_leaves_rlrp_bounded(tiny):
    # neuron 0, which is all that class 0 reads, is the tiny difference of two inputs of 1; neuron 1 is 1
    network = dense([[1.0, tiny - 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    inputs, targets = torch.ones(1, 1, 1, 2).double(), torch.tensor([0])
    assert amplification(network, inputs, targets, "lrp-0").item() == pytest.approx((2 - tiny) / tiny, rel=1e-3)
    # the contributions of neuron 0 come to 2 - tiny, and the largest activation is 1
    assert amplification(network, inputs, targets, "rlrp").item() == pytest.approx(2 - tiny, rel=1e-3)
    assert amplification(network, inputs, targets, lrp_epsilon(0.25)).item() < 8 + 1e-9
    assert denominators_by_layer(network, inputs, "lrp-0").small.tolist() == [[int(tiny <= 1e-3)], [int(tiny <= 1e-3)]]


def test_rlrp_stays_below_its_bound_and_below_lrp_0():
    generator = torch.Generator().manual_seed(0)
    network = dense(torch.randn(40, 30, generator=generator).tolist(), torch.randn(4, 40, generator=generator).tolist())
    inputs = torch.randn(50, 1, 1, 30, generator=generator).double()
    targets = torch.arange(50) % 4
    z = inputs.flatten(1) @ network[1].weight.T
    contributions = (inputs.flatten(1)[:, None] * network[1].weight).abs().sum(2)
    bound = contributions.amax(1) / z.amax(1)
    found = {method: amplification_by_layer(network, inputs, targets, method).ratios[1] for method in ("rlrp", "lrp-0")}
    assert (found["rlrp"] <= bound).all()
    assert found["lrp-0"].mean() > 1.5 * found["rlrp"].mean()


class Skip(nn.Module):
    """``relu2(W2 relu1(W1 x) + relu1(W1 x))``, read by a dense layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.second, self.last = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        below = functional.relu(self.first(x.flatten(1)))
        return self.last(functional.relu(self.second(below) + below))


@pytest.mark.parametrize("relative", [True, False])
def test_both_branches_of_a_skip_connection_are_counted(relative):
    network = Skip().double().eval()
    inputs, targets = images(2, 2)[:, :1].repeat(1, 1, 1, 2)[..., :3], torch.tensor([2, 0])
    found = amplification_by_layer(network, inputs, targets, "rlrp" if relative else "lrp-0")
    assert len(found.layers) == 3
    with torch.no_grad():
        x = inputs.flatten(1)
        below = network.first(x).relu()
        above = (network.second(below) + below).relu()
        for n, target in enumerate(targets.tolist()):
            rho = [a / a.max() if relative else (a > 0).double() for a in (below[n], above[n])]
            s_above = network.last.weight[target]
            s_sum = s_above * rho[1]
            through, around = below[n] * (s_sum @ network.second.weight), below[n] * s_sum
            s_first = (s_sum @ network.second.weight + s_sum) * rho[0]
            expected = [
                (above[n] * s_above).abs().sum() / network(inputs)[n, target].abs(),
                (through.abs() + around.abs()).sum() / (above[n] * s_above).abs().sum(),
                (x[n] * (s_first @ network.first.weight)).abs().sum() / (through + around).abs().sum(),
            ]
            torch.testing.assert_close(found.ratios[:, n], torch.stack(expected))


class Shared(nn.Module):
    """Two activations that read one affine map, as where bottlenecks are linear."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        z = self.first(x.flatten(1))
        return self.one(functional.relu(z)) + self.two(functional.relu(-z))


def test_activations_that_share_an_affine_map_are_one_layer():
    network = Shared().double().eval()
    inputs, targets = images(2, 2)[:, :1].repeat(1, 1, 1, 2)[..., :3], torch.tensor([2, 0])
    found = amplification_by_layer(network, inputs, targets, "rlrp")
    assert len(found.layers) == 2
    assert " to " in found.layers[1]
    with torch.no_grad():
        x = inputs.flatten(1)
        z = network.first(x)
        for n, target in enumerate(targets.tolist()):
            a = z[n].relu(), (-z[n]).relu()
            s = network.one.weight[target], network.two.weight[target]
            s_z = s[0] * a[0] / a[0].max() - s[1] * a[1] / a[1].max()
            received = (a[0] * s[0]).abs().sum() + (a[1] * s[1]).abs().sum()
            torch.testing.assert_close(found.ratios[0, n], received / network(inputs)[n, target].abs())
            torch.testing.assert_close(found.ratios[1, n], (x[n] * (s_z @ network.first.weight)).abs().sum() / received)


def test_the_flat_rule_hands_on_relevance():
    network = dense([[1.0, 2.0], [-3.0, 4.0]], [[1.0, 2.0]])
    inputs, targets = torch.tensor([[[[0.0, 1.0]]]]).double(), torch.tensor([0])
    found = amplification_by_layer(network, inputs, targets, "epsilon-plus-flat")
    # all that arrives is spread over both inputs, of which one is 0
    assert found.ratios[:, 0].tolist() == pytest.approx([1, 1], rel=1e-5)


class Gated(nn.Module):
    """Squeeze-and-excitation and a smooth activation, which some methods differentiate."""

    def __init__(self):
        super().__init__()
        self.conv, self.squeeze, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = functional.silu(self.conv(x))
        gate = torch.sigmoid(self.squeeze(x.mean((2, 3))))
        return self.last((x * gate[..., None, None]).mean((2, 3)))


@pytest.mark.parametrize("method", rlrp_nb.available_methods())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_method_can_be_measured_on_gates_and_in_low_precision(method, dtype):
    torch.manual_seed(1)
    network = randomised(Gated()).to(dtype)
    inputs, targets = images(2, 8).to(dtype), torch.tensor([1, 4])
    with untouched(network, inputs):
        found = amplification_by_layer(network, inputs, targets, method)
        shares = small_denominators(network, inputs, method)
    assert found.ratios.shape == (2, 2)
    assert found.ratios.dtype == torch.float64
    assert (found.ratios.isfinite() & (found.ratios > 0)).all()
    assert ((shares >= 0) & (shares < 0.5)).all()


def test_relevance_of_none_is_infinite_and_nothing_at_all_is_zero():
    network = dense([[1.0, 0.0], [0.0, 1.0]], [[1.0, -1.0]])
    targets = torch.tensor([0, 0])
    # sample 0: two contributions of 1 that cancel in the logit; sample 1: nothing is active
    found = amplification_by_layer(network, torch.tensor([[1.0, 1.0], [-1, -1]]).reshape(2, 1, 1, 2).double(), targets)
    assert found.ratios.tolist() == [[torch.inf, 0], [1, 0]]


def test_a_network_too_deep_for_float64_is_refused_rather_than_measured_wrongly():
    # relevance flows through neuron 1 alone, which is 1e-6 of the layer's largest activation: 1e-6 for each layer
    deep = [[[1.0, 0.0], [0.0, 1.0]]] * 50
    inputs, targets = torch.tensor([[[[1.0, 1e-6]]]]).double(), torch.tensor([0])
    with pytest.raises(UnsupportedNetworkError, match=r"leaves the range of float64 at '\d+'"):
        amplification(dense(*deep, [[0.0, 1.0]]), inputs, targets, "rlrp")
    assert amplification(dense(*deep, [[0.0, 1.0]]), inputs, targets, "lrp-0").item() == pytest.approx(1)


def parts(tensor):
    return tensor.clamp(min=0), tensor.clamp(max=0)


def published(method, a, z, layer):
    """Return the denominators of a rule for one map, as its paper prints them."""
    apply = functional.conv2d if isinstance(layer, nn.Conv2d) else functional.linear
    options = {"padding": layer.padding} if isinstance(layer, nn.Conv2d) else {}
    (w_up, w_down), (b_up, b_down), (a_up, a_down) = (parts(t) for t in (layer.weight, layer.bias, a))
    positive = apply(a_up, w_up, b_up, **options) + apply(a_down, w_down, **options)
    negative = apply(a_up, w_down, b_down, **options) + apply(a_down, w_up, **options)
    torch.testing.assert_close(positive + negative, z)
    return {
        "lrp-0": z,
        "lrp-epsilon": z + EPSILON * torch.where(z >= 0, 1, -1),
        "lrp-gamma": torch.where(z > 0, z + 0.25 * positive, z + 0.25 * negative),
        "alpha1beta0": positive,
    }[method]


@pytest.mark.parametrize("method", ["lrp-0", "lrp-epsilon", "lrp-gamma", "alpha1beta0"])
def test_denominators_are_those_of_the_published_rules(method):
    network = small_vgg(norm=False).requires_grad_(requires_grad=False)
    inputs = images(3, 12) * 0.3
    # a channel that is nearly nothing, so that there is something to count for every method
    for part in network:
        if isinstance(part, nn.Conv2d):
            part.weight[1] *= 1e-6
            part.bias[1] = 0
    chosen = lrp_epsilon(EPSILON) if method == "lrp-epsilon" else method
    with untouched(network, inputs):
        found = denominators_by_layer(network, inputs, chosen)
    names, small, a = [], [], inputs
    for name, module in network.named_children():
        z = module(a)
        if isinstance(module, nn.Conv2d | nn.Linear):
            sizes = published(method, a, z, module).abs().flatten(1)
            names.append(name)
            small.append([sum(v <= 1e-3 * max(row) for v in row) for row in sizes.tolist()])
        a = z
    assert found.layers == tuple(names)
    assert found.small.tolist() == small
    assert found.neurons.tolist() == [6 * 144, 6 * 144, 8 * 36, 8 * 36, 12, 5]
    assert sum(map(sum, small)) > 100
    torch.testing.assert_close(found.shares, torch.tensor(small).double() / found.neurons[:, None])
    share = small_denominators(network, inputs, chosen)
    assert share.tolist() == pytest.approx(
        [sum(column) / sum(found.neurons.tolist()) for column in zip(*small, strict=True)]
    )


def test_gamma_and_epsilon_count_in_the_denominator():
    network = dense([[2.0, -3.0], [1000.0, 0.0]])
    inputs = torch.tensor([[[[1.0, 0.5]]]]).double()
    assert denominators_by_layer(network, inputs, "lrp-0").small.item() == 1
    assert denominators_by_layer(network, inputs, lrp_epsilon(1.0)).small.item() == 0
    assert denominators_by_layer(network, inputs, lrp_gamma(0.1)).small.item() == 1
    assert denominators_by_layer(network, inputs, lrp_gamma(2.0)).small.item() == 0


def test_an_epsilon_that_the_dtype_cannot_hold_makes_no_denominators():
    with pytest.raises(InputError, match=r"epsilon is 1e\+300, which torch.float32 cannot hold"):
        small_denominators(small_vgg().float(), images(2, 12).float(), lrp_epsilon(1e300))


@pytest.mark.parametrize("method", ["rlrp", "gradient-x-input"])
def test_what_divides_by_no_neuron_has_no_small_denominator(method):
    network, inputs = small_vgg(), images(2, 12)
    found = denominators_by_layer(network, inputs, method)
    assert found.layers == ()
    assert found.shares.shape == (0, 2)
    assert small_denominators(network, inputs, method).tolist() == [0, 0]


def test_a_skip_connection_is_divided_by_and_the_flat_layer_is_not():
    network = Skip().double().eval()
    inputs = images(2, 2)[:, :1].repeat(1, 1, 1, 2)[..., :3]
    names = denominators_by_layer(network, inputs, "lrp-0").layers
    assert names == ("first", "second", "add", "last")
    assert denominators_by_layer(network, inputs, "epsilon-plus-flat").layers == ("second", "add", "last")


def test_a_layer_of_zeros_is_small_throughout():
    network = dense([[1.0, 2.0], [3.0, 4.0]])
    inputs = torch.zeros(1, 1, 1, 2).double()
    assert small_denominators(network, inputs, "lrp-0").item() == 1


def test_bad_input_is_named():
    network, inputs, targets = small_vgg(), images(2, 12), torch.tensor([0, 3])
    for call, words in (
        (lambda: amplification(network, inputs, targets + 5), "target 5 of input 0"),
        (lambda: amplification(network, inputs, targets, "lrp"), "method 'lrp' is not known"),
        (lambda: amplification(network, inputs[0], targets), "inputs has shape"),
        (lambda: small_denominators(network, inputs[0]), "inputs has shape"),
        (lambda: small_denominators(network, inputs, "lrp"), "method 'lrp' is not known"),
        (lambda: small_denominators("vgg16", inputs), "network is a str"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    softplus = nn.Sequential(nn.Flatten(), nn.Linear(432, 2), nn.Softplus()).double().eval()
    for call in (
        lambda: amplification(network.train(), inputs, targets),
        lambda: small_denominators(network.train(), inputs),
        lambda: amplification(softplus, inputs, torch.tensor([0, 1])),
    ):
        with pytest.raises(UnsupportedNetworkError):
            call()


def test_hooks_that_change_the_output_are_refused():
    network, inputs, targets = small_vgg(), images(2, 12), torch.tensor([0, 3])
    with network[0].register_forward_hook(lambda _module, _inputs, output: 2 * output):
        for call in (
            lambda: amplification(network, inputs, targets),
            lambda: small_denominators(network, inputs),
        ):
            with pytest.raises(UnsupportedNetworkError, match="forward hooks change the output"):
                call()
    with network[0].register_forward_hook(lambda *_: None):
        assert amplification(network, inputs, targets).tolist() == amplification(small_vgg(), inputs, targets).tolist()
