"""The notebooks in a real JupyterLab: as stored, before any cell is run; and the quick start run as a whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
QUICKSTART = "00_quickstart.ipynb"
VIEW = "application/vnd.jupyter.widget-view+json"
PLOT = "application/vnd.plotly.v1+json"
PATIENCE = 300_000  # milliseconds, for a machine that has much else to do
READY = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
RAN = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type === "code");
  return cells.every((cell, k) => cell.model.executionCount === k + 1);
}"""
SHOW = """async number => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  await notebook.scrollToItem(number, "center");
  notebook.widgets[number].node.scrollIntoView();
}"""
# Whether what a cell shows is there: every widget has a size and text, every canvas in sight some colours, every
# picture its pixels, every curve a length. JupyterLab shows a plot as a picture until somebody points at it.
DRAWN = """([number, kinds]) => {
  const area = window.jupyterapp.shell.currentWidget.content.widgets[number].outputArea.node;
  const colours = canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  };
  const drawn = canvas => !canvas.checkVisibility() || colours(canvas) > 5;
  const all = (selector, good) => {
    const found = [...area.querySelectorAll(selector)];
    return found.length > 0 && found.every(good);
  };
  const checks = {
    slider: () => all(".rl-explorer", widget => widget.clientHeight > 50 && widget.innerText.trim() !== ""),
    widget: () => checks.slider() && all(".rl-explorer canvas", drawn),
    plot: () => checks.picture() || all(".js-plotly-plot .js-line", line => line.getAttribute("d").length > 10),
    picture: () => all("img", image => image.complete && image.naturalWidth > 1),
  };
  return kinds.every(kind => checks[kind]());
}"""


def kinds(cell):
    """Return what the cell is stored with, as DRAWN calls it."""
    found = set()
    for data in (output.get("data", {}) for output in cell.get("outputs", [])):
        if VIEW in data:
            found.add("slider" if data["text/plain"].startswith("LayerSlider") else "widget")
        elif PLOT in data:
            found.add("plot")
        elif "image/png" in data:
            found.add("picture")
    return sorted(found)


def contents(name):
    """Return what each cell of a notebook shows, by its number, those that show something."""
    cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    return {number: kinds(cell) for number, cell in enumerate(cells) if kinds(cell)}


NAMES = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
# One for each kind of stored output: Explorer, slider and plot, comparison of pictures.
LIVELY = [QUICKSTART, "02_train_simple_cnn.ipynb", "06_clever_hans.ipynb"]


@pytest.fixture(scope="module")
def folder(lab):
    """Copy the notebooks to where the Lab looks, and trust them, without which it shows no stored widget."""
    for path in [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("*.py")]:
        shutil.copy(path, lab.root / path.name)
    own = {"JUPYTER_CONFIG_DIR": str(lab.root / ".config"), "JUPYTER_DATA_DIR": str(lab.root / ".data")}
    trust = [sys.executable, "-m", "jupyter", "trust", *NAMES]
    subprocess.run(trust, cwd=lab.root, env=os.environ | own, check=True)
    return lab.root


@pytest.fixture
def page(chromium, lab):
    troubles = []
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((lab.base, "data:", "blob:")) else troubles.append(r.url))
    yield page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => true)")
    context.close()
    assert troubles == []


def open_notebook(page, lab, name):
    page.goto(f"{lab.base}/{lab.address.format(name=name, token=lab.token)}")
    page.locator(".jp-Notebook").wait_for()
    page.wait_for_function(READY)


def assert_drawn(page, name):
    for number, kind in contents(name).items():
        page.evaluate(SHOW, number)
        page.wait_for_function(DRAWN, arg=[number, kind])


@pytest.mark.parametrize("name", LIVELY)
def test_everything_that_is_stored_is_drawn_before_a_cell_is_run(page, lab, folder, name):
    assert (folder / name).is_file()
    open_notebook(page, lab, name)
    assert_drawn(page, name)


def test_the_quick_start_runs_from_first_to_last(page, lab, folder):
    assert (folder / QUICKSTART).is_file()
    open_notebook(page, lab, QUICKSTART)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => true)")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(RAN)
    assert_drawn(page, QUICKSTART)
