"""AEDAT 4: the format of DV, read by the library `aedat` (extra ``aedat4``) in a process of its own.

On a damaged file the library may end the whole process (seen with aedat 2.3.0 by flipping bytes of the header), so it
runs in a child: `decode_aedat4.py`, which sends events through a pipe.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from evsim.errors import OptionError, RecordingError
from evsim.events.aedat4_end import NO_TABLE, lost_end
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Size, Stream, empty_piece

NAME = "aedat4"
SUFFIXES = (".aedat4",)
TAKES = ("camera",)
ABOUT = "AEDAT 4 of DV, by the library `aedat` (`pip install aedat`); `camera` chooses a stream"
SIZE = "the header"
MAGIC = b"#!AER-DAT4"
CHILD = Path(__file__).with_name("decode_aedat4.py")
LARGEST_PACKET = 1 << 28
"""Events that one packet may hold."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as AEDAT 4 does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If the library is not installed, or cannot make sense of the file's header.
    """
    if importlib.util.find_spec("aedat") is None:
        raise RecordingError(f"{path} is AEDAT 4; to read it install the library aedat: pip install aedat")
    messages = _messages(path, options.camera)
    _, head, _ = next(messages)
    events = sorted((int(number), facts) for number, facts in head["streams"].items() if facts["type"] == "events")
    if not events:
        raise RecordingError(f"{path} holds no stream of events")
    if options.camera is not None:
        others = ", ".join(f"{number}" for number, _ in events)
        events = [item for item in events if str(item[0]) == options.camera.strip()]
        if not events:
            raise OptionError(f"{path}: `camera={options.camera}` is no stream of events; it has {others}")
    width, height = int(events[0][1]["width"]), int(events[0][1]["height"])
    size = Size(width, height, "the header") if width > 0 and height > 0 else None
    others = ", ".join(f"{number}" for number, _ in events[1:])
    chosen = f"of several streams of events, stream {events[0][0]} is read, not {others}; `camera` chooses"
    notes = (chosen,) if others else ()
    end = lost_end(path)
    if end == NO_TABLE:
        return Stream(NAME, path, size, _pieces(path, messages), (*notes, NO_TABLE))
    return Stream(NAME, path, size, _pieces(path, messages, end), notes)


def _pieces(path: Path, messages: Iterator[tuple[str, Any, bytes]], lost: str = "") -> Iterator[Piece]:
    skipped: dict[str, int] = {}
    for kind, fact, body in messages:
        if kind == "skip":
            skipped[fact["what"]] = skipped.get(fact["what"], 0) + int(fact["number"])
        elif kind == "cut":
            yield empty_piece(skipped, cut="a damaged packet")
            return
        elif kind == "events":
            n = int(fact["number"])
            t = np.frombuffer(body, np.int64, n)
            x, y = (np.frombuffer(body, np.uint16, n, offset) for offset in (8 * n, 10 * n))
            if n and int(t.min()) < 0:
                raise RecordingError(f"{path} holds times of more than 63 bits; it is damaged")
            yield Piece(t, x, y, np.frombuffer(body, np.uint8, n, 12 * n))
    yield empty_piece(skipped, cut=lost)


def _messages(path: Path, camera: str | None) -> Iterator[tuple[str, Any, bytes]]:
    """Yield what the child sends: kind, facts, and the bytes of the events; end the child whatever happens."""
    command = [sys.executable, "-P", str(CHILD), str(path), *([camera] if camera else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:  # noqa: S603 - our own
        assert child.stdout is not None
        try:
            yield from _facts(path, child.stdout)
        finally:
            child.kill()


def _facts(path: Path, pipe: IO[bytes]) -> Iterator[tuple[str, Any, bytes]]:
    ended = False
    while line := pipe.readline():
        fact = json.loads(line)
        if fact["kind"] == "error":
            raise RecordingError(f"{path} is a damaged AEDAT 4 file ({fact['what']}); copy it again")
        yield fact["kind"], fact, _body(pipe, fact)
        ended = fact["kind"] in ("end", "cut")
    if not ended:
        raise RecordingError(f"{path} is damaged: the library aedat broke down on it; copy it again")


def _body(pipe: IO[bytes], fact: dict[str, Any]) -> bytes:
    if fact["kind"] != "events":
        return b""
    wanted = 13 * int(fact["number"])
    assert wanted <= 13 * LARGEST_PACKET
    return pipe.read(wanted)
