"""The Explorer without a browser: what it sends, what it answers, and that a mistake does not end it."""

import copy
import io
import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from traitlets import TraitError

from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.explainer import explain
from rlrp_nb.engine.methods import available_methods, lrp_epsilon
from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.evaluation.faithfulness import flip
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.models.zoo import load_model
from rlrp_nb.widgets.buffers import attach, unpack
from rlrp_nb.widgets.explorer import Explorer


@pytest.fixture(scope="module")
def classifier():
    return load_model("efficientnet_lite0")


@pytest.fixture
def explorer(classifier):
    """Return an Explorer whose messages to the browser are kept in ``sent``."""
    explorer = Explorer(classifier, sample_image("coffee"), targets=[967, 968], layers=["_blocks.8", "_fc"])
    explorer.sent = []
    explorer.send = lambda content, buffers=None: explorer.sent.append(
        {**content, "tree": attach(content["tree"], buffers)}
    )
    yield explorer
    assert explorer.wait(60)
    explorer.close()


def ask(explorer, buffers=(), **message):
    explorer._handle_custom_msg({"ask": 1, **message}, list(buffers))
    assert explorer.wait(120)


def as_png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_missing_class_is_explained_and_sent_alone(explorer, classifier):
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    (answer,) = explorer.sent
    sent = answer["tree"]["picture"]["results"][0]["targets"]["504"]["pieces"][0]
    heatmap = explain(classifier, sample_image("coffee"), 504).heatmap().numpy()
    assert np.abs(unpack(sent) - heatmap).max() <= np.abs(heatmap).max() / 127
    assert list(explorer.scene["images"][0]["results"][0]["targets"]) == ["967", "968", "504"]
    assert (explorer.busy, explorer.error, answer["ask"]) == (False, "", 1)


def test_the_largest_picture_fits_in_a_message_that_a_jupyter_server_takes(explorer):
    jupyter = 10 * 1024 * 1024
    assert explorer.max_bytes < 0.97 * jupyter


def test_a_request_is_heard_before_it_is_answered(explorer):
    for number, message in enumerate(({"kind": "explain"}, {"kind": "unheard of"}, "nonsense")):
        asked = message if isinstance(message, str) else {**message, "ask": f"page-{number}"}
        explorer._handle_custom_msg(asked, [])
        assert explorer.heard == ("None" if isinstance(message, str) else f"page-{number}")
    assert explorer.wait(60)


def test_a_photograph_is_sent_with_its_first_explanation_only(explorer):
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    ask(explorer, [as_png(sample_image("rocket"))], kind="image", name="rocket.png", method="rlrp")
    ask(explorer, kind="explain", image=1, method="rlrp", index=504, negative=-1)
    pictures = [answer["tree"]["picture"] for answer in explorer.sent]
    assert [set(picture) for picture in pictures[::2]] == [{"targets", "results"}] * 2
    assert pictures[1]["photo"]["data"].startswith(b"\x89PNG")
    assert all(image["photo"] for image in explorer.scene["images"])


def test_a_picture_is_prepared_once(classifier, monkeypatch):
    prepared = []
    view = type(classifier.preprocess).view

    def counted(self, image):
        prepared.append(image)
        return view(self, image)

    monkeypatch.setattr(type(classifier.preprocess), "view", counted)
    explorer = Explorer(classifier, sample_image("coffee"), targets=None, layers=None)
    before = len(prepared)
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    ask(explorer, kind="cover", image=0, box=[40, 20, 180, 120], classes=[967])
    assert (before > 0, len(prepared) - before) == (True, 0)
    explorer.close()


def test_another_method_and_a_contrast_are_answered(explorer):
    ask(explorer, kind="explain", image=0, method="gradient-x-input", index=967, negative=968)
    picture = explorer.sent[0]["tree"]["picture"]
    assert [target["key"] for target in picture["targets"]] == ["967-968"]
    assert explorer.scene["methods"] == ["rlrp", "gradient-x-input"]


