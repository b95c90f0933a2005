"""The shipped digit networks have torchvision's form and know digits; the command makes others like them."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torchvision import models

from rlrp_nb import explain
from rlrp_nb.data.digits import load_digits, split_digits
from rlrp_nb.errors import WeightsError
from rlrp_nb.models import digit_networks
from rlrp_nb.models.digit_networks import NAMES, build, checkpoint, to_input, train
from rlrp_nb.models.low_rank import load_factors
from rlrp_nb.models.zoo import load_model
from rlrp_nb.training import measure_accuracy


@pytest.fixture(scope="module")
def held_out():
    digits = split_digits()
    return to_input(digits.held_out_images), torch.from_numpy(digits.held_out_labels)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load_model(f"{request.param}_digits")


def torchvision_network(model):
    with torch.device("meta"):
        return models.get_model(model.name.removesuffix("_digits"), weights=None, num_classes=10)


def test_there_are_three():
    assert set(NAMES) == {"vgg16", "vgg19", "resnet50"}


def test_the_form_is_torchvisions(model):
    expected = torchvision_network(model)
    assert type(model.network) is type(expected)
    assert repr(model.network) == repr(expected)
    forms = [{key: tuple(value.shape) for key, value in n.state_dict().items()} for n in (model.network, expected)]
    assert list(forms[0].items()) == list(forms[1].items())


def test_they_know_digits_they_have_not_seen(model, held_out):
    images, labels = held_out
    count = 1000 if model.name.startswith("resnet") else 300
    assert measure_accuracy(model.network, images[:count], labels[:count], batch_size=100) >= 0.97


def test_what_they_say_about_their_weights(model):
    assert model.weights.startswith(f"torchvision's {model.name.removesuffix('_digits')} with 10 outputs")
    assert "trained by this project on 4,000 MNIST digits" in model.weights
    assert "not on ImageNet" in model.weights
    assert model.categories == tuple("0123456789")


def test_nothing_in_them_is_broken_or_random(model):
    for key, tensor in model.network.state_dict().items():
        assert tensor.is_contiguous()
        assert torch.isfinite(tensor).all(), key
        assert not tensor.is_meta
    kernels = [m.weight for m in model.network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    for kernel in kernels[1:]:  # of low rank: a random number anywhere would fill the rank
        small = kernel.detach()[:64, :64].flatten(1)
        assert torch.linalg.matrix_rank(small, rtol=1e-4) <= 48


def test_a_heatmap_lies_on_the_digit_and_its_books_balance(model, held_out):
    images = held_out[0][:4]
    explanation = explain(model.network, images, method="rlrp")
    for sample in range(4):
        heatmap = explanation.heatmap(sample=sample)
        assert heatmap.isfinite().all()
        assert heatmap.abs().max() > 0
        assert not heatmap[images[sample, 0] == 0].any()  # black is zero, and so is its relevance
        assert max(row.residual for row in explanation.ledger(sample=sample)) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoints_are_small(name):
    assert checkpoint(name).stat().st_size <= 2_000_000
    with safe_open(checkpoint(name), "pt") as file:
        assert {str(file.get_tensor(key).dtype) for key in file.keys()} <= {  # noqa: SIM118 - not a dict
            "torch.float16",
            "torch.float32",
            "torch.int64",
        }


def test_preprocess_gives_what_they_were_trained_on():
    images, labels = load_digits()
    model = load_model("resnet50_digits")
    tensor = model.preprocess(images[1234])
    assert torch.equal(tensor, to_input(images[1234:1235])[0])
    assert tensor.shape == (3, 32, 32)
    assert torch.equal(tensor[0], tensor[2])
    assert 0 <= tensor.min() <= tensor.max() <= 1
    assert model.categories[int(model.network(tensor[None]).argmax())] == str(labels[1234])
    assert not model.preprocess(np.zeros((28, 28), np.uint8)).any()  # black is zero


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_checkpoint_is_refused(name, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(checkpoint(name).read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="is damaged"):
        load_model(f"{name}_digits", weights=path)


@pytest.mark.parametrize(("name", "other"), [("vgg16", "vgg19"), ("vgg19", "vgg16"), ("resnet50", "vgg16")])
def test_the_checkpoint_of_another_network_is_refused(name, other):
    with pytest.raises(WeightsError, match=r"do(es)? not fit"):
        load_model(f"{name}_digits", weights=checkpoint(other))


def test_own_dense_weights(tmp_path):
    torch.manual_seed(0)
    network = models.resnet50(num_classes=10).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    images = torch.rand(2, 3, 32, 32)
    loaded = load_model("resnet50_digits", weights=tmp_path / "mine.pth")
    torch.testing.assert_close(loaded.network(images), network(images), atol=1e-4, rtol=1e-4)


def test_vgg16_is_in_memory_once():
    code = """
