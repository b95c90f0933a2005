"""What a function imports within itself is a part of it, before it is loaded and after, and nothing is run to tell."""

import subprocess
import sys

import pytest

IMPORTING = """
import sys
from rlrp_nb.evaluation.identity import identity

def taken(*_):
    from helpers import heatmap
    return heatmap

def nested(*_):
    def within():
        import folder.part as part
        from folder import other
    return within

def library(*_):
    import wave
    from captum.attr import Saliency

def never(*_):
    if len(sys.argv) > 99:
        from ends import the_program

def missing(*_):
    from nowhere_to_be_found import nothing
    from . import beside

for function in (taken, nested, library, never, missing):
    before = identity(function)
    if function is not never:
        for run in (function, nested()):
            try:
                run()
            except ImportError:
                pass
    assert identity(function) == before, before
    print(before.split()[-1])
assert "ends" not in sys.modules
"""
FILES = {
    "helpers.py": "from deeper import power\ndef heatmap(x):\n    return x ** power\n",
    "deeper.py": "power = {}\n",
    "folder/__init__.py": "",
    "folder/part.py": "from .beside import power\n",
    "folder/beside.py": "power = {}\n",
    "folder/other.py": "",
    "ends.py": "raise SystemExit({})\n",
}


@pytest.fixture
def found(tmp_path):
    """Return the identities of the functions above, with a number in some of the files."""
    (tmp_path / "folder").mkdir()

    def found(number, **others):
        for name, text in (FILES | others).items():
            (tmp_path / name).write_text(text.format(number), encoding="utf-8")
        command = [sys.executable, "-B", "-c", IMPORTING]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return found


def test_files_that_are_imported_within_count_and_those_that_these_import(found):
    taken, nested, library, never, missing = found(1)
    others = found(2)
    assert [taken == others[0], nested == others[1], never == others[3]] == [False] * 3
    assert [library, missing] == [others[2], others[4]]
    assert found(1) == [taken, nested, library, never, missing]


def test_a_file_that_is_no_python_counts_as_it_is(found):
    (*_, one, _), (*_, other, _) = (found(number, **{"ends.py": "no python {}"}) for number in (1, 2))
    assert one != other
