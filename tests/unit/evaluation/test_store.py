"""Values on disk: whole lines or none, only where they belong, and nothing of anyone else's is touched."""

import errno
import os

import pytest

from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.evaluation.store import Failure, Store

FINGERPRINT = {"network": "a", "images": "b"}
VALUES = {"abpc": [0.1 + 0.2, None], "gini": [1e-300, 1 / 3]}
LOST = [Failure("rlrp", "abpc", 1, "the value is nan.")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "values.jsonl"


def filled(path):
    store = Store(path, FINGERPRINT)
    store.declare("method 'rlrp'", "as it is")
    store.add("rlrp", 0, VALUES, LOST)
    return store


def test_what_was_saved_is_read_bit_by_bit(path):
    filled(path)
    again = Store(path, FINGERPRINT)
    assert again.find("rlrp", 0, 2) == VALUES
    assert again.failures["rlrp", 0] == LOST
    assert again.find("rlrp", 2, 2) == again.find("lrp-0", 0, 1) == {}


def test_without_a_path_it_is_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert filled(None).find("rlrp", 0, 2) == VALUES
    assert not list(tmp_path.iterdir())


def test_metrics_are_added_and_the_first_value_stays(path):
    store = filled(path)
    store.add("rlrp", 0, {"aopc": [1.0, 2.0], "gini": [0.0, 0.0]}, LOST)
    for one in (store, Store(path, FINGERPRINT)):
        assert one.find("rlrp", 0, 2) == {**VALUES, "aopc": [1.0, 2.0]}
        assert one.failures["rlrp", 0] == LOST


def test_what_failed_is_there_until_its_line_is_deleted(path):
    filled(path).add("lrp-0", 0, {"gini": [None]}, [Failure("lrp-0", None, 0, "out of memory")])
    assert Store(path, FINGERPRINT).find("lrp-0", 0, 1) == {"gini": [None]}
    path.write_bytes(
        b"".join(line for line in path.read_bytes().splitlines(keepends=True) if b"out of memory" not in line)
    )
    again = Store(path, FINGERPRINT)
    assert again.find("lrp-0", 0, 1) == again.failures.get(("lrp-0", 0), {}) == {}
    assert again.find("rlrp", 0, 2) == VALUES


def test_a_file_cut_anywhere_keeps_its_whole_lines(path):
    filled(path).add("rlrp", 2, {"gini": [0.5, 0.5]}, [])
    content = path.read_bytes()
    for length in (0, *range(content.index(b",") + 1, len(content) + 1)):
        path.write_bytes(content[:length])
        store = Store(path, FINGERPRINT)
        lines = content[:length].count(b"\n")
        assert (store.find("rlrp", 0, 2) == VALUES) == (lines >= 3)
        assert bool(store.find("rlrp", 2, 2)) == (lines >= 4)
        store.add("lrp-0", 0, {"gini": [0.25]}, [])  # what comes after a broken line is not lost either
        assert Store(path, FINGERPRINT).find("lrp-0", 0, 1) == {"gini": [0.25]}


def test_a_file_that_may_be_anyones_beginning_is_left_alone(path):
    filled(path)
    content = path.read_bytes()
    for length in range(1, content.index(b'"rlrp_nb') + 1):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match="holds no comparison"):
            Store(path, FINGERPRINT)
        assert path.read_bytes() == content[:length]


def test_another_comparison_is_refused_by_what_differs_and_left_alone(path):
    filled(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"What differs: images \(saved: b; now: c\), seed \(saved: nothing; now: 1\)"):
        Store(path, {"network": "a", "images": "c", "seed": "1"})
    assert path.read_bytes() == before


def test_a_method_that_is_set_in_another_way_is_refused(path):
    filled(path)
    store = Store(path, FINGERPRINT)
    store.declare("method 'rlrp'", "as it is")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"values of the method 'rlrp' as 'as it is', which is now 'otherwise'"):
        store.declare("method 'rlrp'", "otherwise")
    assert path.read_bytes() == before


def test_of_a_function_it_is_said_that_what_it_reads_counts_too(path):
    store = Store(path, FINGERPRINT)
    store.declare("method 'mine'", "the callable __main__.mine (code 1)")
    with pytest.raises(InputError, match=r"What a function reads counts too, such as a counter or a cache outside"):
        store.declare("method 'mine'", "the callable __main__.mine (code 2)")


@pytest.mark.parametrize("content", [b"my thesis", b"my thesis\n", b"{}\n", b"[]\n", b'{"format": "another"}\n1\n'])
def test_a_file_of_another_kind_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="holds no comparison"):
        Store(path, FINGERPRINT)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"3",
        b"{}",
        b'{"declare": {"a": 1}, "as": "b"}',
        b'{"method": "rlrp", "values": {}, "failures": []}',
        b'{"method": ["rlrp"], "start": 0, "values": {}, "failures": []}',
        b'{"method": "rlrp", "start": 0, "values": {"gini": ["1", "2"]}, "failures": []}',
        b'{"method": "rlrp", "start": 0, "values": {"gini": [1, NaN]}, "failures": []}',
        b'{"method": "rlrp", "start": 0, "values": {"gini": [1, 2], "abpc": [1]}, "failures": []}',
        b'{"method": "rlrp", "start": 0, "values": {"gini": [1, 2]}, "failures": [["rlrp"]]}',
        b'{"method": "rlrp", "start": 0, "values": {"gini": [1' + b"0" * 400 + b', 2]}, "failures": []}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_in_the_middle_is_named(path, line):
    filled(path)
    content = path.read_bytes()
    head, _, rest = content.partition(b"\n")
    path.write_bytes(head + b"\n" + line + b"\n" + rest)
    with pytest.raises(FileFormatError, match="line 2 of"):
        Store(path, FINGERPRINT)


def test_values_for_another_number_of_images_are_refused(path):
    filled(path)
    with pytest.raises(FileFormatError, match=r"has 2 values of abpc for the 3 images from 0 on, by rlrp"):
        Store(path, FINGERPRINT).find("rlrp", 0, 3)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        Store(tmp_path / "nowhere" / "values.jsonl", FINGERPRINT)
    with pytest.raises(InputError, match="is a folder"):
        Store(tmp_path, FINGERPRINT)


def test_a_full_disk_is_said_in_words_and_what_was_saved_stays(path, monkeypatch):
    store = filled(path)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be read and written: No space left on device"):
        store.add("rlrp", 2, {"gini": [0.5, 0.5]}, [])
    monkeypatch.undo()
    assert Store(path, FINGERPRINT).find("rlrp", 0, 2) == VALUES


def test_a_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(InputError, match="is there already and is not a file"):
        Store(path, FINGERPRINT)


@pytest.mark.parametrize("fingerprint", [b"", b', "fingerprint": []', b', "fingerprint": null'])
def test_a_first_line_that_is_damaged_is_named(path, fingerprint):
    path.write_bytes(b'{"format": "rlrp_nb comparison 1"' + fingerprint + b"}\n")
    with pytest.raises(FileFormatError, match=r"the first line of .* is damaged"):
        Store(path, FINGERPRINT)


def test_a_link_is_not_written_through(path):
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    for _ in ("dangling", "to a file"):
        with pytest.raises(InputError, match="is a link: name the file itself"):
            Store(link, FINGERPRINT)
        assert not path.exists() or path.read_bytes() == b"precious"
        path.write_bytes(b"precious")
