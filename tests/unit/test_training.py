"""Training learns, depends on the seed alone, and leaves the world as it was."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb import load_model
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.training import fit, jitter, measure_accuracy


def make_network(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(8 * 9, 2))


def make_bars(count=200):
    """Upright and level bars in noise, 8 x 8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 8, 8, generator=generator) * 0.5
    labels = torch.arange(count) % 2
    where = torch.randint(1, 7, (count,), generator=generator)
    for image, label, position in zip(images, labels, where, strict=True):
        if label:
            image[:, position] += 0.5
        else:
            image[:, :, position] += 0.5
    return images, labels


IMAGES, LABELS = make_bars(4)


def test_it_learns():
    images, labels = make_bars()
    network = make_network()
    history = fit(network, images[:100], labels[:100], epochs=15, batch_size=20, learning_rate=1e-2)
    assert len(history) == 15
    assert history[-1].loss < history[0].loss / 2
    assert history[-1].accuracy > 0.9
    assert measure_accuracy(network, images[100:], labels[100:]) > 0.9


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_seed_decides(dropout):
    images, labels = make_bars(40)

    def train(seed):
        torch.rand(1)  # the state of the world differs from call to call
        network = make_network(dropout)
        history = fit(network, images, labels, epochs=2, batch_size=8, augment=jitter, seed=seed)
        return history, torch.cat([parameter.flatten() for parameter in network.parameters()])

    first, again, other = train(3), train(3), train(4)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_the_world_is_left_as_it_was():
    images, labels = make_bars(20)
    before = images.clone()
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    network = make_network(0.5)
    fit(network, images, labels, epochs=1, augment=jitter)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(images, before)
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_eval_mode_even_after_an_error():
    def fail(_images, _generator):
        raise RuntimeError("halfway")

    images, labels = make_bars(20)
    network = make_network()
    with pytest.raises(RuntimeError, match="halfway"):
        fit(network, images, labels, epochs=1, augment=fail)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_every_image_is_seen_once_per_epoch():
    seen = []
    images, labels = make_bars(30)
    images[:, 0, 0, 0] = torch.arange(30)

    def watch(batch, _):
        seen.extend(batch[:, 0, 0, 0].int().tolist())
        return batch

    fit(make_network(), images, labels, epochs=2, batch_size=7, augment=watch)
    assert sorted(seen[:30]) == sorted(seen[30:]) == list(range(30))
    assert seen[:30] != seen[30:] != list(range(30))


def test_a_last_image_alone_joins_the_batch_before():
    images, labels = make_bars(9)
    sizes = []

    def watch(batch, _):
        sizes.append(len(batch))
        return batch

    normed = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    fit(normed, images, labels, epochs=2, batch_size=4, augment=watch)
    assert sizes == [4, 5, 4, 5]
    sizes.clear()
    fit(make_network(), images, labels, epochs=1, batch_size=1, augment=watch)
    assert sizes == [1] * 9


def test_frozen_batch_norms_keep_their_statistics():
    images, labels = make_bars(20)
    network = make_network()
    network[1].requires_grad_(requires_grad=False)
    before = {name: tensor.clone() for name, tensor in network[1].state_dict().items()}
    fit(network, images, labels, epochs=1)
    for name, tensor in network[1].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    network[1].requires_grad_(requires_grad=True)
    fit(network, images, labels, epochs=1)
    assert not torch.equal(network[1].running_mean, before["running_mean"])


def test_every_epoch_is_told_when_it_is_over():
    images, labels = make_bars(20)
    network, told = make_network(), []
    history = fit(network, images, labels, epochs=3, on_epoch=lambda epoch: told.append((epoch, network.training)))
    assert told == [(epoch, True) for epoch in history]


def test_a_progress_bar_is_shown(capsys):
    images, labels = make_bars(20)
    fit(make_network(), images, labels, epochs=2)
    assert "training: 100%" in capsys.readouterr().err


