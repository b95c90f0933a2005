"""The part of a page of the documentation that a benchmark writes: between its own mark and the next end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write(page: Path, command: str, text: str) -> None:
    """Put text between ``<!-- command -->`` and ``<!-- end -->`` in place of what stands there.

    Raises
    ------
    SystemExit
        The page has no such place, or several.
    """
    marked = re.compile(rf"(<!-- {re.escape(command)} -->\n).*?(<!-- end -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    after, found = marked.subn(lambda marks: f"{marks[1]}{text}\n{marks[2]}", before)
    if found != 1:
        raise SystemExit(f"{page} has {found} places <!-- {command} --> up to <!-- end -->; one is needed.")
    page.write_text(after, encoding="utf-8")
