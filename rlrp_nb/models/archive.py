"""Files that ``torch.save`` wrote, looked at before they are loaded: a small one can stand for gigabytes or hours.

PyTorch's reader with ``weights_only=True`` runs no code of a file, but makes whatever values it describes. Here its
pickle is read without any of them being made.
"""

import pickletools
import struct
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # by which PyTorch's reader knows the names of Python 2
from io import BytesIO
from pathlib import Path
from typing import IO

import torch

from rlrp_nb.errors import WeightsError
from rlrp_nb.printable import printable

_ARCHIVE = b"PK\x03\x04"  # by which torch.load tells the two layouts apart
_PICKLES = 5  # one after the other in a file that is no archive; numbers follow
_MOST_VALUES = 10_000_000
"""How many values a pickle may stand for, each counted again within all that hold it; DenseNet-201: < 200,000."""
_MOST_STEPS = 5_000_000
"""How many steps a pickle may take, for each of which something is noted here; DenseNet-201: < 100,000."""
_MOST_KEYS = 1000
"""Keys that are no texts. Of numbers and tuples a file can choose very many that a dict tells apart only by comparing
each with all others; of texts it cannot, as their hashes are drawn anew in each process."""
_USUAL, _NEWEST = 2, 3
"""Protocols of pickle: that of torch.save, and the last that says the same things in the same way."""
_TO_MEMO = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_FROM_MEMO = {"GET", "BINGET", "LONG_BINGET"}
_INTO = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
"""What puts values into one that is there already, and that others may hold."""
_DICT = ("collections", "OrderedDict")
_PARTS = {
    _DICT,
    *(("torch._utils", f"_rebuild_{what}") for what in ("tensor", "tensor_v2", "tensor_v3")),
    *(("torch._utils", f"_rebuild_{what}") for what in ("parameter", "parameter_with_state", "meta_tensor_no_storage")),
    *(("torch.nn.parameter", "Parameter"), ("torch._tensor", "_rebuild_from_type_v2"), ("torch", "Tensor")),
    *(("torch", "Size"), ("torch", "device"), ("torch.storage", "UntypedStorage"), ("torch.storage", "TypedStorage")),
}
"""What a state dict of dense tensors is made of, beside storages and dtypes. PyTorch's reader knows more, some of which
makes values of any size, keys of any number, or looks at as many numbers as a file says."""
_NUMBER, _TEXT = 0, 1  # places that stand for all numbers, and for all texts
_CHUNK = 1 << 20
_TAIL = struct.Struct("<4s4H2LH")  # the last record of an archive; what is far away is said by the one before
_LOCATOR = struct.Struct("<4sLQL")
_FAR_TAIL = struct.Struct("<4sQ2H2L4Q")


def check_archive(path: Path) -> None:
    """Refuse a file that could fill the memory, or take hours, when it is loaded.

    Parameters
    ----------
    path : pathlib.Path
        What ``torch.load`` is going to read: an archive, or a row of pickles as before torch 1.6.

    Raises
    ------
    WeightsError
        It is compressed, has two tables of contents, or a record that is not what its checksum says; it stands for more
        values than any state dict, for values that hold themselves, for many keys that are no texts, or for something
        that is never in one.
    Exception
        It is damaged.
    """
    with path.open("rb") as file:
        archive = file.read(len(_ARCHIVE)) == _ARCHIVE
        file.seek(0)
        if not archive:
            for _ in range(_PICKLES):
                _check_pickle(path, file)
            return
        _check_stored(path)
        _check_sums(path)
        # another reader might find another record of that name
        record = torch._C.PyTorchFileReader(file).get_record("data.pkl")  # noqa: SLF001 - it has no public name
        _check_pickle(path, BytesIO(record))


def _check_stored(path: Path) -> None:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        packed = [record.filename for record in archive.infolist() if record.compress_type != zipfile.ZIP_STORED]
        one_table = _table_at(file) == archive.start_dir
        total, size = sum(record.file_size for record in archive.infolist()), path.stat().st_size
    if packed:
        names = ", ".join(printable(name[:200]) for name in packed[:3])
        raise _refused(path, f"is a compressed archive ({names}), which cannot be read")
    if total > size:
        raise _refused(path, f"holds records of {total:,} bytes in {size:,}, which lie over each other")
    if not one_table:
        raise _refused(path, "is an archive of two tables of contents, of which each reader takes another")


