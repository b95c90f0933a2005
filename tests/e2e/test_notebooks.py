"""The notebooks in a real JupyterLab: all of them as stored, before any cell is run; some run as a whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from playwright import sync_api

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
# All kinds of widgets that notebooks have, but for the grid of 04: Explorer; slider linked with overlay, and a curve
# that grows while a network learns; Explorer on a network of one's own.
RUNNING = ["00_quickstart.ipynb", "02_train_simple_cnn.ipynb", "06_clever_hans.ipynb"]
VIEW = "application/vnd.jupyter.widget-view+json"
PLOT = "application/vnd.plotly.v1+json"
PATIENCE = 300_000  # milliseconds, for a machine that has much else to do
OPEN = """async name => { await window.jupyterapp.commands.execute("docmanager:open", {path: name}); }"""
READY = """name => {
  const {context, sessionContext} = window.jupyterapp?.shell?.currentWidget ?? {};
  return context?.path === name && context.isReady && sessionContext?.session?.kernel?.status === "idle";
}"""
# What is still open is not asked whether to save.
CLOSE = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.sessionContext.shutdown();
  panel.dispose();
}"""
RUN = """async () => {
  const {commands} = window.jupyterapp;
  await commands.execute("notebook:clear-all-cell-outputs");
  commands.execute("notebook:run-all-cells");
}"""
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
# picture its pixels, every curve and every row of bars an extent, every table rows. JupyterLab shows a plot that is
# stored as a picture, too, as that picture until somebody points at it.
DRAWN = """([number, kinds]) => {
  const area = window.jupyterapp.shell.currentWidget.content.widgets[number].outputArea.node;
  const colours = canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  };
  const drawn = canvas => !canvas.checkVisibility() || colours(canvas) > 5;
  const paths = trace => [...trace.querySelectorAll("path")];
  const long = path => Math.max(path.getBBox().width, path.getBBox().height) > 5;
  const all = (selector, good) => {
    const found = [...area.querySelectorAll(selector)];
    return found.length > 0 && found.every(good);
  };
  const checks = {
    slider: () => all(".rl-explorer", widget => widget.clientHeight > 50 && widget.innerText.trim() !== ""),
    widget: () => checks.slider() && all(".rl-explorer canvas", drawn),
    plot: () => checks.picture() || all(".js-plotly-plot .cartesianlayer .trace", trace => paths(trace).some(long)),
    picture: () => all("img", image => image.complete && image.naturalWidth > 1),
    table: () => all(".jp-RenderedMarkdown table", table => table.rows.length > 1),
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
        elif "text/markdown" in data:
            found.add("table")
    return sorted(found)


def contents(name):
    """Return what each cell of a notebook shows, by its number, those that show something."""
    cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    return {number: kinds(cell) for number, cell in enumerate(cells) if kinds(cell)}


@pytest.fixture(scope="module")
def folder(lab):
    """Copy the notebooks to where the Lab looks, and trust them, without which it shows no stored widget."""
    for path in [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("*.py")]:
        shutil.copy(path, lab.root / path.name)
    own = {"JUPYTER_CONFIG_DIR": str(lab.root / ".config"), "JUPYTER_DATA_DIR": str(lab.root / ".data")}
    trust = [sys.executable, "-m", "jupyter", "trust", *NAMES]
    subprocess.run(trust, cwd=lab.root, env=os.environ | own, check=True)
    return lab.root


@pytest.fixture(scope="module")
def troubles():
    return []


@pytest.fixture(scope="module")
def window(chromium, lab, folder, troubles):
    """Return a page with a JupyterLab, in which the tests open one notebook after the other."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    window = context.new_page()
    window.set_default_timeout(PATIENCE)
    window.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    window.on("pageerror", lambda error: troubles.append(str(error)))
    window.on("request", lambda r: None if r.url.startswith((lab.base, "data:", "blob:")) else troubles.append(r.url))
    assert (folder / NAMES[0]).is_file()
    lab.open(window, NAMES[0])
    yield window
    context.close()


@pytest.fixture
def page(window, troubles):
    yield window
    window.evaluate(CLOSE)
    seen = troubles.copy()
    troubles.clear()
    assert seen == []


def open_notebook(page, name):
    page.evaluate(OPEN, name)
    page.wait_for_function(READY, arg=name)


def assert_drawn(page, name):
    for number, kind in contents(name).items():
        page.evaluate(SHOW, number)
        try:
            page.wait_for_function(DRAWN, arg=[number, kind])
        except sync_api.TimeoutError:
            pytest.fail(f"cell {number} of {name} does not show its {' and '.join(kind)}")


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_stored_is_drawn_before_a_cell_is_run(page, name):
    open_notebook(page, name)
    assert_drawn(page, name)


@pytest.mark.parametrize("name", RUNNING)
def test_it_runs_from_first_to_last(page, name):
    open_notebook(page, name)
    page.evaluate(RUN)
    page.wait_for_function(RAN)
    assert_drawn(page, name)
