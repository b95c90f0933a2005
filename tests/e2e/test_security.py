"""Hostile names in a real Chromium: nothing runs that a name brought along, and no request leaves the page."""

import base64
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.export import render
from rlrp_nb.widgets.buffers import detach
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.scene import build_scene

HOSTILE = (
    "</script><img src=x onerror=owned()>",
    "<!--<script>owned()</script>",
    "javascript:owned()//http://127.0.0.1:9/x",
    "\u202etac\u202c \u2028owned()\u2029 \0 \ufeff \ud800",
    "\"'`><svg/onload=owned()>${owned()}",
    "</style></title><iframe srcdoc='<script>parent.owned()</script>'>",
    "../../../etc/passwd\\..\\x.exe",
    "__proto__",
)
WATCH = """
window.broken = [];
window.owned = () => window.broken.push("owned");
window.alert = window.confirm = window.prompt = window.owned;
document.addEventListener("securitypolicyviolation", event => window.broken.push(event.violatedDirective));
"""
# What a widget gets from Jupyter, made of what Python would send.
WIDGET = """async ({script, style, state, blocks}) => {
  const bytes = blocks.map(text => Uint8Array.from(atob(text), sign => sign.charCodeAt(0)));
  const attach = tree => {
    if (Array.isArray(tree)) return tree.map(attach);
    if (tree === null || typeof tree !== "object") return tree;
    const pairs = Object.entries(tree).map(([key, value]) =>
      [key, key === "data" && typeof value === "number" ? new DataView(bytes[value].buffer) : attach(value)]);
    return Object.fromEntries(pairs);
  };
  const values = attach(state), sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.append(sheet);
  const model = {
    get: key => values[key], set: (key, value) => { values[key] = value; },
    on: (event, callback) => { (window.heard ??= {})[event] = callback; }, off() {}, save_changes() {},
    send(message) { window.sent = message; },
  };
  const module = await import(URL.createObjectURL(new Blob([script], {type: "text/javascript"})));
  const widget = module.default();
  widget.initialize({model});
  widget.render({model, el: document.body});
}"""


