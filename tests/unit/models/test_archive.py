"""Small files that would fill the memory or take hours are refused before anything in them is made."""

import copy
import io
import pickle
import zipfile

import pytest
import torch
from torch import nn

from rlrp_nb.errors import WeightsError
from rlrp_nb.models import archive
from rlrp_nb.models.archive import check_archive
from rlrp_nb.models.weights import read_state


def doubled(begin, end, depth=45):
    """Return the middle of a pickle: a tuple or list of twice the one before, and so on."""
    stored = [begin + b"K\x01" + end + b"q\x00"]
    stored += [begin + b"h%c" % (k - 1) + b"h%c" % (k - 1) + end + b"q%c" % k for k in range(1, depth)]
    return b"".join(stored)


def filled_from_outside(depth=45):
    """Return the same of lists that are all empty before the first is filled."""
    empty = b"".join(b"]q%c" % k for k in range(depth))
    return empty + b"".join(b"h%c(h%c" % (k, k + 1) + b"h%c" % (k + 1) + b"e" for k in range(depth - 1)) + b"h\x00"


NESTED = {
    "a key": doubled(b"(", b"t") + b"}h\x2cK\x01s.",
    "a function": doubled(b"(", b"t") + b")R.",  # which no list or tuple is, and the error would show it
    "lists": doubled(b"](", b"e") + b")R.",
    "filled": filled_from_outside() + b")R.",
    "itself": b"]q\x00h\x00a.",
    "very deep": b"}K\x01" + b"\x85" * 200_000 + b"K\x01s.",  # hashing this one would end the process
    "very often": b"(" + b"K\x01" * 5000 + b"tq\x00](" + b"h\x00" * 5000 + b"e.",
}


def alike(number):
    """Return a pickled number whose hash is that of 0."""
    return b"\x8a\x0c" + (number * (2**61 - 1)).to_bytes(12, "little")


def pairs(number):
    """Return a pickled tuple of 18 numbers that are -1 or -2, which have one hash."""
    return b"(" + b"".join(b"h\x01" if number >> k & 1 else b"h\x00" for k in range(18)) + b"t"


KEYS = {
    "numbers": b"}(" + b"".join(alike(k) + b"K\x01" for k in range(1, 100_000)) + b"u.",  # minutes
    "tuples": b"J\xff\xff\xff\xffq\x00J\xfe\xff\xff\xffq\x01}("
    + b"".join(pairs(k) + b"N" for k in range(100_000))
    + b"u.",
    "one by one": b"}" + b"".join(alike(k) + b"K\x01s" for k in range(1, 2000)) + b".",
}
SIZED = b"J" + (2**31 - 1).to_bytes(4, "little") + b"\x85"
NEVER = {
    "_rebuild_sparse_tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n.",  # which looks at all its places
    "Linear": b"ctorch.nn.modules.linear\nLinear\n.",
    "bytearray": b"cbuiltins\nbytearray\n" + SIZED + b"R.",
    "bytearray of Python 2": b"c__builtin__\nbytearray\n" + SIZED + b"R.",
    "bytearray by another": b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nbytearray\nN" + SIZED + b"NtR.",
    "set": b"c__builtin__\nset\n]K\x01a\x85R.",
    "Counter": b"ccollections\nCounter\n]K\x01a\x85R.",
    "encode": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x08\x00\x00\x00punycode\x86R.",  # quadratic time
    "_rebuild_device_tensor_from_cpu_tensor": b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n.",
    "OrderedDict that is made with values": b"ccollections\nOrderedDict\n]\x85R.",
    "OrderedDict that is made with values by another": b"ctorch._tensor\n_rebuild_from_type_v2\n"
    b"(ccollections\nOrderedDict\nN]\x85NtR.",
}


