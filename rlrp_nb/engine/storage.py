"""Explanations in files: safetensors, with what is not a tensor as JSON in the header, and a checksum of both."""

from __future__ import annotations

import json
import stat
import zlib
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rlrp_nb.class_name import LONGEST
from rlrp_nb.engine.accounts import COLUMNS, Account
from rlrp_nb.engine.explanation import Explanation
from rlrp_nb.engine.layers import Layers
from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.home import expanded
from rlrp_nb.output_file import keep_mode
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_KEY = "rlrp_nb"
_CHECKSUM = "crc32"
_FORMAT = 1
_BRIEF = 300
_UNFIT = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, ArithmeticError)
"""What parts of an explanation that do not fit each other make its reader raise."""
_LONGEST = 10_000
"""Characters of a name of a network, method or layer, which a page repeats for each target and layer."""
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
_MAIN = ("relevance", "logits", "targets", "negatives")
_OPTIONAL = "images", "seeds"


def save(explanation: Explanation, path: str | PathLike[str]) -> Path:
    """Write `explanation` to `path`, whole or not at all.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written, or a name is too long to be read again.
    """
    path = _path(path)
    _check_place(path)
    if explanation.accounts is None and explanation.replay is not None:
        with suppress(InputError):  # the network has changed since: the relevance is saved without a ledger
            explanation.accounts = explanation.replay()
    tensors = {name: getattr(explanation, name) for name in _MAIN}
    tensors |= {name: held for name in _OPTIONAL if (held := getattr(explanation, name)) is not None}
    for number, name in enumerate(explanation.layers):
        tensors[f"layer.{number}"] = explanation.layers[name]
    if explanation.accounts:
        tensors["ledger"] = torch.stack([account.figures for account in explanation.accounts])
    header = {
        "format": _FORMAT,
        "method": explanation.method,
        "network": explanation.network,
        "categories": explanation.categories,
        "versions": explanation.versions,
        "layers": [explanation.layers.names_of(name) for name in explanation.layers],
        "channels": explanation.layers.channels,
        "channels_of_input": explanation.channels,
        "ledger": None if explanation.accounts is None else [(a.layer, a.op) for a in explanation.accounts],
    }
    _check_names(explanation)
    whole = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}
    try:
        text = json.dumps(header)
        _restore(json.loads(text), whole)
    except _UNFIT as error:
        raise InputError(
            f"the explanation cannot be saved, since it could not be read again ({type(error).__name__}: "
            f"{_brief(error)}): what was changed in it since it was made has to fit the rest."
        ) from error
    temporary = path.with_name(f".{uuid4().hex}.part")  # a name of its own: with the file's it could be too long
    try:
        temporary.touch(exist_ok=False)
        keep_mode(path, temporary)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        save_file(whole, temporary, metadata={_KEY: text, _CHECKSUM: _checksum(text, whole)})
        temporary.chmod(mode)  # it was replaced by a file that its owner alone may read
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot write {printable(path)}: {getattr(error, 'strerror', None) or error}. Choose a folder that exists "
            "and is writable."
        ) from error
    finally:
        with suppress(OSError):  # a name too long to be written is too long to be deleted
            temporary.unlink(missing_ok=True)
    return path


def _check_names(explanation: Explanation) -> None:
    """Refuse what `load` would refuse."""
    layers = [name for layer in explanation.layers for name in explanation.layers.names_of(layer)]
    ledger = [name for account in explanation.accounts or () for name in (account.layer, account.op)]
    for longest, names in (
        (LONGEST, () if explanation.categories is None else explanation.categories),
        (_LONGEST, (explanation.network, explanation.method, *layers, *ledger)),
    ):
        name = max(names, key=len, default="")
        if len(name) > longest:
            raise InputError(
                f"the name {name[:30] + '...'!r} has {len(name):,} characters, and at most {longest:,} are saved: give "
                "a shorter one."
            )


def _check_place(path: Path) -> None:
    """Refuse a place that would be destroyed, or that no file can have."""
    if not path.name or "\0" in str(path):
        raise InputError(f"{str(path)!r} is no name of a file: choose one, such as explanation.safetensors.")
    try:
        is_taken = path.exists() and not path.is_file()
    except OSError:  # what is wrong with it is said when it is written
        return
    if is_taken:
        raise InputError(f"{str(path)!r} is there already and is not a file: choose another path.")


def _path(path: str | PathLike[str]) -> Path:
    if not isinstance(path, str | PathLike):
        raise InputError(f"path is a {type(path).__name__}; accepted is the name of a file, as str or pathlib.Path.")
    path = expanded(Path(path))
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{str(path)!r} is no name in UTF-8, and safetensors opens no other: choose another path, or rename it."
        ) from error
    return path