def made():
    """A scene in which every name is hostile."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, len(HOSTILE))).eval()
    inputs = torch.randn(2, 3, 8, 8)
    explanations = [
        rn.explain(network, inputs, [*range(len(HOSTILE)), (0, 1)], method, "all") for method in ("rlrp", "lrp-0")
    ]
    for explanation in explanations:
        explanation.categories, explanation.network = HOSTILE, HOSTILE[0]
        explanation.images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
        explanation.versions = {HOSTILE[1]: HOSTILE[2]}
    scene = build_scene(explanations, title=HOSTILE[0] + HOSTILE[3])
    for image in scene["images"]:
        image["name"] = HOSTILE[4]
        for result in image["results"]:
            for layer, name in zip(result["layers"][1:], HOSTILE[5:], strict=False):
                result_name, layer["name"], layer["op"] = layer["name"], name, HOSTILE[1]
                for target in result["targets"].values():
                    target["ledger"][name] = target["ledger"].get(result_name, {})
    return scene


@pytest.fixture
def visit(chromium, tmp_path):
    """Return a function that opens a page; in the end nothing may have run, been refused, or asked of anyone."""
    contexts, requests = [], []

    def visit(text):
        path = tmp_path / "page.html"
        path.write_bytes(text.encode())
        context = chromium.new_context(accept_downloads=True)
        contexts.append(context)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: requests.append(f"dialog: {dialog.message}"))
        page.on("pageerror", lambda error: requests.append(f"error: {error}"))
        page.goto(path.as_uri())
        requests.remove(path.as_uri())
        return page

    visit.requests = requests
    yield visit
    for context in contexts:
        context.close()


def calm(page, requests):
    """Nothing ran, nothing was refused, and nothing but the page's own blobs was asked for."""
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.broken") == []
    assert [url for url in requests if not url.startswith("blob:")] == []
    elements = set(page.evaluate("() => [...document.querySelectorAll('*')].map(e => e.localName)"))
    assert not elements & {"img", "iframe", "object", "embed", "form", "base", "link", "a"}
    attributes = page.evaluate("() => [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
    assert not [name for name in attributes if name.startswith("on") or name in {"srcdoc", "href", "action"}]


def try_everything(page):
    """Choose every class, every method, every layer and every way to look."""
    page.locator(".rl-overlay canvas").first.wait_for()
    options = page.get_by_role("listbox", name="Class").get_by_role("option")
    for position in range(options.count()):
        options.nth(position).click()
    for position in range(page.get_by_role("radio").count()):
        radio = page.get_by_role("radio").nth(position)
        if radio.is_visible():
            radio.evaluate("radio => radio.click()")  # some choose a view in which they are no longer there
    slider = page.get_by_role("slider", name="Layer")
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")


def test_a_page_full_of_hostile_names_runs_nothing(visit):
    page = visit(render(made()))
    try_everything(page)
    assert page.locator("h1").inner_text().startswith(HOSTILE[0])
    assert HOSTILE[0] in page.locator(".rl-verdict").inner_text() or "probability" in page.content()
    calm(page, visit.requests)


@pytest.mark.parametrize("button", ["Save PNG", "Save JSON"])
def test_what_a_page_saves_has_a_harmless_name(visit, button):
    page = visit(render(made()))
    page.locator(".rl-overlay canvas").first.wait_for()
    for position in (0, 6):
        page.get_by_role("listbox", name="Class").get_by_role("option").nth(position).click()
        with page.expect_download() as event:
            page.get_by_role("button", name=button).click()
        assert re.fullmatch(r"[a-z0-9_.-]+\.(png|json)", event.value.suggested_filename)
        assert not event.value.suggested_filename.startswith((".", "-"))
        if button == "Save JSON":
            json.loads(Path(event.value.path()).read_text(encoding="utf-8"))
    calm(page, visit.requests)


def test_a_widget_full_of_hostile_names_runs_nothing(visit):
    page = visit("<!doctype html><meta charset=utf-8><body></body>")
    scene = made()
    tree, blocks = detach(scene)
    state = {
        "scene": tree, "image": 0, "method": "rlrp", "target": "0", "layer": "input", "opacity": 0.85,
        "view": "strength", "sign": "both", "clip": 99, "smooth": True, "palette": "blue-orange", "across": "classes",
        "scale": "own", "live": True, "offered": ["rlrp", HOSTILE[4]], "categories": [*HOSTILE], "max_bytes": 1e6,
        "k": 5, "busy": True, "progress": 0.5, "status": HOSTILE[0], "error": HOSTILE[5],
    }  # fmt: skip
    page.evaluate(
        WIDGET,
        {
            "script": asset("explorer.js"),
            "style": asset("rlrp.css"),
            "state": json.loads(json.dumps(state, ensure_ascii=True)),
            "blocks": [base64.b64encode(block).decode() for block in blocks],
        },
    )
    page.locator(".rl-overlay canvas").first.wait_for()
    assert page.locator(".rl-error").inner_text() == HOSTILE[5]
    assert HOSTILE[0] in page.locator(".rl-busy").inner_text()
    try_everything(page)
    calm(page, visit.requests)


def test_a_turn_of_direction_in_a_name_ends_with_the_name(visit):
    """Without isolation the words that follow would be read from right to left: 49 % instead of 94 %."""
    page = visit(render(made()))
    page.locator(".rl-overlay canvas").first.wait_for()
    inline = "() => [...document.querySelectorAll('.rl strong, .rl span')].map(e => getComputedStyle(e).unicodeBidi)"
    assert set(page.evaluate(inline)) == {"isolate"}


TURNING = (
    "\u202eabc def",
    "\u2069\u202eabc def",
    "abc\u2029\u202edef",
    "\u2067abc",
    "\u0642\u0637\u0629",
    "\u05db\u05dc\u05d1 1",
)
# What stands around names, sign by sign: each further right than the one before, in every line.
BACKWARDS = """() => {
  const wrong = [];
  for (const block of document.querySelectorAll("h1, .rl p, .rl-cell figcaption, .rl-class-name, .rl-layer-now")) {
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    let last = null;
    for (let node; (node = walker.nextNode());) {
      const named = node.parentElement.closest("bdi");
      const all = Array.from({length: node.data.length}, (_, i) => i);
      const signs = all.filter(i => block.localName !== "h1" || "Why?".includes(node.data[i]));
      for (const i of named ? [null] : signs) {
        const range = document.createRange();
        if (named) range.selectNodeContents(named);
        else (range.setStart(node, i), range.setEnd(node, i + 1));
        const box = range.getBoundingClientRect();
        if (!box.width) continue;
        const lines = new Set([...range.getClientRects()].map(({top}) => Math.round(top / 10)));
        if (named && lines.size > 1) { last = null; continue; }
        const inLine = last && box.top < last.bottom - 2 && last.top < box.bottom - 2;
        if (inLine && box.left < last.right - 1) wrong.push(block.innerText);
        last = box;
      }
    }
  }
  return wrong;
}"""


def turning():
    """A scene of names that are read, or turn what follows, from right to left."""
    torch.manual_seed(0)
    count = len(TURNING)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, count)).eval()
    targets = [*range(count), *((k, (k + 1) % count) for k in range(count))]
    explanation = rn.explain(network, torch.randn(1, 3, 8, 8), targets, "rlrp", "all")
    explanation.categories, explanation.network = TURNING, TURNING[1]
    return explanation


