"""Event Stream (``.es``), version 2: DVS events of one to some bytes of time, then x and y."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evsim.errors import RecordingError
from evsim.events.binary import Window
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Size, Stream, empty_piece

NAME = "es"
SUFFIXES = (".es",)
ABOUT = "Event Stream 2 of DVS events"
SIZE = "the header"
MAGIC = b"Event Stream"
KINDS = {0: "generic", 1: "DVS", 2: "ATIS", 3: "asynchronous and ATIS", 4: "colour"}
HEADER = 20
BYTES = 1 << 20
"""Bytes decoded at a time."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as Event Stream does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If it is of another version, or holds other events than those of a DVS.
    """
    with path.open("rb") as file:
        head = file.read(HEADER)
    if len(head) < 16:
        raise RecordingError(f"{path} is truncated: it ends within its header; copy it again")
    version, kind = tuple(head[12:15]), head[15]
    if version[0] != 2:
        raise RecordingError(f"{path} is Event Stream {'.'.join(map(str, version))}; evsim reads version 2")
    if kind != 1:
        raise RecordingError(
            f"{path} holds {KINDS.get(kind, 'unknown')} events (type {kind}) of Event Stream; evsim reads a DVS's"
        )
    if len(head) < HEADER:
        raise RecordingError(f"{path} is truncated: it ends within its header; copy it again")
    width, height = (int(size) for size in np.frombuffer(head, "<u2", 2, 16))
    if not width or not height:
        raise RecordingError(f"{path} names a sensor of {width} x {height}; its header is damaged")
    return Stream(NAME, path, Size(width, height, "the header"), _pieces(path, width, height))


def _pieces(path: Path, width: int, height: int) -> Iterator[Piece]:
    from evsim.events import es_kernels as kernels

    window, at = Window(path), HEADER
    state = np.zeros(kernels.STATE, np.int64)
    capacity = BYTES // 5 + 1
    t, p = np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
    x, y = np.empty(capacity, np.uint16), np.empty(capacity, np.uint16)
    cut = ""
    while at < window.length:
        part = np.ascontiguousarray(window.take(at, min(BYTES, window.length - at)))
        number = int(kernels.decode_dvs(part, state, t, x, y, p))
        if not state[kernels.TAKEN]:
            cut = f"{window.length - at} bytes of another event"
            break
        at += int(state[kernels.TAKEN])
        rows = y[:number]
        if number and (int(rows.max()) >= height or int(x[:number].max()) >= width):
            raise RecordingError(
                f"{path} holds an event at x {int(x[:number].max())}, y {int(rows.max())}, outside its sensor of "
                f"{width} x {height}; it is damaged"
            )
        # the format counts rows from the bottom
        yield Piece(t[:number].copy(), x[:number].copy(), (height - 1 - rows).astype(np.uint16), p[:number].copy())
    skipped = {"resets": int(state[kernels.RESETS])} if state[kernels.RESETS] else {}
    yield empty_piece(skipped, cut=cut)
