"""From explanations to what the browser is sent: the numbers of the engine, summed over channels, and small."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.accounts import Account
from rlrp_nb.engine.classic import Epsilon
from rlrp_nb.engine.layers import Layers
from rlrp_nb.engine.methods import lrp_epsilon
from rlrp_nb.errors import InputError
from rlrp_nb.export import render
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.widgets import scene as scene_module
from rlrp_nb.widgets.buffers import detach, unpack
from rlrp_nb.widgets.scene import build_addition, build_scene, merge_image


@pytest.fixture(scope="module")
def classifier():
    return rn.load_model("efficientnet_lite0")


@pytest.fixture(scope="module")
def explanation(classifier):
    return rn.explain(classifier, sample_image("coffee"), targets="top5", layers="all")


@pytest.fixture(scope="module")
def scene(explanation):
    return build_scene([explanation])


def of_names(targets, names, length=1):
    """Return an explanation whose layers have one number and names of so many characters."""
    network = nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten(), nn.Linear(4, targets)).eval()
    explanation = rn.explain(network, torch.ones(1, 1, 2, 2), range(targets))
    explanation.layers = Layers([((f"{n:0{length}}",), torch.ones(1, targets, 1)) for n in range(names)], {})
    explanation.accounts = tuple(Account(f"{n:0{length}}", "conv", torch.ones(5, targets, 1)) for n in range(names))
    return explanation


@pytest.mark.parametrize(("targets", "names", "length"), [(400, 50, 10_000), (500, 400, 1)])
def test_names_and_ledgers_beyond_what_can_be_shown_are_refused_before_they_are_made(
    targets, names, length, monkeypatch
):
    explanation = of_names(targets, names, length)
    monkeypatch.setattr(scene_module, "_ledger", None)  # what would make them
    with pytest.raises(
        InputError, match=r"names and ledgers alone would be \d+ MB, and at most 16 are shown\. Put fewe"
    ):
        build_scene([explanation])
    with pytest.raises(InputError, match="and at most 8 are shown"):
        explanation.to_html("page.html")


def test_the_heatmap_comes_back(explanation, scene):
    (image,) = scene["images"]
    for position, target in enumerate(image["targets"]):
        sent = unpack(image["results"][0]["targets"][target["key"]]["pieces"][0])
        heatmap = explanation.heatmap(position).numpy()
        assert sent.shape == heatmap.shape == (image["height"], image["width"])
        assert np.abs(sent - heatmap).max() <= np.abs(heatmap).max() / 127


def test_every_layer_with_extent_is_summed_over_channels(explanation, scene):
    result = scene["images"][0]["results"][0]
    key = scene["images"][0]["targets"][0]["key"]
    checked = 0
    for layer, piece in zip(result["layers"], result["targets"][key]["pieces"], strict=True):
        if layer["name"] == "input" or layer["kind"] != "map":
            continue
        relevance = explanation.layers[layer["name"]][0, 0].sum(0).numpy()
        assert np.abs(unpack(piece) - relevance).max() <= np.abs(relevance).max() / 127
        checked += 1
    assert checked > 40


def test_a_layer_without_extent_is_sent_as_its_strongest_neurons(explanation, scene):
    result = scene["images"][0]["results"][0]
    key = scene["images"][0]["targets"][0]["key"]
    layer, piece = result["layers"][-1], result["targets"][key]["pieces"][-1]
    assert layer["kind"] == "units"
    assert piece["size"] == 1000
    assert piece["labels"][0] == "espresso"
    assert piece["indices"][0] == int(explanation.targets[0, 0])
    assert piece["positive"] == pytest.approx(float(explanation.logits[0, piece["indices"][0]]), rel=1e-5)
    assert piece["negative"] == 0


def test_the_ledger_stands_beside_its_layers(explanation, scene):
    explained = next(iter(scene["images"][0]["results"][0]["targets"].values()))
    columns = explanation.ledger().to_dict()
    assert explained["ledger"].keys() == set(columns["layer"])
    for position, name in enumerate(columns["layer"]):
        assert explained["ledger"][name]["relevance_in"] == columns["relevance_in"][position]


def test_classes_are_named_and_most_probable_first(explanation, scene):
    (image,) = scene["images"]
    assert [each["label"] for each in image["classes"][:5]] == [explanation.label(k) for k in range(5)]
    probabilities = [each["probability"] for each in image["classes"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert image["targets"][0]["probability"] == pytest.approx(float(explanation.probabilities[0].max()))
    assert scene["title"] == "Why espresso?"


def test_five_classes_and_all_layers_of_resnet50_are_small():
    network = torchvision.models.resnet50(weights=None).eval()
    scene = build_scene([rn.explain(network, torch.randn(1, 3, 224, 224), "top5", layers="all")])
    assert len(scene["images"][0]["results"][0]["layers"]) > 100
    _, blocks = detach(scene)
    assert sum(map(len, blocks)) < 6_000_000
    assert len(render(scene)) < 8_000_000


def test_merging_adds_what_is_new_and_leaves_what_was_given(classifier, explanation):
    given = build_scene([explanation])
    addition = build_scene([rn.explain(classifier, sample_image("coffee"), 3, "gradient-x-input")])["images"][0]
    before = copy.deepcopy((given, addition))
    scene = merge_image(merge_image(given, 0, addition), 1, addition)
    assert (given, addition) == before
    assert [len(image["results"]) for image in scene["images"]] == [2, 1]
    assert scene["images"][0]["targets"][-1]["key"] == "3"
    assert scene["methods"] == ["rlrp", "gradient-x-input"]
    with pytest.raises(InputError, match="no image 5 to add to; there are 2"):
        merge_image(scene, 5, addition)


def test_an_addition_holds_only_what_is_new(classifier):
    coffee = sample_image("coffee")
    first, second = (rn.explain(classifier, coffee, target, layers=["_blocks.8", "_fc"]) for target in (967, (3, 4)))
    addition = build_addition(second)
    assert set(addition) == {"targets", "results"}
    given = build_scene([first])
    before = copy.deepcopy(given)
    scene = merge_image(given, 0, addition)
    assert given == before
    assert scene["images"] == build_scene([first, second])["images"]


def test_methods_of_one_image_stand_together(classifier):
    coffee = sample_image("coffee")
    both = [rn.explain(classifier, coffee, targets="top5", method=method) for method in ("rlrp", "gradient-x-input")]
    scene = build_scene(both)
    assert scene["methods"] == ["rlrp", "gradient-x-input"]
    (image,) = scene["images"]
    assert [result["method"] for result in image["results"]] == ["rlrp", "gradient-x-input"]
    assert len(image["targets"]) == 5


def test_methods_set_differently_stand_together(classifier):
    explained = [rn.explain(classifier, sample_image("coffee"), method=lrp_epsilon(size)) for size in (0.25, 0.5, 1)]
    scene = build_scene(explained)
    assert scene["methods"] == ["lrp-epsilon", "lrp-epsilon(0.5)", "lrp-epsilon(1.0)"]
    results = scene["images"][0]["results"]
    assert len({result["targets"]["967"]["pieces"][0]["data"] for result in results}) == 3


def test_two_methods_of_one_name_are_refused_since_one_would_replace_the_other(classifier):
    mine = [rn.Method("mine", "Mine", "secant", dense=Epsilon(size), convolution=Epsilon(size)) for size in (0.1, 0.5)]
    first, second = (rn.explain(classifier, sample_image("coffee"), method=method) for method in mine)
    assert len(build_scene([first, first])["images"][0]["results"]) == 1
    with pytest.raises(InputError, match=r"by 'mine' of one image for 'espresso' are different maps"):
        build_scene([first, second])


def test_images_of_a_batch_stand_apart(classifier):
    scene = build_scene([rn.explain(classifier, [sample_image("coffee"), sample_image("rocket")])])
    assert [image["name"] for image in scene["images"]] == ["Image 1", "Image 2"]
    assert scene["title"] == "Why these answers?"


def test_other_targets_of_one_image_and_method_are_added(classifier):
    coffee = sample_image("coffee")
    scene = build_scene([rn.explain(classifier, coffee, targets=targets) for targets in (967, [967, 968], (967, 968))])
    (image,) = scene["images"]
    assert [target["key"] for target in image["targets"]] == ["967", "968", "967-968"]
    assert list(image["results"][0]["targets"]) == ["967", "968", "967-968"]
    assert image["targets"][2]["label"] == "espresso \N{MINUS SIGN} cup"


def test_where_layers_are_large_they_are_sent_as_int8_and_the_heatmap_is_not(explanation, monkeypatch):
    monkeypatch.setattr(scene_module, "_FLOAT16_BUDGET", 1_000_000)
    image = build_scene([explanation])["images"][0]
    pieces = image["results"][0]["targets"][image["targets"][0]["key"]]["pieces"]
    assert [piece["dtype"] for piece in pieces[:3]] == ["float16", "int8", "int8"]
    sent, relevance = unpack(pieces[2]), explanation.layers["_conv_stem"][0, 0].sum(0).numpy()
    assert np.abs(sent - relevance).max() <= np.abs(relevance).max() / 127


def test_plain_tensors_have_no_photograph(classifier):
    tensor = classifier.preprocess(sample_image("coffee"))[None]
    scene = build_scene([rn.explain(classifier.network, tensor)])
    assert scene["images"][0]["photo"] is None
    assert scene["images"][0]["classes"][0]["label"] == "class 967"


class Read(nn.Module):
    """A network whose convolution reads its input by axes in another order."""

    def __init__(self, first, convolution):
        super().__init__()
        self.first, self.convolution = first, convolution

    def forward(self, x):
        return self.convolution(self.first(x)).relu().flatten(2).mean(2)


def test_pictures_with_channels_last_are_shown_whole():
    network = Read(lambda x: x.permute(0, 3, 1, 2), nn.Conv2d(3, 4, 3)).eval()
    made = rn.explain(network, torch.rand(1, 10, 12, 3), 1)
    (image,) = build_scene([made])["images"]
    (target,) = image["targets"]
    sent = unpack(image["results"][0]["targets"][target["key"]]["pieces"][0])
    assert sent.shape == (image["height"], image["width"]) == (10, 12)


def test_volumes_without_channels_are_no_pictures():
    made = rn.explain(Read(lambda x: x.unsqueeze(1), nn.Conv3d(1, 4, 3)).eval(), torch.rand(1, 5, 6, 7), 1)
    with pytest.raises(InputError, match=r"only explanations of images"):
        build_scene([made])


def test_what_cannot_be_shown_is_refused(explanation):
    with pytest.raises(InputError, match="the list of explanations is empty"):
        build_scene([])
    with pytest.raises(InputError, match="Item 1 is a str, not an Explanation"):
        build_scene([explanation, "page.html"])


def test_classes_without_a_name_are_called_by_their_numbers(explanation):
    blank = build_scene([replace(explanation, categories=(" ",) * 1000)])
    index = int(explanation.targets[0, 0])
    assert blank["title"] == f"Why class {index}?"
    image = blank["images"][0]
    assert image["targets"][0]["label"] == image["classes"][0]["label"] == f"class {index}"
    assert image["results"][0]["targets"][str(index)]["pieces"][-1]["labels"][0].startswith("class ")


def test_names_may_be_a_list(explanation):
    names = [f"name {k}" for k in range(1000)]
    assert build_scene([replace(explanation, categories=names)])["title"].startswith("Why name ")


def test_half_a_sign_in_a_name_can_be_sent(explanation):
    half = replace(explanation, categories=("cat \ud83d",) * 1000, network="M\udce4use")
    scene = build_scene([half], title="\udce4")
    assert (scene["title"], scene["network"]) == ("?", "M?use")
    assert json.dumps(scene["images"][0]["targets"], ensure_ascii=False).encode()


def test_the_question_keeps_its_direction_whatever_the_name(explanation):
    turned = build_scene([replace(explanation, categories=("\u2069\u202eabc",) * 1000)])
    index = int(explanation.targets[0, 0])
    assert turned["title"] == f"Why \u2068\u202eabc ({index})\u2069?"


@pytest.mark.parametrize("title", [5, b"x", ["x"]])
def test_a_title_that_is_no_text_is_refused(explanation, title):
    with pytest.raises(InputError, match="The title is a"):
        build_scene([explanation], title=title)


def narrow(height, width, channels, *, permuted=False):
    """Explain a picture that need not be square by a network whose layer can have its channels last."""

    class Permute(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1) if permuted else x

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), Permute(), nn.Flatten())
    return rn.explain(network.eval(), torch.randn(1, 3, height, width), 5, layers=["1", "2"] if permuted else ["1"])


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(64, 16, 64), (28, 7, 28), (4, 64, 4), (10, 20, 10), (5, 50, 7), (8, 8, 8)]
)
@pytest.mark.parametrize("permuted", [False, True])
def test_channels_are_summed_whatever_the_proportions_of_the_picture(height, width, channels, permuted):
    explanation = narrow(height, width, channels, permuted=permuted)
    image = build_scene([explanation])["images"][0]
    sent = unpack(image["results"][0]["targets"]["5"]["pieces"][1])
    relevance = explanation.layers["1"][0, 0].sum(0).numpy()
    assert np.abs(sent - relevance).max() <= np.abs(relevance).max() / 127
    if permuted and (height, width) != (8, 8):  # of three equal lengths the first counts the channels
        assert unpack(image["results"][0]["targets"]["5"]["pieces"][2]).shape == (height, width)


def test_channels_are_summed_where_planes_have_other_proportions_than_the_picture():
    """Networks on spectrograms pool over time alone."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((32, 1)), nn.Flatten())
    explanation = rn.explain(network.eval(), torch.randn(1, 1, 32, 32), 5, layers=["2"])
    piece = build_scene([explanation])["images"][0]["results"][0]["targets"]["5"]["pieces"][1]
    relevance = explanation.layers["2"][0, 0].sum(0).numpy()
    assert unpack(piece).shape == (32, 1)
    assert np.abs(unpack(piece) - relevance).max() <= np.abs(relevance).max() / 127


