"""Hard cases, among them dense, 1-D, 3-D and U-Net-like networks: explained rightly, or refused in words."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

import rlrp_nb as rn
from tests.reference import backprop
from tests.reference.networks import distance, images, multilayer_perceptron, randomised, small_vgg


def agrees(network, x, classes, target=1):
    found = rn.explain(network, x, targets=target, layers="all")
    expected = backprop.relevance(network, x, backprop.one_hot(classes, [target] * len(x)))
    for sample in range(len(x)):
        assert found.ledger(sample=sample).worst_residual < 1e-10
    assert distance(found.relevance[:, 0], expected) < 1e-9
    return found


def seeded(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# ------------------------------------------------------------------------------------------- kinds of networks


class UNet(nn.Module):
    """Two steps down, two up by transposed convolutions, what went down concatenated on the way up."""

    def __init__(self, dimensions=2):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        up = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
        self.pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[dimensions - 1]
        self.first = nn.Sequential(conv(2, 4, 3, padding=1), norm(4), nn.ReLU(inplace=True))
        self.second = nn.Sequential(conv(4, 6, 3, padding=1), norm(6), nn.ReLU(inplace=True))
        self.bottom = nn.Sequential(conv(6, 8, 3, padding=1, bias=False), norm(8), nn.LeakyReLU(0.1))
        self.up2 = up(8, 6, 2, 2)
        self.join2 = nn.Sequential(conv(12, 6, 3, padding=1), nn.SiLU())
        self.up1 = nn.Sequential(up(6, 4, 3, 2, padding=1, output_padding=1), norm(4), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        first = self.first(x)
        second = self.second(self.pool(first, 2))
        bottom = self.bottom(self.pool(second, 2))
        up2 = self.join2(torch.cat([self.up2(bottom), second], 1))
        return self.head(torch.cat([self.up1(up2), first], 1).flatten(2).mean(2))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_networks_with_transposed_convolutions(dimensions):
    torch.manual_seed(0)
    network = randomised(UNet(dimensions)).double()
    agrees(network, seeded(2, 2, *[8] * dimensions), 3)


def test_a_segmentation_is_explained_at_any_place():
    """The output of a U-Net has places: a target is a class at one of them."""
    torch.manual_seed(0)
    network = randomised(
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, 2))
    ).double()
    x, seed = seeded(1, 2, 4, 4), torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    seed[0, 1, 5, 2] = 1
    found = rn.explain(network, x, targets=(1, 5, 2)).relevance[:, 0]
    assert distance(found, backprop.relevance(network, x, seed)) < 1e-9


def test_one_dimension():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(2, 4, 5, dilation=2, padding=4), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(4, 6, 3, groups=2), nn.ELU(), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(3), nn.Flatten(),
        nn.Linear(18, 3),
    )  # fmt: skip
    agrees(randomised(network).double(), seeded(2, 2, 20), 3)


def test_three_dimensions():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 4, 1), nn.GELU(),
        nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    agrees(randomised(network).double(), seeded(2, 2, 4, 8, 8), 3)


def test_instance_norm_by_running_statistics():
    """One is folded into the convolution before it; the other stands alone, before an activation."""

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            settings = {"affine": True, "track_running_stats": True}
            self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, **settings), nn.ReLU())
            self.alone, self.head = nn.InstanceNorm2d(4, **settings), nn.Linear(4, 3)

        def forward(self, x):
            z = self.alone(self.first(x))
            return self.head((z + z.relu()).mean((2, 3)))

    torch.manual_seed(0)
    network = randomised(Normed()).double()
    agrees(network, seeded(2, 3, 6, 6), 3)
    network.train()
    with pytest.raises(rn.UnsupportedNetworkError, match="it normalises by statistics of this batch or image"):
        rn.explain(network, seeded(2, 3, 6, 6))


@pytest.mark.parametrize("sizes", [(6, 3), (6, 9, 3), (6, *[16] * 10, 3)])
def test_dense_networks(sizes):
    agrees(multilayer_perceptron(*sizes), seeded(3, sizes[0]), 3)


# ----------------------------------------------------------------------------------------------- odd sizes


def test_a_width_of_one():
    network = multilayer_perceptron(1, 1, 1, 1, 2)
    for layer in network:
        if isinstance(layer, nn.Linear):
            layer.weight.data.abs_()
            layer.bias.data.abs_()
    agrees(network, seeded(3, 1).abs(), 2)


def test_one_pixel():
    torch.manual_seed(0)
    network = randomised(nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)))
    agrees(network.double(), seeded(2, 1, 1, 1), 2)


def test_a_batch_of_five_hundred_and_twelve():
    network, x = small_vgg(), images(512, 12)
    found = rn.explain(network, x, targets=1).relevance
    for sample in (0, 255, 511):
        assert distance(found[[sample]], rn.explain(network, x[[sample]], targets=1).relevance) < 1e-9


def test_a_batch_of_none_is_refused():
    with pytest.raises(rn.InputError, match="at least one sample"):
        rn.explain(small_vgg(), images(1, 12)[:0])


def test_no_targets_are_refused():
    with pytest.raises(rn.InputError, match="target"):
        rn.explain(small_vgg(), images(1, 12), targets=[])


# --------------------------------------------------------------------------------------------- memory formats


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.repeat(1, 1, 2, 2)[:, :, 12:, 12:],
        lambda x: torch.stack([x, -x], -1)[..., 0],
    ],
    ids=["channels last", "transposed", "cut out", "every other number"],
)
def test_the_layout_of_the_input_does_not_matter(arrange):
    network, x = small_vgg(), images(2, 12)
    arranged = arrange(x)
    assert torch.equal(arranged, x)
    assert arranged.stride() != x.stride()
    found, expected = (rn.explain(network, each, targets=[0, 3], layers="all") for each in (arranged, x))
    assert distance(found.relevance, expected.relevance) < 1e-12
    assert torch.equal(found.targets, expected.targets)


def test_an_expanded_input_is_not_written_to():
    network, x = small_vgg(), images(1, 12)
    found = rn.explain(network, x.expand(3, -1, -1, -1), targets=1).relevance
    alone = rn.explain(network, x, targets=1).relevance
    for sample in range(3):
        assert distance(found[[sample]], alone) < 1e-12


def test_a_network_in_channels_last():
    network, x = small_vgg(), images(2, 12)
    expected = rn.explain(network, x, targets=1).relevance
    network.to(memory_format=torch.channels_last)
    assert distance(rn.explain(network, x, targets=1).relevance, expected) < 1e-12


# ----------------------------------------------------------------------------------------------- odd numbers


def test_denormal_numbers():
    network, x = small_vgg(bias=False, norm=False).float(), images(2, 12).float() * 1e-41
    assert float(x.abs().max()) < torch.finfo(torch.float32).tiny
    assert torch.isfinite(rn.explain(network, x, targets=1, layers="all").relevance).all()


def test_denormal_weights():
    network = small_vgg(bias=False, norm=False).float()
    with torch.no_grad():
        network[0].weight *= 1e-40
    found = rn.explain(network, images(2, 12).float(), targets=1)
    assert torch.isfinite(found.relevance).all()


@pytest.mark.parametrize("size", [1e150, 1e300])
def test_huge_numbers_are_explained_or_refused(size):
    network, x = small_vgg(bias=False, norm=False), images(1, 12) * size
    try:
        found = rn.explain(network, x, targets=1).relevance
    except rn.RlrpError as error:
        found, x = None, str(error)
    assert "not finite" in x if found is None else torch.isfinite(found).all()


def test_float16_that_overflows_is_refused_by_layer():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        network[0].weight.fill_(60_000)
    with pytest.raises(rn.UnsupportedNetworkError, match=r"overflows its dtype.*float32"):
        rn.explain(network.half(), torch.full((1, 4), 100.0, dtype=torch.float16))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_no_numbers_are_refused(value):
    x = images(2, 12)
    x[1, 0, 3, 3] = value
    with pytest.raises(rn.InputError, match="in sample 1"):
        rn.explain(small_vgg(), x)


# --------------------------------------------------------------------------------------- copies and wrappers


def pickled(network):
    return pickle.loads(pickle.dumps(network))  # noqa: S301 - its own


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_are_networks_of_their_own(copied):
    network, x = small_vgg(), images(2, 12)
    expected = rn.explain(network, x, targets=1).relevance
    other = copied(network)
    assert distance(rn.explain(other, x, targets=1).relevance, expected) < 1e-12
    with torch.no_grad():
        other[0].weight.neg_()
    assert distance(rn.explain(other, x, targets=1).relevance, expected) > 1e-3
    assert distance(rn.explain(network, x, targets=1).relevance, expected) < 1e-12


def test_an_explanation_can_be_pickled_and_copied():
    made = rn.explain(small_vgg(), images(2, 12), targets=1, layers="all")
    for other in (copy.deepcopy(made), pickled(made)):
        assert torch.equal(other.relevance, made.relevance)
        assert other.ledger() == made.ledger()
        assert list(other.layers) == list(made.layers)


def test_hooks_that_look_see_the_network_run_as_often_as_it_does():
    network, x, seen = small_vgg(), images(2, 12), []
    expected = rn.explain(network, x, targets=1).relevance
    network[2].register_forward_hook(lambda *_: seen.append(1))
    assert distance(rn.explain(network, x, targets=1).relevance, expected) < 1e-12
    seen.clear()
    network(x)
    assert seen == [1]


def test_a_hook_that_fails_is_told_in_words():
    def fail(*_):
        raise KeyError("x")

    network = small_vgg()
    network[2].register_forward_hook(fail)
    with pytest.raises(rn.UnsupportedNetworkError, match=r"hook of the network fails, .*on: 2.*KeyError.*Mend it"):
        rn.explain(network, images(2, 12))


def test_a_hook_that_makes_a_layer_fail_is_told_in_words():
    network = small_vgg()
    network[2].register_forward_hook(lambda _module, _inputs, output: output[:, :2])
    with pytest.raises(rn.UnsupportedNetworkError, match=r"makes a layer fail .*on: 2.*RuntimeError.*Mend it"):
        rn.explain(network, images(2, 12))


class OnlyTraced(nn.Module):
    """A layer that can be traced and not be run."""

    def forward(self, x):
        if not torch.compiler.is_exporting():
            raise OSError("the licence has run out")
        return x


def test_a_failure_of_the_network_is_not_blamed_on_its_hooks():
    network, seen = nn.Sequential(OnlyTraced(), small_vgg()).eval(), []
    network[1][2].register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(rn.InputError, match=r"cannot be run .* at layer '0' \(OnlyTraced\): the licence has run out"):
        rn.explain(network, images(2, 12))
    assert not seen


@pytest.mark.parametrize("replace", [lambda y: (y, y), lambda y: y[:, :2], lambda y: {"logits": y}])
def test_a_hook_that_returns_something_else_is_refused(replace):
    network = small_vgg()
    network.register_forward_hook(lambda _module, _inputs, output: replace(output))
    with pytest.raises(rn.UnsupportedNetworkError, match="hooks change the output"):
        rn.explain(network, images(2, 12))


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_nested_tensors_are_refused_in_words():
    x = images(2, 12)
    with pytest.raises(rn.InputError, match="nested tensor"):
        rn.explain(small_vgg(), torch.nested.nested_tensor([x[0], x[1, :, :6]]))


def test_networks_that_fx_traced_are_explained():
    network, x = small_vgg(), images(2, 12)
    expected = rn.explain(network, x, targets=1).relevance
    assert distance(rn.explain(torch.fx.symbolic_trace(network).eval(), x, targets=1).relevance, expected) < 1e-12


def test_lazy_layers_are_refused_in_words():
    network = nn.Sequential(nn.LazyConv2d(3, 3), nn.Flatten(), nn.LazyLinear(3)).eval()
    with pytest.raises(rn.UnsupportedNetworkError, match=r"0.weight.*lazy layer"):
        rn.explain(network, images(2, 12).float())
