"""Importing the package costs next to nothing: no torch, no NumPy, and no command needs them before it does work."""

import subprocess
import sys

import pytest

import rlrp_nb

HEAVY = ("torch", "torchvision", "numpy", "PIL", "skimage", "plotly", "anywidget", "safetensors")


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import rlrp_nb",
        "import rlrp_nb; dir(rlrp_nb)",
        "from rlrp_nb import InputError",
        "import rlrp_nb.cli",
        "import rlrp_nb.cli, contextlib\nwith contextlib.suppress(SystemExit): rlrp_nb.cli.main(['--help'])",
    ],
)
def test_nothing_heavy_is_loaded(code):
    loaded = run(f"{code}\nimport sys; print(*sys.modules)").split()
    assert "rlrp_nb" in loaded
    assert not {name.partition(".")[0] for name in loaded}.intersection(HEAVY)


def test_colours_do_not_load_torch():
    loaded = run("import rlrp_nb.plots.colormap as c; c.table(); import sys; print(*sys.modules)").split()
    assert "numpy" in loaded
    assert "torch" not in loaded


def test_every_public_name_is_there():
    assert set(rlrp_nb.__all__) <= set(dir(rlrp_nb))
    for name in rlrp_nb.__all__:
        assert getattr(rlrp_nb, name).__name__.removeprefix("_") == name


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(AttributeError, match=r"has no attribute 'explian'; it offers: .*explain"):
        _ = rlrp_nb.explian


@pytest.mark.parametrize("package", ["traitlets", "anywidget"])
def test_widgets_without_their_packages_say_what_to_install(package):
    said = run(
        f"import sys; sys.modules[{package!r}] = None\n"
        "import rlrp_nb\n"
        "for name in ('ClassSelector', 'ComparisonGrid', 'Explorer', 'LayerSlider', 'Overlay'):\n"
        "    try: getattr(rlrp_nb, name)\n"
        "    except rlrp_nb.MissingPackageError as error: print(name, error)"
    )
    assert said.count("Install it with: pip install 'rlrp-nb[lab]'") == 5


def test_a_star_import_works_without_the_packages_of_the_widgets():
    code = "from rlrp_nb import *\nprint(*sorted(name for name in dir() if name[0] != '_'))"
    assert "Explorer" in run(code).split()
    found = run(f"import sys; sys.modules['anywidget'] = None; {code.replace(chr(10), '; ')}").split()
    assert {"explain", "load_model", "compare"} <= set(found)
    assert "Explorer" not in found


def test_the_time_of_the_import_is_reported(record_property):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import rlrp_nb"], capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stderr.splitlines() if line.endswith("| rlrp_nb")]
    assert len(lines) == 1
    microseconds = int(lines[0].split("|")[1])
    record_property("import_rlrp_nb_microseconds", microseconds)
    print(f"import rlrp_nb: {microseconds / 1000:.1f} ms")  # noqa: T201 - the report, shown by pytest -s
