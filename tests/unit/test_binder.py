"""What Binder is told: pins that fit the project, scripts that run, and a badge that opens a notebook that is there."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [line for line in (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
PINNED = {canonicalize_name(each.name): each for each in map(Requirement, (x for x in LINES if x[:2] != "--"))}


def wanted():
    extras = PROJECT["optional-dependencies"]
    each = map(Requirement, [*PROJECT["dependencies"], *extras["demo"], *extras["lab"]])
    return {canonicalize_name(one.name): one.specifier for one in each if one.name != PROJECT["name"]}


def test_what_the_notebooks_need_is_pinned_and_nothing_else():
    assert set(PINNED) == set(wanted())


@pytest.mark.parametrize("name", sorted(PINNED))
def test_a_pin_is_one_version_that_the_project_accepts(name):
    (pin,) = PINNED[name].specifier
    assert pin.operator == "=="
    assert wanted()[name].contains(Version(pin.version).public)


def test_torch_comes_without_cuda():
    assert [line for line in LINES if line[:2] == "--"] == ["--extra-index-url https://download.pytorch.org/whl/cpu"]
    for name in ("torch", "torchvision"):
        assert str(PINNED[name].specifier).endswith("+cpu")


def test_python_is_one_that_the_project_accepts():
    name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
    assert name == "python"
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_the_scripts_are_executable_and_stop_at_the_first_error(name):
    script = BINDER / name
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    subprocess.run(["/bin/bash", "-n", str(script)], check=True)


def test_start_runs_what_it_is_given_with_one_thread():
    done = subprocess.run(
        [str(BINDER / "start"), "bash", "-c", 'echo "$OMP_NUM_THREADS"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_the_badge_opens_a_notebook_in_jupyterlab():
    (link,) = re.findall(r"\]\((https://mybinder\.org/v2/gh/[^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    (place,) = parse_qs(urlparse(link).query)["urlpath"]
    assert place.startswith("lab/tree/")
    assert (ROOT / place.removeprefix("lab/tree/")).is_file()
