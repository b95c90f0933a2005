"""The values of a comparison on disk: saved as soon as they are there, and trusted only where they belong.

The file has one JSON object per line. The first says what is compared: network, images, settings, versions. The others
are added at the end, each by one write, so that a process that dies leaves whole lines and at most one broken last
line, which is taken off when the file is opened again.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.home import absolute
from rlrp_nb.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_FORMAT = "rlrp_nb comparison 1"
_MARK = f'{{"format": "{_FORMAT}"'.encode()


class Failure(NamedTuple):
    """A value that is not there.

    Attributes
    ----------
    method
        Name of the method; None where the image itself is the reason.
    metric
        Name of the metric; None where there is no heatmap to measure.
    image
        Position of the image.
    reason
        In words.
    """

    method: str | None
    metric: str | None
    image: int
    reason: str


class Store:
    """Values of methods and metrics, batch by batch, in memory and, if a path is given, in a file.

    Parameters
    ----------
    path : Path or None
        Of the file, which is made if it is not there; None keeps everything in memory.
    fingerprint : mapping of str to str
        What is compared, in words or digests.

    Raises
    ------
    InputError
        The file is about something else, cannot be written, or its folder does not exist.
    FileFormatError
        The file is none of this kind, or damaged. It is left as it is.
    """

    def __init__(self, path: Path | None, fingerprint: Mapping[str, str]) -> None:
        self._path = path
        self._declared: dict[str, str] = {}
        self._values: dict[tuple[str, int], dict[str, list[float | None]]] = {}
        self.failures: dict[tuple[str, int], list[Failure]] = {}
        header = {"format": _FORMAT, "fingerprint": dict(fingerprint)}
        if path is not None:
            with _in_words(path):
                self._open(path, header)

    def declare(self, what: str, description: str) -> None:
        """Say how something is set that values depend on, such as a method.

        Raises
        ------
        InputError
            The file has values of something that was set in another way.
        """
        if what not in self._declared:
            self._append({"declare": what, "as": description})
            self._declared[what] = description
        if self._declared[what] != description:
            read = " What a function reads counts too, such as a counter or a cache outside of it."
            raise InputError(
                f"{str(self._path)!r} has values of the {what} as {self._declared[what]!r}, which is now "
                f"{description!r}: choose another path, or set it as it was.{read if '(code ' in description else ''}"
            )

    def find(self, method: str, start: int, count: int) -> Mapping[str, Sequence[float | None]]:
        """Return what is there for a method and the batch of so many images that starts at one: values by metric.

        Raises
        ------
        FileFormatError
            The file has another number of values.
        """
        found = self._values.get((method, start), {})
        for name, numbers in found.items():
            if len(numbers) != count:
                raise FileFormatError(
                    f"{str(self._path)!r} has {len(numbers)} values of {printable(name)} for the {count} images from "
                    f"{start} on, by {method}: delete that line to go on without."
                )
        return found

    def add(
        self, method: str, start: int, values: Mapping[str, Sequence[float | None]], failures: Sequence[Failure]
    ) -> None:
        """Save values of a batch, None where there is none, at once."""
        record = {
            "method": method,
            "start": start,
            "values": {name: list(numbers) for name, numbers in values.items()},
            "failures": [list(failure) for failure in failures],
        }
        self._append(record)
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        if "declare" in record:
            self._declared[record["declare"]] = record["as"]
            return
        key = record["method"], record["start"]
        there = self._values.setdefault(key, {})
        new = {name: numbers for name, numbers in record["values"].items() if name not in there}
        there.update(new)
        known = self.failures.setdefault(key, [])
        known += [failure for failure in (Failure(*entry) for entry in record["failures"]) if failure not in known]

    def _append(self, record: dict[str, Any]) -> None:
        if self._path is None:
            return
        with _in_words(self._path), self._path.open("ab") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def _open(self, path: Path, header: dict[str, Any]) -> None:
        _check_place(path)
        content = path.read_bytes() if path.exists() else b""
        whole, newline, broken = content.rpartition(b"\n")
        if not newline and _line(header).startswith(broken) and (not broken or broken.startswith(_MARK)):
            path.write_bytes(_line(header))  # new, or died while it was made: its mark tells it from a user's "{"
            return
        lines = whole.split(b"\n") if newline else [broken]
        found = _read(lines[0])
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise FileFormatError(f"{str(path)!r} holds no comparison of this version: choose another path.")
        if not isinstance(saved := found.get("fingerprint"), dict):
            raise FileFormatError(f"the first line of {str(path)!r} is damaged: choose another path.")
        _check_same(path, saved, header["fingerprint"])
        for number, line in enumerate(lines[1:], start=2):
            record = _read(line)
            if not _is_record(record):
                raise FileFormatError(f"line {number} of {str(path)!r} is damaged: delete that line to go on without.")
            self._take(record)
        if broken:
            with path.open("r+b") as file:
                file.truncate(len(content) - len(broken))


def _check_place(path: Path) -> None:
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} is no name of a file: choose another path.")
    folder = absolute(path).parent
    if not folder.is_dir():
        raise InputError(f"the folder {str(folder)!r} does not exist: create it, or choose another path.")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: give the name of a file, which is made if it is not there.")
    if path.is_symlink():  # it would be written through: appending needs the file itself
        raise InputError(f"{str(path)!r} is a link: name the file itself, or choose another path.")
    if path.exists() and not path.is_file():
        raise InputError(f"{str(path)!r} is there already and is not a file: choose another path.")


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Say in words that the disk is full, or what else keeps a file from being read or written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read and written: {error.strerror or error}. Make room, or choose another path."
        ) from error


def _check_same(path: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    differing = [
        f"{printable(name)} (saved: {printable(saved.get(name, 'nothing'))}; now: {wanted.get(name, 'nothing')})"
        for name in {**saved, **wanted}
        if saved.get(name) != wanted.get(name)
    ]
    if differing:
        raise InputError(
            f"{str(path)!r} is of another comparison, and was left as it is. What differs: {', '.join(differing)}. "
            "Choose another path."
        )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _is_record(record: object) -> TypeGuard[dict[str, Any]]:
    """Tell what this class writes from other JSON, so that nothing else is taken for values."""
    match record:
        case {"declare": str(), "as": str()}:
            return True
        case {"method": str(), "start": int(), "values": dict() as values, "failures": list() as failures}:
            columns = [*values.values()]
            return (
                all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns)
                and all(number is None or _is_finite(number) for column in columns for number in column)
                and all(map(_is_failure, failures))
            )
    return False


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) <= sys.float_info.max


def _is_failure(entry: object) -> bool:
    match entry:
        case [str() | None, str() | None, int(), str()]:
            return True
    return False


def _read(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # of brackets within brackets
        return None
