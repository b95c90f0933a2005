"""Files that a command writes: refused before the work if they cannot be written, and whole or not there afterwards."""

import os
import stat
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.home import absolute, expanded


def check_output(path: str | os.PathLike[str], endings: Sequence[str]) -> Path:
    """Refuse a path that could not be written, before any work is done for it.

    Parameters
    ----------
    path : path-like
        Where something will be written. An existing file there will be replaced: naming it is asking for it.
    endings : sequence of str
        The accepted file name endings, such as ``.png``.

    Returns
    -------
    Path
        The path, ``~`` expanded.

    Raises
    ------
    FileFormatError
        If the name has another ending.
    InputError
        If it is no path, its folder does not exist or cannot be written to, or the path is a folder or a device.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InputError(f"path is a {type(path).__name__}; accepted is the name of a file, as str or pathlib.Path.")
    path = expanded(Path(path))
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} is no name of a file: choose another path.")
    if path.name.lower() in endings:
        raise FileFormatError(f"{str(path)!r} is an ending without a name: put a name before it.")
    if path.suffix.lower() not in endings:
        raise FileFormatError(f"{str(path)!r} does not end in {' or '.join(endings)}: name the file so.")
    folder = absolute(path).parent
    if not folder.is_dir():
        raise InputError(f"the folder {str(folder)!r} does not exist: create it, or choose another path.")
    try:
        occupied = path.exists() and not path.is_file()
    except OSError as error:
        raise InputError(f"{str(path)!r} is no name of a file: {error.strerror}. Choose another path.") from error
    if occupied:
        raise InputError(f"{str(path)!r} is there already and is not a file: choose another path.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"nothing can be written into the folder {str(folder)!r}: choose another path.")
    return path


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file beside its place and move it there, so that a broken write leaves what was there before.

    Parameters
    ----------
    path : Path
        The file to write or replace.
    write : callable
        Receives the open binary file and writes into it.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    InputError
        If the disk is full, the name is too long, or anything else keeps the file from being written.
    """
    path = absolute(path)
    draft = path.with_name(f".{uuid.uuid4().hex}.part")  # a name of its own: with the file's it could be too long
    try:
        draft.touch(exist_ok=False)
        keep_mode(path, draft)
        with draft.open("wb") as file:
            write(file)
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror or error}. Choose another path.") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return path


def keep_mode(path: Path, draft: Path) -> None:
    """Let nobody read or write a new file who may not read or write the one that it replaces, if there is one."""
    if path.is_file() and not path.is_symlink():
        draft.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)