def write_pickle(path, content, *, legacy):
    """Write a file of the true layout whose pickle is this one."""
    if legacy:
        head = io.BytesIO()
        torch.save({}, head, _use_new_zipfile_serialization=False)
        head.seek(0)
        for _ in range(3):  # what stands before the state dict
            pickle.load(head)  # noqa: S301 - just written
        path.write_bytes(head.getvalue()[: head.tell()] + content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("legacy", [False, True])
def test_small_files_of_very_many_values_are_refused_at_once(tmp_path, kind, legacy):
    write_pickle(tmp_path / "file.pth", b"\x80\x02" + NESTED[kind], legacy=legacy)
    with pytest.raises(WeightsError, match=r"more than 10,000,000 or have no end, .*torch.save\(network.state_dict"):
        read_state(tmp_path / "file.pth")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_many_keys_that_are_no_names_are_refused_at_once(tmp_path, kind, legacy):
    write_pickle(tmp_path / "file.pth", b"\x80\x02" + KEYS[kind], legacy=legacy)
    with pytest.raises(WeightsError, match=r"holds [\d,]+ keys that are no texts, and is not loaded"):
        read_state(tmp_path / "file.pth")


@pytest.mark.parametrize("kind", NEVER)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_no_state_dict_holds_is_not_made(tmp_path, kind, legacy):
    write_pickle(tmp_path / "file.pth", b"\x80\x02" + NEVER[kind], legacy=legacy)
    what = kind.partition(" of ")[0].partition(" by ")[0]
    with pytest.raises(
        WeightsError, match=rf"holds something else \(a [\w.]*{what}\), which could be code, and is not"
    ):
        read_state(tmp_path / "file.pth")


def test_a_file_that_takes_very_many_steps_is_refused(tmp_path):
    write_pickle(tmp_path / "file.pth", b"\x80\x02](" + b"]" * 6_000_000 + b"e.", legacy=False)
    with pytest.raises(WeightsError, match="takes more than 5,000,000 steps to be read, and is not loaded"):
        read_state(tmp_path / "file.pth")


def test_an_old_file_may_take_no_more_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MOST_STEPS", 1000)
    write_pickle(tmp_path / "file.pth", b"\x80\x02](" + b"]" * 2000 + b"e.", legacy=True)
    with pytest.raises(WeightsError, match="takes more than 1,000 steps to be read, and is not loaded"):
        read_state(tmp_path / "file.pth")


def test_an_archive_of_two_tables_of_contents_is_refused(tmp_path):
    """PyTorch reads the one where the end says it is, zipfile the one just before the end."""
    path = tmp_path / "file.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/version", "3\n")
        table = archive.start_dir
    content = path.read_bytes()
    own, end = content[table:-22], content[-22:]
    path.write_bytes(content[:table] + own + own + end)
    assert zipfile.ZipFile(path).namelist() == ["archive/data.pkl", "archive/version"]
    with pytest.raises(WeightsError, match="is an archive of two tables of contents"):
        read_state(path)


def test_an_archive_whose_records_are_one_is_refused(tmp_path):
    path = tmp_path / "file.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(10_000))
        (record,) = (each for each in archive.infolist() if each.filename == "archive/data/0")
        for number in range(1, 9):
            twin = copy.copy(record)
            twin.filename = twin.orig_filename = f"archive/data/{number}"
            archive.filelist.append(twin)
    with pytest.raises(WeightsError, match=r"holds records of 90,004 bytes in [\d,]+, which lie over each other"):
        read_state(path)


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "file.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(WeightsError, match=r"is a compressed archive \(archive/data.pkl\), which cannot be read"):
        read_state(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [4, 5])
def test_a_later_protocol_of_pickle_is_refused_by_its_name(tmp_path, protocol, legacy):
    path = tmp_path / "file.pth"
    torch.save(nn.Linear(2, 2).state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=rf"pickle protocol {protocol}, and PyTorch's reader .* takes 2: save"):
        read_state(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves_is_fine(tmp_path, legacy):
    path, network = tmp_path / "file.pth", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = network.state_dict()
    state["numbered"] = torch.zeros(3, dtype=torch.int64)
    state["learnt"] = nn.Parameter(torch.ones(2))
    if not legacy:
        state["short"] = torch.ones(2, dtype=torch.uint16)
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    check_archive(path)
    assert list(read_state(path)) == list(state)


@pytest.mark.parametrize("flipped", [1, 4000])
def test_a_changed_weight_is_found_by_its_checksum(tmp_path, flipped):
    network, path = nn.Linear(100, 20), tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    whole, numbers = path.read_bytes(), network.weight.detach().numpy().tobytes()
    at = whole.index(numbers)
    path.write_bytes(whole[:at] + bytes(byte ^ 64 for byte in numbers[:flipped]) + whole[at + flipped :])
    with pytest.raises(WeightsError, match=r"is damaged \(Bad CRC-32 for file .*copy or download it again"):
        read_state(path)


def test_a_file_without_checksums_is_read(tmp_path):
    network, path = nn.Linear(100, 20), tmp_path / "w.pth"
    with_sums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(network.state_dict(), path)
    finally:
        torch.serialization.set_crc32_options(with_sums)
    with zipfile.ZipFile(path) as archive:
        assert not any(record.CRC for record in archive.infolist())
    torch.testing.assert_close(read_state(path)["weight"], network.weight.detach())
