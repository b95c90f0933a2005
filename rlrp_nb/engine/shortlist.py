"""Names in a message: the first few, and how many more there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def shortlist(names: Sequence[str], most: int = 3) -> str:
    """Join the first few names and say how many more there are.

    Parameters
    ----------
    names
        In the order in which they are to stand.
    most
        How many are written out.
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