def test_jitter_moves_a_little():
    images = torch.zeros(50, 2, 21, 21)
    images[:, :, 10, 10] = 1
    moved = jitter(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0], moved[:, 1])
    rows, columns = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    mass = moved[:, 0].sum(dim=(1, 2))
    centres = torch.stack([(moved[:, 0] * axis).sum(dim=(1, 2)) / mass - 10 for axis in (rows, columns)])
    assert centres.abs().max() < 0.07 * 21 * 1.12 + 0.5
    assert (centres.std(dim=1) > 0.3).all()  # every image by its own amount


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (40, 40)])
def test_jitter_turns_pictures_as_a_whole_by_up_to_ten_degrees(shape):
    height, width = shape
    rows, columns = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )

    def where(right, down):
        """Return to where 50 jitters move a spot."""
        spot = torch.exp(-((columns - right) ** 2 + (rows - down) ** 2) / 8)
        moved = jitter(spot.expand(50, 1, height, width), torch.Generator().manual_seed(0))[:, 0]
        return torch.stack([(moved * axis).sum((1, 2)) / moved.sum((1, 2)) for axis in (columns, rows)])

    far = 0.3 * min(shape)
    level, upright = where(far, 0) - where(-far, 0), where(0, far) - where(0, -far)
    turns = [torch.atan2(level[1], level[0]).rad2deg(), torch.atan2(-upright[0], upright[1]).rad2deg()]
    assert (turns[0] - turns[1]).abs().max() < 0.5
    assert 8 < turns[0].abs().max() < 10.5


@pytest.mark.parametrize(
    ("network", "labels", "error", "message"),
    [
        (nn.Conv2d(1, 2, 8), LABELS, UnsupportedNetworkError, r"returns \(4, 2, 1, 1\) for 4 images; accepted are log"),
        (nn.Flatten(0), LABELS, UnsupportedNetworkError, r"returns \(256,\) for 4 images"),
        (nn.LSTM(64, 2), LABELS, UnsupportedNetworkError, "returns tuple for 4 images"),
        (
            nn.Linear(64, 2),
            LABELS + 1,
            InputError,
            "label 2 of image 1 is no class of this network; accepted is 0 to 1",
        ),
    ],
)
def test_accuracy_of_what_names_no_class_is_refused(network, labels, error, message):
    flat = nn.Identity() if isinstance(network, nn.Conv2d | nn.Flatten) else nn.Flatten()
    with pytest.raises(error, match=message):
        measure_accuracy(nn.Sequential(flat, network).eval(), IMAGES, labels)


def test_accuracy_of_logits_that_are_no_numbers_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    nn.init.constant_(network[1].bias, float("nan"))
    with pytest.raises(
        UnsupportedNetworkError, match="returns NaN or infinite logits for an image of 2 to 3: they nam"
    ):
        measure_accuracy(Halves(network).eval(), IMAGES, LABELS, batch_size=2)


class Halves(nn.Module):
    """Zeros at first, and then what the network says."""

    def __init__(self, network):
        super().__init__()
        self.network, self.asked = network, 0

    def forward(self, x):
        self.asked += 1
        return self.network(x) if self.asked > 1 else x.new_zeros(len(x), 2)


def test_images_that_require_a_gradient_get_none_and_no_grad_is_no_hindrance():
    images = IMAGES.clone().requires_grad_()
    with torch.no_grad():
        fit(make_network(), images, LABELS, epochs=1)
    assert images.grad is None