def test_names_turn_no_word_or_number_around_them(visit):
    for k in range(len(TURNING)):
        explanation = turning()
        explanation.targets = explanation.targets.roll(-k, 1)
        explanation.negatives = explanation.negatives.roll(-k, 1)
        page = visit(render(build_scene([explanation])))
        page.locator(".rl-overlay canvas").first.wait_for()
        page.get_by_role("radio", name="Classes", exact=True).check()
        options = page.get_by_role("listbox", name="Class").get_by_role("option")
        for position in range(options.count()):
            options.nth(position).click()
            assert page.evaluate(BACKWARDS) == []


def test_names_turn_nothing_in_what_a_kernel_answers(visit):
    page = visit("<!doctype html><meta charset=utf-8><body></body>")
    tree, blocks = detach(build_scene([turning()]))
    state = {
        "scene": tree, "image": 0, "method": "rlrp", "target": "0-1", "layer": "input", "opacity": 0.85,
        "view": "strength", "sign": "both", "clip": 99, "smooth": True, "palette": "blue-orange", "across": "both",
        "scale": "own", "live": True, "offered": ["rlrp", TURNING[0]], "categories": [*TURNING], "max_bytes": 1e6,
        "k": 5, "busy": False, "progress": 0, "status": "", "error": "",
    }  # fmt: skip
    likeliest = [{"label": name, "probability": 0.2} for name in TURNING]
    covered = {"image": 0, "before": [0.4], "after": [0.3], "likeliest": likeliest}
    page.evaluate(
        WIDGET,
        {
            "script": asset("explorer.js"),
            "style": asset("rlrp.css"),
            "state": state,
            "blocks": [base64.b64encode(block).decode() for block in blocks],
        },
    )
    page.locator(".rl-overlay canvas").first.wait_for()
    page.get_by_role("button", name="Cover a region").click()
    pane = page.locator(".rl-overlay .rl-pane").first
    pane.scroll_into_view_if_needed()
    box = pane.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function("() => window.sent?.kind === 'cover'")
    page.evaluate("tree => window.heard['msg:custom']({kind: 'cover', ask: window.sent.ask, tree}, [])", covered)
    page.locator(".rl-result bdi").first.wait_for()
    assert page.locator(".rl-result bdi").count() == 3 + len(TURNING)
    blank = "\N{NO-BREAK SPACE}"
    assert page.locator(".rl-result strong").inner_text() == f"{TURNING[0]}: 40{blank}% → 30{blank}%."
    assert page.evaluate(BACKWARDS) == []
    label = page.locator(".rl-overlay .rl-stage").get_attribute("aria-label")
    alone = f"\u2068{TURNING[0]}\u2069"
    assert label.startswith(f"Relevance for {alone} \N{MINUS SIGN} {alone} by R-LRP at layer input.")


ATTACKS = {
    "a script": "<script>owned()</script>",
    "a handler": "<img src=x onerror=owned()>",
    "a request": "<img src='http://127.0.0.1:9/x'><link rel=stylesheet href='http://127.0.0.1:9/y'>",
    "a frame": "<iframe srcdoc='<script>parent.owned()</script>'></iframe>",
    "a form": "<form id=f action='http://127.0.0.1:9/z'><button>x</button></form>",
    "a style": "<style>body{background:url(http://127.0.0.1:9/s)}</style>",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_policy_stops_what_would_have_got_in(visit, name):
    """Were a name to leave its place after all, the policy would still let it do nothing."""
    page = visit(render(made()).replace("</main>", f"</main>{ATTACKS[name]}"))
    page.locator(".rl-overlay canvas").first.wait_for()
    if name == "a form":
        page.evaluate("() => document.querySelector('#f button').click()")
    page.wait_for_timeout(200)
    broken = page.evaluate("() => window.broken")
    assert broken or name == "a frame"  # a frame tells its violations to itself
    assert "owned" not in broken
    assert page.url.startswith("file:")


def test_the_script_of_the_page_can_neither_ask_nor_evaluate(visit):
    page = visit(render(made()))
    page.locator(".rl-overlay canvas").first.wait_for()
    for attempt in (
        "fetch('http://127.0.0.1:9/')",
        "new Promise((_, no) => { document.body.innerHTML = '<b>x</b>'; })",
        "new Promise((_, no) => { new Worker('data:text/javascript,1').onerror = no; })",
        "new Promise((_, no) => { const s = new WebSocket('ws://127.0.0.1:9/'); s.onerror = no; })",
    ):
        outcome = page.evaluate(f"() => ({attempt}).then(() => 'done', () => 'refused')")
        assert outcome == "refused", attempt
    assert "done" not in page.evaluate("() => window.broken")