def test_a_picture_is_read_explained_and_added(explorer):
    ask(explorer, [as_png(sample_image("rocket"))], kind="image", name="rocket.png", method="rlrp")
    assert [image["name"] for image in explorer.scene["images"]] == ["Image 1", "rocket.png"]
    assert explorer.scene["images"][1]["targets"][0]["label"] == "missile"
    ask(explorer, kind="explain", image=1, method="rlrp", index=1, negative=-1)
    assert "1" in explorer.scene["images"][1]["results"][0]["targets"]


@pytest.mark.parametrize("data", [b"no picture at all", b"", as_png(sample_image("coffee"))[:2000]])
def test_what_is_no_picture_is_told_in_words_and_the_widget_lives_on(explorer, data):
    ask(explorer, [data], kind="image", name="<img onerror=x>.png", method="rlrp")
    assert explorer.error
    assert explorer.sent == []
    assert len(explorer.scene["images"]) == 1
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    assert explorer.error == ""
    assert len(explorer.sent) == 1


def test_a_picture_of_too_many_bytes_is_refused(explorer, monkeypatch):
    monkeypatch.setattr("rlrp_nb.widgets.session.MAX_BYTES", 1000)
    ask(explorer, [as_png(sample_image("coffee"))], kind="image", name="big.png", method="rlrp")
    assert "'big.png' has" in explorer.error
    assert len(explorer.scene["images"]) == 1


def test_a_picture_of_too_many_pixels_is_refused(explorer, monkeypatch):
    monkeypatch.setattr("rlrp_nb.widgets.session.MAX_PIXELS", 600 * 400 - 1)
    ask(explorer, [as_png(sample_image("coffee"))], kind="image", name="large.png", method="rlrp")
    assert "'large.png' is 600 x 400" in explorer.error
    assert len(explorer.scene["images"]) == 1


def test_pictures_of_too_many_pixels_together_are_refused(explorer, monkeypatch):
    picture = as_png(sample_image("coffee"))
    monkeypatch.setattr("rlrp_nb.widgets.session.MAX_HELD", 2 * 224 * 224)
    ask(explorer, [picture], kind="image", name="second.png", method="rlrp")
    assert explorer.error == ""
    ask(explorer, [picture], kind="image", name="third.png", method="rlrp")
    assert "With 'third.png' there would be 3 pictures" in explorer.error
    assert len(explorer.scene["images"]) == 2


def test_mistakes_in_a_request_are_told(explorer):
    for message in (
        {"kind": "explain", "image": 9, "method": "rlrp", "index": 1, "negative": -1},
        {"kind": "explain", "image": 0, "method": "magic", "index": 1, "negative": -1},
        {"kind": "explain", "image": 0, "method": "rlrp", "index": 5000, "negative": -1},
        {"kind": "cover", "image": 0, "box": [5, 5, 5, 9], "classes": [967]},
        {"kind": "channels", "image": 0, "method": "rlrp", "index": 967, "negative": -1, "layer": "_fc"},
        {"kind": "faithfulness", "cells": [{"image": 0, "method": "rlrp", "target": "9"}]},
        {"kind": "faithfulness", "cells": [{"image": 7, "method": "rlrp", "target": "967"}]},
        {"kind": "methods", "image": 0, "methods": ["magic"], "index": 967, "negative": -1},
        {"kind": "methods", "image": 0, "methods": [], "index": 967, "negative": -1},
        {"kind": "faithfulness", "cells": []},
        {"kind": "explain"},
        {"kind": "dance"},
    ):
        ask(explorer, **message)
        assert explorer.error, message
        assert not explorer.busy
    assert explorer.sent == []


def test_a_covered_region_changes_the_probability(explorer, classifier):
    ask(explorer, kind="cover", image=0, box=[40, 20, 180, 120], classes=[967])
    tree = explorer.sent[0]["tree"]
    pixels = classifier.preprocess(sample_image("coffee"))
    covered = pixels.clone()
    covered[:, 20:120, 40:180] = pixels.mean((1, 2), keepdim=True)
    with torch.no_grad():
        expected = classifier.network(torch.stack([pixels, covered])).softmax(1)[:, 967]
    assert tree["before"] == pytest.approx([float(expected[0])], rel=1e-4)
    assert tree["after"] == pytest.approx([float(expected[1])], rel=1e-4)
    assert tree["after"] < tree["before"]
    assert len(tree["likeliest"]) == 3


