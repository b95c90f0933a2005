"""The Explorer in Notebook 7, opened once: it draws, a key moves it and no cell, and the kernel answers."""

import numpy as np

from rlrp_nb.data.sample import sample_image
from rlrp_nb.engine.explainer import explain
from rlrp_nb.models.zoo import load_model
from rlrp_nb.plots import colormap
from rlrp_nb.widgets.buffers import pack, unpack

PIXELS = """c => {
  const {data} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  return Array.from(data, byte => String.fromCharCode(byte)).join("");
}"""
CELL = """import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
rn.Explorer(rn.load_model("efficientnet_lite0"), sample_image("coffee"), layers=["_blocks.2", "_fc"])"""


def alike(seen, expected):
    """Whether two pictures are the same but for rounding: the kernel explains several classes at once."""
    gap = np.abs(seen.astype(int) - expected)
    return gap.max() <= 8 and (gap > 0).mean() < 0.01


def shown(page):
    page.wait_for_function("() => document.querySelector('.rl-explorer').getAttribute('aria-busy') === 'false'")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    data = page.locator(".rl-overlay canvas").nth(1).evaluate(PIXELS)
    return np.frombuffer(data.encode("latin-1"), np.uint8).reshape(224, 224, 4)[..., :3]


def test_the_explorer_works_in_notebook_7(chromium, notebook7):
    notebook7.write("explorer.ipynb", CELL)
    troubles = []
    context = chromium.new_context(viewport={"width": 1200, "height": 1200}, color_scheme="light")
    page = context.new_page()

    def fail(error):
        # Notebook 7.6 stumbles over its own settings when any notebook is opened, with or without a widget in it.
        if "blob:" in error.stack or "/static/notebook/notebook_core" not in error.stack:
            troubles.append(error.stack)

    def leave(request):
        if not request.url.startswith((notebook7.base, "data:", "blob:")):
            troubles.append(request.url)

    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", fail)
    page.on("request", leave)
    notebook7.open(page, "explorer.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    view = page.locator(".rl-explorer")
    view.locator(".rl-overlay canvas").first.wait_for(timeout=180_000)
    assert view.get_attribute("data-theme") == "light"
    view.get_by_role("radio", name="Side by side").check()
    classifier, coffee = load_model("efficientnet_lite0"), sample_image("coffee")

    for word, index in (("espresso", 967), ("teapot", 849)):
        if word == "teapot":
            search = view.get_by_label("Explain any class by its name")
            search.fill(word)
            search.press("Enter")
        view.get_by_role("option", selected=True).filter(has_text=word).wait_for(timeout=60_000)
        values = unpack(pack(explain(classifier, coffee, index).heatmap().numpy()))
        assert alike(shown(page), colormap.paint(values, colormap.symmetric_limit(values, 99.0)))

    slider = view.get_by_role("slider", name="Layer")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext").startswith("_blocks.2")
    for control in (view.get_by_role("button", name="Cover a region"), view.get_by_label("Contrast with")):
        control.focus()
        page.keyboard.press("b")
        assert page.locator(".jp-Cell").count() == 1
    context.close()
    assert troubles == []