import resource, rlrp_nb
from rlrp_nb.models import zoo
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network = rlrp_nb.load_model("vgg16_digits").network
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(1024 * more / sum(4 * parameter.numel() for parameter in network.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3


def few_digits(count=48):
    digits = split_digits()
    return to_input(digits.train_images[:count]), torch.from_numpy(digits.train_labels[:count])


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_training_depends_on_the_seed_alone(name):
    def short(seed):
        torch.rand(1)  # the state of the world differs from call to call
        return train(name, *few_digits(6), epochs=1, seed=seed)

    first, again, other = short(1), short(1), short(2)
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    dense = build(name).eval()
    load_factors(dense, OrderedDict(first), "the training")
    assert dense(few_digits(2)[0]).isfinite().all()


def test_training_leaves_nothing_to_chance():
    state = train("resnet50", *few_digits(6), epochs=1)
    assert torch.equal(state["conv1.weight"][:, 0], state["conv1.weight"][:, 1])  # the channels of a digit are alike
    taps = state["layer4.2.conv2.core.weight"].abs().amax(dim=(0, 1))
    assert (taps > 0).nonzero().tolist() == [[1, 1]]  # its map is 1 x 1
    assert (state["layer3.2.conv2.core.weight"].abs().amax(dim=(0, 1)) > 0).all()  # its map is 2 x 2


@pytest.mark.parametrize("name", ["vgg19", "resnet50"])
def test_the_dense_network_computes_what_was_trained(name):
    images, labels = few_digits(8)
    network = digit_networks._in_factors(name)
    for _ in range(5):
        network(images)  # running means and variances that are not those of a new network
    network.eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
    digit_networks._clear_unseen(network, images, labels)
    expected = network(images)
    dense = build(name).eval()
    load_factors(dense, digit_networks._state(network), "the training")
    torch.testing.assert_close(dense(images), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_what_no_digit_reaches_is_zero():
    network = load_model("resnet50_digits").network
    for block in network.layer4[1:]:  # their maps are 1 x 1, so that a 3 x 3 kernel only has its centre
        taps = block.conv2.weight.detach().abs().amax(dim=(0, 1))
        assert (taps > 0).nonzero().tolist() == [[1, 1]]


def test_the_three_channels_are_treated_alike(model):
    first = next(module for module in model.network.modules() if isinstance(module, nn.Conv2d)).weight
    assert torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first[:, 0], first[:, 2])


def test_the_command_trains_and_writes(tmp_path, monkeypatch, capsys):
    few = split_digits()
    few = few._replace(
        train_images=few.train_images[:32],
        train_labels=few.train_labels[:32],
        held_out_images=few.held_out_images[:20],
        held_out_labels=few.held_out_labels[:20],
    )
    monkeypatch.setattr(digit_networks, "split_digits", lambda: few)
    monkeypatch.setattr(digit_networks, "CHECKPOINTS", tmp_path / "new")
    recipe = digit_networks._RECIPES["resnet50"]
    monkeypatch.setitem(digit_networks._RECIPES, "resnet50", recipe._replace(epochs=1))
    monkeypatch.setattr(sys, "argv", ["digit_networks", "resnet50"])
    digit_networks.main()
    said = capsys.readouterr().out
    path = tmp_path / "new" / "resnet50_digits.safetensors"
    assert str(path) in said
    network = load_model("resnet50_digits", weights=path).network
    accuracy = measure_accuracy(network, to_input(few.held_out_images), torch.from_numpy(few.held_out_labels))
    assert said.startswith(f"{accuracy:.1%} of 20 held-out digits are right")


def test_the_command_knows_three_names(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["digit_networks", "vgg11"])
    with pytest.raises(SystemExit):
        digit_networks.main()
    assert "resnet50" in capsys.readouterr().err