def test_one_output_has_a_value_and_no_probability():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).eval()
    x = torch.rand(1, 1, 4, 4)
    (image,) = build_scene([rn.explain(network, x)])["images"]
    said = {"probability": None, "output": pytest.approx(network(x).detach().item())}
    assert image["probabilities"] is None
    assert image["classes"] == [{"index": 0, "label": "class 0", **said}]
    assert image["targets"] == [{"key": "0", "index": 0, "negative": -1, "label": "class 0", **said}]


class Turned(nn.Module):
    """Its logits stand the other way round than the neurons of its last layer."""

    def __init__(self, *, turn):
        super().__init__()
        self.first, self.second, self.turn = nn.Linear(16, 5), nn.Linear(5, 5), turn

    def forward(self, x):
        found = self.second(self.first(x.flatten(1)).relu())
        return found.flip(1) if self.turn else found


@pytest.mark.parametrize(
    ("turn", "layer", "named"), [(False, "second", True), (False, "first", False), (True, "second", False)]
)
@pytest.mark.parametrize("target", [1, (1, 4), torch.tensor([[1.0, 0, -0.5, 0, 0]])])
def test_neurons_are_called_by_the_classes_only_where_they_are_the_output(turn, layer, named, target):
    torch.manual_seed(0)
    targets = target[None] if isinstance(target, torch.Tensor) else [target]
    explanation = rn.explain(Turned(turn=turn).eval(), torch.rand(1, 1, 4, 4), targets, layers=[layer])
    (explained,) = build_scene([explanation])["images"][0]["results"][0]["targets"].values()
    labels = explained["pieces"][1]["labels"]
    assert (labels is not None) == named
    assert labels is None or labels == [f"class {index}" for index in explained["pieces"][1]["indices"]]