def test_accuracy_is_the_share_that_is_right():
    network = nn.Sequential(nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten()).eval()
    network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    images = torch.zeros(5, 1, 2, 2)
    images[:, :, :, 1] = torch.tensor([1.0, 1, -1, -1, -1])[:, None, None]
    labels = torch.tensor([1, 1, 1, 0, 0])
    for batch_size in (1, 2, 5, 100):
        assert measure_accuracy(network, images, labels, batch_size=batch_size) == 0.8


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (torch.zeros(4, 8, 8), torch.zeros(4, dtype=torch.int64), {}, r"images of shape \(4, 8, 8\)"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), {}, "type torch.uint8"),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64), {}, "at least one"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3, dtype=torch.int64), {}, r"labels of shape \(3,\)"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), {}, "one int64 class index for each of the 4 images"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), {"epochs": 0}, "epochs=0"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), {"batch_size": 0}, "batch_size=0"),
        (IMAGES, LABELS, {"epochs": 1.5}, r"epochs=1.5 has to be a positive integer"),
        (IMAGES, LABELS, {"seed": 2**70}, r"seed=1180591620717411303424 has to be an integer from 0"),
        (IMAGES, LABELS, {"seed": "a"}, r"seed='a' has to be an integer"),
        (IMAGES, LABELS, {"learning_rate": -1}, r"learning_rate=-1 has to be a number from 0 to 1e\+30"),
        (IMAGES, LABELS, {"weight_decay": float("nan")}, r"weight_decay=nan has to be a number from 0 to 1e\+30"),
        (IMAGES, LABELS, {"learning_rate": 1e300}, r"learning_rate=1e\+300 has to be a number from 0"),
        (IMAGES, LABELS, {"learning_rate": "fast"}, r"learning_rate='fast' has to be a number"),
        (IMAGES.double(), LABELS, {}, r"images are torch.float64, the network is torch.float32: use images.to\("),
        (IMAGES.numpy(), LABELS, {}, r"images is a ndarray; accepted is a dense tensor"),
        (torch.where(IMAGES[2] == IMAGES, torch.nan, IMAGES), LABELS, {}, "image 2 holds NaN or infinite values"),
        (IMAGES * float("inf"), LABELS, {}, "image 0 holds NaN or infinite values"),
        (IMAGES, LABELS + 1, {}, "label 2 of image 1 is no class of this network; accepted is 0 to 1"),
        (IMAGES, LABELS - 1, {"batch_size": 1}, "label -1 of image 0 is no class of this network"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(images, labels, options, message):
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=message):
        fit(network, images, labels, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Flatten(), "Flatten has no weight that requires a gradient, so that none can learn"),
        (make_network().requires_grad_(requires_grad=False), r"Sequential has no weight .*: call requires_grad_\(\)"),
        (nn.Conv2d(1, 2, 3), r"the network returns \(1, 2, 6, 6\) for 1 image; accepted are logits \(B, classes\)"),
    ],
)
def test_networks_that_cannot_learn_to_classify_are_refused(network, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        fit(network, IMAGES, LABELS)


class Headed(nn.Module):
    """A frozen network with a head that is to learn, and what it does with its logits."""

    def __init__(self, forward):
        super().__init__()
        self.body = make_network().requires_grad_(requires_grad=False)
        self.head, self.logits = nn.Linear(2, 2), forward

    def forward(self, x):
        return self.logits(self, x)


def overwritten(n, x):
    z = n.head(n.body(x)).sigmoid()
    z += 1
    return z


class WronglyBack(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x * 1

    @staticmethod
    def backward(_, s):
        return s[:, :1]


def wrongly_back(n, x):
    return WronglyBack.apply(n.head(n.body(x)))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda n, x: n.body(x), r"Headed returns depends on no weight that can learn \(head.weight, head.bias\)"),
        (lambda n, x: n.head(n.body(x)).detach(), r"depends on no weight .*: let its forward use them, without"),
        (torch.no_grad()(lambda n, x: n.head(n.body(x))), r"depends on no weight that can learn"),
        (overwritten, r"^the gradient of Headed cannot be computed .* write x = x \+ 1 instead"),
        (wrongly_back, r"^the gradient of Headed cannot be computed \(RuntimeError: Function .*\)\. Look for what"),
    ],
)
def test_a_network_whose_weights_get_no_gradient_is_refused_and_left_as_it_was(forward, message):
    network = Headed(forward)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UnsupportedNetworkError, match=message):
        fit(network, IMAGES, LABELS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_that_keeps_a_graph_from_batch_to_batch_is_told_to_detach_it():
    def recurrent(n, x):
        n.kept = n.head(n.body(x)) + n.kept.mean()
        return n.kept

    network = Headed(recurrent)
    network.kept = torch.zeros(())
    with pytest.raises(UnsupportedNetworkError, match=r"Headed cannot be computed .* keep it by detach\(\)"):
        fit(network, IMAGES, LABELS, epochs=2)


def test_a_part_of_a_network_can_learn_alone():
    network = make_network()
    network[0].requires_grad_(requires_grad=False)
    before = network[0].weight.clone()
    fit(network, IMAGES, LABELS, epochs=1)
    assert torch.equal(network[0].weight, before)


def test_the_network_may_take_only_what_the_augmentation_returns():
    fit(make_network(), torch.rand(4, 1, 12, 12), LABELS, epochs=1, augment=lambda images, _: images[..., 2:10, 2:10])


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda *_: None, r"augment returned NoneType for a batch \(4, 1, 8, 8\); accepted is a tensor \(4, ...\)"),
        (lambda images, _: images[:2], r"augment returned \(2, 1, 8, 8\)"),
        (lambda images, _: images / 0, "augment returned NaN or infinite values"),
        (lambda images, _: images.half(), r"augment returned torch.float16 for images of torch.float32"),
    ],
)
def test_what_is_no_batch_is_not_learned_from(augment, message):
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=message):
        fit(network, IMAGES, LABELS, augment=augment)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Unit(nn.Module):
    """Divides features by their length, whose gradient is infinite where they are all 0."""

    def forward(self, x):
        return x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-8)


