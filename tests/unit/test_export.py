"""The page: one file, nothing asked of any network, and nothing in it that a name could smuggle in."""

import base64
import hashlib
import html
import itertools
import json
import re

import numpy as np
import pytest

import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.export import render, to_html
from rlrp_nb.widgets.buffers import attach, unpack
from rlrp_nb.widgets.scene import build_scene

NASTY = "</script><!--<img src=x onerror=alert(1)>\u2028&amp;"


@pytest.fixture(scope="module")
def explanation():
    classifier = rn.load_model("efficientnet_lite0")
    return rn.explain(classifier, sample_image("coffee"), targets="top5", layers="all")


@pytest.fixture(scope="module")
def page(explanation, tmp_path_factory):
    return to_html(explanation, tmp_path_factory.mktemp("page") / "coffee.html").read_text(encoding="utf-8")


def carried(page):
    scene = json.loads(re.search(r'<script type="application/json" id="rl-scene">(.*?)</script>', page, re.DOTALL)[1])
    data = base64.b64decode(re.search(r'id="rl-data">(.*?)</script>', page, re.DOTALL)[1])
    ends = np.cumsum([0, *scene["lengths"]])
    return attach(scene["scene"], [data[a:b] for a, b in itertools.pairwise(ends)])


def test_the_page_carries_the_heatmaps(page, explanation):
    scene = carried(page)
    target = scene["images"][0]["targets"][0]
    sent = unpack(scene["images"][0]["results"][0]["targets"][target["key"]]["pieces"][0])
    heatmap = explanation.heatmap().numpy()
    assert np.abs(sent - heatmap).max() <= np.abs(heatmap).max() / 127
    assert scene["network"] == "efficientnet_lite0"


def test_five_classes_and_all_layers_stay_under_eight_megabytes(page):
    assert len(page.encode()) < 8_000_000


def test_the_policy_lets_the_page_run_itself_and_reach_nothing(page):
    policy = html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)[1])
    assert policy.startswith("default-src 'none';")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_page_names_no_address(page):
    without_names_of_formats = page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\(", without_names_of_formats)


def test_words_from_outside_cannot_leave_their_place(explanation):
    scene = build_scene([explanation], title=NASTY)
    scene["images"][0]["targets"][0]["label"] = NASTY
    scene["network"] = NASTY
    page = render(scene)
    assert "<img" not in page
    assert "<!--" not in page
    assert "\u2028" not in re.search(r'id="rl-scene">(.*?)</script>', page, re.DOTALL)[1]
    assert page.count("</script>") == 3
    assert carried(page)["images"][0]["targets"][0]["label"] == NASTY
    assert html.unescape(re.search("<h1>(.*?)</h1>", page, re.DOTALL)[1]) == NASTY


def test_the_title_is_the_question_unless_one_is_given(page, explanation, tmp_path):
    assert "<h1>Why espresso?</h1>" in page
    named = to_html(explanation, tmp_path / "named.html", title="My cup").read_text(encoding="utf-8")
    assert "<title>My cup</title>" in named


def test_several_explanations_share_a_page(explanation, tmp_path):
    other = rn.explain(rn.load_model("efficientnet_lite0"), sample_image("coffee"), method="gradient-x-input")
    page = to_html([explanation, other], str(tmp_path / "both.html")).read_text(encoding="utf-8")
    assert carried(page)["methods"] == ["rlrp", "gradient-x-input"]


def test_four_methods_with_five_classes_and_all_layers_stay_under_eight_megabytes(explanation, tmp_path):
    classifier = rn.load_model("efficientnet_lite0")
    methods = ("lrp-0", "lrp-gamma", "gradient-x-input")
    others = [rn.explain(classifier, sample_image("coffee"), "top5", method, "all") for method in methods]
    page = to_html([explanation, *others], tmp_path / "four.html").read_text(encoding="utf-8")
    assert 4_000_000 < len(page.encode()) <= 8_000_000
    assert "the layers of the first picture by rlrp keep all their cells" in page
    results = carried(page)["images"][0]["results"]
    cells = [
        max(max(p["shape"]) for p in next(iter(r["targets"].values()))["pieces"][1:] if "shape" in p) for r in results
    ]
    assert cells[0] == max(layer.shape[-1] for layer in explanation.layers.values() if layer.ndim == 5)
    assert len(set(cells[1:])) == 1
    assert cells[1] <= 112
    at_input = [next(iter(result["targets"].values()))["pieces"][0] for result in results]
    assert all((piece["dtype"], piece["shape"]) == ("float16", [224, 224]) for piece in at_input)


def test_the_explanation_writes_its_own_page(explanation, tmp_path):
    path = explanation.to_html(tmp_path / "own.html")
    assert path == (tmp_path / "own.html").absolute()
    assert "<h1>Why espresso?</h1>" in path.read_text(encoding="utf-8")


def test_the_same_explanation_gives_the_same_bytes(page, explanation):
    assert render(build_scene([explanation])) == page


def test_a_path_that_cannot_be_written_is_refused(explanation, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        to_html(explanation, tmp_path / "nowhere" / "page.html")
    with pytest.raises(FileFormatError, match=r"does not end in \.html"):
        to_html(explanation, tmp_path / "page.png")
    with pytest.raises(InputError, match="path is a NoneType; accepted is the name of a file"):
        explanation.to_html(None)


def test_nothing_to_show_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="empty"):
        to_html([], tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
