"""Child process of `evsim.events.aedat4`: the library `aedat` decodes a file, a pipe takes its events.

Run as ``python -P decode_aedat4.py FILE [STREAM]``. On standard output: lines of JSON; behind one of kind
"events" follow the columns t (int64), x, y (uint16) and p (uint8).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import aedat
import numpy as np

LARGEST_MEMORY = 6 << 30
"""Address space of this process: a damaged packet may claim any size."""

KINDS = {"frame": "frames", "imus": "IMU samples", "triggers": "triggers"}


def main(path: str, stream: str = "") -> None:
    """Decode a file onto standard output."""
    _limit_memory()
    try:
        decoder = aedat.Decoder(path)
        streams = decoder.id_to_stream()
    except (RuntimeError, ValueError, OSError) as error:
        _send({"kind": "error", "what": str(error)})
        return
    _send({"kind": "head", "streams": {str(number): facts for number, facts in streams.items()}})
    chosen = min((number for number, facts in streams.items() if facts["type"] == "events"), default=None)
    if stream.strip().isdecimal():
        chosen = int(stream)
    try:
        for packet in decoder:
            _send_packet(packet, chosen)
    except (RuntimeError, ValueError, OSError) as error:
        _send({"kind": "cut", "what": str(error)})
        return
    _send({"kind": "end"})


def _send_packet(packet: dict[str, Any], chosen: int | None) -> None:
    for key, what in KINDS.items():
        if key in packet:
            _send({"kind": "skip", "what": what, "number": 1 if key == "frame" else len(packet[key])})
    if "events" not in packet:
        return
    events = packet["events"]
    if packet["stream_id"] != chosen:
        _send({"kind": "skip", "what": "events of other streams", "number": len(events)})
        return
    _send({"kind": "events", "number": len(events)})
    for key, dtype in (("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("on", np.uint8)):
        sys.stdout.buffer.write(np.ascontiguousarray(events[key], dtype).tobytes())


def _send(fact: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(fact).encode() + b"\n")
    if fact["kind"] != "events":
        sys.stdout.buffer.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = LARGEST_MEMORY if hard == resource.RLIM_INFINITY else min(LARGEST_MEMORY, hard)
    if soft == resource.RLIM_INFINITY or soft > limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main(*sys.argv[1:3])