def test_inputs_about_which_the_network_says_the_same_stand_apart():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten()).eval()
    inputs = torch.rand(3, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network[0].weight.fill_(-1)  # the activation is dead, and the outputs are zero
        network[0].bias.zero_()
    dead = [rn.explain(network, inputs, 0, method) for method in ("gradient-x-input", "rlrp")]
    assert len(build_scene(dead)["images"]) == 3
    network[0].weight.data.fill_(1.0)
    explanation = rn.explain(network, inputs, 0)
    images = build_scene([explanation])["images"]
    assert len(images) == 3
    for sample, image in enumerate(images):
        sent = unpack(image["results"][0]["targets"]["0"]["pieces"][0])
        np.testing.assert_allclose(sent, explanation.heatmap(0, sample).numpy(), rtol=1e-2)


def test_seeds_of_two_explanations_are_refused_since_one_would_replace_the_other():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()).eval()
    inputs = torch.rand(1, 1, 3, 3)
    first, second = (rn.explain(network, inputs, torch.randn(1, 2, 4)) for _ in range(2))
    with pytest.raises(InputError, match=r"different seeds as target 0.* give all seeds to one call of explain"):
        build_scene([first, second])
    by_two = [rn.explain(network, inputs, torch.ones(1, 1, 4), method) for method in ("rlrp", "lrp-0")]
    assert len(build_scene(by_two)["images"][0]["results"]) == 2
    other = rn.explain(network, inputs, 2 * torch.ones(1, 1, 4), "lrp-gamma")
    with pytest.raises(InputError, match=r"different seeds as target 0.* give all seeds to one call of explain"):
        build_scene([*by_two, other])