def test_a_covered_region_changes_the_output_where_there_is_one():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1)).eval()
    one = Classifier("one", network, ("tumour",), Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3), "untrained")
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    found = Explorer(one, picture)._session.cover(0, (0, 0, 4, 4), [0])
    assert found["before"] == pytest.approx(network(one.preprocess(picture)[None])[0].tolist())
    assert found["before"] != found["after"]
    assert found["likeliest"] == [{"label": "tumour", "probability": None, "output": found["after"][0]}]


def test_channels_are_ranked_by_the_relevance_that_passes_through(explorer, classifier):
    ask(explorer, kind="channels", image=0, method="rlrp", index=967, negative=-1, layer="_blocks.8")
    tree = explorer.sent[0]["tree"]
    relevance = explain(classifier, sample_image("coffee"), 967, layers=["_blocks.8"]).layers["_blocks.8"][0, 0]
    sums = relevance.sum((1, 2)).numpy()
    assert tree["count"] == len(sums)
    assert [each["index"] for each in tree["channels"]] == np.argsort(-np.abs(sums), kind="stable")[:12].tolist()
    best = tree["channels"][0]
    assert np.abs(unpack(best["map"]) - relevance[best["index"]].numpy()).max() <= best["map"]["peak"] / 127


def test_channels_that_come_last_are_ranked_too():
    class Permute(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Permute(), nn.Linear(4, 9), nn.Flatten(), nn.Linear(324, 2))
    model = Classifier("last", network.eval(), ("a", "b"), Preprocess(size=8), "none")
    found = Explorer(model, sample_image("coffee"))._session.channels(0, 1, "rlrp", "3")
    relevance = explain(model, sample_image("coffee"), 1, layers=["3"]).layers["3"][0, 0]
    assert found["count"] == 9
    for channel in found["channels"]:
        assert channel["sum"] == pytest.approx(float(relevance[..., channel["index"]].double().sum()), rel=1e-6)


def test_a_method_that_does_not_suit_the_network_keeps_none_of_the_others_back():
    network = nn.Sequential(nn.LayerNorm(8), nn.Flatten(), nn.Linear(3 * 64, 2)).eval()
    model = Classifier("small", network, ("cat", "dog"), Preprocess(size=8), "untrained: only an example")
    explorer = Explorer(model, np.zeros((8, 8, 3), np.uint8), layers=None)
    methods = ["epsilon-plus-flat", "gradient-x-input"]
    ask(explorer, kind="methods", image=0, methods=methods, index=0, negative=-1)
    assert explorer.scene["methods"] == ["rlrp", "gradient-x-input"]
    assert explorer.error.startswith("epsilon-plus-flat: the flat rule needs")


def test_several_methods_are_explained_one_by_one_and_progress_counts_them(explorer):
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "progress")
    methods = ["lrp-0", "gradient-x-input", "lrp-epsilon", "lrp-gamma"]
    ask(explorer, kind="methods", image=0, methods=methods, index=967, negative=-1)
    assert [answer["tree"]["picture"]["results"][0]["method"] for answer in explorer.sent] == methods
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert explorer.scene["methods"] == ["rlrp", *methods]


def test_faithfulness_is_measured_kept_and_written_into_the_page(explorer, classifier, tmp_path):
    cells = [{"image": 0, "method": "rlrp", "target": key} for key in ("967", "968")]
    ask(explorer, kind="faithfulness", cells=cells)
    assert [answer["tree"]["cell"] for answer in explorer.sent] == cells
    held = explorer.scene["images"][0]["results"][0]["targets"]["967"]["faithfulness"]
    assert held == explorer.sent[0]["tree"]["faithfulness"]
    coffee = sample_image("coffee")
    explanation = explain(classifier, coffee, 967)
    pixels, target = classifier.preprocess(coffee)[None], torch.tensor([967])
    found = flip(classifier.network, pixels, explanation.heatmap()[None], target, patch=16, per_step=7)
    assert held["abpc"] == pytest.approx(found.abpc.item(), abs=0.01)  # the map travelled as float16
    assert held["aopc"] == pytest.approx(found.aopc.item(), abs=0.01)
    assert (held["patch"], held["steps"]) == (16, 28)
    assert held["abpc"] > 0.1
    assert '"faithfulness":{' in explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")


