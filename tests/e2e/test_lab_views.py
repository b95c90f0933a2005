"""The widgets that stand alone, side by side in a real JupyterLab, their choices linked by traits."""

import ast
import time

import pytest

CELLS = (
    """import ipywidgets, traitlets
import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
from rlrp_nb.widgets import ClassSelector, ComparisonGrid, LayerSlider, Overlay
model = rn.load_model("efficientnet_lite0")
found = [rn.explain(model, sample_image("camera"), "top5", m, ["_blocks.8"]) for m in ("rlrp", "gradient-x-input")]
selector, slider, overlay = (kind(found) for kind in (ClassSelector, LayerSlider, Overlay))
grid = ComparisonGrid(found, model=model)
for linked in (overlay, slider, grid):
    traitlets.link((selector, "target"), (linked, "target"))
ipywidgets.jslink((slider, "layer"), (overlay, "layer"))
ipywidgets.VBox([selector, slider, overlay, grid])""",
)


@pytest.fixture(scope="module")
def page(chromium, lab):
    """Return a notebook with all four widgets; any error or request off this machine fails the file."""
    lab.write("views.ipynb", *CELLS)
    troubles = []
    context = chromium.new_context(viewport={"width": 1200, "height": 1400}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)
    lab.listen(page, troubles)
    lab.open(page, "views.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.locator(".rl-overlay canvas").first.wait_for(timeout=180_000)
    page.locator(".rl-board figure").first.wait_for()
    yield page
    context.close()
    assert troubles == []


def python(page, code):
    """Return what an expression is worth in the notebook's kernel."""
    return page.evaluate(
        """async code => {
      const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
      const reply = await kernel.requestExecute({code: "", user_expressions: {x: code}}).done;
      return reply.content.user_expressions.x.data["text/plain"];
    }""",
        code,
    )


def wait_until_python(page, code, expected):
    """Wait until an expression is worth this in the kernel: while a widget's message is under way, its next one waits.

    ipywidgets holds a choice back in the browser until the kernel has answered the one before.
    """
    deadline = time.monotonic() + 20
    while (found := python(page, code)) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert found == expected


def test_a_chosen_class_reaches_python_and_the_linked_overlay(page):
    options = page.get_by_role("listbox", name="Class").get_by_role("option")
    options.nth(1).click()
    page.get_by_role("application", name="binoculars").first.wait_for()
    wait_until_python(page, "selector.target", "'447'")
    wait_until_python(page, "overlay.target", "'447'")
    assert python(page, "selector.indices") == "447"


def test_the_number_of_bars_is_adjustable_and_any_class_can_be_chosen(page):
    bars = page.get_by_label("Bars")
    bars.fill("8")
    options = page.get_by_role("listbox", name="Class").get_by_role("option")
    page.wait_for_function("() => document.querySelectorAll('.rl-classes .rl-class').length === 8")
    absent = options.nth(7).inner_text().split("\n")[0]
    options.nth(7).click()
    wait_until_python(page, "model.categories[selector.indices]", repr(absent))
    assert options.nth(7).get_attribute("aria-selected") == "true"
    # The linked widgets hear of a choice through the kernel: the next test is to find them as they were.
    notes = page.get_by_role("status").filter(has_text="was not explained; shown is tripod.")
    notes.nth(1).wait_for()
    options.nth(0).click()
    notes.first.wait_for(state="detached")


def test_a_class_that_was_not_explained_is_named_with_the_one_that_is_shown(page):
    notes = page.get_by_role("status").filter(has_text="was not explained; shown is tripod.")
    assert notes.count() == 0
    search = page.get_by_label("Explain any class by its name")
    search.fill("teapot")
    search.press("Enter")
    for part in (".rl-overlay", ".rl-layers"):
        page.locator(part).get_by_text("teapot was not explained; shown is tripod.").wait_for()
    assert notes.count() == 2
    chosen = page.get_by_role("listbox", name="Class").get_by_role("option", selected=True)
    assert chosen.inner_text().split("\n")[0] == "teapot"
    page.get_by_label("Contrast with").select_option("binoculars")
    wait_until_python(page, "selector.target == f'{model.categories.index(\"teapot\")}-447'", "True")
    options = page.get_by_role("listbox", name="Class").get_by_role("option")
    options.nth(0).click()
    wait_until_python(page, "grid.target", "'872'")
    notes.first.wait_for(state="detached")


def test_the_layer_reaches_the_overlay_in_the_browser_and_python(page):
    slider = page.get_by_role("slider", name="Layer")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("application", name="layer _blocks.8").first.wait_for()
    wait_until_python(page, "slider.layer", "'_blocks.8._project_conv'")
    page.keyboard.press("Home")


def test_python_can_choose_how_it_looks(page):
    python(page, "setattr(overlay, 'view', 'beside') or setattr(overlay, 'opacity', 0.25)")
    page.wait_for_function("() => !document.querySelectorAll('.rl-overlay .rl-pane')[1].hidden")
    assert page.get_by_role("radio", name="Side by side").is_checked()
    assert page.get_by_label("Opacity").input_value() == "0.25"


def test_widgets_in_one_document_do_not_disturb_each_other(page):
    names = page.locator("fieldset").evaluate_all("all => all.map(f => f.querySelector('input').name)")
    assert len(names) == len(set(names)) > 3
    ids = page.locator(".rl [id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    checked = page.locator("fieldset").evaluate_all("all => all.map(f => f.querySelectorAll('input:checked').length)")
    assert set(checked) == {1}


def test_the_grid_shows_methods_and_classes(page):
    assert page.locator(".rl-board figure").count() == 10
    page.get_by_role("group", name="Colour scale").get_by_label("Shared").check()
    notes = page.locator(".rl-cell-notes").all_inner_texts()
    assert len(notes) == 10
    assert all("positive" in note and "sparseness" in note for note in notes)


def test_faithfulness_is_measured_when_asked(page):
    compare = page.get_by_role("group", name="Compare")
    compare.get_by_label("Methods").check()
    page.get_by_role("button", name="Measure faithfulness").click()
    page.locator(".rl-cell-notes", has_text="ABPC").nth(1).wait_for(timeout=60_000)
    notes = page.locator(".rl-cell-notes").all_inner_texts()
    shown = [note.partition("faithfulness ")[2].partition(" ABPC")[0].replace("\N{MINUS SIGN}", "-") for note in notes]
    held = "[r['targets']['872']['faithfulness']['abpc'] for r in grid.scene['images'][0]['results']]"
    assert [float(each) for each in shown] == pytest.approx(ast.literal_eval(python(page, held)), abs=0.0006)
    assert not page.get_by_role("button", name="Measure faithfulness").is_visible()
    compare.get_by_label("Both").check()
