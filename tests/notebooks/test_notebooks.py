"""The notebooks as they are stored: complete, small, the same whoever ran them; and a drifting figure is noticed.

That their outputs are right is tested by nbval, which pytest runs over the folder itself.
"""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from rlrp_nb.widgets.bundle import asset

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def command():
    """Return the module behind `make notebooks`."""
    spec = importlib.util.spec_from_file_location("command", ROOT / ".ci" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_small(path):
    assert path.stat().st_size < 3_000_000


def test_every_cell_was_run_in_order_and_without_complaint(notebook):
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    for output in (output for cell in code(notebook) for output in cell.outputs):
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output


def test_it_was_stored_by_make_notebooks(path, notebook):
    assert path.read_text(encoding="utf-8") == nbformat.writes(command().tidy(notebook)) + "\n"


def test_widgets_have_their_state_and_a_picture_for_where_no_script_runs(notebook):
    states = notebook.metadata.get("widgets", {}).get(STATE, {"state": {}})["state"]
    shown = [output.data for cell in code(notebook) for output in cell.outputs if VIEW in output.get("data", {})]
    for data in shown:
        assert data[VIEW]["model_id"] in states
        assert data["image/png"]
    assert bool(states) == bool(shown)


def test_widgets_are_drawn_by_the_code_that_is_built(notebook):
    states = notebook.metadata.get("widgets", {}).get(STATE, {"state": {}})["state"]
    for state in (held["state"] for held in states.values() if "_anywidget_id" in held["state"]):
        kind = state["_anywidget_id"].rpartition(".")[2]
        module = re.sub(r"(?<=.)([A-Z])", r"_\1", kind).lower()
        for key, name in (("_esm", f"{module}.js"), ("_css", "rlrp.css")):
            assert state[key] == asset(name), f"{kind}: run make notebooks"


def test_links_lead_to_notebooks_that_are_there(notebook):
    for target in re.findall(r"\]\(([^)#]+\.ipynb)\)", "".join(cell.source for cell in notebook.cells)):
        assert (ROOT / "notebooks" / target).is_file(), target


def with_widget(parent, child):
    """Return a notebook that shows a widget made of two parts, with the names that ipywidgets drew."""
    cell = nbformat.v4.new_code_cell("widget", id="widget", execution_count=1, metadata={"execution": {"idle": parent}})
    cell.outputs = [nbformat.v4.new_output("execute_result", {VIEW: {"model_id": parent}}, execution_count=1)]
    state = {parent: {"state": {"layout": f"IPY_MODEL_{child}"}}, child: {"state": {"width": None}}}
    widgets = {STATE: {"state": state, "version_major": 2, "version_minor": 0}}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets, "author": parent})


def test_two_runs_leave_the_same_file_whatever_the_names_of_the_widgets():
    tidy = command().tidy
    one, two = (nbformat.writes(tidy(with_widget(*names))) for names in (("a" * 32, "b" * 32), ("d" * 32, "c" * 32)))
    assert one == two
    state = json.loads(one)["metadata"]["widgets"][STATE]["state"]
    assert state["0" * 32]["state"]["layout"] == f"IPY_MODEL_{1:032x}"


def test_what_is_printed_is_stored_in_one_piece_however_it_came():
    cell = nbformat.v4.new_code_cell("print(1); print(2)", id="print", execution_count=1)
    parts = (("stdout", "1\n"), ("stdout", "2\n"), ("stderr", "so\n"), ("stdout", "3\n"))
    cell.outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in parts]
    tidied = command().tidy(nbformat.v4.new_notebook(cells=[cell]))
    joined = [(output.name, output.text) for output in tidied.cells[0].outputs]
    assert joined == [("stdout", "1\n2\n"), ("stderr", "so\n"), ("stdout", "3\n")]


def test_a_progress_bar_is_not_stored_nor_what_it_consists_of():
    cell = nbformat.v4.new_code_cell("fit()", id="fit", execution_count=1)
    text = "training:   0%|          | 0/378 [00:00<?, ?batch/s]"
    cell.outputs = [
        nbformat.v4.new_output("display_data", {VIEW: {"model_id": "a" * 32}, "text/plain": text}),
        nbformat.v4.new_output("display_data", {VIEW: {"model_id": "c" * 32}, "text/plain": "Overlay(vgg16: 7; rlrp)"}),
    ]
    state = {
        "a" * 32: {"state": {"children": [f"IPY_MODEL_{'b' * 32}"]}},
        "b" * 32: {"state": {}},
        "c" * 32: {"state": {}},
    }
    widgets = {STATE: {"state": state, "version_major": 2, "version_minor": 0}}
    tidied = command().tidy(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets}))
    assert [output.data["text/plain"] for output in tidied.cells[0].outputs] == ["Overlay(vgg16: 7; rlrp)"]
    assert list(tidied.metadata.widgets[STATE].state) == ["0" * 32]


def test_too_much_memory_or_space_is_refused():
    excess = command().excess
    assert excess("a.ipynb", 2_000_000_000, 3_000_000) == []
    assert excess("a.ipynb", 2_100_000_000, 3_000_000) == [
        "a.ipynb takes 2,100.0 MB of memory; at most 2,000.0 MB are allowed."
    ]
    assert len(excess("a.ipynb", 2_000_000_001, 3_000_001)) == 2


def run_stored(folder, name, source, text):
    cell = nbformat.v4.new_code_cell(source, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / name)


def test_a_figure_that_drifts_fails_and_one_that_may_differ_does_not(tmp_path):
    run_stored(tmp_path, "drifted.ipynb", "print('sum', 4.5)", "sum 4.6\n")
    run_stored(tmp_path, "same.ipynb", "print('sum', 4.5, 'in 3.21 s')", "sum 4.5 in 1.7 s\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"FAILED .*drifted\.ipynb", done.stdout)
    assert "sum 4.6" in done.stdout
