"""The documentation: its code runs, it builds without a warning, and in Chromium it asks nothing of any network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
WITH_CODE = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
RUNS = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["']([^"']+)|<link\b[^>]*?\bhref=["']([^"']+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [*(sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet")]
    done = subprocess.run([*command, str(DOCS), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path):
    code = "\n".join(RUNS.findall(page.read_text(encoding="utf-8")))
    assert code or "```python no-run" in page.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in re.findall(r'"([\w-]+\.(?:png|html|safetensors))"', code):
        assert (tmp_path / name).stat().st_size > 1000, name


def test_every_page_is_in_the_contents(site):
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {page for page in pages if not (site / page).is_file()} == set()
    contents = (site / "index.html").read_text(encoding="utf-8")
    assert {page for page in pages if page.parts[0] != "reference" and page.as_posix() not in contents} <= {
        Path("index.html")
    }


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        sources = [source or style for source, style in LOADED.findall(page.read_text(encoding="utf-8"))]
        assert [source for source in sources if re.match(r"(https?:)?//", source)] == [], page


def test_the_reference_documents_the_public_names(site):
    import rlrp_nb  # noqa: PLC0415 - the name is wanted here alone

    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    assert [name for name in rlrp_nb.__all__ if f".{name}</" not in text and f">{name}</span>" not in text] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_the_page_is_alive(site, chromium, scheme):
    context = chromium.new_context(viewport={"width": 1280, "height": 1400}, color_scheme=scheme)
    try:
        page = context.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "index.html").as_uri())
        live = page.frame_locator("iframe")
        live.get_by_role("heading", name="Why tripod?").wait_for()
        canvas = live.locator("canvas").first
        before = canvas.screenshot()
        live.get_by_role("slider", name=re.compile("opacity", re.IGNORECASE)).first.fill("0")
        page.wait_for_timeout(300)
        assert canvas.screenshot() != before
        formulas = page.context.new_page()
        formulas.goto((site / "method.html").as_uri())
        assert formulas.locator("math").count() > 10
        assert formulas.locator("math").first.bounding_box()["height"] > 5
        assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
        assert errors == []
    finally:
        context.close()
