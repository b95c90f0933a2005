"""How long a click on a new class waits for its picture, in a real JupyterLab and a real Chromium.

Run with ``python -m benchmarks.clicks``. After each click the engine alone answers the same request in the same kernel,
so that drift of the machine hits both alike. The wait ends after the frame in which the canvas shows what stays there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from benchmarks.machine import facts
from benchmarks.waits import Waits, rows

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
from conftest import FLAGS, Lab, executable

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODEL = """import time
import torch
import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
torch.set_num_threads({threads})
{model}
image = sample_image("coffee")"""
EXPLORER = """explorer = rn.Explorer(model, image, layers={layers!r})
explorer.k = 20
def engine():
    target = explorer.scene["images"][0]["targets"][-1]["index"]
    began = time.perf_counter()
    rn.explain(model, image, target, "rlrp", {layers!r})
    return time.perf_counter() - began
explorer"""
LITE = 'model = rn.load_model("efficientnet_lite0")'
DIGITS = 'model = rn.load_model("resnet50_digits")'
# Random weights: how long it takes does not depend on them, and what it shows is looked at by nobody.
RANDOM = """from torchvision.models import resnet50
lite = rn.load_model("efficientnet_lite0")
torch.manual_seed(0)
model = rn.Classifier("resnet50", resnet50().eval(), lite.categories, lite.preprocess, "random weights")"""

READY = """() => {
  const view = document.querySelector(".rl-explorer");
  return view?.getAttribute("aria-busy") === "false" && view.querySelector(".rl-overlay canvas").width > 1
    && view.querySelector(".rl-absent") !== null;
}"""
# The label of the map changes when the answer is there. From then on each frame is noted with the time after it was
# painted; the wait ends with the first frame of those that look like the last ones.
WATCH = """() => {
  const view = document.querySelector(".rl-explorer");
  const stage = view.querySelector(".rl-overlay .rl-stage");
  const canvas = stage.querySelector("canvas");
  function look() {
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return pixels.reduce((sum, pixel) => (Math.imul(sum, 31) + pixel) | 0, 0);
  }
  const before = look();
  let clicked = 0;
  document.addEventListener("click", event => { clicked = event.timeStamp; }, {capture: true, once: true});
  window.waited = new Promise(done => {
    const frames = [];
    function note() {
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => {
          const frame = {time: performance.now(), look: look()};
          frames.push(frame);
          const settled = frames.length > 4 && frames.slice(-4).every(each => each.look === frame.look);
          if (!settled || frame.look === before || view.getAttribute("aria-busy") === "true") return note();
          done(frames.find(each => each.look === frame.look).time - clicked);
        };
        channel.port2.postMessage(null);
      });
    }
    const labels = new MutationObserver(() => { labels.disconnect(); note(); });
    labels.observe(stage, {attributeFilter: ["aria-label"]});
  });
}"""
ENGINE = """async () => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const reply = await kernel.requestExecute({code: "", user_expressions: {seconds: "engine()"}}).done;
  return 1000 * Number(reply.content.user_expressions.seconds.data["text/plain"]);
}"""


@dataclass(frozen=True)
class Case:
    """A network in an Explorer.

    Attributes
    ----------
    network
        What it is called in the table.
    model
        Code that makes ``model``.
    layers
        As the Explorer's own.
    rounds
        How many Explorers are opened one after the other; some have few classes.
    """

    network: str
    model: str
    layers: str | None
    rounds: int = 1


CASES = (
    Case("EfficientNet-Lite0", LITE, "all"),
    Case("EfficientNet-Lite0", LITE, None),
    Case("ResNet50, digits", DIGITS, "all", rounds=3),
    Case("ResNet50, digits", DIGITS, None, rounds=3),
    Case("ResNet50", RANDOM, "all"),
    Case("ResNet50", RANDOM, None),
)


def measure(page: Page, lab: Lab, case: Case, most: int | None = None) -> Waits:
    """Click on the classes of an Explorer that are not explained yet, one after the other.

    Parameters
    ----------
    page : Page
        Of a browser; a notebook is opened in it.
    lab : Lab
        The JupyterLab that runs the notebook.
    case : Case
        What is explained.
    most : int or None
        After how many clicks an Explorer is left; None clicks on every class that it lists.

    Returns
    -------
    Waits
        The first click of each Explorer is not counted: it finds the kernel cold.
    """
    lab.write(
        "clicks.ipynb", MODEL.format(threads=os.cpu_count(), model=case.model), EXPLORER.format(layers=case.layers)
    )
    pairs = []
    for _ in range(case.rounds):
        lab.open(page, "clicks.ipynb")
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_function(READY, timeout=180_000)
        new = page.locator(".rl-explorer .rl-classes .rl-absent")
        for number in range(new.count() if most is None else most):
            page.evaluate(WATCH)
            new.first.click()
            pair = page.evaluate("() => window.waited"), page.evaluate(ENGINE)
            if number:
                pairs.append(pair)
    return Waits(case.network, "none" if case.layers is None else case.layers, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clicks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the embedded network alone, few clicks")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        lab = Lab(Path(folder))
        lab.start()
        try:
            found = []
            for case in CASES[:2] if quick else CASES:
                page = browser.new_page(viewport={"width": 1600, "height": 1200})
                found.append(measure(page, lab, case, 4 if quick else None))
                page.close()
        finally:
            lab.stop()
            browser.close()
    print("From a click on a new class to its picture, beside rlrp_nb.explain for the same class in the same kernel;")
    print("medians, with the first and third quartile in brackets:\n")
    print("\n".join(rows(found)), end="\n\n")
    print("\n".join(f"- {fact}" for fact in facts()))


if __name__ == "__main__":
    main()
