"""The end of an AEDAT 4 file: whether the table of its packets, which DV writes when it closes a file, is whole.

The library `aedat` reads packets up to the position that the header names, and never looks at what stands there.
"""

from __future__ import annotations

import struct
from pathlib import Path

LARGEST_HEADER = 1 << 20
"""Bytes of a header that are looked at; it holds a text about the camera, of a few kB."""

LARGEST_TABLE = 64 << 20
"""Bytes of a table that are looked at; a packet takes some 40 before compression."""

HEADER_AT = 14
"""Bytes of the line ``#!AER-DAT4.0`` that stands before it."""

NO_TABLE = "the header names no file table: the recording was never closed, and its last events may be missing"
NONE, LZ4, ZSTD = b"FTAB", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"
"""How a table begins: not compressed (behind two lengths), as a frame of LZ4, or of Zstandard."""


def lost_end(path: Path) -> str:
    """Return what a file lacks at its end, for `Piece.cut`: "" if nothing, `NO_TABLE` if it was never closed."""
    with path.open("rb") as file:
        position = _table_position(file.read(LARGEST_HEADER))
        if position is None:  # the library makes of the header what it can
            return ""
        if position < 0:
            return NO_TABLE
        file.seek(position)
        table = file.read(LARGEST_TABLE)
    if len(table) == LARGEST_TABLE or _whole(table):
        return ""
    length = path.stat().st_size
    return f"a lost end (the header places the file table at byte {position}, the file has {length} bytes)"


def _table_position(head: bytes) -> int | None:
    """Field dataTablePosition of the FlatBuffer IOHeader; -1 where it is left out; None where that makes no sense."""
    try:
        root = HEADER_AT + 4 + struct.unpack_from("<I", head, HEADER_AT + 4)[0]
        vtable = root - struct.unpack_from("<i", head, root)[0]
        size = struct.unpack_from("<H", head, vtable)[0]
        place = struct.unpack_from("<H", head, vtable + 6)[0] if size >= 8 else 0
        return int(struct.unpack_from("<q", head, root + place)[0]) if place else -1
    except struct.error:
        return None


def _whole(table: bytes) -> bool:
    """Whether a table ends within these bytes; one that begins in no known way counts as whole."""
    try:
        if table[:4] == LZ4:
            return _lz4_end(table) <= len(table)
        if table[:4] == ZSTD:
            return _zstd_end(table) <= len(table)
        size = struct.unpack_from("<I", table)[0]
        return not NONE.startswith(table[8:12]) or 4 + size <= len(table)
    except (struct.error, IndexError):
        return False


def _lz4_end(frame: bytes) -> int:
    """Where an LZ4 frame ends (lz4_Frame_format.md): blocks with their lengths, an end mark, a checksum."""
    flags = frame[4]
    at = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while size := struct.unpack_from("<I", frame, at)[0] & 0x7FFF_FFFF:
        at += 4 + size + (4 if flags & 16 else 0)
    return at + 4 + (4 if flags & 4 else 0)


def _zstd_end(frame: bytes) -> int:
    """Where a Zstandard frame ends (RFC 8878): blocks with their lengths, of which one is the last, a checksum."""
    flags = frame[4]
    single = flags >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    last = False
    while not last:
        block = int.from_bytes(bytes((frame[at], frame[at + 1], frame[at + 2])), "little")
        last = bool(block & 1)
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # kind 1 repeats one byte
    return at + (4 if flags & 4 else 0)
