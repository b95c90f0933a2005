"""The page in a real Chromium, from file://: no kernel, no request to any network, and true colours."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.layers import Layers
from rlrp_nb.export import render, to_html
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.plots import colormap
from rlrp_nb.widgets.buffers import unpack
from rlrp_nb.widgets.scene import build_scene

AXE = Path(__file__).parents[2] / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
PIXELS = """c => {
  const {data, width, height} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  return [Array.from(data, byte => String.fromCharCode(byte)).join(""), width, height];
}"""
DRAWN = """() => {
  const {width, height} = document.querySelector(".rl-overlay canvas");
  return width * height > 1;
}"""
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def explanations():
    classifier = rn.load_model("efficientnet_lite0")
    camera = sample_image("camera")
    return [
        rn.explain(classifier, camera, targets="top5", layers="all", method=method)
        for method in ("rlrp", "gradient-x-input")
    ]


@pytest.fixture(scope="module")
def scene(explanations):
    return build_scene(explanations)


@pytest.fixture(scope="module")
def path(explanations, tmp_path_factory):
    return to_html(explanations, tmp_path_factory.mktemp("page") / "camera.html")


@pytest.fixture
def visit(chromium, path):
    """Return a function that opens a page; afterwards no message may be on its console and no request may have left."""
    contexts, troubles = [], []

    def open_page(file=path, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        address = file.as_uri()

        def judge(request):
            # A blob is the page's own: what it saves.
            if request.url != address and not request.url.startswith("blob:"):
                troubles.append(request.url)

        def listen(message):
            # Only these tests read the canvas; the browser remarks on that.
            if "willReadFrequently" not in message.text:
                troubles.append(f"console {message.type}: {message.text}")

        page.on("console", listen)
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", judge)
        page.goto(address)
        page.locator(".rl-overlay canvas").first.wait_for()
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def settle(page):
    page.wait_for_function(DRAWN)
    page.evaluate(SETTLED)


def pixels(canvas):
    data, width, height = canvas.evaluate(PIXELS)
    return np.frombuffer(data.encode("latin-1"), np.uint8).reshape(height, width, 4)


def stage(page):
    return page.locator(".rl-overlay canvas").first


def choose(page, name):
    page.get_by_role("radio", name=name, exact=True).first.check()
    settle(page)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def sent(scene, key, depth=0):
    return unpack(scene["images"][0]["results"][0]["targets"][key]["pieces"][depth])


def test_the_canvas_at_full_opacity_is_the_colour_map_of_numpy(visit, scene):
    page = visit(color_scheme="light")
    choose(page, "Blend")
    page.get_by_label("Opacity").focus()
    press(page, "End")
    values = sent(scene, scene["images"][0]["targets"][0]["key"])
    for theme in ("light", "dark"):
        for keys, percentile in ((["End"], 100.0), (["Home"], 90.0)):
            page.get_by_label("Colours end at percentile").focus()
            press(page, *keys)
            expected = colormap.paint(values, colormap.symmetric_limit(values, percentile), theme)
            shown = pixels(stage(page))
            assert (shown[..., 3] == 255).all()
            assert np.array_equal(shown[..., :3], expected)
        page.get_by_role("button", name="theme").click()
        settle(page)


def test_the_canvas_at_zero_opacity_is_the_photograph(visit, explanations):
    page = visit()
    page.get_by_label("Opacity").focus()
    press(page, "Home")
    assert np.array_equal(pixels(stage(page))[..., :3], explanations[0].images[0].numpy())


def test_another_palette_colours_the_map_and_the_columns_of_the_layers(visit, scene):
    page = visit(color_scheme="light")
    choose(page, "Side by side")
    fill = "() => document.querySelector('.rl-layers-chart rect').getAttribute('fill')"
    before = page.evaluate(fill)
    page.get_by_role("radio", name="Purple – green").check()  # noqa: RUF001 - what the button says
    settle(page)
    values = sent(scene, scene["images"][0]["targets"][0]["key"])
    expected = colormap.paint(values, colormap.symmetric_limit(values, 99.0), palette="purple-green")
    assert np.array_equal(pixels(page.locator(".rl-overlay canvas").nth(1))[..., :3], expected)
    assert page.evaluate(fill) != before


def test_opacity_changes_what_is_seen(visit):
    page = visit()
    before = pixels(stage(page))
    page.get_by_label("Opacity").focus()
    press(page, *["ArrowLeft"] * 20)
    assert page.get_by_label("Opacity").get_attribute("aria-valuetext") == "65 %"
    assert not np.array_equal(before, pixels(stage(page)))


def test_side_by_side_shows_the_photograph_and_the_map(visit, scene, explanations):
    page = visit(color_scheme="light")
    choose(page, "Side by side")
    left, right = (pixels(page.locator(".rl-overlay canvas").nth(position)) for position in (0, 1))
    values = sent(scene, scene["images"][0]["targets"][0]["key"])
    assert np.array_equal(left[..., :3], explanations[0].images[0].numpy())
    assert np.array_equal(right[..., :3], colormap.paint(values, colormap.symmetric_limit(values, 99.0)))


def test_one_sign_hides_the_other(visit, scene):
    page = visit(color_scheme="light")
    choose(page, "Side by side")
    choose(page, "Positive")
    values = sent(scene, scene["images"][0]["targets"][0]["key"])
    expected = colormap.paint(values.clip(min=0), colormap.symmetric_limit(values, 99.0))
    assert np.array_equal(pixels(page.locator(".rl-overlay canvas").nth(1))[..., :3], expected)


def test_classes_are_chosen_by_click_and_by_key(visit, scene):
    page = visit(color_scheme="light")
    choose(page, "Side by side")
    targets = scene["images"][0]["targets"]
    options = page.get_by_role("listbox", name="Class").get_by_role("option")
    assert options.count() == 5
    options.nth(2).click()
    press(page, "ArrowDown")
    selected = page.get_by_role("option", selected=True)
    assert targets[3]["label"] in selected.inner_text()
    values = sent(scene, targets[3]["key"])
    expected = colormap.paint(values, colormap.symmetric_limit(values, 99.0))
    assert np.array_equal(pixels(page.locator(".rl-overlay canvas").nth(1))[..., :3], expected)
    assert selected.get_attribute("id") == page.get_by_role("listbox").get_attribute("aria-activedescendant")


def test_the_layer_slider_walks_from_the_input_to_the_logits(visit, scene):
    page = visit()
    slider = page.get_by_role("slider", name="Layer")
    layers = scene["images"][0]["results"][0]["layers"]
    assert slider.get_attribute("aria-valuetext").startswith("input, 1 of")
    slider.focus()
    press(page, "ArrowRight", "ArrowRight")
    assert slider.get_attribute("aria-valuetext") == f"{layers[2]['name']}, 3 of {len(layers)}"
    line = scene["images"][0]["results"][0]["targets"][scene["images"][0]["targets"][0]["key"]]["ledger"]
    factor = page.locator(".rl-ledger div", has_text="Factor").locator("dd").inner_text()
    assert float(factor) == pytest.approx(line[layers[2]["name"]]["factor"], rel=0.01)
    press(page, "End")
    assert page.locator(".rl-units").get_by_role("listitem").count() >= 1
    assert "tripod" in page.locator(".rl-units").inner_text()
    assert page.get_by_role("button", name="Save PNG").is_disabled()
    press(page, "Home")
    assert stage(page).is_visible()


def test_a_coarse_layer_can_be_seen_in_its_cells(visit, scene):
    page = visit(color_scheme="light")
    choose(page, "Side by side")
    layers = scene["images"][0]["results"][0]["layers"]
    depth = next(i for i, layer in enumerate(layers) if layer["shape"][-2:] == [7, 7])
    page.get_by_role("slider", name="Layer").evaluate(
        "(e, depth) => { e.value = depth; e.dispatchEvent(new Event('input')); }", depth
    )
    page.get_by_label("Smooth between cells").uncheck()
    settle(page)
    values = sent(scene, scene["images"][0]["targets"][0]["key"], depth)
    cells = colormap.paint(values, colormap.symmetric_limit(values, 99.0)).repeat(32, 0).repeat(32, 1)
    assert np.array_equal(pixels(page.locator(".rl-overlay canvas").nth(1))[..., :3], cells)


def test_the_cursor_reads_position_value_and_share(visit, scene):
    page = visit()
    values = sent(scene, scene["images"][0]["targets"][0]["key"]).astype(np.float64)
    page.locator(".rl-overlay .rl-stage").focus()
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowDown")
    position, value, share = page.locator(".rl-readout > *").all_inner_texts()
    assert position == "x 113, y 122"
    assert as_number(value) == pytest.approx(values[122, 113], rel=0.01)
    of_total = values[122, 113] / np.abs(values).sum() * 100
    assert "0\N{NO-BREAK SPACE}% of" in share or abs(as_number(share) - of_total) <= 0.01
    press(page, "Escape")
    assert "speaks for tripod" in page.locator(".rl-readout").inner_text()


def test_a_tap_reads_a_value(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    bounds = page.locator(".rl-overlay .rl-stage").bounding_box()
    page.touchscreen.tap(bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2)
    page.locator(".rl-readout").get_by_text(re.compile(r"^x 11\d, y 11\d$")).wait_for()


def as_number(text):
    text = text.replace("−", "-").replace(" ", "").replace("\N{NO-BREAK SPACE}", "")  # noqa: RUF001 - the page writes a true minus sign
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
    mantissa, _, power = text.split("%")[0].strip("<>").partition("\N{MULTIPLICATION SIGN}10")
    return float(mantissa) * 10.0 ** int(power.translate(digits) or 0)


def test_zoom_and_cursor_are_shared_by_all_maps(visit):
    page = visit()
    page.locator(".rl-overlay .rl-stage").focus()
    press(page, "ArrowRight", "+", "+")
    transforms = page.locator("canvas.rl-canvas").evaluate_all("all => all.map(c => c.style.transform)")
    assert len(set(transforms)) == 1
    assert "scale(2.25)" in transforms[0]
    assert page.locator(".rl-marker:visible").count() == 3
    press(page, "0")
    assert "scale(1)" in stage(page).evaluate("c => c.style.transform")


def test_the_map_with_the_focus_says_its_own_value(visit):
    page = visit()
    choose(page, "Methods")
    figure = page.locator(".rl-board figure").nth(1)
    live, own = page.locator(".rl-grid [role=status]"), page.locator(".rl-overlay .rl-readout")
    figure.get_by_role("application").focus()
    press(page, "ArrowRight", "ArrowDown")
    value = figure.locator(".rl-cell-value").inner_text()
    title = "Gradient \N{MULTIPLICATION SIGN} input"
    assert re.sub("[\u2066-\u2069]", "", live.text_content()) == f"{title}, tripod: x 112, y 113, {value}"
    assert value != own.locator("strong").inner_text()
    assert own.get_attribute("aria-live") == "off"
    page.locator(".rl-overlay .rl-stage").focus()
    press(page, "ArrowRight")
    assert own.get_attribute("aria-live") == "polite"
    assert live.text_content() == ""


def test_the_grid_compares_methods_and_classes(visit):
    page = visit()
    grid = page.get_by_role("region", name="Comparison")
    assert grid.locator("figure").count() == 2
    choose(page, "Classes")
    assert grid.locator("figure").count() == 5
    page.get_by_role("radiogroup").or_(page.get_by_role("group", name="Compare")).get_by_label("Both").check()
    assert grid.locator("figure").count() == 10
    grid.get_by_role("button", name="Gradient × input").first.click()  # noqa: RUF001 - what the button says
    assert page.get_by_role("radio", name="Gradient × input").is_checked()  # noqa: RUF001


def test_results_can_be_taken_away(visit, scene):
    page = visit()
    with page.expect_download() as event:
        page.get_by_role("button", name="Save JSON").click()
    told = json.loads(Path(event.value.path()).read_text(encoding="utf-8"))
    target = scene["images"][0]["targets"][0]
    assert (told["method"], told["class"], told["layer"]) == ("rlrp", "tripod", "input")
    assert told["versions"] == scene["versions"]
    assert np.allclose(np.reshape(told["relevance"], told["shape"]), sent(scene, target["key"]))
    with page.expect_download() as event:
        page.get_by_role("button", name="Save PNG").click()
    assert event.value.suggested_filename == "tripod-rlrp-input.png"
    with Image.open(event.value.path()) as picture:
        assert picture.width == 1024
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000


def test_words_from_outside_stay_words(visit, scene, tmp_path):
    nasty = "<img src=x onerror=console.error(1)>"
    bad = json.loads(json.dumps({key: value for key, value in scene.items() if key != "images"}))
    image = {**scene["images"][0], "name": nasty}
    image["targets"] = [{**target, "label": nasty} for target in image["targets"]]
    image["classes"] = [{**share, "label": nasty} for share in image["classes"]]
    file = tmp_path / "nasty.html"
    file.write_text(render({**bad, "title": nasty, "network": nasty, "images": [image]}), encoding="utf-8")
    page = visit(file)
    assert page.locator("img").count() == 0
    assert page.locator("h1").inner_text() == nasty
    assert nasty in page.get_by_role("option").first.inner_text()


def test_a_page_that_a_browser_saved_as_it_stood_is_the_same_page(visit, chromium, tmp_path):
    first = visit()
    counted = [(what, first.locator(what).count()) for what in ("canvas", "button", "input", ".rl-page-theme")]
    file = tmp_path / "saved.html"
    file.write_text(first.content(), encoding="utf-8")
    # not by `visit`: of the styles that the script had set, which its policy forbids in a file, the console has words
    page = chromium.new_page()
    page.goto(file.as_uri())
    settle(page)
    assert [(what, page.locator(what).count()) for what, _ in counted] == counted
    choose(page, "Side by side")
    assert page.locator("h1").count() == 1
    page.close()


def test_two_pages_that_a_notebook_writes_into_its_cells_stay_apart(chromium, explanations, path):
    other = render(build_scene([replace(explanations[0], network="another")]))
    page = chromium.new_page()
    page.set_content("<div class='cell'></div><div class='cell'></div>")
    # as JupyterLab does: a script that comes with other HTML is put in anew, to be run
    page.evaluate(
        """pages => document.querySelectorAll(".cell").forEach((cell, n) => {
          cell.innerHTML = pages[n];
          for (const old of cell.querySelectorAll("script")) {
            const script = document.createElement("script");
            for (const {name, value} of old.attributes) script.setAttribute(name, value);
            script.textContent = old.textContent;
            old.replaceWith(script);
          }
        })""",
        [path.read_text(encoding="utf-8"), other],
    )
    cells = page.locator(".cell")
    for n, network in enumerate(("efficientnet_lite0", "another")):
        assert cells.nth(n).locator("#rl-root > *").count() == 1
        assert cells.nth(n).locator(".rl-page-theme").count() == 1
        assert network in cells.nth(n).inner_text()
    page.close()


def test_a_method_without_the_layer_has_no_map_in_the_grid(visit, explanations, tmp_path):
    bare = replace(explanations[1], layers=Layers())
    page = visit(to_html([explanations[0], bare], tmp_path / "bare.html"))
    choose(page, "Methods")
    notes = page.locator(".rl-cell-notes")
    assert all("positive" in text for text in notes.all_text_contents())
    page.get_by_role("slider", name="Layer").focus()
    press(page, "ArrowRight")
    assert "positive" in notes.first.text_content()
    assert notes.nth(1).text_content() == "No map at this layer."


@pytest.mark.parametrize("width", [360, 900, 1600])
def test_no_width_needs_sideways_scrolling(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("row", "expected"), [(1000, 640), (400, 400)])
def test_in_a_row_of_boxes_it_has_a_width(visit, row, expected):
    page = visit()
    width = page.locator(".rl-explorer").evaluate(
        """(explorer, width) => {
      const [row, box] = [document.createElement("div"), document.createElement("div")];
      row.style.cssText = `display: flex; width: ${width}px`;
      box.append(explorer);
      row.append(box);
      document.body.append(row);
      return box.getBoundingClientRect().width;
    }""",
        row,
    )
    assert width == expected


def test_names_without_a_space_need_no_sideways_scrolling(visit, explanations, tmp_path):
    names = tuple(f"{'n' * 200}{i}" for i in range(1000))
    scene = build_scene([replace(explanations[0], categories=names)])
    scene["images"] += [{**scene["images"][0], "name": f"IMG_{'i' * 80}.png"}]
    (tmp_path / "long.html").write_text(render({**scene, "network": "w" * 200}), encoding="utf-8")
    for width in (320, 1280):
        page = visit(tmp_path / "long.html", viewport={"width": width, "height": 800})
        for across in ("Classes", "Methods", "Both", "Pictures"):
            page.locator(".rl-grid").get_by_role("radio", name=across, exact=True).check()
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


BOXES = """panes => panes.filter(pane => pane.clientHeight).map(pane => {
  const {left, right, width, height} = pane.getBoundingClientRect();
  const around = pane.parentElement.getBoundingClientRect();
  return [width, height, left + right - around.left - around.right];
})"""


@pytest.mark.parametrize("size", [(300, 3), (40, 1), (3, 300)])
def test_long_pictures_keep_their_proportions_and_fit_on_the_screen(visit, tmp_path, size):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = rn.Classifier("net", network.eval(), ("a", "b", "c", "d"), Preprocess(size=size), "w")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    path = to_html(rn.explain(classifier, image, [0, 1], layers="all"), tmp_path / "long.html")
    for width in (320, 1280):
        page = visit(path, viewport={"width": width, "height": 800})
        boxes = page.locator(".rl-pane").evaluate_all(BOXES)
        assert len(boxes) == 3
        for wide, high, aside in boxes:
            assert high <= 0.74 * 800 + 1
            assert high == pytest.approx(wide * size[0] / size[1], abs=1)
            assert abs(aside) <= 1
        page.get_by_role("slider", name="Layer").focus()
        press(page, "End")
        assert 100 < page.locator(".rl-units").bounding_box()["height"] < 0.75 * 800
        press(page, "Home")
        for view in ("Overlay", "Side by side"):
            choose(page, view)
            with page.expect_download() as event:
                page.get_by_role("button", name="Save PNG").click()
            with Image.open(event.value.path()) as picture:
                assert picture.width == 1024
                assert picture.height < 2400
                assert len(picture.convert("RGB").getcolors(1 << 24)) > 600


def test_classes_without_a_name_can_be_seen_and_chosen(visit, explanations, tmp_path):
    names = ("\u2028\u2029", "  ", "\u200b", "") * 250
    page = visit(to_html(replace(explanations[0], categories=names), tmp_path / "blank.html"))
    choose(page, "Classes")
    indices = explanations[0].targets[0].tolist()
    buttons = page.locator(".rl-cell-title")
    assert buttons.all_inner_texts() == [f"class {index}" for index in indices]
    assert f"says class {indices[0]} with" in page.locator(".rl-verdict").inner_text()
    buttons.nth(1).click()
    assert f"speaks for class {indices[1]}, " in page.locator(".rl-readout").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit, theme):
    # The policy forbids strange scripts; only the checker is let through, from outside the page.
    page = visit(color_scheme=theme, bypass_csp=True)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_leave_choices_bars_and_tracks_to_be_seen(visit, scheme):
    page = visit(forced_colors="active", color_scheme=scheme)
    look = "e => getComputedStyle(e).backgroundColor"
    chosen = page.locator(".rl-options input:checked + span").first.evaluate(look)
    assert chosen not in ("rgba(0, 0, 0, 0)", page.locator("body").evaluate(look))

    def middle(part):
        with Image.open(io.BytesIO(part.screenshot())) as picture:
            return np.asarray(picture.convert("RGB"))[picture.height // 2]

    slider = middle(page.get_by_label("Opacity"))
    assert (slider[len(slider) // 3] != slider[-10]).any()
    bar = page.locator(".rl-classes .rl-class-bar").first
    share = float(bar.evaluate("e => e.style.getPropertyValue('--share')"))
    seen = (middle(bar) != middle(bar)[-10]).any(axis=1).mean()
    assert seen == pytest.approx(share, abs=0.03)
    selected = page.get_by_role("option", selected=True).first
    assert selected.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    options = page.get_by_role("listbox").get_by_role("option")
    options.nth(1).click()
    assert options.nth(0).evaluate("e => getComputedStyle(e).outlineStyle") == "none"


def test_hidpi_and_reduced_motion_change_no_number(visit, scene):
    page = visit(device_scale_factor=3, reduced_motion="reduce", color_scheme="light")
    choose(page, "Side by side")
    values = sent(scene, scene["images"][0]["targets"][0]["key"])
    expected = colormap.paint(values, colormap.symmetric_limit(values, 99.0))
    assert np.array_equal(pixels(page.locator(".rl-overlay canvas").nth(1))[..., :3], expected)
    assert page.locator(".rl-button").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


def test_the_page_says_who_made_it(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r'name="generator" content="rlrp_nb \d', text)