def answers(network):
    """Return what an Explorer says of faithfulness, of a second picture, and then of the first one again."""
    model = Classifier("mine", network, ("a", "b", "c"), Preprocess(size=16), "")
    first, second = (np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8) for seed in (0, 1))
    explorer, sent = Explorer(model, first, targets=[1]), []
    explorer.send = lambda content, buffers=None: sent.append({**content, "tree": attach(content["tree"], buffers)})
    ask(explorer, kind="faithfulness", cells=[{"image": 0, "method": "rlrp", "target": "1"}])
    ask(explorer, [as_png(Image.fromarray(second))], kind="image", name="b.png", method="rlrp")
    ask(explorer, kind="explain", image=0, method="rlrp", index=2, negative=-1)
    explorer.close()
    return sent[0]["tree"]["faithfulness"], [answer["kind"] for answer in sent]


def test_a_network_that_writes_into_its_input_is_asked_by_copies():
    class Normalising(nn.Sequential):
        def __init__(self, normalise):
            torch.manual_seed(0)
            super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3))
            self.normalise = normalise

        def forward(self, x):
            return super().forward(self.normalise(x))

    expected = answers(Normalising(lambda x: (x - 0.3) / 0.2).eval())
    assert answers(Normalising(lambda x: x.sub_(0.3).div_(0.2)).eval()) == expected
    assert expected[1] == ["faithfulness", "image", "explain"]


@pytest.fixture
def held_up(explorer, monkeypatch):
    """Let no explanation come to an end: return the events that one has begun, and that they may go on."""
    begun, go = threading.Event(), threading.Event()
    real = explorer._session.explain

    def slow(position, targets, method):
        begun.set()
        assert go.wait(60)
        return real(position, targets, method)

    monkeypatch.setattr(explorer._session, "explain", slow)
    return begun, go


def test_a_newer_request_ends_one_of_several_parts(explorer, held_up):
    begun, go = held_up
    several = {"kind": "methods", "ask": 1, "image": 0, "methods": ["lrp-0", "lrp-gamma"], "index": 967, "negative": -1}
    explorer._handle_custom_msg(several, [])
    assert begun.wait(60)
    explorer._handle_custom_msg(
        {"kind": "explain", "ask": 2, "image": 0, "method": "rlrp", "index": 3, "negative": -1}, []
    )
    go.set()
    assert explorer.wait(120)
    assert [answer["ask"] for answer in explorer.sent] == [2]
    assert explorer.scene["methods"] == ["rlrp"]


def test_of_many_requests_the_newest_wins(explorer, held_up):
    begun, go = held_up
    for number, index in enumerate((1, 2, 3), 1):
        explorer._handle_custom_msg(
            {"kind": "explain", "ask": number, "image": 0, "method": "rlrp", "index": index, "negative": -1}, []
        )
        assert begun.wait(60)
    assert explorer.busy
    go.set()
    assert explorer.wait(120)
    assert [message["ask"] for message in explorer.sent] == [3]
    assert "1" not in explorer.scene["images"][0]["results"][0]["targets"]
    assert not explorer.busy


def test_of_many_pictures_none_is_lost(explorer, held_up):
    begun, go = held_up
    names = ["rocket", "camera", "chelsea"]
    files = [(f"{name}.png", as_png(sample_image(name))) for name in names]
    for number, (name, data) in enumerate([*files, ("broken.png", b"no picture"), ("empty.png", b"")]):
        message = {"kind": "image", "ask": number, "name": name, "method": "rlrp"}
        explorer._handle_custom_msg(message, [data])
    assert begun.wait(60)
    assert explorer.busy
    go.set()
    assert explorer.wait(120)
    assert [answer["ask"] for answer in explorer.sent] == [0, 1, 2]
    assert [image["name"] for image in explorer.scene["images"]] == ["Image 1", *(name for name, _ in files)]
    assert "'broken.png'" in explorer.error
    assert "'empty.png'" in explorer.error
    assert not explorer.busy


