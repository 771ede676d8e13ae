"""AEDAT 2.0: jAER's format, that of CIFAR10-DVS. Big-endian pairs of address and time behind a text header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evsim.errors import RecordingError
from evsim.events.binary import ReadOptions, column, pack
from evsim.events.types import Recording
from evsim.files import write_whole

NAME = "aedat2"
SUFFIXES = (".aedat",)
MAGIC = b"#!AER-DAT2.0"
END = b"#End Of ASCII Header"
CHIP = "ch.unizh.ini.jaer.chip.retina.DVS128"
DAVIS_SIZES = {"davis240": (240, 180), "davis346": (346, 260), "davis128": (128, 128), "davis640": (640, 480)}
LARGEST_HEADER = 4 << 20

HEADER = (
    "#!AER-DAT2.0\r\n"
    "# This is a raw AE data file - do not edit\r\n"
    "# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    "# Timestamps tick is 1 us\r\n"
    f"# AEChip: {CHIP}\r\n"
    "#End Of ASCII Header\r\n"
).encode()


def recognises(head: bytes) -> bool:
    """Whether a file begins as AEDAT 2.0 does."""
    return head.startswith(MAGIC)


def read(path: Path, options: ReadOptions) -> Recording:
    """Read a recording.

    Raises
    ------
    RecordingError
        If the file is truncated, or nothing tells the layout of its addresses.
    """
    offset, chip = _header(path)
    words, rest = column(path, offset, np.dtype([("address", ">u4"), ("time", ">u4")]), options)
    address, time = words["address"].astype(np.uint32), words["time"].astype(np.int64)
    notes: tuple[str, ...] = (f"{rest} bytes behind the last whole event were left out",) if rest else ()
    layout = options.layout
    if layout is None and chip:
        layout = "davis" if "davis" in chip.lower() else "dvs128"
    if layout is None:
        if len(address) and int(address.max()) >= 2**15:
            raise RecordingError(
                f"{path} does not name its chip, and its addresses are not a DVS128's; give --layout dvs128 or davis"
            )
        layout = "dvs128"
        notes += ("the header names no chip; all addresses are a DVS128's",)
    if layout == "davis":
        return _davis(path, address, time, chip, notes)
    special = (address & 0x8000) != 0
    kept = address[~special]
    x_raw, y_raw = (kept & 0xFE) >> 1, (kept & 0x7F00) >> 8
    on = 1 - (kept & 1)
    x, y, p = {
        "spikingjelly": (127 - y_raw, 127 - x_raw, on),
        "jaer": (127 - x_raw, 127 - y_raw, on),
        "raw": (x_raw, y_raw, kept & 1),
    }[options.orientation]
    skipped = {"special events": int(special.sum())} if special.any() else {}
    return pack((time[~special], x, y, p), (128, 128, "the DVS128"), NAME, path, skipped, notes)


def write(recording: Recording, path: str | Path) -> None:
    """Write a DVS128 recording so that SpikingJelly's loader sees it upright.

    Raises
    ------
    RecordingError
        If its sensor is larger than a DVS128's, or its times exceed 32 bits.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if recording.width > 128 or recording.height > 128:
        raise RecordingError(
            f"AEDAT 2.0 of a DVS128 holds 128 x 128 pixels, not {recording.width} x {recording.height}"
        )
    if len(recording) and (int(recording.t.min()) < 0 or int(recording.t.max()) >= 2**32):
        raise RecordingError("AEDAT 2.0 holds times from 0 to 2^32 - 1 us")
    words = np.empty((len(recording), 2), ">u4")
    x, y, p = (values.astype(np.uint32) for values in (recording.x, recording.y, recording.p))
    words[:, 0] = (127 - x) << 8 | (127 - y) << 1 | (1 - p)
    words[:, 1] = recording.t
    write_whole(path, HEADER + words.tobytes())


def _header(path: Path) -> tuple[int, str]:
    """Return where the events begin, and the chip that the header names, or ""."""
    chip, offset = "", 0
    with path.open("rb") as file:
        while offset < LARGEST_HEADER:
            line = file.readline(LARGEST_HEADER)
            if not line.startswith(b"#"):
                return offset, chip
            offset += len(line)
            if line.startswith(b"# AEChip:"):
                chip = line.split(b":", 1)[1].strip().decode("ascii", "replace")
            if line.startswith(END):
                return offset, chip
    raise RecordingError(f"{path}: its header is longer than {LARGEST_HEADER >> 20} MB; this is no AEDAT 2.0 file")


def _davis(path: Path, address: np.ndarray, time: np.ndarray, chip: str, notes: tuple[str, ...]) -> Recording:
    frame, external = (address >> 31) != 0, (address & 0x400) != 0
    events = ~frame & ~external
    kept = address[events]
    x, y, p = (kept >> 12) & 0x3FF, (kept >> 22) & 0x1FF, (kept >> 11) & 1
    sizes = [size for name, size in DAVIS_SIZES.items() if name in chip.lower()]
    if sizes:
        size = (*sizes[0], "AEChip in the header")
    else:
        from evsim.events.binary import greatest

        size = greatest(x, y)
    skipped = {"APS and IMU words": int(frame.sum()), "external events": int((external & ~frame).sum())}
    skipped = {kind: number for kind, number in skipped.items() if number}
    return pack((time[events], x, y, p), size, NAME, path, skipped, notes)
