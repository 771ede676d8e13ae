"""Plain NumPy twins of the readers: they write each format as its documents say, and import nothing of evsim."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path

import beside
import numpy as np

SHARED = beside.SHARED / "events"
"""Real recordings with golden facts, beside the checkout where present."""

OWN = Path(__file__).parent / "data" / "events"
"""Small recordings by independent writers, see make.py there."""

DVS128 = b"#!AER-DAT2.0\r\n# a comment\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
DAVIS = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n#End Of ASCII Header\r\n"
AEDAT3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def digest(t, x, y, p):
    """Return SHA-256 of the columns, one behind the other."""
    columns = (t, "<i8"), (x, "<u2"), (y, "<u2"), (p, "u1")
    return hashlib.sha256(b"".join(np.asarray(values).astype(dtype).tobytes() for values, dtype in columns)).hexdigest()


def aedat2_dvs128(t, x, y, p, header=DVS128, special=()):
    """Return a file that SpikingJelly's loader reads as these events; `special` are places of special words."""
    words = [
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in zip(t, x, y, p, strict=True)
    ]
    for place in special:
        words.insert(place, struct.pack(">II", 0x8001, 5))
    return header + b"".join(words)


def aedat2_davis(t, x, y, p, others=()):
    """Return a file of a DAVIS240C; `others` are places of an APS word and an external event."""
    words = [struct.pack(">II", y << 22 | x << 12 | p << 11, t) for t, x, y, p in zip(t, x, y, p, strict=True)]
    for place in others:
        words[place:place] = [struct.pack(">II", 0x8000_0003, 5), struct.pack(">II", 0x400, 6)]
    return DAVIS + b"".join(words)


def aedat3(t, x, y, p, per_packet=3, valid=None):
    """Return a file whose packets hold few events each and some capacity to spare, with a packet of frames between."""
    parts = [AEDAT3]
    valid = [1] * len(t) if valid is None else valid
    events = list(zip(t, x, y, p, valid, strict=True))
    while events:
        high = events[0][0] >> 31
        packet = []
        while events and len(packet) < per_packet and events[0][0] >> 31 == high:
            packet.append(events.pop(0))
        number = len(packet)
        parts.append(struct.pack("<hhiiiiii", 1, 1, 8, 4, high, number + 1, number, number))
        parts += [struct.pack("<II", x << 17 | y << 2 | p << 1 | v, t & 0x7FFF_FFFF) for t, x, y, p, v in packet]
        parts.append(b"\0" * 8)
        parts.append(struct.pack("<hhiiiiii", 2, 1, 5, 0, 0, 1, 1, 1) + b"frame")
    return b"".join(parts)


def atis(t, x, y, p):
    """Return a file in N-MNIST's layout."""
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for t, x, y, p in zip(t, x, y, p, strict=True))


def dat(t, x, y, p, header=b"% Data file containing CD events.\n% Version 2\n% Width 300\n% Height 200\n\x0c\x08"):
    """Return a Prophesee DAT of version 2."""
    return header + b"".join(
        struct.pack("<II", t, x | y << 14 | p << 28) for t, x, y, p in zip(t, x, y, p, strict=True)
    )


def evt2(t, x, y, p, header=b"% evt 2.0\n% end\n"):
    """Return a Prophesee RAW of EVT2, with a trigger at the end."""
    words, high = [], None
    for time, column, row, on in zip(t, x, y, p, strict=True):
        if time >> 6 != high:
            high = time >> 6
            words.append(8 << 28 | high)
        words.append(on << 28 | (time & 63) << 22 | column << 11 | row)
    return header + struct.pack(f"<{len(words) + 1}I", *words, 10 << 28)


def evt3(t, x, y, p, header=b"% evt 3.0\n% end\n"):
    """Return a Prophesee RAW of EVT3: events alone and, where neighbours allow, in vectors of 12 and 8."""
    words, high, low, row = [], None, None, None
    events = list(zip(t, x, y, p, strict=True))
    while events:
        time, column, line, on = events.pop(0)
        if time >> 12 & 0xFFF != high:
            high = time >> 12 & 0xFFF
            words.append(8 << 12 | high)
        if time & 0xFFF != low:
            low = time & 0xFFF
            words.append(6 << 12 | low)
        if line != row:
            row = line
            words.append(row)
        bits, last = 1, column
        while events and (events[0][0], events[0][2], events[0][3]) == (time, line, on) and last < events[0][1]:
            if events[0][1] - column >= 20:
                break
            last = events.pop(0)[1]
            bits |= 1 << last - column
        if bits == 1:
            words.append(2 << 12 | on << 11 | column)
        else:
            words += [3 << 12 | on << 11 | column, 4 << 12 | bits & 0xFFF, 5 << 12 | bits >> 12]
    return header + struct.pack(f"<{len(words) + 2}H", *words, 10 << 12, 14 << 12)


def npz(t, x, y, p, dtype=np.int64, **more):
    """Return SpikingJelly's .npz."""
    buffer = io.BytesIO()
    columns = {key: np.array(values, dtype) for key, values in (("t", t), ("x", x), ("y", y), ("p", p))}
    np.savez_compressed(buffer, **(columns | more))
    return buffer.getvalue()


def hdf5(t, x, y, p, group="events", **datasets):
    """Return an event HDF5."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        holder = file.require_group(group)
        for key, values in (("t", t), ("x", x), ("y", y), ("p", p)):
            holder[key] = np.asarray(values, np.int64 if not len(values) else None)
        for name, value in datasets.items():
            file[name] = value
    return buffer.getvalue()


def npy(array):
    """Return a ``.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def structured(t, x, y, p):
    """Return a ``.npy`` of the fields x, y, t and p."""
    array = np.zeros(len(t), [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
    for key, column in (("t", t), ("x", x), ("y", y), ("p", p)):
        array[key] = column
    return npy(array)


def npz_of(**arrays):
    """Return an ``.npz`` of any arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def text(t, x, y, p, head="", separator=" "):
    """Return lines of whole numbers."""
    return (head + "".join(separator.join(map(str, row)) + "\n" for row in zip(t, x, y, p, strict=True))).encode()


def mat(**variables):
    """Return a MATLAB 5 file, compressed as MATLAB does."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


def event_stream(t, x, y, p, width, height, kind=1):
    """Return an Event Stream, rows counted from the bottom, with a reset byte at the end."""
    content, clock = bytearray(b"Event Stream\x02\x00\x00" + bytes([kind]) + struct.pack("<HH", width, height)), 0
    for time, column, row, on in zip(t, x, y, p, strict=True):
        while time - clock >= 127:
            content.append(255)
            clock += 127
        content += struct.pack("<BHH", (time - clock) << 1 | on, column, height - 1 - row)
        clock = time
    return bytes(content) + b"\xfe"


def aedat1(t, x, y, p, header=b"#!AER-DAT1.0\r\n# a comment\r\n"):
    """Return AEDAT 1.0 that SpikingJelly's way of turning a DVS128 shows as these events."""
    return header + b"".join(
        struct.pack(">HI", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in zip(t, x, y, p, strict=True)
    )


def zipped(name, content):
    """Return a zip file of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()