def test_two_widgets_of_one_network_answer_at_once(classifier):
    widgets = [Explorer(classifier, sample_image(name), targets=None, layers=None) for name in ("coffee", "rocket")]
    for widget in widgets:
        widget._handle_custom_msg({"kind": "explain", "image": 0, "method": "rlrp", "index": 3, "negative": -1}, [])
    for widget, name in zip(widgets, ("coffee", "rocket"), strict=True):
        assert widget.wait(120)
        sent = widget.scene["images"][0]["results"][0]["targets"]["3"]["pieces"][0]
        heatmap = explain(classifier, sample_image(name), 3).heatmap().numpy()
        assert np.abs(unpack(sent) - heatmap).max() <= np.abs(heatmap).max() / 127
        widget.close()


def test_a_view_that_opens_later_gets_everything(explorer):
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    state = explorer.get_state("scene")["scene"]
    assert "504" in state["images"][0]["results"][0]["targets"]


def test_who_reads_the_scene_while_it_grows_has_a_whole_one(explorer, monkeypatch):
    """As save_html in a cell, or a second view that opens, while the worker answers."""
    updates = []
    monkeypatch.setattr(explorer, "_send", lambda message, **_buffers: updates.extend(message["state"]))
    shown = explorer.scene
    before, reading = copy.deepcopy(shown), iter(shown["images"][0]["results"][0]["targets"])
    first = next(reading)
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    ask(explorer, kind="methods", image=0, methods=["lrp-0"], index=967, negative=-1)
    ask(explorer, kind="faithfulness", cells=[{"image": 0, "method": "rlrp", "target": "967"}])
    ask(explorer, [as_png(sample_image("rocket"))], kind="image", name="rocket.png", method="rlrp")
    assert explorer.error == ""
    assert [first, *reading] == ["967", "968"]
    assert shown == before
    grown = explorer.get_state("scene")["scene"]
    assert [len(image["results"]) for image in grown["images"]] == [2, 1]
    by_rlrp, by_lrp = (result["targets"] for result in grown["images"][0]["results"])
    assert ([*by_rlrp], [*by_lrp]) == (["967", "968", "504"], ["967"])
    assert "faithfulness" in by_rlrp["967"]
    assert "progress" in updates
    assert "scene" not in updates  # which would be megabytes: an answer is sent alone
    assert len(explorer.sent) == 4


def test_a_target_that_was_not_explained_is_refused_until_it_is(explorer):
    for target in ("banana", "504", "967-968", ""):
        with pytest.raises(TraitError, match=f"^target is '{target}'; accepted is one of '967', '968'"):
            explorer.target = target
    assert explorer.target == "967"
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    explorer.target = "504"
    assert explorer.target == "504"


def test_the_page_holds_what_was_computed(explorer, tmp_path):
    ask(explorer, kind="explain", image=0, method="rlrp", index=504, negative=-1)
    page = explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"key":"504"' in page
    with pytest.raises(FileFormatError):
        explorer.save_html(tmp_path / "page.txt")


def test_repr_is_stable_and_a_picture_stands_in_for_the_widget(explorer):
    assert repr(explorer) == "Explorer(efficientnet_lite0: espresso, cup; rlrp)"
    data, *_ = explorer._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"] == repr(explorer)
    assert "application/vnd.jupyter.widget-view+json" in data


def test_what_is_no_classifier_is_refused(classifier):
    with pytest.raises(InputError, match="got a EfficientNet"):
        Explorer(classifier.network, sample_image("coffee"))


