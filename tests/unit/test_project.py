"""What the project says about itself is true: README, versions, and what is in the wheel."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import rlrp_nb
from rlrp_nb.cli import _parser
from rlrp_nb.engine.methods import available_methods
from rlrp_nb.models.zoo import available_models

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("rlrp-nb ")]


def test_the_two_commands_are_the_first_thing_to_run():
    first = blocks("sh")[0].splitlines()
    assert [line.partition(" #")[0].strip() for line in first] == ["make demo", "make test"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an archive holds no more than the repository")
def test_the_repository_holds_nothing_at_its_top_but_what_belongs_there():
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    folders = {".ci", "benchmarks", "binder", "docs", "notebooks", "rlrp_nb", "tests", "widgets"}
    files = {".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
    assert {name.split("/")[0] for name in listed.splitlines()} == folders | files


@pytest.mark.parametrize("code", blocks("python"), ids=["images", "tensors", "notebook", "comparison"])
def test_the_python_of_the_readme_runs(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or code.endswith("\nexplorer\n")  # what a notebook shows, a script does not print
    for name in re.findall(r'"(tripod\.\w+)"', code):
        assert (tmp_path / name).stat().st_size > 10_000


def test_a_folder_that_is_no_environment_of_the_project_is_left_alone(tmp_path):
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")
    command = [ROOT / ".ci" / "environment", tmp_path, "test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was not made by this project, so it is left alone: name a new or empty folder by VENV=..." in done.stderr
    assert [*tmp_path.iterdir()] == [kept]
    assert kept.read_text() == "years of work"


def test_what_lies_elsewhere_is_no_part_of_the_environment(tmp_path):
    elsewhere = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "", "CDPATH": str(tmp_path)}
    (tmp_path / ".ci").mkdir()
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $PWD $PYTHONPATH ${{PYTHONHOME-unset}} > {tmp_path}/seen\nfalse\n")
    python.chmod(0o755)
    variables = {**os.environ, **elsewhere, "PYTHON": str(python)}
    command = [".ci/environment", tmp_path / "venv", "test"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, check=False)
    assert "needs Python 3.11 or newer" in done.stderr
    assert (tmp_path / "seen").read_text().split() == [str(ROOT), "unset"]
    show = ["make", "--silent", "--eval", "show: ; @echo $${PYTHONPATH-unset} $${PYTHONHOME-unset}", "show"]
    done = subprocess.run(show, capture_output=True, text=True, cwd=ROOT, env=variables, check=True)
    assert done.stdout.split() == ["unset", "unset"]


def test_ten_lines_are_ten_lines():
    body = ast.parse(blocks("python")[0])
    lines = [line for line in ast.unparse(body).splitlines() if line.strip()]
    assert len(lines) - sum(isinstance(node, ast.Import | ast.ImportFrom) for node in body.body) <= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_are_understood(command):
    options = _parser().parse_args(shlex.split(command)[1:])
    assert getattr(options, "model", "vgg16") in available_models()
    methods = getattr(options, "methods", None) or getattr(options, "method", "rlrp")
    assert set(methods.split(",")) <= set(available_methods())


def test_every_command_stands_in_the_readme():
    (commands,) = (action.choices for action in _parser()._actions if action.dest == "==SUPPRESS==" and action.choices)
    assert {shlex.split(command)[1] for command in COMMANDS} == set(commands)


def test_links_and_pictures_of_the_readme_are_there():
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).is_file(), target
    with Image.open(ROOT / "docs" / "images" / "demo.png") as image:
        assert image.width > 1000


def test_the_readme_says_whose_reading_it_is_and_where_it_is_weak():
    words = " ".join(README.split())
    assert "this project's own reading of the paper's abstract" in words
    assert "arXiv 2501.14322" in words
    assert "Where it is weak" in words


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)", "\n".join(blocks("sh")), re.MULTILINE))
    assert named <= targets


def test_versions_agree():
    version = rlrp_nb.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    package = json.loads((ROOT / "widgets" / "package.json").read_text(encoding="utf-8"))
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [version]
    assert re.findall(r"^## \[(\d.+?)\]", changelog, re.MULTILINE)[0] == version
    assert package["version"] == version


def test_the_citation_names_the_paper():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "Nyiri" in citation
    assert "Gibaru" in citation
    assert "arXiv:2501.14322" in citation


def test_the_wheel_has_what_is_needed_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"rlrp_nb-{rlrp_nb.__version__}.dist-info/METADATA").decode()
        checkpoints = [name for name in names if name.startswith("rlrp_nb/models/checkpoints/")]
        assert all(archive.getinfo(name).file_size <= 2_000_000 for name in checkpoints)
    shipped = ("simple_cnn", "vgg16_digits", "vgg19_digits", "resnet50_digits")
    assert sorted(checkpoints) == sorted(f"rlrp_nb/models/checkpoints/{name}.safetensors" for name in shipped)
    assert {"rlrp_nb/py.typed", "rlrp_nb/static/page.js", "rlrp_nb/static/rlrp.css"} <= names
    assert {name.partition("/")[0] for name in names} == {"rlrp_nb", f"rlrp_nb-{rlrp_nb.__version__}.dist-info"}
    modules = {f"rlrp_nb/{path.relative_to(ROOT / 'rlrp_nb')}" for path in (ROOT / "rlrp_nb").rglob("*.py")}
    assert modules <= names
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "Requires-Python: >=3.11" in metadata
