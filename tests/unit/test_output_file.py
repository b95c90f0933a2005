"""Files are refused before the work, and whole or not there after it."""

import os
import stat
from pathlib import Path

import pytest

from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.output_file import check_output, write_whole


def test_a_file_is_written_whole(tmp_path):
    path = write_whole(tmp_path / "a.txt", lambda file: file.write(b"all"))
    assert path.is_absolute()
    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    assert write_whole(check_output(path, [".txt"]), lambda file: file.write(b"all")) == path
    with pytest.raises(InputError, match="is no name of a file: File name too long"):
        check_output(tmp_path / ("n" * 252 + ".txt"), [".txt"])


def test_an_ending_without_a_name_is_said_to_be_one(tmp_path):
    with pytest.raises(FileFormatError, match=r"\.PNG' is an ending without a name"):
        check_output(tmp_path / ".PNG", [".png"])


def test_a_broken_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise OSError("the disk is full")

    with pytest.raises(InputError, match="disk is full"):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    path = write_whole(tmp_path / "a.txt", lambda file: file.write(b""))
    assert path.stat().st_mode == usual.stat().st_mode


def test_a_path_that_can_be_written_is_returned(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "old.PNG").touch()
    for name in ("new.png", "old.PNG"):
        assert check_output(tmp_path / name, (".png",)) == tmp_path / name
    assert check_output(type(tmp_path)("~/new.png"), (".png",)) == tmp_path / "new.png"


def test_a_path_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileFormatError, match=r"a\.txt' does not end in \.png or \.jpg"):
        check_output(tmp_path / "a.txt", (".png", ".jpg"))
    with pytest.raises(InputError, match=r"nowhere' does not exist"):
        check_output(tmp_path / "nowhere" / "a.png", (".png",))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is not a file"):
        check_output(tmp_path / "folder.png", (".png",))
    # an administrator may write anywhere, so the answer of the system is put in its place
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="nothing can be written into the folder"):
        check_output(tmp_path / "a.png", (".png",))


def test_the_home_of_a_user_who_has_none_is_refused():
    with pytest.raises(InputError, match="a user who has none"):
        check_output(Path("~nobody-of-this-name/page.html"), (".html",))


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(InputError, match="no name of a file"):
        check_output(tmp_path / "a\0.html", (".html",))


class BytesPath:
    def __fspath__(self):
        return b"a.png"


@pytest.mark.parametrize("path", [None, 3, b"a.png", BytesPath(), ["a.png"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match=f"path is a {type(path).__name__}; accepted is the name of a file"):
        check_output(path, (".png",))


def test_a_working_folder_that_is_gone_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match=r"'a\.txt' is looked for in the working folder, which no longer exists"):
        check_output("a.txt", [".txt"])
    assert check_output(tmp_path / "a.txt", [".txt"]) == tmp_path / "a.txt"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_who_may_read_it(tmp_path, mode):
    path = tmp_path / "page.html"
    path.write_text("before")
    path.chmod(mode)
    write_whole(path, lambda file: file.write(b"after"))
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_is_as_new_files_are(tmp_path):
    (tmp_path / "usual").touch()
    path = write_whole(tmp_path / "page.html", lambda file: file.write(b"new"))
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
