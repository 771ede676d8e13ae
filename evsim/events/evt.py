"""Prophesee's RAW: EVT2 (32-bit words) and EVT3 (16-bit words that share rows, times and vectors).

Times and rows carry over from word to word, so both are decoded by compiled loops (`evsim.events.evt_kernels`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evsim.errors import RecordingError
from evsim.events.binary import header_lines, printable, records, rest
from evsim.events.dat import header_notes, header_size
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Stream, empty_piece

NAME = "evt"
SUFFIXES = (".raw",)
ABOUT = "Prophesee RAW: EVT2 and EVT3"
SIZE = "the header: a size, or `plugin_name` or `system_ID` of a camera that has one size"
ENCODING = re.compile(rb"^% (?:evt (\d)\.(\d)|format EVT(\d)(\d?))", re.MULTILINE)
WORDS = 1 << 17
"""Words decoded at a time."""

PER_WORD = 12
"""Most events that a word of EVT3 holds."""


def recognises(head: bytes) -> bool:
    """Whether a file begins with a header of ``%`` lines that names an encoding."""
    return head.startswith(b"% ") and ENCODING.search(head) is not None


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If the header names no encoding, or one other than EVT2 and EVT3.
    """
    lines: list[bytes] = []
    with path.open("rb") as file:
        for line in header_lines(file, b"%", path):
            lines.append(line)
            if line.strip() == b"% end":
                break
        offset = file.tell()
    found = ENCODING.search(b"".join(lines))
    if not found:
        raise RecordingError(f"{path} does not say whether it is EVT2 or EVT3; it is damaged or of another kind")
    major, minor = found[1] or found[3], found[2] or found[4] or b"0"
    if (major, minor) not in ((b"2", b"0"), (b"3", b"0")):
        raise RecordingError(f"{path} is encoded as EVT {major.decode()}.{minor.decode()}; evsim reads EVT 2.0 and 3.0")
    facts = _facts(lines)
    word, per_word = (np.dtype("<u2"), PER_WORD) if major == b"3" else (np.dtype("<u4"), 1)
    pieces = _pieces(path, offset, word, per_word)
    return Stream(f"evt{major.decode()}", path, header_size(facts), pieces, header_notes(facts))


def _facts(lines: list[bytes]) -> dict[str, str]:
    """Facts of lines such as ``% format EVT3;height=720;width=1280``, ``% geometry 640x480``, ``% width 640``."""
    facts: dict[str, str] = {}
    for line in lines:
        for part in printable(line[1:]).split(";"):
            key, _, value = part.strip().replace("=", " ").partition(" ")
            facts[key.lower()] = value.strip()
    return facts


def _pieces(path: Path, offset: int, word: np.dtype[Any], per_word: int) -> Iterator[Piece]:
    from evsim.events import evt_kernels as kernels

    decode = kernels.decode_evt3 if per_word == PER_WORD else kernels.decode_evt2
    state = np.zeros(kernels.STATE, np.int64)
    capacity = WORDS * per_word
    t, p = np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
    x, y = np.empty(capacity, np.uint16), np.empty(capacity, np.uint16)
    total = 0
    for words in records(path, offset, word, WORDS):
        total += len(words)
        number = int(decode(np.ascontiguousarray(words, word.newbyteorder("=")), state, t, x, y, p))
        if state[kernels.BEYOND]:
            raise RecordingError(f"{path}: a vector of events runs past column 2047; the file is damaged")
        yield Piece(t[:number].copy(), x[:number].copy(), y[:number].copy(), p[:number].copy())
    kinds = {"external triggers": kernels.TRIGGERS, "other words": kernels.OTHER, "unknown words": kernels.UNKNOWN}
    skipped = {kind: int(state[place]) for kind, place in kinds.items() if state[place]}
    if state[kernels.UNKNOWN] * 2 > total:
        raise RecordingError(f"{path}: most words are of no known kind; it is damaged or of another byte order")
    notes = []
    if state[kernels.EARLY]:
        notes.append(f"{state[kernels.EARLY]} events stand before the first whole time, so their times begin at zero")
    if state[kernels.WRAPS]:
        notes.append(f"the camera's clock began anew {state[kernels.WRAPS]} times; times go on")
    yield empty_piece(skipped, tuple(notes), rest(path, offset, word.itemsize, "another word"))
