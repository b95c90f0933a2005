"""Run the notebooks again and store what they show: python .ci/notebooks.py [NOTEBOOK ...].

Afterwards nothing in a file depends on when or in which order it ran, so that a second run changes nothing. Prints the
seconds, the peak memory and the size of each, and fails when one needs more memory than Binder lends or is too large to
be shown.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).parents[1]
# The languages' versions are those of the machine that ran last, and are left out.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
VIEW = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"\d%\|.*\[\d\d:\d\d")  # as tqdm writes it
MAX_PEAK = 2_000_000_000  # bytes of memory
MAX_SIZE = 3_000_000  # bytes of the file
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # the unit in which the system counts memory


def execute(path: Path) -> tuple[float, int]:
    """Run a notebook in place, in a process of its own; return its seconds and its peak memory in bytes."""
    command = [
        *(sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "--log-level=WARN"),
        "--ExecutePreprocessor.kernel_name=python3",
        "--ExecutePreprocessor.timeout=1200",
        "--ExecutePreprocessor.record_timing=False",
        "--ExecutePreprocessor.store_widget_state=True",
        "--ExecutePreprocessor.extra_arguments=--log-level=ERROR",  # else each kernel says that it listens to TCP
        str(path),
    ]
    # One thread, because sums of several depend on who comes first.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - its own notebooks
    # The usage of a process that has ended holds that of its own children, here the kernel.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{path.name} failed: see above. The file is as it was.")
    return time.monotonic() - start, usage.ru_maxrss * KILOBYTE


def smaller(png: str) -> str:
    """Return the same picture, pixel by pixel, in as few bytes as PNG can."""
    before, after = base64.b64decode(png), io.BytesIO()
    with Image.open(io.BytesIO(before)) as image:
        image.save(after, "PNG", optimize=True)
    return base64.b64encode(min(before, after.getvalue(), key=len)).decode()


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook without what differs from run to run: versions, times, random names of widgets."""
    drop_progress(notebook)
    join_streams(notebook)
    widgets = notebook.metadata.get("widgets", {})
    metadata = METADATA | ({"widgets": widgets} if widgets else {})
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in {"tags", "jupyter"}}
        for data in (output.data for output in cell.get("outputs", []) if "image/png" in output.get("data", {})):
            data.pop("image/jpeg", None)  # Pillow shows every picture in both formats
            data["image/png"] = smaller(data["image/png"])
    text = nbformat.writes(nbformat.from_dict({**notebook, "metadata": metadata}))
    for number, name in enumerate(appearance(notebook)):
        text = text.replace(name, f"{number:032x}")
    return nbformat.reads(text, as_version=4)


def join_streams(notebook: nbformat.NotebookNode) -> None:
    """Make one output of those that follow each other on one stream: a busy kernel sends what is printed in parts."""
    for cell in notebook.cells:
        joined: list[nbformat.NotebookNode] = []
        for output in cell.get("outputs", []):
            if joined and output.output_type == "stream" and output.name == joined[-1].get("name"):
                joined[-1].text += output.text
            else:
                joined.append(output)
        if joined:
            cell.outputs = joined


def drop_progress(notebook: nbformat.NotebookNode) -> None:
    """Take out the progress bars with their widgets: a bar that is full says nothing but how fast a machine was."""
    for cell in notebook.cells:
        for output in [output for output in cell.get("outputs", []) if VIEW in output.get("data", {})]:
            if PROGRESS.search(output.data.get("text/plain", "")):
                cell.outputs.remove(output)
                for kind in notebook.metadata.get("widgets", {}).values():
                    for name in reached(output.data[VIEW]["model_id"], kind["state"]):
                        kind["state"].pop(name, None)
    if not any(kind["state"] for kind in notebook.metadata.get("widgets", {}).values()):
        notebook.metadata.pop("widgets", None)


def reached(first: str, states: dict[str, object]) -> list[str]:
    """Return the name of a widget and those of all that it consists of."""
    order = [first]
    for name in order:  # grows on the way
        text = json.dumps(states.get(name))
        order += [part for part in re.findall(r"IPY_MODEL_(\w+)", text) if part not in order]
    return order


def appearance(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the random names of the widgets: those that cells show, in their order, then what these consist of."""
    states = {}
    for kind in notebook.metadata.get("widgets", {}).values():
        states.update({name: json.dumps(state, sort_keys=True) for name, state in kind["state"].items()})
    if not states:
        return []
    names = re.compile("|".join(states))
    # What nothing refers to comes last; equal states may change places, for nothing tells them apart.
    alone = sorted(states, key=lambda name: names.sub("", states[name]))
    order = [*dict.fromkeys(names.findall(json.dumps(notebook.cells)))]
    for name in order:  # grows on the way
        order += [part for part in dict.fromkeys(names.findall(states[name])) if part not in order]
    return order + [name for name in alone if name not in order]


def main(names: list[str]) -> None:
    """Run the notebooks of these paths, or all of them; fail when one is too large."""
    troubles = []
    for path in [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb")):
        seconds, peak = execute(path)
        nbformat.write(tidy(nbformat.read(path, as_version=4)), path)
        size = path.stat().st_size
        print(f"{path.name:24}{seconds:6.0f} s{peak / 1e9:7.2f} GB peak{size / 1e6:7.2f} MB", flush=True)
        troubles += excess(path.name, peak, size)
    if troubles:
        sys.exit("\n".join(troubles))


def excess(name: str, peak: int, size: int) -> list[str]:
    """Say what a notebook needs more of, in bytes, than is allowed."""
    limits = (("memory", peak, MAX_PEAK), ("space", size, MAX_SIZE))
    return [
        f"{name} takes {taken / 1e6:,.1f} MB of {what}; at most {most / 1e6:,.1f} MB are allowed."
        for what, taken, most in limits
        if taken > most
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
