from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Event

import numpy as np
import pytest
from PIL import Image, ImageFile

from rlrp_nb.data import cut_off


def cut_picture():
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "png")
    return Image.open(BytesIO(buffer.getvalue()[: buffer.tell() // 2]))


@pytest.mark.parametrize("told", [True, 1])
def test_other_threads_keep_what_they_told_pillow(monkeypatch, told):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", told)
    inside, leave = [Event(), Event()], [Event(), Event()]

    def refuse(number):
        with cut_off.refused():
            inside[number].set()
            assert leave[number].wait(60)
            with pytest.raises(OSError, match="truncated"):
                cut_picture().load()

    with ThreadPoolExecutor(2) as threads:
        # the one that came first goes first, so that the other must not keep what it found
        first = threads.submit(refuse, 0)
        assert inside[0].wait(60)
        second = threads.submit(refuse, 1)
        assert inside[1].wait(60)
        cut_picture().load()
        leave[0].set()
        first.result()
        cut_picture().load()
        leave[1].set()
        second.result()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is told


def test_nothing_changes_where_pillow_was_told_nothing(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with cut_off.refused():
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_what_is_told_meanwhile_stays(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with cut_off.refused():
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
