"""No name, however odd, leaves its place in an exported page."""

import functools
import json
import re
from html.parser import HTMLParser

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

import rlrp_nb as rn
from rlrp_nb.class_name import distinct_name
from rlrp_nb.export import render
from rlrp_nb.printable import whole_signs
from rlrp_nb.widgets.scene import build_scene
from tests.fuzz.profiles import fuzzed

PIECES = (
    "</script>", "<script>", "<!--", "-->", "]]>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "&lt;", "&",
    "{", "}", "{policy}", "\\", "'", '"', "`", "${1}", "\0", "\u2028", "\u2029", "\u202e", "\ufeff", "\ud800", "\r\n",
    "</title>", "</style>", "<svg/onload=alert(1)>", "%00", "__proto__", "constructor",
)  # fmt: skip
names = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=6).map("".join)


@functools.cache
def explanation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    return rn.explain(network, torch.randn(1, 3, 4, 4), [0, (1, 2)], layers="all")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of some."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.found, self.text, self.inside = [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        values.pop("content", None)
        self.found.append((tag, tuple(sorted(values.items()))))
        self.inside.append(values.get("id", tag))

    def handle_endtag(self, _tag):
        self.inside.pop()

    def handle_data(self, data):
        if self.inside:
            self.text[self.inside[-1]] = self.text.get(self.inside[-1], "") + data


@functools.cache
def harmless():
    return Elements(render(build_scene([explanation()]))).found


@fuzzed
@given(title=names, category=names, network=names, layer=names)
@example(title="\ud800", category="\ud800", network="\0", layer="__proto__")
@example(title="", category="</script>", network="</script>", layer="")
@example(title="", category="", network="\ud800", layer="")
@example(title="</title><script>", category="</script>", network="<!--<script>", layer="]]>")
def test_names_stay_in_their_place(title, category, network, layer):
    expected, made = harmless(), explanation()
    made.categories, made.network = (category, "dog", network), network
    scene = build_scene([made], title=title)
    scene["images"][0]["name"] = title
    scene["images"][0]["results"][0]["layers"][1]["name"] = layer
    page = render(scene)
    page.encode()
    elements = Elements(page)
    assert elements.found == expected
    assert all(key[:2] != "on" for _, attributes in elements.found for key, _ in attributes)
    carried = json.loads(elements.text["rl-scene"])["scene"]
    assert carried["network"] == whole_signs(network)
    assert carried["images"][0]["targets"][0]["label"] == distinct_name(made.categories, 0)
    assert carried["images"][0]["results"][0]["layers"][1]["name"] == layer
    assert not re.search(r"[<>&\u2028\u2029\0-\x1f]|[^\x00-\x7f]", elements.text["rl-scene"])
