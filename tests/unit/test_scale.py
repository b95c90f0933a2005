"""The script of docs/scale.md, run as it stands there: its rows, its errors, and what a second run leaves alone."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import rlrp_nb as rn
from rlrp_nb.data.digits import load_digits
from rlrp_nb.rows import heatmap_of

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
SCRIPT, READING = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

# The script runs twice: on half of the images, as if it had been stopped there, and on all of them.
DRIVER = """
import os, shutil, sys
from pathlib import Path
from explain_folder import explain_folder, start

half, all_of_them, out = map(Path, sys.argv[1:])
start(1)
explain_folder(half, out, 1, "simple_cnn")
for file in sorted((out / "rows").iterdir()):
    print(file.name, file.stat().st_mtime_ns)
shutil.copytree(all_of_them, half, dirs_exist_ok=True)
explain_folder(half, out, 1, "simple_cnn")
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The images, the results, and the files that the first run wrote with their times."""
    folder = tmp_path_factory.mktemp("scale")
    images, _ = load_digits()
    for name, count in (("pictures", 5), ("more", 11)):
        (folder / name / "below").mkdir(parents=True)
        for i in range(count):
            Image.fromarray(images[400 * i]).save(folder / name / ("below" if i % 2 else "") / f"{i}.png")
        (folder / name / "notes.txt").write_text("no image")
    (folder / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    (folder / "explain_folder.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "driver.py", "pictures", "more", "out"],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "OMP_NUM_THREADS": "1"},  # Ray keeps a token in the home folder
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # Ray waits for ever where it lacks a processor
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    first = dict(line.split() for line in finished.stdout.splitlines() if re.fullmatch(r"\S+\.parquet \d+", line))
    return folder, first


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return the page's script as a module."""
    (tmp_path / "explain_folder.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    script = importlib.import_module("explain_folder")
    monkeypatch.delitem(sys.modules, "explain_folder")
    return script


def test_a_folder_without_images_is_said(tmp_path, script):
    with pytest.raises(SystemExit, match="pictuers holds no image, or is not there: nothing was done"):
        script.explain_folder(tmp_path / "pictuers", tmp_path / "out", 1, "simple_cnn")
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_table_can_hold_is_said(tmp_path, script):
    (tmp_path / "ü.png").touch()
    (tmp_path / os.fsdecode(b"\xfc.png")).touch()
    with pytest.raises(SystemExit, match=r"\.png' is no UTF-8, so that no table can hold it: rename it"):
        script.explain_folder(tmp_path, tmp_path / "out", 1, "simple_cnn")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", [28, 224])
def test_the_measure_depends_on_the_heatmap_at_every_size_that_the_page_names(script, side):
    network = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2)).eval()
    inputs = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    heatmap, target = (network[1].weight[0] * inputs[0].flatten()).detach().reshape(1, side, side), torch.tensor([0])
    assert script.aopc(network, inputs, heatmap, target) > script.aopc(network, inputs, -heatmap, target)


def test_every_image_has_one_row_equal_to_a_direct_explanation(done):
    folder, _ = done
    rows = {row["path"]: row for row in pq.read_table(folder / "out" / "rows").to_pylist()}
    images = {str(path) for path in (folder / "pictures").rglob("*") if path.suffix in {".png", ".jpg"}}
    assert len(images) == 12
    assert rows.keys() == images
    assert pq.read_table(folder / "out" / "rows").num_rows == 12
    model = rn.load_model("simple_cnn")
    for path, row in rows.items():
        if path.endswith("broken.jpg"):
            assert "is damaged" in row["error"]
            assert row["heatmap"] is row["aopc"] is None
            continue
        alone = rn.explain(model, path)
        heatmap = alone.heatmap().double().numpy()
        assert (row["target"], row["label"]) == (int(alone.targets[0, 0]), alone.label())
        assert row["probability"] == pytest.approx(float(alone.probabilities.max()), rel=1e-4)
        np.testing.assert_allclose(heatmap_of(row), heatmap, rtol=1e-3, atol=1e-4 * np.abs(heatmap).max())
        assert -1 <= row["aopc"] <= 1


def test_a_second_run_computes_what_is_missing_and_rewrites_nothing(done):
    folder, first = done
    files = {file.name: file for file in (folder / "out" / "rows").iterdir()}
    assert first
    assert set(first) < set(files)
    for name, written in first.items():
        assert files[name].stat().st_mtime_ns == int(written)
    before = {row["path"] for name in first for row in pq.read_table(files[name]).to_pylist()}
    after = {row["path"] for name in files.keys() - first.keys() for row in pq.read_table(files[name]).to_pylist()}
    assert len(before) == 6
    assert len(after) == 6
    assert not before & after


def test_the_page_tells_how_to_read_the_heatmaps(done):
    folder, _ = done
    table = pq.read_table(folder / "out" / "rows")
    code = READING.replace("explained/rows", str(folder / "out" / "rows"))
    names = {}
    exec(compile(code, "reading", "exec"), names)  # noqa: S102 - the project's own page
    last = [row for row in table.to_pylist() if row["heatmap"] is not None][-1]
    np.testing.assert_array_equal(names["heatmap"], heatmap_of(last))


def test_the_page_names_every_column(done):
    folder, _ = done
    first = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    columns = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert columns == pq.read_table(folder / "out" / "rows").column_names
