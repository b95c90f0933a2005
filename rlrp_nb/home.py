"""Paths that begin with a home folder, ``~`` or ``~name``."""

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
