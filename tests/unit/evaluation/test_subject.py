import pytest
import torch
from torch import nn

from rlrp_nb import load_model
from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.conservation import conservation_error
from rlrp_nb.evaluation.faithfulness import flip, road
from rlrp_nb.evaluation.perturbation import Noise
from rlrp_nb.evaluation.randomisation import randomised_similarity
from rlrp_nb.evaluation.robustness import max_sensitivity, similarity
from rlrp_nb.evaluation.stability import amplification
from rlrp_nb.evaluation.subject import answer, check_evaluating, check_network, taking

COLOURED, TARGETS, HEATMAPS = torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), torch.rand(2, 8, 8)
RLRP = engine_attribute("rlrp")
MEASURES = {
    "flip": lambda network: flip(network, COLOURED, HEATMAPS, TARGETS),
    "flip, one by one": lambda network: flip(network, COLOURED, HEATMAPS, TARGETS, batch=1),
    "road": lambda network: road(network, COLOURED, HEATMAPS, TARGETS),
    "max_sensitivity": lambda network: max_sensitivity(RLRP, network, COLOURED, TARGETS),
    "similarity": lambda network: similarity(RLRP, network, COLOURED, TARGETS, Noise(0.1)),
    "randomised_similarity": lambda network: randomised_similarity(RLRP, network, COLOURED, TARGETS),
    "amplification": lambda network: amplification(network, COLOURED, TARGETS),
    "conservation_error": lambda network: conservation_error(network, COLOURED, TARGETS),
}


def grey():
    """A network that takes pictures of one channel."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()


@pytest.mark.parametrize("network", [None, nn.Linear, "vgg16", load_model("simple_cnn", weights=None)])
def test_what_is_no_network_is_refused_by_its_type(network):
    for check in (check_network, check_evaluating):
        with pytest.raises(InputError, match=rf"network is a {type(network).__name__}; .*such as model\.network"):
            check(network)


def test_each_part_in_training_mode_is_named():
    network = grey()
    network[2].train()
    with pytest.raises(UnsupportedNetworkError, match=r"^2 is in training mode: call network\.eval\(\) first"):
        check_evaluating(network)


@pytest.mark.parametrize("measure", MEASURES)
def test_images_that_the_network_cannot_take_are_refused_in_words(measure):
    with pytest.raises(InputError, match=r"cannot take a batch of shape \([12], 3, 8, 8\): .*to have 1 channels.*Give"):
        MEASURES[measure](grey())


def test_an_answer_disturbs_neither_the_images_nor_what_the_caller_computes():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 2)).eval()
    images = COLOURED - 0.5
    before = images.clone()
    with torch.autocast("cpu"):
        said = answer(network, images)
        assert torch.is_autocast_enabled("cpu")
    assert said.dtype == torch.float32
    assert not said.requires_grad
    assert torch.equal(images, before)
    assert torch.equal(said, network(before).detach())


def test_errors_of_the_toolkit_within_a_network_are_passed_on_as_they_are():
    error = UnsupportedNetworkError("of a layer")
    with pytest.raises(UnsupportedNetworkError, match=r"^of a layer$"), taking(COLOURED):
        raise error


def test_the_advice_is_that_of_whoever_asks():
    match = r"shape \(2, 3, 8, 8\): KeyError\. Try another\."
    with pytest.raises(InputError, match=match), taking(COLOURED, "Try another."):
        raise KeyError
