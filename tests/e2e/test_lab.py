"""The Explorer in a real JupyterLab, on the embedded ImageNet network and a real photograph."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.explainer import explain
from rlrp_nb.models.zoo import load_model
from rlrp_nb.plots import colormap
from rlrp_nb.widgets.buffers import pack, unpack
from rlrp_nb.widgets.session import Session

AXE = Path(__file__).parents[2] / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
PIXELS = """c => {
  const {data, width, height} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  return [Array.from(data, byte => String.fromCharCode(byte)).join(""), width, height];
}"""
CELL = """import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
from rlrp_nb.widgets import Explorer
model = rn.load_model("efficientnet_lite0")
explorer = Explorer(model, sample_image("coffee"), layers=["_blocks.2", "_blocks.8", "_fc"])
explorer"""


PASTED_WITH_TEXT = """field => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", "crane");
  clipboardData.items.add(new File([Uint8Array.of(1)], "image.png", {type: "image/png"}));
  return field.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""


def alike(seen, expected):
    """Whether two pictures are the same but for rounding: the kernel explains several classes at once."""
    gap = np.abs(seen.astype(int) - expected)
    return gap.max() <= 8 and (gap > 0).mean() < 0.01


@pytest.fixture(scope="module")
def classifier():
    return load_model("efficientnet_lite0")


@pytest.fixture(scope="module")
def troubles():
    return []


@pytest.fixture(scope="module")
def frames():
    """Messages that the page sent to the kernel."""
    return []


@pytest.fixture(scope="module")
def answers():
    """Messages that the page received."""
    return []


