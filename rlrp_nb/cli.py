"""The command ``rlrp-nb``: explain a photograph, compare methods, fetch weights, open the notebooks.

Nothing heavy is imported before a command needs it, so that ``--help`` and a typing error answer at once.
What a person reads or a program parses goes to stdout; progress and errors go to stderr.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

import rlrp_nb
from rlrp_nb.class_name import read_targets
from rlrp_nb.errors import InputError, MissingPackageError, RlrpError, UnsupportedNetworkError
from rlrp_nb.home import expanded
from rlrp_nb.output_file import check_output, write_whole
from rlrp_nb.printable import printable
from rlrp_nb.report import as_data, class_bars, ledger_in_words

if TYPE_CHECKING:
    from PIL import Image

    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.models.classifier import Classifier

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_LONGEST_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # what these formats can hold, in pixels
PAGES = (".html", ".htm")
DEFAULT_MODEL = "efficientnet_lite0"
SAMPLE = "sample:"
_MAX_INPUT = 200_000_000  # bytes of a picture from standard input

_ONE_PICTURE = (
    ". One picture is explained at a time (docs/scale.md has the script for a folder), and what has spaces in it, such "
    "as 'tabby - tiger cat', stands in quotes."
)
_IMAGE_HELP = "picture file, - for standard input, or sample:coffee (camera, chelsea, rocket, ...) from scikit-image"
_TARGET_HELP = (
    "class index, class name, top3, or a contrast 'tabby - tiger cat'; may be given several times (default: top1)"
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors repeat no word that a terminal would obey: a shell may have put names of files there."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str or None
        The words after ``rlrp-nb``; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0, 2 for anything the user can mend, 130 after Ctrl-C; ``lab`` returns JupyterLab's.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a sign shows a question mark instead of a traceback
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    options.rest = rest
    if rest and options.run is not _lab:
        hint = "" if rest[0].startswith("-") or not hasattr(options, "theme") else _ONE_PICTURE
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader, such as head, has seen enough; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RlrpError, OSError) as error:
        _say(f"rlrp-nb: error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, RuntimeError) as error:
        # up to Python 3.11, Ctrl-C while a class is made, as when torch is imported, comes as the cause of another
        if not any(isinstance(each, KeyboardInterrupt) for each in (error, error.__cause__)):
            raise
        _say("rlrp-nb: stopped", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="rlrp-nb", description="See why an image network decided what it decided.")
    parser.add_argument("--version", action="version", version=f"rlrp-nb {rlrp_nb.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="explain a cup of espresso, offline; writes demo.png and demo.html")
    demo.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the files (default: out)"
    )
    demo.set_defaults(
        run=_demo, image=f"{SAMPLE}coffee", model=DEFAULT_MODEL, weights=None, target=["top5"], json=False
    )

    explain = commands.add_parser("explain", help="explain one picture")
    _add_common(explain)
    explain.add_argument("--method", default="rlrp", help="one of 'rlrp-nb methods' (default: rlrp)")
    explain.add_argument("--layers", metavar="NAMES", help="keep the relevance of these layers too: 'all', or a,b,c")
    explain.set_defaults(run=_explain)

    compare = commands.add_parser("compare", help="explain one picture with several methods, side by side")
    _add_common(compare)
    compare.add_argument(
        "--methods", default="all", metavar="A,B", help="'all' (default), or names from 'rlrp-nb methods'"
    )
    compare.set_defaults(run=_compare)

    fetch = commands.add_parser("fetch", help="download and check the weights of networks, for use offline")
    fetch.add_argument("models", nargs="+", metavar="MODEL", help="one of 'rlrp-nb models'")
    fetch.set_defaults(run=_fetch)

    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab", epilog="More options go to JupyterLab.")
    lab.set_defaults(run=_lab)

    commands.add_parser("models", help="list the networks").set_defaults(run=_models)
    commands.add_parser("methods", help="list the methods").set_defaults(run=_methods)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help=_IMAGE_HELP)
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"one of 'rlrp-nb models' (default: {DEFAULT_MODEL})")
    parser.add_argument("--weights", help="official weights by name, or a file with a state dict (default: the best)")
    parser.add_argument("--target", action="append", metavar="CLASS", help=_TARGET_HELP)
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"write the picture ({', '.join(PICTURES)})")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained interactive page")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="of the picture (default: dark)")


def _explain(options: argparse.Namespace) -> int:
    from rlrp_nb.plots.picture import picture, picture_size, stack  # noqa: PLC0415 - loads NumPy and Pillow

    layers = options.layers if options.layers in {None, "all"} else _split(options.layers, "--layers")
    explanations, classifier = _explanations(options, [options.method], picture_size, layers)
    explanation = explanations[0]
    if options.out:
        count = explanation.targets.shape[1]
        _save(stack([picture(explanation, k, theme=options.theme) for k in range(count)]), options.out)
    if options.html:
        _page(explanation, options.html)
    _print(options, explanations, classifier)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from rlrp_nb.engine.methods import available_methods  # noqa: PLC0415 - loads torch
    from rlrp_nb.plots.picture import comparison, comparison_size, stack  # noqa: PLC0415 - loads NumPy and Pillow

    # Of all methods, those that do not fit the network are left out; one that was asked for by name must not be.
    everything = options.methods == "all"
    methods = available_methods() if everything else _split(options.methods, "--methods")
    size = partial(comparison_size, methods=len(methods))
    explanations, classifier = _explanations(options, methods, size, everything=everything)
    if options.out:
        count = explanations[0].targets.shape[1]
        _save(stack([comparison(explanations, k, theme=options.theme) for k in range(count)]), options.out)
    if options.html:
        _page(explanations, options.html)
    _print(options, explanations, classifier)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from rlrp_nb.plots.picture import picture, picture_size  # noqa: PLC0415 - loads NumPy and Pillow

    folder = expanded(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{str(folder)!r} cannot be a folder: {error.strerror}. Choose another path.") from error
    except ValueError as error:  # a name with a zero byte
        raise InputError(f"{str(folder)!r} is no name of a folder. Choose another path.") from error
    options.out, options.html = folder / "demo.png", folder / "demo.html"
    explanations, classifier = _explanations(options, ["rlrp"], picture_size, "all")
    _save(picture(explanations[0]), options.out)
    _page(explanations[0], options.html)
    _say("A photograph of a cup of coffee (from scikit-image): what a network sees in it, and why.\n")
    _print(options, explanations, classifier)
    _say(f"\nOpen the page with: {_opening(options.html)}")
    return 0


def _opening(path: Path) -> str:
    """Return the command that opens a file, as a shell takes it."""
    if sys.platform == "win32":
        return f'start "" "{path}"'  # the first text in quotes would be a title
    return f"{'open' if sys.platform == 'darwin' else 'xdg-open'} {shlex.quote(str(path))}"


def _explanations(
    options: argparse.Namespace,
    methods: Sequence[str],
    size: Callable[[tuple[int, int]], tuple[int, int]],
    layers: str | list[str] | None = None,
    *,
    everything: bool = False,
) -> "tuple[list[Explanation], Classifier]":
    if options.out:
        options.out = check_output(options.out, PICTURES)
    if options.html:
        options.html = check_output(options.html, PAGES)
    for option, path in (("--out", options.out), ("--html", options.html)):
        if path and path.exists() and _is_same_file(options.image, path):
            raise InputError(f"{option} is the picture itself, {str(path)!r}, which would be lost: name another file.")
    # Everything that can be refused quickly is refused before torch is loaded: that alone takes seconds.
    image = _open(options.image)
    with _progress(2 + len(methods)) as bar:
        bar.set_description("loading the network")
        import torch  # noqa: PLC0415 - heavy

        from rlrp_nb.engine.explainer import explain  # noqa: PLC0415 - loads torch
        from rlrp_nb.models.zoo import load_model  # noqa: PLC0415 - loads torch

        classifier = load_model(options.model, weights=options.weights)
        bar.update()
        bar.set_description("looking at the picture")
        with torch.no_grad():
            logits = classifier.network(classifier.preprocess(image)[None])[0]
        ranking = logits.argsort(descending=True).tolist()
        targets: Any = read_targets(options.target or ["top1"], classifier.categories, ranking)
        width, height = size(classifier.preprocess.shape[1:])
        _check_size((width, len(targets) * height), options.out)
        bar.update()
        explanations: list[Explanation] = []
        refused: dict[str, UnsupportedNetworkError] = {}
        for method in methods:
            bar.set_description(f"explaining by {method}")
            try:
                explanations.append(explain(classifier, image, targets=targets, method=method, layers=layers))
            except UnsupportedNetworkError as error:
                if not everything:
                    raise
                refused[method] = error
            bar.update()
    if not explanations:
        raise next(iter(refused.values()))
    for method, reason in refused.items():
        _say(f"rlrp-nb: left out {method}: {reason}", file=sys.stderr)
    return explanations, classifier


def _open(source: str) -> "Image.Image":
    from rlrp_nb.data.image import decode_image, load_image  # noqa: PLC0415 - loads NumPy and Pillow
    from rlrp_nb.data.sample import sample_image  # noqa: PLC0415 - loads NumPy and Pillow

    if not source:
        raise InputError(f"IMAGE is {source!r} and names no picture: give a {_IMAGE_HELP}.")
    if source.startswith(SAMPLE):
        return sample_image(source.removeprefix(SAMPLE))
    if source != "-":
        return load_image(source)
    if sys.stdin is None:  # closed by whoever started this
        raise InputError("standard input is closed: send a picture through it, rlrp-nb explain - < picture.png.")
    data = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(data) > _MAX_INPUT:
        raise InputError(f"standard input has more than {_MAX_INPUT / 1e6:.0f} MB: give a smaller picture.")
    return decode_image(data, "standard input")


def _is_same_file(source: str, path: Path) -> bool:
    """Tell whether a picture was given by this file, whatever it is called."""
    try:
        if source == "-" and sys.stdin is not None:  # < picture.png
            return os.path.samestat(os.fstat(sys.stdin.fileno()), path.stat())
        return expanded(Path(source)).samefile(path)
    except (OSError, ValueError, InputError):  # not a file: what is wrong with it is said where it is opened
        return False


def _save(image: "Image.Image", path: Path) -> Path:
    from PIL import Image  # noqa: PLC0415 - only needed here

    _check_size(image.size, path)  # known before, but for methods that turned out not to fit
    kind = Image.registered_extensions()[path.suffix.lower()]
    return write_whole(path, partial(image.save, format=kind, quality=92))


def _check_size(size: tuple[int, int], path: Path | None) -> None:
    """Refuse a picture that the format of its file could not hold."""
    longest = _LONGEST_SIDE.get(path.suffix.lower()) if path else None
    if path and longest and max(size) > longest:
        raise InputError(
            f"the picture would have {size[0]:,} x {size[1]:,} pixels, and a {path.suffix} holds at most {longest:,} "
            "on a side: name a .png instead, or give fewer targets."
        )


def _page(explanations: "Explanation | list[Explanation]", path: Path) -> None:
    from rlrp_nb.export import to_html  # noqa: PLC0415 - loads NumPy

    to_html(explanations, path)


def _print(options: argparse.Namespace, explanations: "list[Explanation]", classifier: "Classifier") -> None:
    files = {name: str(path.absolute()) for name, path in (("picture", options.out), ("page", options.html)) if path}
    if options.json:
        data = {
            "image": options.image,
            "network": classifier.name,
            "weights": classifier.weights,
            "explanations": [as_data(explanation) for explanation in explanations],
            "files": files,
        }
        print(json.dumps(data, indent=2, allow_nan=False))
        return
    _say(f"{classifier.name}: {classifier.weights}\n")
    _say(class_bars(explanations[0]))
    # the demo explains five classes for its page, and speaks of the first
    count = 1 if options.run is _demo else explanations[0].targets.shape[1]
    for explanation in explanations:
        for target in range(count):
            _say(f"\n{ledger_in_words(explanation, target)}")
    _say("")
    for name, path in files.items():
        _say(f"{name:8} {path}")
    if not files:
        _say("Add --out heat.png for the picture, --html page.html for the interactive page.")


def _fetch(options: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415 - heavy

    from rlrp_nb.models.zoo import load_model  # noqa: PLC0415 - loads torch

    for name in options.models:
        _say(f"{name}: {load_model(name).weights}")
    _say(f"Downloads are kept in {Path(torch.hub.get_dir()) / 'checkpoints'}")
    return 0


def _lab(options: argparse.Namespace) -> int:
    root = Path(rlrp_nb.__file__).parents[1]
    folder = root / "notebooks"
    # beside an installed package such a folder is another project's
    if not (root / "pyproject.toml").exists() or not any(folder.glob("*.ipynb")):
        raise InputError(
            f"there are no notebooks of this project in {folder}: they are in its repository; clone it, and install it "
            "there with pip install -e '.[lab]'."
        )
    if find_spec("jupyterlab") is None:
        raise MissingPackageError(
            "the notebooks open in JupyterLab, which is not installed: pip install 'rlrp-nb[lab]'."
        )
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", str(folder), *options.rest])  # noqa: S603
    code: int | None = None
    # a signal to end is for this process alone, which would leave JupyterLab running
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while code is None:
            # Ctrl-C reaches JupyterLab too, which asks whether to shut down: the answer is its own
            with suppress(KeyboardInterrupt):
                code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return code


def _models(_options: argparse.Namespace) -> int:
    from rlrp_nb.models.zoo import available_models  # noqa: PLC0415 - loads torch

    _say("\n".join(available_models()))
    return 0


def _methods(_options: argparse.Namespace) -> int:
    from rlrp_nb.engine.methods import METHODS  # noqa: PLC0415 - loads torch

    for name, method in METHODS.items():
        _say(f"{name:20}{method.title}")
    return 0


def _say(text: str, file: TextIO | None = None) -> None:
    """Print lines in which no name of a file, tensor, class or layer can tell the terminal what to do."""
    print("\n".join(map(printable, text.split("\n"))), file=file)


def _split(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} is {text!r} and names nothing: give names separated by commas, or 'all'.")
    return list(dict.fromkeys(names))


def _progress(steps: int) -> "tqdm[None]":
    # disable=None: no bar where stderr is not a terminal
    return tqdm(
        total=steps, disable=None, leave=False, file=sys.stderr, bar_format="{desc:32} {bar} {n_fmt}/{total_fmt}"
    )