def load(path: str | PathLike[str]) -> Explanation:
    """Read an explanation that `save` wrote.

    Raises
    ------
    FileFormatError
        The file is damaged, or is no explanation.
    InputError
        There is no such file.
    """
    path = _path(path)
    try:
        found = path.is_file()
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read: {error.strerror or error}. Choose another path."
        ) from error
    if not found:
        raise InputError(f"{printable(path)} is not a file; accepted is a file written by Explanation.save.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise FileFormatError(  # noqa: TRY301 - passed on below
                    f"{printable(path)} is a safetensors file, but not an explanation; accepted is a file written by "
                    "Explanation.save."
                )
            header = json.loads(metadata[_KEY])
            # what the file gives is the file itself, and who writes into it later would change the explanation
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
        # files from before there was one have no checksum
        if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(metadata[_KEY], tensors):
            raise FileFormatError(  # noqa: TRY301 - passed on below
                f"{printable(path)} is damaged: it does not hold what was saved in it. Copy it again from its source, "
                "or explain again."
            )
    except FileFormatError:
        raise
    except PermissionError as error:
        raise InputError(
            f"{printable(path)} cannot be read: {error.strerror or error}. Change who may read it."
        ) from error
    except Exception as error:
        # a damaged file can make the reader raise anything at all
        raise FileFormatError(
            f"{printable(path)} is damaged or not a safetensors file ({_brief(error)}); accepted is a file written by "
            "Explanation.save. Copy it again from its source, or explain again."
        ) from error
    try:
        return _restore(header, tensors)
    except _UNFIT as error:
        raise FileFormatError(
            f"{printable(path)} is not a complete explanation ({type(error).__name__}: {_brief(error)}). "
            "Explain again and save anew."
        ) from error


def _restore(header: dict[str, Any], tensors: dict[str, Tensor]) -> Explanation:
    if header["format"] != _FORMAT:
        raise ValueError(f"format {header['format']!r}, and this version of rlrp_nb reads format {_FORMAT}")
    relevance, logits, targets, negatives = (tensors[name] for name in _MAIN)
    samples, count = relevance.shape[:2]
    layers = [(tuple(_text(n) for n in names), tensors[f"layer.{i}"]) for i, names in enumerate(header["layers"])]
    # files from before there were these have neither
    channels, input_channels = header.get("channels", {}), header.get("channels_of_input", 0)
    images, seeds = map(tensors.get, _OPTIONAL)
    categories = header["categories"]
    if 0 in (*relevance.shape, *logits.shape):
        raise ValueError(f"relevance {tuple(relevance.shape)} and logits {tuple(logits.shape)} hold nothing")
    axes = {names[0]: range(t.dim() - 2) for names, t in layers}
    checks = {
        "dtypes": all(t.dtype in _FLOATS for t in (relevance, logits, *(t for _, t in layers))),
        "categories": categories is None or (isinstance(categories, list) and len(categories) == logits[0].numel()),
        "logits": logits.shape[0] == samples,
        "targets": all(t.shape == (samples, count) and t.dtype == torch.int64 for t in (targets, negatives)),
        "layers": all(t.shape[:2] == (samples, count) and t.numel() for _, t in layers),
        "channels": all(type(axis) is int and axis in axes.get(name, ()) for name, axis in channels.items()),
        "channels of the input": input_channels is None
        or (type(input_channels) is int and input_channels in range(max(1, relevance.dim() - 2))),
        "images": images is None
        or (images.dtype == torch.uint8 and _are_pictures(images, relevance) and input_channels == 0),
        "names of layers": len({n for names, _ in layers for n in names}) == sum(len(names) for names, _ in layers),
        "targets' range": all(int(t.min()) >= -1 and int(t.max()) < logits[0].numel() for t in (targets, negatives)),
    }
    checks["seeds"] = seeds is None or (seeds.dtype in _FLOATS and seeds.shape == (samples, count, *logits.shape[1:]))
    names = {*_MAIN, *(f"layer.{i}" for i in range(len(layers))), *(tensors.keys() & _OPTIONAL)}
    checks["tensors"] = set(tensors) == names | ({"ledger"} if header["ledger"] else set())
    wrong = [name for name, right in checks.items() if not right]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} do not fit the relevance of shape {tuple(relevance.shape)}")
    rows = header["ledger"]
    accounts = None
    if rows is not None:
        figures = tensors["ledger"] if rows else torch.zeros(0, len(COLUMNS), count, samples, device="cpu")
        if figures.shape != (len(rows), len(COLUMNS), count, samples) or figures.dtype not in _FLOATS:
            raise ValueError(f"the ledger of shape {tuple(figures.shape)} does not fit {len(rows)} rows")
        accounts = tuple(Account(_text(layer), _text(op), f) for (layer, op), f in zip(rows, figures, strict=True))
    return Explanation(
        relevance=relevance,
        logits=logits,
        targets=targets,
        negatives=negatives,
        method=_text(header["method"]),
        network=_text(header["network"]),
        layers=Layers(layers, channels),
        images=images,
        categories=None if categories is None else tuple(_text(c, LONGEST) for c in categories),
        versions={_text(k): _text(v) for k, v in header["versions"].items()},
        accounts=accounts,
        channels=input_channels,
        seeds=seeds,
    )


def _are_pictures(images: Tensor, relevance: Tensor) -> bool:
    """Tell whether there is a picture for each sample, in which every pixel has its relevance."""
    samples, plane = relevance.shape[0], relevance.shape[3:]
    return len(plane) == 2 and tuple(images.shape) == (samples, *plane, 3)  # noqa: PLR2004 - height, width


def _brief(error: Exception) -> str:
    """Return what an error says, or the beginning of it: what a damaged file holds can be endless."""
    return printable(str(error)[:_BRIEF])


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return what tells a file whose header or numbers have changed from the one that was written."""
    checksum = zlib.crc32(header.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(bytes_of(tensor), checksum)
    return f"{checksum:08x}"


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the numbers of a tensor, of one on the CPU without a copy: a dense layer of VGG has 400 MB."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _text(value: object, longest: int = _LONGEST) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected where the header has {value!r}")
    if len(value) > longest:
        raise ValueError(f"a name has {len(value):,} characters, and at most {longest:,} are accepted")
    return value
