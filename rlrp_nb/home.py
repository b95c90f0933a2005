"""Paths written out: from a home folder, ``~`` or ``~name``, and from the folder in which the process works."""

from pathlib import Path

from rlrp_nb.errors import InputError


def expanded(path: Path) -> Path:
    """Return a path with the home folder it begins with written out.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    Path
        The same, where it does not begin with ``~``.

    Raises
    ------
    InputError
        If there is no such user.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{str(path)!r} begins with the home folder of a user who has none here: write the folder out, or write "
            "./~ for a name that begins with ~."
        ) from error


def absolute(path: Path) -> Path:
    """Return a path from the root of the file system on.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    Path
        The same, where it begins there.

    Raises
    ------
    InputError
        If it begins in the working folder, and that is no longer there.
    """
    try:
        return path.absolute()
    except OSError as error:
        raise InputError(
            f"{str(path)!r} is looked for in the working folder, which no longer exists: change into another folder, "
            "or write the path out from its root."
        ) from error
