"""Two views of one Explorer in a real JupyterLab, and the view of a cell that was run again."""

import pytest

from rlrp_nb.data.sample import sample_image

CELLS = (
    """import rlrp_nb as rn
from rlrp_nb.data.digits import split_digits
explorer = rn.Explorer(rn.load_model("simple_cnn"), split_digits().held_out_images[0])
explorer""",
    "explorer",
)

SHOW = """picture => [...document.querySelectorAll(".rl-explorer")].every(each =>
  [...each.querySelectorAll("fieldset")].find(f => f.querySelector("legend").textContent === "Picture")
    .querySelector("input:checked").value === picture)"""


@pytest.fixture(scope="module")
def page(chromium, lab):
    """Return a notebook whose first cell was run; any error fails the file."""
    lab.write("shared.ipynb", *CELLS)
    troubles = []
    context = chromium.new_context(viewport={"width": 1200, "height": 1600}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)
    lab.listen(page, troubles)
    lab.open(page, "shared.ipynb")
    run(page, 0)
    page.locator(".rl-overlay canvas").first.wait_for(timeout=180_000)
    yield page
    context.close()
    assert troubles == []


def run(page, cell):
    page.evaluate(
        """index => {
      const notebook = window.jupyterapp.shell.currentWidget.content;
      notebook.activeCellIndex = index;
      notebook.deselectAll();
      return window.jupyterapp.commands.execute("notebook:run-cell");
    }""",
        cell,
    )


def view(page, number):
    return page.locator(".rl-explorer").nth(number)


def settle(page):
    page.wait_for_function("""() => {
      const views = [...document.querySelectorAll(".rl-explorer")];
      return views.length && views.every(each => each.getAttribute("aria-busy") === "false");
    }""")


def group(page, number, legend):
    return view(page, number).get_by_role("group", name=legend, exact=True)


def checked(page, legend):
    """Return what is chosen in each view."""
    settle(page)
    count = page.locator(".rl-explorer").count()
    return [group(page, number, legend).locator("input:checked").evaluate("e => e.value") for number in range(count)]


def python(page, code):
    page.evaluate(
        "code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code}).done", code
    )


def test_a_second_view_shows_what_the_first_was_made_to_show(page, tmp_path):
    sample_image("camera").save(tmp_path / "camera.png")
    view(page, 0).locator("input[type=file]").set_input_files(tmp_path / "camera.png")
    group(page, 0, "Picture").locator("label").nth(1).wait_for()
    settle(page)
    group(page, 0, "Method").get_by_role("radio", name="LRP-0").click()
    settle(page)
    run(page, 1)
    view(page, 1).locator(".rl-overlay canvas").first.wait_for()
    assert group(page, 1, "Picture").locator("label").count() == 2
    assert checked(page, "Picture") == ["1", "1"]
    assert checked(page, "Method") == ["lrp-0", "lrp-0"]


def test_what_is_chosen_in_one_view_is_shown_by_the_other(page):
    group(page, 1, "Picture").locator("label").first.click()
    assert checked(page, "Picture") == ["0", "0"]
    group(page, 0, "Method").get_by_role("radio", name="LRP-0").click()
    page.wait_for_function("""() => [...document.querySelectorAll(".rl-explorer input[value=lrp-0]")]
      .every(each => each.checked)""")
    assert checked(page, "Method") == ["lrp-0", "lrp-0"]


def test_what_is_set_in_python_moves_both(page):
    python(page, "explorer.image = 1")
    page.wait_for_function(SHOW, arg="1")
    assert checked(page, "Picture") == ["1", "1"]


def test_a_cell_that_is_run_again_shows_what_was_there(page):
    # its view goes, and the widget's state must not go with it
    page.evaluate("() => document.querySelectorAll('.rl-explorer')[1].setAttribute('data-old', '')")
    run(page, 1)
    page.locator(".rl-explorer[data-old]").wait_for(state="detached")
    view(page, 1).locator(".rl-overlay canvas").first.wait_for()
    assert checked(page, "Picture") == ["1", "1"]
    group(page, 1, "Method").get_by_role("radio", name="R-LRP").click()
    page.wait_for_function("""() => [...document.querySelectorAll(".rl-explorer input[value=rlrp]")]
      .every(each => each.checked)""")
    python(page, "explorer.image = 0")
    page.wait_for_function(SHOW, arg="0")
    assert checked(page, "Method") == ["rlrp", "rlrp"]


def test_each_view_says_what_its_own_rectangle_holds(page):
    results = [
        view(page, number).get_by_role("region", name="Cover a region").locator(".rl-result") for number in (0, 1)
    ]
    for number, (start, end) in enumerate(((0.3, 0.7), (0.02, 0.08))):
        view(page, number).get_by_role("button", name="Cover a region").click()
        pane = view(page, number).locator(".rl-overlay .rl-pane").first
        pane.scroll_into_view_if_needed()
        box = pane.bounding_box()
        page.mouse.move(box["x"] + start * box["width"], box["y"] + start * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + end * box["width"], box["y"] + end * box["height"], steps=4)
        page.mouse.up()
        results[number].filter(has_text="The rectangle holds").wait_for()
        settle(page)
        assert results[1 - number].is_hidden()
    view(page, 0).get_by_role("button", name="Cover a region").click()
    assert results[1].is_visible()
    view(page, 1).get_by_role("button", name="Cover a region").click()
    assert results[1].is_hidden()


def test_what_was_computed_before_the_first_view_of_a_page_is_in_it(page, chromium, lab):
    context = chromium.new_context(viewport={"width": 1200, "height": 1600}, color_scheme="light")
    other = context.new_page()
    other.set_default_timeout(20_000)
    troubles = []
    lab.listen(other, troubles)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => true)")
    lab.open(other, "shared.ipynb")
    group(page, 0, "Method").locator("label").nth(3).click()
    settle(page)
    run(other, 1)
    view(other, 0).locator(".rl-overlay canvas").first.wait_for()
    settle(other)
    assert group(other, 0, "Picture").locator("label").count() == 2
    group(other, 0, "Picture").locator("label").nth(1).click()
    settle(other)
    assert checked(other, "Picture")[0] == "1"
    assert view(other, 0).locator(".rl-verdict").inner_text()
    context.close()
    assert troubles == []