def _check_sums(path: Path) -> None:
    """Compare each record with its checksum, which PyTorch's reader does not look at."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if not record.CRC:  # whoever wrote it had torch.serialization.set_crc32_options(False)
                continue
            try:
                with archive.open(record) as content:
                    while content.read(_CHUNK):
                        pass
            except zipfile.BadZipFile as error:
                raise WeightsError(
                    f"the weights file {printable(path)} is damaged ({printable(error)}): copy or download it again."
                ) from error


def _table_at(file: IO[bytes]) -> int:
    """Return where the table of contents begins, by what the end of an archive says; -1 where the end is odd."""
    size = file.seek(0, 2)
    file.seek(size - _TAIL.size)
    mark, *_, at, comment = _TAIL.unpack(file.read(_TAIL.size))
    if mark != b"PK\5\6" or comment:
        return -1
    if size < _TAIL.size + _LOCATOR.size + _FAR_TAIL.size:
        return int(at)
    file.seek(size - _TAIL.size - _LOCATOR.size)
    mark, _, far, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\6\7":
        return int(at)
    file.seek(size - _TAIL.size - _LOCATOR.size - _FAR_TAIL.size)
    if far != file.tell():
        return -1
    mark, *_, at = _FAR_TAIL.unpack(file.read(_FAR_TAIL.size))
    return int(at) if mark == b"PK\6\6" else -1


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    """Refuse a small pickle that stands for very many values, such as tuples of one and the same tuple, nested.

    As a dict's key these would be hashed, and in an error shown, each time anew: for years, and nothing can stop it.
    """
    made = _Made(file)
    if made.protocol > _NEWEST:
        reason = f"is written by pickle protocol {made.protocol}, and PyTorch's reader that runs no code takes {_USUAL}"
        raise _refused(path, reason)
    if made.is_long:
        reason = f"takes more than {_MOST_STEPS:,} steps to be read"
    elif made.never:
        reason = f"holds something else (a {printable(made.never[:200])}), which could be code"
    elif made.keys > _MOST_KEYS:
        reason = f"holds {made.keys:,} keys that are no texts"
    elif not _is_small(made.parts):
        reason = f"holds values within values that are more than {_MOST_VALUES:,} or have no end"
    else:
        return
    raise _refused(path, f"{reason}, and is not loaded, since a state dict is names and tensors")


class _Made:
    """What a pickle would make; none of it is made.

    Attributes
    ----------
    parts : list of list of int
        For each value which others it holds, by their places.
    keys : int
        How many keys of dicts are no texts.
    never : str
        The name of what it makes and no state dict of dense tensors has; empty where there is none.
    protocol : int
        Of the pickle. In those after 3 names are written in other ways, which are not read here.
    is_long : bool
        Whether it goes on after as many steps as any state dict takes; the rest is not looked at.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.parts: list[list[int]] = [[], []]
        self.keys = 0
        self.never = ""
        self.protocol = 0
        self.is_long = False
        self._dicts: set[int] = set()  # the places of OrderedDict itself
        stack: list[int] = []
        marks: list[int] = []
        memo: dict[int, int] = {}
        for step, (code, argument, _) in enumerate(pickletools.genops(file)):
            if step >= _MOST_STEPS:
                self.is_long = True
                break
            place = len(memo) if argument is None else argument
            if code.name == "PROTO" and (protocol := int(argument or 0)) > _NEWEST:
                self.protocol = protocol
                break
            if code.name == "MARK":
                marks.append(len(stack))
            elif code.name in _TO_MEMO:
                memo[place] = stack[-1]
            elif code.name in _FROM_MEMO:
                stack.append(memo[place])
            elif code.name == "GLOBAL":
                stack.append(self._add([]))
                self._look_at(stack[-1], str(argument))
            else:
                marked = pickletools.markobject in code.stack_before
                bottom = marks.pop() if marked else len(stack)
                bottom -= code.stack_before.index(pickletools.markobject) if marked else len(code.stack_before)
                if bottom < 0:
                    raise ValueError(f"{code.name} takes more than there is")
                taken = stack[bottom:]
                del stack[bottom:]
                stack += self._done(code, argument, taken)

    def _look_at(self, place: int, named: str) -> None:
        """Note what a global is, by the name that PyTorch's reader looks for it."""
        module, _, name = named.partition(" ")
        known = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if known == _DICT:
            self._dicts.add(place)
        elif not _is_part(*known):
            self.never = self.never or ".".join(known)

    def _done(self, code: pickletools.OpcodeInfo, argument: object, taken: list[int]) -> list[int]:
        """Do what an opcode says with what it took from the stack, and return what it puts there."""
        if code.name in {"SETITEM", "SETITEMS"}:
            self.keys += sum(key != _TEXT for key in taken[1::2])
        if code.name in _INTO:
            self.parts[taken[0]] += taken[1:]
            return taken[:1]
        called, given = (taken[0], taken[1:]) if code.name in {"REDUCE", "NEWOBJ"} else (_TEXT, taken)
        # another function may call what it is given
        if not self._dicts.isdisjoint(given) or (called in self._dicts and self.parts[given[0]]):
            self.never = "collections.OrderedDict that is made with values"
        if code.stack_after and (taken or code.name.startswith("EMPTY")):
            return [self._add(taken)]
        return [_TEXT if isinstance(argument, str | bytes) else _NUMBER] * len(code.stack_after)

    def _add(self, held: list[int]) -> int:
        self.parts.append(held)
        return len(self.parts) - 1


def _is_part(module: str, name: str) -> bool:
    """Tell a global that a state dict of dense tensors is made of."""
    storage = module in {"torch", "torch.cuda"} and name.endswith("Storage")
    return (
        storage
        or (module, name) in _PARTS
        or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype))
    )


def _is_small(parts: list[list[int]]) -> bool:
    """Tell whether values, each with all that is in it, are few, and none is within itself."""
    sizes = [0] * len(parts)  # not known yet; below 0 while those in it are counted
    total = 0
    for first in range(len(parts)):
        path = [first]
        while path:
            value = path[-1]
            if sizes[value] > 0:
                path.pop()
            elif unknown := [part for part in parts[value] if sizes[part] <= 0]:
                if sizes[value] < 0:
                    return False
                sizes[value] = -1
                path += unknown
            else:
                sizes[value] = 1 + sum(sizes[part] for part in parts[value])
                total += sizes[value]
                if total > _MOST_VALUES:  # before the sizes themselves become long numbers
                    return False
    return True


def _refused(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"the weights file {printable(path)} {reason}: save one with torch.save(network.state_dict(), path)."
    )
