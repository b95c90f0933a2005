"""Files that end too soon: an error here, also where a process has told Pillow to make pictures of them.

Pillow goes by one setting of the whole process, which other threads read at the same time for pictures of their own. So
what is put in its place looks at the thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile

_lock = threading.Lock()
_refusing: set[int] = set()


class _Setting:
    """True for every thread but those that refuse files that are cut off."""

    def __init__(self, told: object) -> None:
        self.told = told

    def __bool__(self) -> bool:
        return threading.get_ident() not in _refusing


@contextmanager
def refused() -> Iterator[None]:
    """Have Pillow raise an error for a file that this thread loads and that ends too soon."""
    thread = threading.get_ident()
    with _lock:
        _refusing.add(thread)
        told: object = ImageFile.LOAD_TRUNCATED_IMAGES
        if told and not isinstance(told, _Setting):
            vars(ImageFile)["LOAD_TRUNCATED_IMAGES"] = _Setting(told)
    try:
        yield
    finally:
        with _lock:
            _refusing.discard(thread)
            left: object = ImageFile.LOAD_TRUNCATED_IMAGES
            if not _refusing and isinstance(left, _Setting):
                vars(ImageFile)["LOAD_TRUNCATED_IMAGES"] = left.told