@pytest.fixture(scope="module")
def page(chromium, lab, troubles, frames, answers):
    """Return a notebook with an Explorer in it; all tests of this file look at the same one."""
    lab.write("explorer.ipynb", CELL)
    context = chromium.new_context(viewport={"width": 1600, "height": 1200}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)

    def keep(frame):
        frames.append(frame)

    lab.listen(page, troubles)

    def hear(frame):
        answers.append(frame if isinstance(frame, bytes) else frame.encode())

    def tap(socket):
        socket.on("framesent", keep)
        socket.on("framereceived", hear)

    page.on("websocket", tap)
    lab.open(page, "explorer.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.locator(".rl-overlay canvas").first.wait_for(timeout=180_000)
    page.wait_for_function("() => document.querySelector('.rl-overlay canvas').width > 1")
    yield page
    context.close()


@pytest.fixture(autouse=True)
def _no_trouble(page, troubles):
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    yield
    assert troubles == []


def view(page):
    return page.locator(".rl-explorer")


def options(page):
    return view(page).get_by_role("listbox", name="Class").get_by_role("option")


def chosen(page):
    return view(page).get_by_role("listbox", name="Class").get_by_role("option", selected=True)


def settle(page):
    page.wait_for_function("() => document.querySelector('.rl-explorer').getAttribute('aria-busy') === 'false'")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def right_canvas(page):
    settle(page)
    data, width, height = page.locator(".rl-overlay canvas").nth(1).evaluate(PIXELS)
    return np.frombuffer(data.encode("latin-1"), np.uint8).reshape(height, width, 4)[..., :3]


def colours(explanation, theme="light"):
    values = unpack(pack(explanation.heatmap().numpy()))
    return colormap.paint(values, colormap.symmetric_limit(values, 99.0), theme)


def to_kernel(frames):
    """Return the kinds of messages that reached the kernel for a widget."""
    return [frame for frame in frames if b"comm_msg" in (frame if isinstance(frame, bytes) else frame.encode())]


def test_the_canvas_is_the_colour_map_of_numpy(page, classifier):
    view(page).get_by_role("radio", name="Side by side").check()
    assert alike(right_canvas(page), colours(explain(classifier, sample_image("coffee"), 967)))


def test_keys_on_a_control_leave_the_cells_alone(page):
    state = """() => {
      const {content} = window.jupyterapp.shell.currentWidget;
      return [content.widgets.map(cell => cell.model.sharedModel.getSource()), content.activeCellIndex, content.mode];
    }"""
    view(page).locator(".rl-verdict").click()
    before = page.evaluate(state)
    fields = page.locator(".rl-explorer").locator("button, input, select, [tabindex='0']")
    kinds = {}
    for field in fields.all():
        if field.is_visible() and field.is_enabled():
            kind = field.evaluate("e => `${e.localName} ${e.type ?? e.className} ${e.classList[0] ?? ''}`")
            kinds.setdefault(kind, field)
    assert len(kinds) > 8
    for kind, field in kinds.items():
        for key in ("b", "x", "d", "d", "ArrowDown"):
            field.focus()
            page.keyboard.press(key)
            assert page.evaluate(state) == before, (kind, key)
    search = view(page).get_by_label("Explain any class by its name")
    assert search.input_value() == "bxdd"
    search.fill("")
    view(page).get_by_role("spinbutton").fill("5")
    assert page.get_by_role("dialog").count() == 0
    settle(page)
    view(page).get_by_label("Opacity").focus()
    page.keyboard.press("End")
    view(page).get_by_role("radio", name="R-LRP").check()
    options(page).filter(has_text="espresso").first.click()
    settle(page)


def test_what_is_set_in_python_moves_what_the_user_has_moved(page):
    view(page).get_by_label("Opacity").focus()
    page.keyboard.press("Home")
    options(page).nth(1).click()
    page.evaluate("""async () => {
      const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
      await kernel.requestExecute({code: 'explorer.opacity = explorer.opacity; explorer.target = "967"'}).done;
    }""")
    chosen(page).filter(has_text="espresso").wait_for()
    page.wait_for_function("() => document.querySelector('.rl-range').value === '0.85'")


def test_what_is_there_costs_no_message(page, frames):
    settle(page)
    frames.clear()
    options(page).nth(1).click()
    view(page).get_by_label("Opacity").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    view(page).get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowRight")
    assert view(page).get_by_role("slider", name="Layer").get_attribute("aria-valuetext").startswith("_blocks.2")
    page.keyboard.press("Home")
    view(page).get_by_role("radio", name="Positive").check()
    view(page).get_by_role("radio", name="Both").first.check()
    page.locator(".rl-overlay .rl-stage").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.keyboard.press("0")
    page.keyboard.press("Escape")
    options(page).nth(0).click()
    settle(page)
    assert to_kernel(frames) == []


def test_opacity_changes_what_is_seen(page):
    view(page).get_by_role("radio", name="Overlay").check()
    settle(page)
    canvas = page.locator(".rl-overlay canvas").first
    before = canvas.evaluate(PIXELS)
    view(page).get_by_label("Opacity").focus()
    page.keyboard.press("Home")
    settle(page)
    assert canvas.evaluate(PIXELS) != before
    page.keyboard.press("End")
    view(page).get_by_role("radio", name="Side by side").check()


def test_a_class_by_its_name_is_explained_by_the_kernel(page, classifier, frames):
    frames.clear()
    search = view(page).get_by_label("Explain any class by its name")
    search.fill("teapot")
    search.press("Enter")
    chosen(page).filter(has_text="teapot").wait_for(timeout=60_000)
    index = classifier.categories.index("teapot")
    assert alike(right_canvas(page), colours(explain(classifier, sample_image("coffee"), index)))
    assert len(to_kernel(frames)) == 1


def test_a_text_that_names_no_class_or_several_is_answered_in_words(page, classifier):
    search = view(page).get_by_label("Explain any class by its name")
    said = view(page).locator(".rl-more").get_by_role("status")
    for text, words in (("nothing of the kind", "No class is called"), ("cat", "can be")):
        search.fill(text)
        search.press("Enter")
        said.filter(has_text=words).wait_for()
        assert search.get_attribute("aria-invalid") == "true"
    search.fill("")
    assert not said.is_visible()
    # What is copied from a table is text, and a picture of it.
    assert search.evaluate(PASTED_WITH_TEXT)
    search.fill(str(classifier.categories.index("crane")))
    search.press("Enter")
    chosen(page).filter(has_text="crane").wait_for(timeout=60_000)
    options(page).filter(has_text="espresso").first.click()


def test_a_click_on_a_new_class_is_one_request_and_one_answer_without_the_photograph(page, classifier, frames, answers):
    bars = view(page).get_by_role("spinbutton")
    bars.fill("8")
    new = view(page).locator(".rl-absent").first
    name = new.locator(".rl-class-name").inner_text()
    settle(page)
    frames.clear()
    answers.clear()
    new.click()
    chosen(page).filter(has_text=name).wait_for(timeout=60_000)
    assert alike(
        right_canvas(page), colours(explain(classifier, sample_image("coffee"), classifier.categories.index(name)))
    )
    assert len(to_kernel(frames)) == 1
    (answer,) = [frame for frame in answers if re.search(rb'"method":\s*"custom"', frame)]
    assert len(answer) > 2 * 224 * 224
    assert not any(b"\x89PNG" in frame for frame in answers)
    bars.fill("5")
    options(page).filter(has_text="espresso").first.click()


def test_two_classes_are_contrasted(page, classifier):
    options(page).filter(has_text="espresso").first.click()
    view(page).get_by_label("Contrast with").select_option(label="cup")
    chosen(page).filter(has_text="contrast").wait_for(timeout=60_000)
    expected = explain(classifier, sample_image("coffee"), (967, 968))
    assert alike(right_canvas(page), colours(expected))
    options(page).filter(has_text="espresso").first.click()


def test_another_method_is_computed_once(page, classifier, frames):
    # A click, not a check: the button moves when the answer is there.
    view(page).get_by_role("radio", name=re.compile("Gradient")).click()
    page.wait_for_function("() => document.querySelector('.rl-explorer input[value=gradient-x-input]').checked")
    settle(page)
    assert view(page).get_by_role("radio", name=re.compile("Gradient")).is_checked()
    expected = explain(classifier, sample_image("coffee"), 967, method="gradient-x-input")
    assert alike(right_canvas(page), colours(expected))
    frames.clear()
    view(page).get_by_role("radio", name="R-LRP").check()
    view(page).get_by_role("radio", name=re.compile("Gradient")).check()
    view(page).get_by_role("radio", name="R-LRP").check()
    settle(page)
    assert to_kernel(frames) == []


def test_a_covered_region_is_predicted_again(page):
    view(page).get_by_role("radio", name="Overlay").check()
    view(page).get_by_role("button", name="Cover a region").click()
    page.locator(".rl-overlay .rl-pane").first.scroll_into_view_if_needed()
    box = page.locator(".rl-overlay .rl-pane").first.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    result = page.locator(".rl-result")
    result.filter(has_text="espresso:").wait_for(timeout=60_000)
    settle(page)
    before, after = (float(part) for part in re.findall(r"([\d.]+)\s%", result.inner_text())[:2])
    assert after < before
    view(page).get_by_role("button", name="Cover a region").click()


def test_results_are_pinned_and_compared(page):
    view(page).get_by_role("button", name="Pin this result").click()
    options(page).nth(1).click()
    view(page).get_by_role("button", name="Pin this result").click()
    figures = view(page).get_by_role("region", name="Comparison").locator("figure")
    assert figures.locator(".rl-cell-class").all_inner_texts() == ["espresso · input", "cup · input"]
    figures.nth(0).get_by_role("button").click()
    assert "espresso" in chosen(page).inner_text()
    view(page).get_by_role("radio", name="Classes").check()


def test_channels_of_a_layer_are_ranked(page):
    slider = view(page).get_by_role("slider", name="Layer")
    slider.focus()
    page.keyboard.press("ArrowRight")
    view(page).get_by_role("button", name="Rank the channels").click()
    page.locator(".rl-channels li").first.wait_for(timeout=60_000)
    assert page.locator(".rl-channels li").count() == 12
    slider.focus()
    page.keyboard.press("Home")


def test_a_picture_that_is_opened_is_explained(page):
    file = io.BytesIO()
    sample_image("rocket").save(file, "PNG")
    page.locator(".rl-opener input").set_input_files(
        [{"name": "<img src=x onerror=alert(1)>.png", "mimeType": "image/png", "buffer": file.getvalue()}]
    )
    page.locator(".rl-verdict", has_text="missile").wait_for(timeout=60_000)
    settle(page)
    assert page.locator(".rl-explorer img").count() == 0
    view(page).get_by_role("radio", name="Pictures").check()
    figures = view(page).get_by_role("region", name="Comparison").locator("figure")
    assert "missile" in figures.last.inner_text()
    view(page).get_by_role("radio", name="Classes").check()
    view(page).get_by_role("radio", name="Image 1").check()
    page.locator(".rl-verdict", has_text="espresso").wait_for()


HANDED = """(view, [event, name, bytes, type = "image/png"]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), each => each.charCodeAt(0))], name, {type}));
  const [kind, key] = event === "paste" ? [ClipboardEvent, "clipboardData"] : [DragEvent, "dataTransfer"];
  return view.dispatchEvent(new kind(event, {[key]: data, bubbles: true, cancelable: true}));
}"""


HANDED_TOGETHER = """(view, files) => {
  const data = new DataTransfer();
  for (const [name, bytes, type = "image/png"] of files) {
    data.items.add(new File([Uint8Array.from(atob(bytes), each => each.charCodeAt(0))], name, {type}));
  }
  return view.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@pytest.mark.parametrize(
    ("event", "picture", "label"), [("drop", "camera", "tripod"), ("paste", "chelsea", "Egyptian cat")]
)
def test_a_picture_that_is_dropped_or_pasted_is_explained(page, event, picture, label):
    file = io.BytesIO()
    sample_image(picture).save(file, "PNG")
    handed = [event, f"{picture}.png", base64.b64encode(file.getvalue()).decode()]
    stage = page.locator(".rl-overlay .rl-stage")
    if event == "drop":
        assert not stage.evaluate(HANDED, ["dragover", *handed[1:]])
        assert "rl-dropping" in view(page).get_attribute("class")
    # False says that the widget took it: the browser would otherwise open the file, JupyterLab paste a cell.
    assert not stage.evaluate(HANDED, handed)
    page.locator(".rl-verdict", has_text=label).wait_for(timeout=60_000)
    settle(page)
    assert "rl-dropping" not in view(page).get_attribute("class")
    assert view(page).get_by_role("radio", name=f"{picture}.png").is_checked()
    view(page).get_by_role("radio", name="Image 1").check()
    page.locator(".rl-verdict", has_text="espresso").wait_for()


def test_several_pictures_are_dropped_at_once(page):
    files = {}
    for name in ("astronaut", "brick"):
        file = io.BytesIO()
        sample_image("rocket").resize((30 + len(name), 40)).save(file, "PNG")
        files[f"{name}.png"] = base64.b64encode(file.getvalue()).decode()
    stage = page.locator(".rl-overlay .rl-stage")
    assert not stage.evaluate(HANDED_TOGETHER, [*files.items(), ("notes.txt", "aGVsbG8=", "text/plain")])
    for name in files:
        view(page).get_by_role("radio", name=name).wait_for(timeout=60_000)
    page.wait_for_function("() => document.querySelector('.rl-pictures label:last-of-type input').checked")
    assert "notes.txt" in view(page).get_by_role("alert").inner_text()
    settle(page)
    view(page).get_by_role("radio", name="Image 1").check()
    page.locator(".rl-verdict", has_text="espresso").wait_for()


def test_a_file_that_is_no_picture_is_taken_and_refused_in_words_when_it_is_dropped(page):
    stage = page.locator(".rl-overlay .rl-stage")
    assert not stage.evaluate(HANDED, ["drop", "a.txt", "aGVsbG8=", "text/plain"])
    alert = view(page).get_by_role("alert")
    alert.filter(has_text="is no picture").wait_for()
    assert not stage.evaluate(HANDED, ["drop", "a", "aGVsbG8=", ""])
    alert.filter(has_text="'a'").wait_for(timeout=60_000)
    settle(page)


def as_number(text):
    text = re.sub(r"\s", "", text).replace("\N{MINUS SIGN}", "-").replace("+", "")
    mantissa, _, power = text.partition("\N{MULTIPLICATION SIGN}10")
    return float(mantissa) * 10.0 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or 0)


def test_a_region_is_covered_by_keyboard(page, classifier):
    view(page).get_by_role("radio", name="Overlay").check()
    view(page).get_by_role("button", name="Cover a region").click()
    page.locator(".rl-overlay .rl-stage").focus()
    # A rectangle that is given up is not there for the next corner.
    for key in ("ArrowLeft", " ", "Shift+ArrowLeft", "Escape"):
        page.keyboard.press(key)
    settle(page)
    assert page.locator(".rl-overlay .rl-outline").first.is_hidden()
    # The cursor begins in the middle, at pixel 112, 112.
    for key in ("ArrowRight", " ", *["Shift+ArrowRight"] * 3, *["Shift+ArrowDown"] * 2, " "):
        page.keyboard.press(key)
    result = page.locator(".rl-result")
    result.filter(has_text="espresso:").wait_for(timeout=60_000)
    settle(page)
    session = Session(classifier, None)
    session.add(sample_image("coffee"))
    expected = session.cover(0, (112, 112, 143, 133), [967])
    shares = [float(part) / 100 for part in re.findall(r"([\d.]+)\s%", result.inner_text())[:2]]
    # Shares from a tenth on are written as whole percents.
    assert shares == pytest.approx([expected["before"][0], expected["after"][0]], abs=0.006)
    heatmap = unpack(pack(explain(classifier, sample_image("coffee"), 967).heatmap().numpy()))
    (inside,) = re.findall(r"\((\S.*?)\)", result.inner_text())
    assert as_number(inside) == pytest.approx(heatmap[112:133, 112:143].sum(dtype=np.float64), rel=0.01)
    assert "relevance for espresso by R-LRP (" in result.inner_text()
    view(page).get_by_role("radio", name=re.compile("Gradient")).check()
    result.filter(has_text="by Gradient \N{MULTIPLICATION SIGN} input (").wait_for()
    assert inside not in result.inner_text()
    view(page).get_by_role("radio", name="R-LRP").check()
    view(page).get_by_role("button", name="Cover a region").click()
    assert not result.is_visible()
    page.keyboard.press("Escape")


def test_a_file_that_is_no_picture_is_refused_in_words(page):
    page.locator(".rl-opener input").set_input_files(
        [{"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}]
    )
    view(page).get_by_role("alert").filter(has_text="notes.png").wait_for(timeout=60_000)
    settle(page)
    options(page).nth(2).click()
    assert chosen(page).count() == 1
    options(page).nth(0).click()


def test_the_theme_follows_jupyter(page, classifier):
    view(page).get_by_role("radio", name="Side by side").check()
    for name, theme in (("JupyterLab Dark", "dark"), ("JupyterLab Light", "light")):
        page.evaluate(f"() => {{ window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}}); }}")
        page.locator(f".rl-explorer[data-theme='{theme}']").wait_for()
        settle(page)
        expected = colours(explain(classifier, sample_image("coffee"), 967), theme)
        assert alike(right_canvas(page), expected)


def test_axe_finds_nothing(page):
    view(page).get_by_role("radio", name="Overlay").check()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.evaluate(f"() => {{ window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}}); }}")
        page.locator(f".rl-explorer[data-theme='{theme.split()[1].lower()}']").wait_for()
        # What a colour is while the theme is being exchanged is nobody's contrast.
        page.wait_for_timeout(1000)
        found = page.evaluate("axe.run('.rl-explorer').then(result => result.violations)")
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []


def test_a_running_cell_does_not_lose_a_request(page):
    page.evaluate("""() => {
      const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
      kernel.requestExecute({code: 'import time; time.sleep(3)'});
    }""")
    search = view(page).get_by_label("Explain any class by its name")
    search.fill("bagel")
    search.press("Enter")
    chosen(page).filter(has_text="bagel").wait_for(timeout=60_000)
    options(page).filter(has_text="espresso").first.click()


def test_all_methods_are_added_side_by_side_and_what_is_shown_stays(page):
    view(page).get_by_role("radio", name="Methods").check()
    figures = view(page).get_by_role("region", name="Comparison").locator("figure")
    add = view(page).get_by_role("button", name="Explain this class by all other methods")
    add.click()
    page.wait_for_function("() => document.querySelectorAll('.rl-board figure').length === 7", timeout=120_000)
    settle(page)
    assert figures.count() == 7
    assert not add.is_visible()
    assert view(page).get_by_role("radio", name="R-LRP").is_checked()
    view(page).get_by_role("radio", name="Classes").check()


def test_the_page_that_is_saved_opens_without_a_kernel(page, lab, chromium, troubles):
    page.evaluate("""async () => {
      const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
      await kernel.requestExecute({code: 'explorer.save_html("saved.html")'}).done;
    }""")
    context = chromium.new_context(color_scheme="light")
    saved = context.new_page()
    saved.on("console", lambda message: troubles.append(message.text))
    saved.goto((lab.root / "saved.html").as_uri())
    options(saved).filter(has_text="teapot").click()
    assert chosen(saved).filter(has_text="teapot").count() == 1
    context.close()


def test_the_notebook_holds_a_picture_for_where_no_script_runs(page, lab):
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => true)")
    (output,) = json.loads((lab.root / "explorer.ipynb").read_text(encoding="utf-8"))["cells"][0]["outputs"]
    assert output["data"]["image/png"].startswith("iVBOR")
    assert "".join(output["data"]["text/plain"]).startswith("Explorer(efficientnet_lite0: espresso")


def test_a_kernel_that_was_restarted_is_not_waited_for(page):
    page.evaluate("""async () => {
      const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
      const code = `import time
from rlrp_nb.widgets.session import Session
Session.explain = lambda *_: time.sleep(60)`;
      await kernel.requestExecute({code}).done;
    }""")
    search, alert = view(page).get_by_label("Explain any class by its name"), view(page).get_by_role("alert")
    search.fill("lemon")
    search.press("Enter")
    page.locator(".rl-explorer[aria-busy=true]").wait_for()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.locator(".rl-explorer[aria-busy=false]").wait_for()
    alert.filter(has_text="No kernel answers. Run this cell again").wait_for()
    search.fill("orange")
    search.press("Enter")
    settle(page)
    assert "No kernel answers" in alert.inner_text()
    options(page).filter(has_text="teapot").first.click()  # explained by R-LRP alone
    view(page).get_by_role("radio", name="LRP-0").click()
    settle(page)
    assert view(page).get_by_role("radio", name="R-LRP").is_checked()
    assert "No kernel answers" in alert.inner_text()
