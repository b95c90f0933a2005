"""Weights: finding the file, downloading it, checking it, and putting it into a network once, without a second copy."""

import hashlib
import re
import reprlib
import urllib.error
import urllib.request
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from rlrp_nb.errors import WeightsError
from rlrp_nb.home import absolute
from rlrp_nb.models.archive import check_archive
from rlrp_nb.printable import printable

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_NAMED = 3  # how many keys an error names
_STARTS = b"PK", b"\x80"  # of the archives that torch.save writes, and of the pickles that it wrote before torch 1.6
_SHOWN = 12  # bytes of a file that is none of them
_MOST_REPEATED = 1_000_000  # of a tensor's numbers may be one and the same, as after expand
_PREFIXES = "module.", "_orig_mod.", "model."
"""Of names in checkpoints: DataParallel's, torch.compile's and that of most training loops."""
_LONG = 200  # signs of a name, of which no more are shown


def cached_path(url: str) -> Path:
    """Where the weights of `url` are looked for: the folder in which torch.hub keeps its own downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def fetch_weights(url: str, *, embedded: Sequence[str] = ("efficientnet_lite0",)) -> Path:
    """Give the file with the weights of `url`, downloading it with a progress bar if it is not there yet.

    The file's name carries the beginning of its SHA-256. It is checked for a download and for a file that was already
    there. A download goes to a temporary name in the same folder, and gets its own name only when it is whole, so
    that an interrupted one leaves nothing behind and two processes can fetch the same file.

    Parameters
    ----------
    url : str
        Address of a file ``name-<hash>.pth``.
    embedded : sequence of str
        Names of the networks that an error offers instead, because they need no download.

    Returns
    -------
    pathlib.Path
        The file, complete and checked.

    Raises
    ------
    WeightsError
        The file in the cache is damaged, or the download did not succeed.
    """
    path = cached_path(url)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    calls = " or ".join(f"load_model({name!r})" for name in embedded)
    instead = f"or use an embedded network, which needs no download: {calls}"
    try:
        if path.exists():
            check_hash(path, f"Delete it (rm '{path}') and it is downloaded again from {url}")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, partial, path, instead)
        partial.replace(path)
    except (OSError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"the weights {path.name} are not there, and downloading them failed ({reason}).\n"
            f"  looked for at:   {path}\n"
            f"  downloaded from: {url}\n"
            "Either copy the file there from a machine that has a connection (TORCH_HOME moves the folder), "
            f"{instead}."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return path


def _download(url: str, partial: Path, path: Path, instead: str) -> None:
    expected = _hash_in_name(path)
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "rlrp-nb"})  # noqa: S310 - torchvision's own addresses
    with closing(urllib.request.urlopen(request, timeout=_TIMEOUT)) as response, partial.open("xb") as file:  # noqa: S310
        length = response.headers.get("Content-Length")
        size = int(length) if length else None
        with tqdm(total=size, unit="B", unit_scale=True, desc=path.name) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        received = file.tell()
    if size is not None and received != size:
        raise WeightsError(
            f"the download of {url} broke off after {received:,} of {size:,} bytes, and was discarded: try again, "
            f"copy the file to {path}, {instead}."
        )
    if expected and not digest.hexdigest().startswith(expected):
        raise WeightsError(
            f"the download of {url} is damaged, and was discarded: its SHA-256 begins with "
            f"{digest.hexdigest()[: len(expected)]}, but its name says {expected}. Try again, copy the file to {path}, "
            f"{instead}."
        )


def check_hash(path: Path, remedy: str) -> None:
    """Compare a file's SHA-256 with the beginning of it in the file's name; a name without one is not checked.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    remedy : str
        What to do about a damaged file; the last sentence of the error.

    Raises
    ------
    WeightsError
        The file cannot be read, or its content is not what its name says.
    """
    expected = _hash_in_name(path)
    if not expected:
        return
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            _digest(file, digest)
    except OSError as error:
        raise WeightsError(f"the weights file {printable(path)} cannot be read: {error}. {remedy}.") from error
    if not digest.hexdigest().startswith(expected):
        raise WeightsError(
            f"the weights file {printable(path)} is damaged: its SHA-256 begins with "
            f"{digest.hexdigest()[: len(expected)]}, but its name says {expected}. {remedy}."
        )


def _digest(file: IO[bytes], digest: "hashlib._Hash") -> None:
    while chunk := file.read(_CHUNK):
        digest.update(chunk)


def _hash_in_name(path: Path) -> str:
    match = _HASH_IN_NAME.search(path.name)
    return match[1] if match else ""


def read_state(path: Path) -> "OrderedDict[str, torch.Tensor]":
    """Read a state dict from a file into memory, so that the file may be written anew at any time.

    Parameters
    ----------
    path : pathlib.Path
        A .safetensors file, or one that ``torch.save(network.state_dict(), path)`` wrote. No code in it is run.

    Returns
    -------
    OrderedDict of str to torch.Tensor
        With the attribute ``_metadata`` (versions of the modules' layouts), where the file has it.

    Raises
    ------
    WeightsError
        There is no such file, it is damaged, or it holds something else than a state dict.
    """
    try:
        there = path.is_file()
    except OSError as error:  # of a name that is too long
        raise WeightsError(f"the weights file {str(path)!r} cannot be looked for: {error.strerror}.") from error
    if not there:
        raise WeightsError(f"there is no weights file {str(path)!r} (looked for at {str(absolute(path))!r}).")
    try:
        if path.suffix.lower() == ".safetensors":
            # what load_file returns is the file itself
            return OrderedDict((key, tensor.clone()) for key, tensor in load_file(path).items())
        check_archive(path)
        # mapped, the weights would change with the file, and saving them to it again would end the process
        state = torch.load(path, map_location="cpu", mmap=False, weights_only=True)
    except WeightsError:
        raise
    except SafetensorError as error:
        raise WeightsError(
            f"the weights file {printable(path)} is damaged, or not of the safetensors format: {printable(error)}."
        ) from error
    except Exception as error:
        # a damaged file can make the reader raise anything at all
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
        start = _start_of(path)
        if not start.startswith(_STARTS):  # the reader takes it for a pickle, and its words say nothing of the file
            reason = f"it begins with {start!r}, as none does that torch.save wrote" if start else "it is empty"
        elif type(error).__name__ == "UnpicklingError":  # PyTorch's own words advise to trust the file
            reason = "it holds something else, which could be code and is not loaded"
        raise WeightsError(
            f"the weights file {printable(path)} is damaged, or it is not a file of tensors: {printable(reason)}. "
            "Save one with torch.save(network.state_dict(), path)."
        ) from error
    return _checked(state, path)


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SHOWN)
    except OSError:
        return _STARTS[0]  # the reader has said what is wrong


def _checked(state: object, path: Path) -> "OrderedDict[str, torch.Tensor]":
    """Return what a file held as a state dict, which is names and dense tensors with values, without attributes."""
    # a file can give a dict and its tensors attributes, under which their own methods would not be found
    items = list(dict.items(state)) if isinstance(state, dict) else []
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for _, value in items):
        inside = f"a dict of {_listed([key for key, _ in items])}" if isinstance(state, dict) else type(state).__name__
        within = [key for key, value in items if isinstance(key, str) and _is_state(value)]
        way = (
            f"take it out with torch.save(torch.load(path, weights_only=True)[{_shortly(within[0])!r}], new_path)."
            if within
            else "save one with torch.save(network.state_dict(), path)."
        )
        raise WeightsError(
            f"the weights file {printable(path)} does not hold a state dict (names and tensors), but {inside}: "
            + printable(way)
        )
    clean = OrderedDict((key, torch.Tensor.detach(value)) for key, value in items)
    odd = [key for key, value in clean.items() if not isinstance(key, str) or not _is_plain(value)]
    if odd:
        raise WeightsError(
            f"the weights file {printable(path)} holds {_listed(odd)}, which is no dense tensor with values under a "
            "name: save the state dict of an ordinary network with torch.save(network.state_dict(), path)."
        )
    if "_metadata" in getattr(state, "__dict__", {}):
        clean._metadata = state._metadata  # type: ignore[attr-defined] # noqa: SLF001 - where PyTorch keeps it
    return clean


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, torch.Tensor) for v in dict.values(value))


def _is_plain(tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta or tensor.is_quantized:
        return False
    # a few numbers that stand for very many would fill the memory when they are multiplied or moved
    own = tensor.untyped_storage().nbytes() // tensor.itemsize
    return tensor.numel() <= max(own, _MOST_REPEATED)


def load_state(network: nn.Module, state: "OrderedDict[str, torch.Tensor]", source: str) -> None:
    """Make the tensors of `state` the network's own; nothing is copied, and nothing is left as it was built.

    Parameters
    ----------
    network : torch.nn.Module
        Usually built on the meta device. Changed in place: every parameter and buffer is replaced, in float32.
    state : OrderedDict of str to torch.Tensor
        As :func:`read_state` gives it. Counters of training steps that it lacks are added to it.
    source : str
        Where the weights come from, for the error.

    Raises
    ------
    WeightsError
        Names or shapes do not fit the network, or a value is NaN or infinite, or becomes so in float32.
    """
    wanted = network.state_dict()
    for key in wanted:
        if key.endswith(".num_batches_tracked"):  # counts training steps; files from before torch 0.4.1 lack it
            state.setdefault(key, torch.tensor(0))
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    shapes = [
        f"{key} {_form(state[key])} instead of {_form(wanted[key])}" for key in wanted if _differ(key, state, wanted)
    ]
    if missing or unknown or shapes:
        problems = [
            f"{len(keys)} {what}: {_listed(keys)}{', ...' if len(keys) > _NAMED else ''}"
            for what, keys in (("missing", missing), ("not in the network", unknown), ("of another form", shapes))
            if keys
        ]
        prefix = next((p for p in _PREFIXES if unknown and all(key.startswith(p) for key in unknown)), "")
        way = (
            f"Take {prefix!r} from its names, which a wrapper of the network put there: "
            f"{{name.removeprefix({prefix!r}): value for name, value in state.items()}}."
            if prefix
            else "Give the state dict of this very network, or wrap your own network with rlrp_nb.Classifier."
        )
        raise WeightsError(f"{source} does not fit {type(network).__name__} ({'; '.join(problems)}). {way}")
    broken = [key for key, tensor in state.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        raise WeightsError(
            f"{source} has NaN or infinite values in {_listed(broken)}, or some beyond the range of float32: a network "
            "with such weights cannot classify. Choose other weights."
        )
    if not _are_versions(getattr(state, "_metadata", {})):
        raise WeightsError(
            f"{source} has notes on the versions of its layers (_metadata) that are none: save it anew with "
            "torch.save(network.state_dict(), path)."
        )
    if not hasattr(state, "_metadata"):  # safetensors keeps no layout versions: what fits is of today's layout
        state._metadata = {"": {"version": network._version}}  # type: ignore[attr-defined] # noqa: SLF001
    network.load_state_dict(state, assign=True)
    network.float()  # Preprocess makes float32; a no-op for files that hold it already


def _are_versions(metadata: object) -> bool:
    """Tell whether these can be the notes that ``state_dict`` adds: a dict for each module, mostly with a version."""
    return isinstance(metadata, Mapping) and all(
        isinstance(notes, Mapping) and isinstance(notes.get("version", 1), int) for notes in metadata.values()
    )


def _listed(names: Sequence[object]) -> str:
    """Name the first few, as they can be shown: what a stranger's file holds can have any name."""
    return ", ".join(printable(_shortly(name)) for name in names[:_NAMED])


def _shortly(name: object) -> str:
    if not isinstance(name, str):  # a key can be a tuple of anything
        return reprlib.repr(name)
    return name if len(name) <= _LONG else f"{name[:_LONG]}..."


def _form(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {'float' if tensor.is_floating_point() else tensor.dtype}"


def _differ(key: str, state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    return key in state and _form(state[key]) != _form(wanted[key])


def _is_finite(tensor: torch.Tensor) -> bool:
    if tensor.dtype.itemsize == 1:  # of eight bits, for which PyTorch has no extremes
        tensor = tensor.float()
    # the two extremes are NaN or infinite if any value is; unlike isfinite this makes no tensor of the weights' size
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(tensor.aminmax()).float()).all())
