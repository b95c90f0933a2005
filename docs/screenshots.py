"""Take the pictures of the documentation from the real Explorer in a real JupyterLab."""  # noqa: INP001 - a script

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
from conftest import FLAGS, Lab, executable

CELL = """import rlrp_nb as rn
from rlrp_nb.data.sample import sample_image
rn.Explorer(rn.load_model("efficientnet_lite0"), sample_image("{picture}"))"""


def take(page: Page, theme: str, path: Path) -> None:
    """Write a picture of the Explorer in one theme of JupyterLab."""
    name = f"JupyterLab {theme.capitalize()}"
    page.evaluate(f"() => {{ window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}}); }}")
    explorer = page.locator(f".rl-explorer[data-theme='{theme}']")
    explorer.wait_for()
    page.wait_for_timeout(800)  # the theme's own style sheet follows its mark
    explorer.screenshot(path=path)


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", help="folder for the pictures")
    parser.add_argument("--picture", default="camera", help="which photograph of scikit-image")
    parser.add_argument("--width", type=int, nargs="+", default=[1280], help="widths of the window")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        lab = Lab(Path(folder))
        lab.start()
        try:
            lab.write("explorer.ipynb", CELL.format(picture=options.picture))
            for width in options.width:
                page = browser.new_page(viewport={"width": width, "height": 2400})
                lab.open(page, "explorer.ipynb")
                page.evaluate("() => { window.jupyterapp.commands.execute('application:toggle-left-area'); }")
                page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
                page.wait_for_function("() => document.querySelector('.rl-overlay canvas')?.width > 1", timeout=180_000)
                for theme in ("light", "dark"):
                    take(page, theme, options.out / f"explorer-{width}-{theme}.png")
                page.close()
        finally:
            lab.stop()
            browser.close()


if __name__ == "__main__":
    main()
