"""A zip file from a stranger: its members by name, and never more bytes than the file justifies.

`zipfile` lists the members; their bytes are read here, because it trusts the sizes that bzip2 members claim and reads
all of a member where a tensor needs a part.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from evsim.converters.values import shown
from evsim.errors import CheckpointError

LARGEST_DIRECTORY = 8 << 20
"""Bytes of the list of members beyond which a zip file is no checkpoint: room for some 80,000 tensors."""

ROOM = 32 << 20
"""Bytes that a file may unpack to beyond twice its own size; PyTorch compresses nothing."""

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then the lengths of the name and of the extra field; what lies between stands in the directory too."""

CHUNK = 1 << 20
ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def room_of(size: int) -> int:
    """Return how many bytes a file of `size` bytes may unpack to."""
    return 2 * size + ROOM


@dataclass(frozen=True)
class Member:
    """Where a member lies in the file."""

    method: int
    header: int
    packed: int
    size: int
    crc: int


class Archive:
    """The members of a zip file.

    Attributes
    ----------
    path
        The file.
    members
        Name to place.

    Raises
    ------
    CheckpointError
        If the file is no zip file, damaged, encrypted, or would unpack to more than `room_of` its size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size
        self._unpacked: dict[str, bytes] = {}
        self._checked: set[str] = set()
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            self.members = {
                i.filename: Member(i.compress_type, i.header_offset, i.compress_size, i.file_size, i.CRC) for i in infos
            }
            if any(info.flag_bits & ENCRYPTED for info in infos):
                raise CheckpointError(f"{path} is an encrypted zip file; unpack it and save the checkpoint again")
        if len(self.members) != len(infos):
            raise CheckpointError(f"{path} is a zip file that holds a name twice, which is ambiguous; save it again")
        total = sum(member.size for member in self.members.values())
        if total > room_of(self._size):
            raise CheckpointError(
                f"{path} would unpack from {self._size} to {total} bytes, which no checkpoint does; refused"
            )

    def size(self, name: str) -> int:
        """Bytes of a member; a missing one is an error."""
        if name not in self.members:
            raise self._missing(name)
        return self.members[name].size

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a member, or a part of them; the whole member is held against its checksum once.

        Raises
        ------
        CheckpointError
            If the member is missing or damaged.
        """
        stop = self.size(name) if stop is None else stop
        member = self.members[name]
        try:
            if member.method == zipfile.ZIP_STORED:
                return self._stored(name, member, start, stop)
            if name not in self._unpacked:  # their sum is bounded, and a shared storage is not unpacked twice
                self._unpacked[name] = self._inflated(member)
            return self._unpacked[name][start:stop]
        except (OSError, zlib.error, struct.error, zipfile.BadZipFile) as error:
            raise self._missing(name) from error

    def _missing(self, name: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: the weights {shown(name)} are missing or damaged; copy the file again")

    def _stored(self, name: str, member: Member, start: int, stop: int) -> bytes:
        if member.packed != member.size:
            raise zipfile.BadZipFile("a stored member has two sizes")
        with self.path.open("rb") as file:
            begin = self._begin(file, member)
            if start == 0 and stop == member.size:
                file.seek(begin)
                whole = file.read(member.size)
                self._check(zlib.crc32(whole), member)
                self._checked.add(name)
                return whole
            if name not in self._checked:
                self._check(_crc(file, begin, member.size), member)
                self._checked.add(name)
            file.seek(begin + start)
            return file.read(max(stop - start, 0))

    def _inflated(self, member: Member) -> bytes:
        if member.method not in METHODS:
            raise zipfile.BadZipFile("compressed in a way that PyTorch does not know")
        with self.path.open("rb") as file:
            file.seek(self._begin(file, member))
            packed = file.read(member.packed)
        values = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
        if len(values) != member.size:
            raise zipfile.BadZipFile("another length than it claims")
        self._check(zlib.crc32(values), member)
        return values

    def _begin(self, file: io.BufferedReader, member: Member) -> int:
        """Return where the bytes of a member begin; they must end within the file."""
        file.seek(member.header)
        signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        begin = int(member.header + LOCAL_HEADER.size + name + extra)
        if signature != b"PK\x03\x04" or begin + member.packed > self._size:
            raise zipfile.BadZipFile("no member begins here")
        return begin

    @staticmethod
    def _check(crc: int, member: Member) -> None:
        if crc != member.crc:
            raise zipfile.BadZipFile("another checksum")


class _Bounded(io.FileIO):
    """A file that is never read in pieces larger than a directory of members may be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size} bytes, more than {LARGEST_DIRECTORY >> 20} MB")
        return super().read(-1 if size is None else size) or b""


def _crc(file: io.BufferedReader, begin: int, size: int) -> int:
    file.seek(begin)
    crc = 0
    while size > 0:
        part = file.read(min(size, CHUNK))
        if not part:
            break
        crc, size = zlib.crc32(part, crc), size - len(part)
    return crc
