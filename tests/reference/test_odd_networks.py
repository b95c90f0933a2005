"""Small networks written in every odd way: the engine equals R-LRP by automatic differentiation on them too."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rlrp_nb import explain
from tests.reference import backprop
from tests.reference.networks import distance, images

NETWORKS = {}


def odd(width=4, **modules):
    """Register the body of a network: from x (B, 3, 8, 8) to features, whose mean over all places goes to a head."""

    def register(body):
        NETWORKS[body.__name__] = (body, modules, width)
        return body

    return register


class Odd(nn.Module):
    def __init__(self, body, modules, width):
        super().__init__()
        torch.manual_seed(0)
        self.body = body
        for number in (1, 2, 3):
            setattr(self, f"conv{number}", nn.Conv2d(3 if number == 1 else 4, 4, 3, padding=1))
        for name, build in modules.items():
            setattr(self, name, build())
        self.head = nn.Linear(width, 3)
        self.double().eval()

    def forward(self, x):
        features = self.body(self, x)
        return self.head(features.flatten(2).mean(2) if features.dim() > 2 else features)


@odd()
def residual_added_in_place(net, x):
    a = net.conv1(x).relu_()
    y = net.conv2(a)
    y += a
    return y.relu_()


@odd()
def activation_in_place_seen_through_another_name(net, x):
    z = net.conv1(x)
    a = functional.relu(z, inplace=True)
    return net.conv2(z) + a


@odd()
def squeeze_and_excitation(net, x):
    a = net.conv1(x).relu()
    return a * torch.sigmoid(net.conv3(functional.relu(net.conv2(a.mean((2, 3), keepdim=True)))))


@odd()
def gate_on_the_left_and_expanded(net, x):
    a = net.conv1(x).relu()
    return functional.hardsigmoid(net.conv2(a.mean((2, 3), keepdim=True))).expand_as(a) * a


@odd()
def gate_with_arithmetic(net, x):
    a = net.conv1(x).relu()
    return a * (torch.sigmoid(net.conv2(a)) * 0.5 + 0.25)


@odd()
def softmax_over_places(net, x):
    a = net.conv1(x).relu()
    return 64 * a * torch.softmax(net.conv2(a).flatten(2), -1).view_as(a)


@odd()
def highway(net, x):
    a = net.conv1(x).relu()
    gate = torch.sigmoid(net.conv2(a))
    return gate * a + (1 - gate) * net.conv3(a).relu()


@odd(narrow=lambda: nn.Conv2d(2, 2, 3, padding=1))
def chunked_and_joined(net, x):
    first, second = net.conv1(x).relu().chunk(2, 1)
    return torch.cat((second, net.narrow(first).relu()), 1)


@odd(narrow=lambda: nn.Conv2d(2, 4, 3))
def indexed_and_stacked(net, x):
    a = net.conv1(x).relu()
    return net.narrow(torch.stack([a[:, 1], a[:, 3]], 1)).relu()


@odd()
def shuffled_channels(net, x):
    a = net.conv1(x).relu()
    return net.conv2(a.view(len(a), 2, 2, 8, 8).transpose(1, 2).reshape(a.shape)).relu()


@odd()
def pooled_and_interpolated(net, x):
    a = net.conv1(x).relu()
    b = functional.interpolate(functional.max_pool2d(a, 2), scale_factor=2, mode="bilinear", align_corners=False)
    return (net.conv2(b) + a).relu()


@odd()
def difference_with_nearest_neighbours(net, x):
    a = net.conv1(x).relu()
    b = functional.interpolate(functional.avg_pool2d(a, 2), size=(8, 8))
    return (net.conv2(b) - a).relu()


@odd()
def padded_by_reflection_and_by_a_constant(net, x):
    a = functional.pad(net.conv1(x).relu(), (1, 2, 0, 1), mode="reflect")
    return net.conv2(functional.pad(a, (2, 0, 1, 1), value=0.5)).relu()


@odd(width=10)
def image_used_several_times(net, x):
    return torch.cat([net.conv1(x).relu(), x, 2 * x - 1], 1)


@odd(scale=lambda: nn.ParameterList([torch.rand(4, 1, 1)]))
def image_normalised_and_features_scaled(net, x):
    x = (x - torch.tensor([0.1, 0.2, 0.3], dtype=x.dtype).view(1, 3, 1, 1)) / 0.5
    return net.conv1(x).relu() * net.scale[0] * 2


@odd()
def reversed_and_weighted_sums(net, x):
    a = net.conv1(x).relu()
    b = torch.add(a, net.conv2(a), alpha=-0.7).relu()
    return 1 - torch.rsub(a, net.conv3(b).relu(), alpha=2) / 3


@odd()
def maximum_over_places(net, x):
    return functional.adaptive_max_pool2d(net.conv1(x).relu(), 3).amax((2, 3))


@odd()
def activation_after_pooling_and_twice(net, x):
    return functional.max_pool2d(net.conv1(x.relu()), 3, 2, 1).relu().relu()


@odd(norm=lambda: nn.LayerNorm(4), dense=lambda: nn.Linear(4, 4))
def layer_norms(net, x):
    a = net.norm(net.conv1(x).permute(0, 2, 3, 1))
    return functional.layer_norm(functional.gelu(net.dense(a)), (4,)).permute(0, 3, 1, 2)


@odd(width=5, flat=lambda: nn.Linear(192, 5), norm=lambda: nn.BatchNorm1d(5))
def dense_with_batch_norm(net, x):
    return net.norm(net.flat(x.reshape(len(x), -1))).relu()


@odd(right=lambda: nn.ParameterList([torch.randn(64, 5)]), left=lambda: nn.ParameterList([torch.randn(4, 4)]))
def matrix_products_on_both_sides(net, x):
    return (net.left[0] @ net.conv1(x).relu().flatten(2)).relu() @ net.right[0]


@odd(prelu=lambda: nn.PReLU(4))
def rarer_activations(net, x):
    a = functional.elu(net.prelu(net.conv1(x)))
    return functional.mish(net.conv3(functional.selu(net.conv2(a)))).clamp(-0.2, 0.3)


@odd(width=8)
def ops_by_their_other_names(net, x):
    a = torch.clip(torch.subtract(net.conv1(x), 0.1, alpha=2), -0.5, 0.8)
    b = torch.negative(torch.multiply(torch.divide(net.conv2(a), torch.tensor(0.3)), 1.5))
    return torch.concat([torch.true_divide(b, 2).relu(), torch.concatenate([a, b], dim=1)[:, 2:6]], dim=1)


@pytest.mark.parametrize("name", NETWORKS)
def test_odd_networks_equal_autograd(name):
    network, x = Odd(*NETWORKS[name]), images(3, 8, seed=1)
    found = explain(network, x, targets=[1, 2], layers="all")
    for k, target in enumerate((1, 2)):
        expected = backprop.relevance(network, x, backprop.one_hot(3, [target] * 3))
        assert distance(found.relevance[:, k], expected) < 1e-9
        for n in range(3):
            assert all(abs(row.residual) < 1e-10 for row in found.ledger(target=k, sample=n))


@pytest.mark.parametrize(
    ("by_hand", "module"),
    [
        (lambda z: z * torch.sigmoid(z), nn.SiLU()),
        (lambda z: z.sigmoid().mul_(z), nn.SiLU()),
        (lambda z: z * functional.relu6(z + 3) / 6, nn.Hardswish()),
        (lambda z: functional.hardsigmoid(z) * z, nn.Hardswish()),
        (lambda z: torch.clamp(z, min=0), nn.ReLU()),
        (lambda z: z.clamp(0, 6), nn.ReLU6()),
    ],
    ids=["silu", "silu in place", "hardswish", "hardswish by its gate", "relu", "relu6"],
)
def test_an_activation_written_by_hand_is_the_activation(by_hand, module):
    """A tensor times a gate of that very tensor is an activation, not a signal and a gate."""
    x = 3 * images(2, 8)
    first, second = (
        explain(Odd(lambda net, x, a=activation: a(net.conv1(x)), {}, 4), x, targets=[0, 1]).relevance.flatten(0, 1)
        for activation in (by_hand, module)
    )
    assert distance(first, second) < 1e-12
