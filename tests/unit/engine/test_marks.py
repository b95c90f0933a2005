"""Which object something is, and what counts as a library; what marks are for is tried in test_structure.py."""

import gc
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from rlrp_nb.engine.marks import Which, is_library

CODE = """
import torch, rlrp_nb
from rlrp_nb.engine.marks import is_library
network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()
print(torch.__file__, is_library("torch.nn"), rlrp_nb.explain(network, torch.ones(1, 4), 0).ledger().worst_residual)
"""


@pytest.mark.parametrize("value", [torch.ones(2), slice(1, 2), len, {1}])
def test_an_object_is_which_it_is(value):
    assert Which(value) == Which(value)
    assert Which(value) != Which([])
    assert Which(value) != id(value)


def test_what_is_gone_is_nothing_that_comes_after_it():
    held = torch.ones(3)
    mark = Which(held)
    del held
    gc.collect()
    assert mark != Which(torch.ones(3))
    assert mark != mark  # noqa: PLR0124 - gone


def test_python_and_what_is_installed_are_libraries():
    assert all(map(is_library, ("torch.nn", "json", "numpy")))
    assert not any(map(is_library, (__name__, "no_such_module", property(lambda _: "json"))))


@pytest.mark.parametrize("name", ["site-packages", "libs"])
def test_a_network_is_explained_wherever_torch_is_installed(tmp_path, name):
    """As by ``pip install --user``, ``pip install --target``, or an environment on top of another."""
    (tmp_path / name).symlink_to(sysconfig.get_path("purelib"))
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys._base_executable, "-c", CODE],
        env=os.environ | {"PYTHONPATH": f"{tmp_path / name}{os.pathsep}{root}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, found, residual = done.stdout.split()
    assert file.startswith(str(tmp_path / name))
    assert found == "True"
    assert float(residual) < 1e-5
