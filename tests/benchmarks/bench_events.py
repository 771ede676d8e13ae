"""Time and memory of decoding and framing ten million events; not part of the tests.

Run: ``.venv/bin/python tests/benchmarks/bench_events.py [--events 10000000]``. Each case runs in a process of its own:
once to compile and warm up, then three times, of which the best counts. Peak memory is the process's largest resident
set, less that before the file is opened.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = {"aedat2": (128, 128), "aedat3": (128, 128), "evt3": (1280, 720), "evt2": (1280, 720), "dat": (1280, 720)}
LIMITS = {"aedat2": 1.5, "aedat3": 1.5, "evt3": 2.0}
"""Seconds that the project promises."""

DECODED = 13
"""Bytes of a decoded event: time 8, x and y 2 each, polarity 1."""


def main() -> None:
    """Write a file of each format, and print a line about each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--case", nargs=2, metavar=("FORMAT", "FILE"), help="run one case (used by the script itself)")
    arguments = parser.parse_args()
    if arguments.case:
        print(*measure(*arguments.case))
        return
    print(f"{arguments.events:,} events, {platform.processor() or platform.machine()}, NumPy {np.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for name in SIZES:
            path = Path(folder) / f"events.{name}"
            path.write_bytes(content(name, arguments.events))
            done = subprocess.run(
                [sys.executable, __file__, "--case", name, str(path)], check=True, capture_output=True, text=True
            )
            read, framed, peak, count = done.stdout.split()
            total, ratio = float(read) + float(framed), float(peak) / (DECODED * int(count))
            limit = f", limit {LIMITS[name]} s" if name in LIMITS else ""
            print(
                f"{name:7} {int(count):,} events, {path.stat().st_size >> 20} MB: decoded {float(read):.3f} s, framed "
                f"{float(framed):.3f} s, together {total:.3f} s{limit}; peak memory {ratio:.2f} x decoded size"
            )
            path.unlink()


def measure(name: str, path: str) -> tuple[float, float, int, int]:
    """Return seconds to decode, seconds to frame, peak bytes, and the number of events."""
    from evsim.events import read
    from evsim.events.frames import to_frames

    width, height = SIZES[name]
    small = Path(path).with_suffix(".small")
    small.write_bytes(content(name, 1000))
    to_frames(read(small), 10, "number", height, width)
    before = resident()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        recording = read(path)
        decoded = time.perf_counter()
        frames = to_frames(recording, 10, "number", height, width)
        framed = time.perf_counter()
        assert int(frames.counts.sum()) == len(recording)
        times.append((decoded - start, framed - decoded, len(recording)))
        del recording, frames
    peak = resident() - before
    read_s, frame_s, count = min(times)
    return read_s, frame_s, peak, count


def resident() -> int:
    """Return the largest resident set so far in bytes (Linux); getrusage would tell that of the parent as well."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def content(name: str, n: int) -> bytes:
    """Return a file of about `n` random events."""
    rng = np.random.default_rng(0)
    width, height = SIZES[name]
    t = np.sort(rng.integers(0, 10_000_000, n)).astype(np.uint32)
    x, y = rng.integers(0, width, n).astype(np.uint32), rng.integers(0, height, n).astype(np.uint32)
    p = rng.integers(0, 2, n).astype(np.uint32)
    if name == "aedat2":
        header = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n#End Of ASCII Header\r\n"
        return header + np.stack([(127 - x) << 8 | (127 - y) << 1 | (1 - p), t], axis=1).astype(">u4").tobytes()
    if name == "aedat3":
        words = np.stack([x << 17 | y << 2 | p << 1 | 1, t], axis=1).astype("<u4")
        parts = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"]
        for begin in range(0, n, 300):  # about as many events per packet as DVS128 Gesture has
            number = min(300, n - begin)
            head = np.array([1 | 1 << 16, 8, 4, 0, number, number, number], "<i4")
            parts += [head.tobytes(), words[begin : begin + number].tobytes()]
        return b"".join(parts)
    if name == "dat":
        header = b"% Data file containing CD events.\n% Version 2\n% Height 720\n% Width 1280\n\x0c\x08"
        return header + np.stack([t, x | y << 14 | p << 28], axis=1).astype("<u4").tobytes()
    if name == "evt2":
        words = np.stack([8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y], axis=1).astype("<u4")
        return b"% evt 2.0\n% width 1280\n% height 720\n% end\n" + words.tobytes()
    vectors = n // 4  # half of the events alone, half in vectors: four words that give two events
    words = np.empty((vectors, 8), np.uint32)
    some = slice(0, vectors)
    words[:, 0], words[:, 1] = 8 << 12 | t[some] >> 12, 6 << 12 | t[some] & 0xFFF
    words[:, 2] = y[some]
    words[:, 3], words[:, 4] = 2 << 12 | p[some] << 11 | x[some], 2 << 12 | p[some] << 11 | x[some] // 2
    words[:, 5] = 3 << 12 | p[some] << 11 | np.minimum(x[some], 1260)
    words[:, 6], words[:, 7] = 4 << 12 | 1 << rng.integers(0, 12, vectors), 5 << 12 | 1 << rng.integers(0, 8, vectors)
    return b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n" + words.astype("<u2").tobytes()


if __name__ == "__main__":
    main()
