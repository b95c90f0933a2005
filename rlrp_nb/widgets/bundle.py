"""The browser half as it was built: scripts and style sheet, read from the package or from a checkout."""

from functools import lru_cache
from pathlib import Path

from rlrp_nb.errors import FileFormatError

_PACKAGE = Path(__file__).resolve().parents[1]
# A checkout comes first, so that a rebuilt script is seen at once in an editable installation.
_FOLDERS = (_PACKAGE.parent / "widgets" / "dist", _PACKAGE / "static")


@lru_cache
def asset(name: str) -> str:
    """Return the text of one built file.

    Parameters
    ----------
    name : str
        File name, such as ``page.js`` or ``rlrp.css``.

    Returns
    -------
    str
        Its text, with Unix line ends on every system.

    Raises
    ------
    FileFormatError
        If the installation lacks the file.
    """
    for folder in _FOLDERS:
        path = folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileFormatError(
        f"This installation of rlrp_nb lacks {name!r} (looked in {' and '.join(map(str, _FOLDERS))}). "
        "Install the package again; in a checkout run `npm ci && npm run build` in the folder widgets."
    )