@pytest.fixture
def few():
    """Return a classifier of two classes whose batch-norm would learn in training mode."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(144, 2)).eval()
    return Classifier("few", network, ("cat", "dog"), Preprocess(size=8), "random numbers")


def test_a_network_of_fewer_than_five_classes_needs_no_targets(few):
    assert sorted(Explorer(few, sample_image("coffee")).scene["images"][0]["results"][0]["targets"]) == ["0", "1"]


def test_a_network_in_training_does_not_learn_from_a_covered_picture(few):
    explorer = Explorer(few, sample_image("coffee"))
    few.network.train()
    before = {name: value.clone() for name, value in few.network.state_dict().items()}
    ask(explorer, kind="cover", image=0, box=[1, 1, 4, 4], classes=[0])
    assert "training mode" in explorer.error
    assert all(torch.equal(value, before[name]) for name, value in few.network.state_dict().items())
    explorer.close()


CHANGES = {
    "weights": lambda network: network[0].weight.data.mul_(-1),
    "a layer": lambda network: network.__setitem__(2, torch.nn.Tanh()),
    "the number of classes": lambda network: network.__setitem__(4, torch.nn.Linear(144, 3)),
}
REQUESTS = {
    "another class": {"kind": "explain", "image": 0, "method": "rlrp", "index": 1, "negative": -1},
    "another method": {"kind": "methods", "image": 0, "methods": ["lrp-0"], "index": 0, "negative": -1},
    "another picture": {"kind": "image", "name": "rocket.png", "method": "rlrp"},
    "a covered region": {"kind": "cover", "image": 0, "box": [1, 1, 4, 4], "classes": [0]},
    "channels": {"kind": "channels", "image": 0, "method": "rlrp", "index": 0, "negative": -1, "layer": "0"},
    "faithfulness": {"kind": "faithfulness", "cells": [{"image": 0, "method": "rlrp", "target": "0"}]},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_network_that_has_changed_adds_nothing_to_what_is_on_show(few, change, request_):
    explorer = Explorer(few, sample_image("coffee"), targets=[0])
    sent = []
    explorer.send = lambda content, _buffers=None: sent.append(content)
    shown = copy.deepcopy(explorer.scene)
    CHANGES[change](few.network)
    buffers = [as_png(sample_image("rocket"))] if request_ == "another picture" else []
    ask(explorer, buffers, **REQUESTS[request_])
    assert "has changed since" in explorer.error
    assert (sent, explorer.scene) == ([], shown)
    explorer.close()


def test_rounding_is_no_change(few):
    few.network.bfloat16()
    explorer = Explorer(few, sample_image("coffee"), targets=[0])
    for request in REQUESTS.values():
        if request["kind"] != "faithfulness":
            ask(explorer, [as_png(sample_image("rocket"))] if request["kind"] == "image" else [], **request)
            assert explorer.error == ""
    explorer.close()


def test_a_method_of_ones_own_answers_every_question_and_is_offered(few):
    explorer = Explorer(few, sample_image("coffee"), targets=[0], method=lrp_epsilon(0.5))
    own = "lrp-epsilon(0.5)"
    assert explorer.offered == [*available_methods(), own]
    for message, data in (
        ({"kind": "explain", "image": 0, "method": own, "index": 1, "negative": -1}, []),
        ({"kind": "channels", "image": 0, "method": own, "index": 0, "negative": -1, "layer": "0"}, []),
        ({"kind": "image", "name": "rocket.png", "method": own}, [as_png(sample_image("rocket"))]),
        ({"kind": "methods", "image": 1, "methods": ["rlrp", own], "index": 0, "negative": 1}, []),
    ):
        ask(explorer, data, **message)
        assert explorer.error == ""
    piece = explorer.scene["images"][0]["results"][0]["targets"]["1"]["pieces"][0]
    heatmap = explain(few, sample_image("coffee"), 1, lrp_epsilon(0.5)).heatmap().numpy()
    assert np.abs(unpack(piece) - heatmap).max() <= np.abs(heatmap).max() / 127
    assert explorer.scene["methods"] == [own, "rlrp"]
    ask(explorer, kind="explain", image=0, method="lrp-epsilon(0.7)", index=1, negative=-1)
    assert "is not known" in explorer.error
    explorer.close()


def test_channels_of_a_layer_called_input_are_ranked(few):
    layers = OrderedDict(zip(("input", "norm", "act", "flat", "head"), few.network, strict=True))
    explorer = Explorer(replace(few, network=nn.Sequential(layers).eval()), sample_image("coffee"), targets=[0])
    names = [layer["name"] for layer in explorer.scene["images"][0]["results"][0]["layers"]]
    found = explorer._session.channels(0, 0, "rlrp", names[1])
    relevance = explain(few, sample_image("coffee"), 0, layers=["0"]).layers["0"][0, 0]
    assert names[:2] == ["input", "input (layer)"]
    assert found["channels"][0]["sum"] == pytest.approx(float(max(relevance.sum((1, 2)), key=abs)), rel=1e-4)
    explorer.close()
