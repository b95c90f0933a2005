"""Our way of loading gives the very network that torchvision's own way gives."""

import hashlib
import re
from collections import OrderedDict

import pytest
import torch
from torchvision import models

from rlrp_nb.errors import UnsupportedNetworkError, WeightsError
from rlrp_nb.models import torchvision_cnn
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.zoo import load_model


def random_state(network):
    """Random numbers in every weight and every statistic, so that nothing can be left out unnoticed."""
    generator = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1, generator=generator)
            if tensor.ndim == 1 and key.endswith(("weight", "running_var")):
                tensor.add_(1)  # of a batch-norm: the signal neither dies nor grows on its way
    return state


def with_keys_of_old_densenet(state):
    """As files from before torch 0.4: other names, no counters, no layout versions."""
    renamed = OrderedDict()
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            renamed[re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key)] = tensor
    return renamed


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a file of the true layout, with its true hash in its name, where torch.hub keeps its downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def put(name, state):
        torch.save(state, folder / "new")
        digest = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
        (folder / "new").rename(folder / f"{name}-{digest[:8]}.pth")
        official = models.get_model_weights(name).DEFAULT.value
        monkeypatch.setattr(official, "url", f"https://download.pytorch.org/models/{name}-{digest[:8]}.pth")

    return put


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("squeezenet1_1", {}),
        ("densenet121", {}),
        ("googlenet", {"aux_logits": True, "init_weights": False}),
        ("inception_v3", {"aux_logits": True, "init_weights": False}),
        ("mnasnet0_5", {}),
        ("mobilenet_v3_small", {}),
        ("shufflenet_v2_x0_5", {}),
        ("regnet_x_400mf", {}),
        ("efficientnet_b0", {}),
    ],
)
def test_same_logits_as_torchvision(install, name, options):
    state = random_state(models.get_model(name, weights=None, **options))
    if name == "densenet121":
        state = with_keys_of_old_densenet(state)
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    install(name, state)
    theirs = models.get_model(name, weights="DEFAULT").eval()
    model = load_model(name)
    images = torch.randn(2, *model.preprocess.shape, generator=torch.Generator().manual_seed(1))
    images[1] *= 5
    with torch.no_grad():
        expected = theirs(images)
        spread = (expected[0] - expected[1]).abs().max().item()
        assert spread > 1e-2  # the input reaches the output, so the comparison means something
        torch.testing.assert_close(model.network(images), expected, atol=1e-3 * spread, rtol=0)
    assert model.categories == tuple(models.get_model_weights(name).DEFAULT.meta["categories"])
    assert f"torchvision's {type(models.get_model_weights(name).DEFAULT).__name__}" in model.weights


@pytest.mark.parametrize("name", torchvision_cnn.names())
def test_every_network_is_built_whole(name):
    entry = torchvision_cnn.choose(name, "DEFAULT")
    network = torchvision_cnn.build(name).eval()
    inside = {key for key, _ in network.named_parameters()} | {key for key, _ in network.named_buffers()}
    assert inside == set(network.state_dict())  # all of it comes from the file
    assert all(parameter.is_meta for parameter in network.parameters())  # and none of it takes memory before
    if name != "inception_v3":  # counted with the head that only serves training
        assert sum(parameter.numel() for parameter in network.parameters()) == entry.meta["num_params"]
    categories = tuple(entry.meta["categories"])
    assert len(Classifier(name, network, categories, torchvision_cnn.preprocess(entry), "none").categories) == 1000


def test_every_choice_of_weights_has_a_preprocessing():
    for name in torchvision_cnn.names():
        for entry in models.get_model_weights(name):
            if entry.meta["categories"]:
                preset, ours = entry.transforms(), torchvision_cnn.preprocess(torchvision_cnn.choose(name, entry.name))
                assert ours.shape == (3, *preset.crop_size * 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vit_b_16", "a vision transformer"),
        ("swin_v2_t", "a vision transformer"),
        ("maxvit_t", "a vision transformer"),
        ("quantized_resnet50", "a quantized network .the same network unquantized is 'resnet50'"),
        ("fasterrcnn_resnet50_fpn", "a network for detection"),
        ("r3d_18", "a network for detection, segmentation, optical flow or video"),
    ],
)
def test_other_kinds_are_refused_by_name(name, kind):
    with pytest.raises(UnsupportedNetworkError, match=f"'{name}' is {kind}"):
        torchvision_cnn.refuse_other_kinds(name)


def test_the_list_is_the_one_of_torchvision():
    names = torchvision_cnn.names()
    assert {"vgg16", "vgg19", "resnet50", "densenet121", "googlenet", "inception_v3", "convnext_tiny"} <= set(names)
    assert not [name for name in names if "vit" in name or "swin" in name or "quantized" in name]
    for name in names:
        torchvision_cnn.refuse_other_kinds(name)


@pytest.mark.parametrize("choice", ["IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V1"])
def test_choice_of_weights(choice):
    assert torchvision_cnn.choose("resnet50", choice) is models.ResNet50_Weights.IMAGENET1K_V1


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("resnet50", "V1", "resnet50 has no weights 'V1': choose from IMAGENET1K_V1, IMAGENET1K_V2"),
        ("vgg16", "IMAGENET1K_FEATURES", "no classes to explain: choose IMAGENET1K_V1"),
    ],
)
def test_choice_of_weights_that_are_not_there(name, choice, message):
    with pytest.raises(WeightsError, match=message):
        torchvision_cnn.choose(name, choice)