def test_a_layer_called_input_stands_beside_the_picture():
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("input", nn.Conv2d(3, 4, 3))
    network.add_module("act", nn.ReLU())
    network.add_module("flat", nn.Flatten())
    explanation = rn.explain(network.eval(), torch.randn(1, 3, 8, 8), 5, layers="all")
    result = build_scene([explanation])["images"][0]["results"][0]
    names = [layer["name"] for layer in result["layers"]]
    assert names == ["input", "input (layer)", "act", "flat"]
    explained = result["targets"]["5"]
    for name, relevance in (("input", explanation.relevance), ("input (layer)", explanation.layers["input"])):
        expected = relevance[0, 0].sum(0).numpy()
        np.testing.assert_allclose(
            unpack(explained["pieces"][names.index(name)]), expected, atol=1e-3 * abs(expected).max()
        )
    row = explanation.ledger().row("input")
    assert explained["ledger"]["input (layer)"]["relevance_in"] == row.relevance_in
    assert "input" not in explained["ledger"]


@pytest.mark.parametrize("method", ["rlrp", "lrp-0"])
def test_one_network_before_and_after_training_is_not_shown_as_one(method):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    classifier = rn.Classifier("mine", network, ("cat", "dog"), Preprocess(size=8), "random numbers")
    before = rn.explain(classifier, sample_image("coffee"), 0)
    again = rn.explain(classifier, [sample_image("rocket"), sample_image("coffee")], 1)
    assert len(build_scene([before, again])["images"]) == 2
    network[0].weight.data.mul_(-1)
    after = rn.explain(classifier, sample_image("coffee"), 0, method)
    with pytest.raises(InputError, match="networks called 'mine' that say something else of it"):
        build_scene([before, after])


def test_other_names_for_the_classes_of_one_network_are_refused(explanation):
    renamed = replace(explanation, categories=explanation.categories[::-1])
    with pytest.raises(InputError, match="'efficientnet_lite0' call its classes by different names"):
        build_scene([explanation, renamed])
