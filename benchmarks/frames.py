"""How smoothly the picture follows the opacity slider: frame times in Chromium at 1,000 x 1,000 pixels.

Run with ``python -m benchmarks.frames``. In every frame the slider moves and the picture is composed anew.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from rlrp_nb.export import render
from rlrp_nb.widgets.buffers import pack

SIDE = 1000
FRAMES = 300
# The 1,000 x 1,000 picture is on show as large as it is; two frames are let pass before measuring.
DRAG = """frames => new Promise(done => {
  const slider = [...document.querySelectorAll("input[type=range]")].find(each => each.max === "1");
  const times = [];
  let last = 0;
  function frame(now) {
    if (last) times.push(now - last);
    last = now;
    if (times.length > frames + 2) return done(times.slice(2));
    slider.value = String(0.5 + 0.45 * Math.sin(times.length / 10));
    slider.dispatchEvent(new Event("input"));
    requestAnimationFrame(frame);
  }
  requestAnimationFrame(frame);
})"""


def scene(side: int) -> dict[str, object]:
    """Return a scene with one map of smooth numbers over one photograph of noise."""
    generator = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(file, "PNG")
    wave = np.sin(np.linspace(0, 40, side))
    piece = dict(pack(wave[:, None] * wave[None, :]))
    target = {"key": "0", "index": 0, "negative": -1, "label": "class 0", "probability": 1.0}
    return {
        "format": 1,
        "title": "Frame times",
        "network": "none",
        "versions": {},
        "methods": ["rlrp"],
        "images": [
            {
                "name": "Image 1",
                "width": side,
                "height": side,
                "photo": {"media": "image/png", "data": file.getvalue()},
                "classes": [target],
                "targets": [target],
                "results": [
                    {
                        "method": "rlrp",
                        "layers": [{"name": "input", "op": "", "shape": [3, side, side], "kind": "map"}],
                        "targets": {"0": {"pieces": [piece], "ledger": {}}},
                    }
                ],
            }
        ],
    }


def measure(side: int = SIDE, frames: int = FRAMES) -> dict[str, float]:
    """Drag the opacity slider in Chromium and return percentiles of the frame times.

    Parameters
    ----------
    side : int
        Width and height of the picture in pixels.
    frames : int
        How many frames are measured.

    Returns
    -------
    dict of float
        Milliseconds a frame: ``p50``, ``p95`` and ``p99``.
    """
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "frames.html"
        page_file.write_text(render(scene(side)), encoding="utf-8")
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROME", "/usr/bin/chromium"), args=flags)
        page = browser.new_page(viewport={"width": side + 500, "height": 1400})
        page.goto(page_file.as_uri())
        page.wait_for_function("side => document.querySelector('.rl-overlay canvas').width === side", arg=side)
        times = np.array(page.evaluate(DRAG, frames))
        browser.close()
    return {f"p{part}": float(np.percentile(times, part)) for part in (50, 95, 99)}


def main() -> None:
    found = measure()
    print(f"Opacity dragged at {SIDE} x {SIDE} pixels, {FRAMES} frames, canvas 2D:")
    print("  ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in found.items()))


if __name__ == "__main__":
    main()
