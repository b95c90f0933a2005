"""What docs/security.md promises of the package: no pickle, no code from files, nothing without bounds."""

import ast
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

import rlrp_nb as rn
from rlrp_nb import cli
from rlrp_nb.class_name import find_class
from rlrp_nb.data.image import MAX_PIXELS, decode_image
from rlrp_nb.models.weights import read_state
from rlrp_nb.output_file import write_whole
from rlrp_nb.widgets import session

PACKAGE = Path(rn.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# what runs code that a file holds, and modules whose files do
CODE = {"eval", "exec", "compile"}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# the only ones that start a program, or ask anything of a network
PROGRAMS, NETWORKS = {"cli.py"}, {"weights.py"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def called(tree):
    """Every call with its name as it is written, such as ``torch.load``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def faults(source, name="x.py"):
    """What a module must not do."""
    tree, found = ast.parse(source), []
    roots = {module.partition(".")[0] for module in imported(tree)}
    found += sorted(roots & PICKLES)
    if name not in PROGRAMS and roots & {"subprocess", "pty", "ctypes", "multiprocessing"}:
        found.append("starts programs")
    if name not in NETWORKS and roots & {"urllib", "requests", "socket", "http", "ftplib", "aiohttp", "httpx"}:
        found.append("asks a network")
    for call, words in called(tree):
        last = call.rpartition(".")[2]
        if call in CODE or call in {"os.system", "os.popen"} or words.get("shell", "False") != "False":
            found.append(call)
        if call == "torch.load" and words.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if call in {"np.load", "numpy.load"} and words.get("allow_pickle", "False") != "False":
            found.append("numpy.load with pickles")
        if last == "load" and call.startswith(("yaml", "torch.jit", "torch.package", "torch.export")):
            found.append(call)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_a_file_holds(path):
    assert faults(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "eval('1')",
        "import os\nos.system('ls')",
        "run(['ls'], shell=True)",
        "import subprocess",
        "import urllib.request",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "torch.jit.load(path)",
    ],
)
def test_a_module_that_did_would_be_found(source):
    assert faults(source)


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights_runs_no_code(tmp_path, suffix):
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "trace"
    torch.save({"weight": Evil(trace)}, path)
    with pytest.raises(rn.WeightsError):
        read_state(path)
    assert not trace.exists()
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)  # the file is as bad as it looks
    assert trace.is_dir()


def test_an_explanation_in_a_file_runs_no_code(tmp_path):
    path, trace = tmp_path / "x.safetensors", tmp_path / "trace"
    torch.save({"relevance": Evil(trace)}, path)
    with pytest.raises(rn.FileFormatError):
        rn.Explanation.load(path)
    assert not trace.exists()


def test_weights_that_claim_to_be_huge_are_refused(tmp_path):
    """A zip archive of a few kilobytes that unpacks to much more: its records have to be stored as they are."""
    path = tmp_path / "bomb.pth"
    torch.save({"weight": torch.zeros(4)}, tmp_path / "sound.pth")
    with zipfile.ZipFile(tmp_path / "sound.pth") as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in sound.namelist():
            bomb.writestr(name, bytes(50_000_000) if name.endswith("data/0") else sound.read(name))
    assert path.stat().st_size < 100_000
    with pytest.raises(rn.WeightsError, match="compressed archive"):
        read_state(path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, more=b""):
    """A PNG of zeros that is small whatever it says about its size."""
    rows = zlib.compress(bytes(1 << 20), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(width, height):
    """One colour compresses well: 100 million pixels are a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "TIFF", compression="group4")
    return file.getvalue()


def gif():
    return b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"


def bmp():
    sizes = struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 65_535, 65_535, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + sizes


def text(size):
    return chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(size), 1))


BOMBS = {
    "a PNG of 4 billion pixels": lambda: png(65_535, 65_535),
    "a PNG just above the limit": lambda: png(MAX_PIXELS // 1000 + 1, 1000),
    "a TIFF of 100 million pixels": lambda: tiff(10_000, 10_000),
    "a GIF of 4 billion pixels": gif,
    "a BMP of 4 billion pixels": bmp,
    "a PPM of 4 billion pixels": lambda: b"P6 65535 65535 255\n" + bytes(100),
    "a text that unpacks to 500 MB": lambda: png(8, 8, more=text(500_000_000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pictures_that_would_fill_the_memory_are_refused_unread(name, tmp_path):
    data = BOMBS[name]()
    assert len(data) < 3_000_000
    path = tmp_path / "bomb"
    path.write_bytes(data)
    # in a process that may have 1.5 GB more of address space than it needs to start
    script = (
        "import resource, sys, rlrp_nb\n"
        "from pathlib import Path\n"
        "from rlrp_nb.data.image import decode_image, load_image\n"
        "from PIL import Image\n"
        "Image.init()\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        "limit = pages * resource.getpagesize() + 1_500_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "for read in (load_image, lambda p: decode_image(Path(p).read_bytes(), 'x')):\n"
        "    try:\n"
        "        print(read(sys.argv[1]).size)\n"
        "    except rlrp_nb.InputError as error:\n"
        "        print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    refusals = done.stdout.splitlines()
    assert len(refusals) == 2
    assert all(line.startswith("refused: ") for line in refusals)
    assert "MemoryError" not in done.stdout


def test_formats_that_start_other_programs_are_not_even_opened():
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with Image.open(io.BytesIO(script)) as image:
        assert image.format == "EPS"  # Pillow would hand it to Ghostscript
    with pytest.raises(rn.InputError, match="not a picture in a format that is read"):
        decode_image(script, "x.png")
    with pytest.raises(rn.InputError, match="not a picture in a format that is read"):
        session.Session(None, None).read("x.png", script)


def test_endless_input_is_refused(monkeypatch):
    monkeypatch.setattr(cli, "_MAX_INPUT", 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(1001))))
    with pytest.raises(rn.InputError, match="standard input has more than"):
        cli._open("-")


@pytest.mark.parametrize("text", ["9" * 5000, "a" * 100_000])
def test_endless_class_names_are_refused(text):
    with pytest.raises(rn.InputError, match="characters"):
        find_class(text, ["cat"])


def test_a_file_that_cannot_be_written_is_an_error_in_words(tmp_path):
    with pytest.raises(rn.InputError, match="cannot be written"):
        write_whole(tmp_path / ("x" * 251 + ".html"), lambda file: file.write(b""))
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_replaced_and_not_followed(tmp_path):
    target, link = tmp_path / "precious", tmp_path / "page.html"
    target.write_text("precious")
    link.symlink_to(target)
    write_whole(link, lambda file: file.write(b"page"))
    assert target.read_text() == "precious"
    assert not link.is_symlink()


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_writes_only_where_it_was_told(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    Image.linear_gradient("L").save(work / "x.png")
    before = tree(work)
    home.chmod(0o500)
    paths = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": paths,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "TMPDIR": str(home / "nothing"),
        "OMP_NUM_THREADS": "1",
    }
    words = ("explain", "x.png", "--model", "simple_cnn", "--out", "y.png", "--html", "y.html")
    done = subprocess.run(
        [sys.executable, "-m", "rlrp_nb", *words],
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    home.chmod(0o700)
    assert done.returncode == 0, done.stderr
    after = tree(work)
    assert set(after) - set(before) == {"y.png", "y.html"}
    assert {name: after[name] for name in before} == before
    assert tree(home) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "work"]