def test_gradients_that_are_not_finite_are_not_learned_from():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 8, bias=False), nn.Flatten(), Unit(), nn.Linear(2, 2))
    network[0].requires_grad_(requires_grad=False)
    images = torch.cat([IMAGES, torch.zeros_like(IMAGES)])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match="a gradient is not finite in epoch 1"):
        fit(network, images, LABELS.repeat(2), epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_step_that_fails_leaves_the_statistics_of_batch_norms():
    network = make_network()
    seen = []
    network[1].register_forward_pre_hook(lambda module, _: seen.append(module.running_var.clone()))
    with pytest.raises(InputError, match="the loss is"):
        fit(network, IMAGES, LABELS, epochs=20, learning_rate=1e30)
    assert len(seen) > 2
    assert torch.equal(network[1].running_var, seen[-1])
    assert bool(network[1].running_var.isfinite().all())


def test_a_buffer_that_forward_replaces_is_put_back_if_a_step_fails():
    class Running(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))
            self.head = nn.Linear(64, 2)

        def forward(self, x):
            self.mean = 0.9 * self.mean + x.mean().detach() / 0
            return self.head(x.flatten(1) * self.mean)

    network = Running()
    with pytest.raises(InputError, match="the loss is"):
        fit(network, IMAGES + 1, LABELS)
    assert network.mean == 0
    assert "mean" in network.state_dict()


def test_buffers_that_cannot_be_written_into_are_no_hindrance():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor(0.5).expand(1, 1, 1, 1, 4))
            self.register_buffer("again", self.mean)
            self.register_buffer("later", None)
            self.head = nn.Linear(64, 2)

        def forward(self, x):
            return self.head((x - self.mean[..., 0]).flatten(1))

    fit(network := Normalised(), IMAGES, LABELS, epochs=1)
    assert network.later is None


def test_a_lazy_layer_is_refused_in_words():
    with pytest.raises(UnsupportedNetworkError, match="lazy layer whose weights are not made yet: run it on"):
        fit(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), IMAGES, LABELS)


@pytest.mark.parametrize("images", [torch.zeros(1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None])
def test_only_batches_of_numbers_are_jittered(images):
    with pytest.raises(InputError, match=r"images are .*accepted is a floating-point tensor \(B, C, H, W\)"):
        jitter(images, torch.Generator())


def test_a_network_that_returns_more_in_training_is_refused():
    class Auxiliary(nn.Sequential):
        def forward(self, x):
            logits = super().forward(x)
            return (logits, logits) if self.training else logits

    with pytest.raises(UnsupportedNetworkError, match="the network returns tuple for 4 images"):
        fit(Auxiliary(nn.Flatten(), nn.Linear(64, 2)), IMAGES, LABELS)


def test_inference_mode_is_no_hindrance():
    network = make_network()
    before = network[0].weight.clone()
    with torch.inference_mode():
        fit(network, IMAGES.clone(), LABELS, epochs=1)
        with pytest.raises(UnsupportedNetworkError, match=r"was made under torch\.inference_mode"):
            fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), IMAGES, LABELS)
    assert not torch.equal(network[0].weight, before)


def test_training_that_diverges_stops_in_words():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(InputError, match=r"(is nan|is inf|is not finite) in epoch \d+, .*lower learning_rate"):
        fit(network, IMAGES * 1e30, LABELS, epochs=5, learning_rate=1e9)
    assert not network.training


def test_accuracy_is_that_of_numbers():
    network = nn.Sequential(nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten()).eval()
    with pytest.raises(InputError, match="image 1 holds NaN"):
        measure_accuracy(network, torch.stack([IMAGES[0], IMAGES[0] * float("nan")]), LABELS[:2])
    assert measure_accuracy(network, torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)) == 1


