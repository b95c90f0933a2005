"""The browser half: its types, its tests, and that what is committed is what the sources give."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlrp_nb.errors import FileFormatError
from rlrp_nb.widgets import bundle

WIDGETS = Path(__file__).parents[3] / "widgets"
DIST = WIDGETS / "dist"
LIMIT = 60_000  # bytes that each bundle may have: every stored notebook carries them


@pytest.fixture(scope="module")
def node():
    """Return a function that runs a tool of the browser half; its packages are installed if they are not there."""

    def run(*command):
        program = shutil.which(command[0])
        assert program, f"{command[0]} is needed to check the browser half; install Node.js 20 or newer"
        result = subprocess.run([program, *command[1:]], cwd=WIDGETS, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    installed, locked = WIDGETS / "node_modules" / ".package-lock.json", WIDGETS / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund")
    return run


def test_building_again_gives_the_committed_bytes(node, tmp_path):
    node("node", "build.js", str(tmp_path))
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in DIST.iterdir()}


def test_the_sources_are_well_typed(node):
    node("npx", "--no-install", "tsc", "--project", "tsconfig.json")
    configuration = (WIDGETS / "tsconfig.json").read_text()
    assert '"checkJs": true' in configuration
    assert '"strict": true' in configuration


def test_the_pure_modules_pass_their_own_tests(node):
    report = node("node", "--test", "--test-reporter=tap", "tests/")
    assert int(re.search(r"^# pass (\d+)$", report, re.MULTILINE)[1]) >= 34
    assert re.search(r"^# skipped 0$", report, re.MULTILINE)


@pytest.mark.parametrize("path", sorted(DIST.iterdir()), ids=lambda path: path.name)
def test_every_bundle_is_small(path):
    assert path.stat().st_size < LIMIT


def test_the_colour_tables_are_those_of_the_python_half():
    table = subprocess.run(
        [sys.executable, "-c", "import colours; print(colours.script(), end='')"],
        cwd=WIDGETS,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(WIDGETS.parent), "PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout
    assert table == (WIDGETS / "src" / "table.js").read_text()


def test_text_from_outside_is_never_taken_for_html():
    sources = "\n".join(path.read_text() for path in (WIDGETS / "src").glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", sources)


def test_the_lock_file_names_no_registry():
    assert "resolved" not in (WIDGETS / "package-lock.json").read_text()


def test_assets_come_from_the_checkout():
    assert bundle.asset("page.js") == (DIST / "page.js").read_text()


def test_a_missing_asset_says_how_to_get_it():
    with pytest.raises(FileFormatError, match=r"lacks 'nothing\.js'.*npm ci"):
        bundle.asset("nothing.js")