@pytest.mark.parametrize("part", [None, 1])
def test_accuracy_in_training_mode_is_refused(part):
    images, labels = make_bars(4)
    network = make_network() if part is None else make_network().eval()
    if part is not None:
        network[part].train()
    before = network[1].running_mean.clone()
    with pytest.raises(UnsupportedNetworkError, match=r"is in training mode: call network.eval\(\)"):
        measure_accuracy(network, images, labels)
    assert torch.equal(network[1].running_mean, before)


def test_a_network_that_writes_into_its_input_leaves_the_images_alone():
    images, labels = make_bars(8)
    before = images.clone()
    network = nn.Sequential(nn.Hardtanh(0.2, 0.3, inplace=True), make_network()).eval()
    assert measure_accuracy(network, images, labels) == measure_accuracy(network, images, labels)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["augment", "on_epoch"])
def test_what_is_no_function_is_refused_before_anything_is_trained(name):
    network = make_network()
    before = network[0].weight.clone()
    with pytest.raises(InputError, match=f"{name} is a int; accepted is a function, or None"):
        fit(network, IMAGES, LABELS, **{name: 3})
    with pytest.raises(InputError, match=f"{name} is called with .*, and takes no (two arguments|single argument)"):
        fit(network, IMAGES, LABELS, **{name: lambda: None})
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize("network", [None, nn.Linear, load_model("simple_cnn", weights=None)])
def test_what_is_no_network_is_refused_by_its_type(network):
    for call in (fit, measure_accuracy):
        with pytest.raises(InputError, match=rf"network is a {type(network).__name__}; accepted is a torch.nn.Module"):
            call(network, IMAGES, LABELS)


def test_a_network_without_numbers_is_refused():
    for call in (fit, measure_accuracy):
        with pytest.raises(UnsupportedNetworkError, match="the network is on the meta device"):
            call(make_network().to("meta").eval(), IMAGES, LABELS)


def test_an_epoch_may_be_looked_at_in_eval_mode():
    images, labels = make_bars(32)
    plain, watched = make_network(dropout=0.5), make_network(dropout=0.5)
    watched.load_state_dict(plain.state_dict())

    def look(_):
        watched.eval()
        torch.manual_seed(0)
        torch.rand(3)
        assert 0 <= measure_accuracy(watched, images, labels) <= 1

    assert fit(plain, images, labels, epochs=3, batch_size=8) == fit(
        watched, images, labels, epochs=3, batch_size=8, on_epoch=look
    )
    assert all(
        torch.equal(one, other)
        for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("call", [fit, measure_accuracy])
def test_images_that_the_network_cannot_take_are_refused_in_words(call):
    network, images = make_network().eval(), torch.rand(4, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"cannot take a batch of shape \(\d, 3, 8, 8\): "):
        call(network, images, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match=r"images are torch.float64, the network is torch.float32: use images.to"):
        call(network, images.double(), torch.zeros(4, dtype=torch.int64))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_batch_norm_that_gets_a_single_number_says_what_to_do():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(1), nn.Linear(1, 2))
    with pytest.raises(InputError, match=r"more than 1 value per channel.*batches of two or more if"):
        fit(network, *make_bars(4), batch_size=1)


def test_a_lazy_layer_anywhere_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(UnsupportedNetworkError, match="lazy layer whose weights are not made yet"):
        fit(network, *make_bars(4))


@pytest.mark.parametrize(
    "augment", [nn.Dropout(0.1), lambda images: images, lambda images, *, generator: (images, generator), lambda: None]
)
def test_an_augmentation_that_takes_something_else_is_refused_before_anything_is_learned(augment):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before = network[1].weight.clone()
    with pytest.raises(InputError, match="lambda images, generator: transform"):
        fit(network, torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]), epochs=1, augment=augment)
    assert torch.equal(network[1].weight, before)


def test_whoever_is_shown_an_epoch_may_wait_for_a_thread_that_compares_and_draws_its_own_numbers():
    network, seen = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), []
    images, labels = torch.rand(8, 1, 4, 4), torch.tensor([0, 1] * 4)

    def look(_epoch):
        network.eval()
        with ThreadPoolExecutor(1) as other:
            options = {"methods": "rlrp", "metrics": "gini", "fill": "black", "progress": False}
            other.submit(rn.compare, network, images, **options).result(120)
        seen.append(torch.rand(1).item())

    torch.manual_seed(3)
    fit(network, images, labels, epochs=2, on_epoch=look)
    torch.manual_seed(3)
    assert seen == [torch.rand(1).item() for _ in range(2)]
