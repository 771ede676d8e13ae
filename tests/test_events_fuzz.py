"""Every reader on bytes that nobody wrote: an error of evsim or a recording within bounds, never anything else.

The harness is bounded: each format gets a fixed number of files, each a valid one with bytes changed, cut out or
doubled. Memory is watched by NumPy's own bounds: what is decoded never exceeds what the file can hold.
"""

from __future__ import annotations

import io
import tracemalloc

import event_files as files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evsim.errors import EvsimError
from evsim.events import ReadOptions, open_stream
from evsim.events.arrays import read_array
from evsim.events.frames import to_frames
from evsim.events.images import read_grey, read_picture
from evsim.events.reading import collect
from evsim.inputspec import InputSpec

N = 60
RNG = np.random.default_rng(7)
EVENTS = (
    np.sort(RNG.integers(0, 2**22, N)).tolist(),
    *(RNG.integers(0, high, N).tolist() for high in (100, 100, 2)),
)
SEEDS = {
    "dvs128.aedat": files.aedat2_dvs128(*EVENTS, special=[3]),
    "davis.aedat": files.aedat2_davis(*EVENTS, others=[4]),
    "three.aedat": files.aedat3(*EVENTS, per_packet=7),
    "a.bin": files.atis(*EVENTS),
    "a.dat": files.dat(*EVENTS),
    "evt2.raw": files.evt2(*EVENTS),
    "evt3.raw": files.evt3(*EVENTS),
    "a.npz": files.npz(*EVENTS),
    "a.h5": files.hdf5(*EVENTS),
    "a.es": files.event_stream(*EVENTS, width=100, height=100),
    "one.aedat": files.aedat1(*EVENTS),
    "a.mat": files.mat(**dict(zip(("ts", "x", "y", "pol"), map(np.array, EVENTS), strict=True))),
    "struct.mat": files.mat(TD=dict(zip("txyp", map(np.array, EVENTS), strict=True))),
    "a.txt": files.text(*EVENTS, head="100 100\n"),
    "a.csv": files.text(*EVENTS, head="t,x,y,p\n", separator=","),
    "a.npy": files.structured(*EVENTS),
    "a.zip": files.zipped("a.aedat", files.aedat2_dvs128(*EVENTS)),
    "table.npz": files.npz_of(events=np.stack([np.array(column) for column in EVENTS], axis=1)),
}
MOST_MEMORY = 96 << 20
"""Bytes that reading a file of a few kilobytes may take: the buffers of one piece of EVT3 are the largest."""

EVENTS_PER_BYTE = 6
"""A vector of EVT3 holds twelve events in two bytes; zip files hold more, and are bounded by what they claim."""


@st.composite
def damaged(draw, content):
    """Draw a file with some bytes changed, cut out or doubled; its start is hit more often than chance would."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        end = draw(st.sampled_from([64, 512, len(changed)]))
        place = draw(st.integers(0, max(0, min(end, len(changed)) - 1)))
        what = draw(st.sampled_from(["byte", "byte", "byte", "cut", "double", "ones"]))
        length = draw(st.integers(1, 40))
        if what == "byte" and changed:
            changed[place] = draw(st.integers(0, 255))
        elif what == "cut":
            del changed[place : place + length]
        elif what == "double":
            changed[place:place] = changed[place : place + length]
        else:
            changed[place : place + 4] = b"\xff" * 4
    return bytes(changed)


options = st.builds(
    ReadOptions,
    orientation=st.sampled_from([None, "jaer", "raw"]),
    layout=st.sampled_from([None, "dvs128", "davis"]),
    allow_truncated=st.booleans(),
    honour_validity=st.booleans(),
)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_recordings(name, tmp_path):
    """A damaged file reads as a recording within its bounds, or is an EvsimError; memory stays small."""
    path = tmp_path / name

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=damaged(SEEDS[name]), chosen=options)
    def check(content, chosen):
        path.write_bytes(content)
        tracemalloc.reset_peak()
        recording, message = attempt(lambda: collect(open_stream(path, chosen), chosen))
        assert message.isprintable()
        if recording is not None and len(recording):
            assert recording.x.max() < recording.width
            assert recording.y.max() < recording.height
            assert recording.p.max() <= 1
            if name not in ("a.npz", "a.h5"):
                assert len(recording) <= EVENTS_PER_BYTE * len(content)
            frames, _ = attempt(lambda: to_frames(recording, 4, "number", 128, 128, fit="bin"))
            assert frames is None or frames.counts.sum() == len(recording)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY

    tracemalloc.start()
    try:
        check()
    finally:
        tracemalloc.stop()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(["faery_none.aedat4", "faery_lz4.aedat4", "faery_zstd.aedat4"]))
def test_damaged_aedat4(data, name, tmp_path_factory):
    """A damaged AEDAT 4 file, on which the library may end its process, is an EvsimError or a recording."""
    path = tmp_path_factory.getbasetemp() / "damaged.aedat4"
    path.write_bytes(b"#!AER-DAT4" + data.draw(damaged((files.OWN / name).read_bytes()))[10:])
    chosen = ReadOptions(allow_truncated=True)
    recording, message = attempt(lambda: collect(open_stream(path, chosen), chosen))
    assert recording is None or len(recording) <= 2000
    assert not message or any(word in message for word in ("damaged", "outside", "stream of events"))


def picture(kind):
    """Return a picture as a file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def array():
    """Return frames as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ones((2, 3, 4, 5), np.float32))
    return buffer.getvalue()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "npy"]))
def test_damaged_pictures_and_arrays(data, kind, tmp_path_factory):
    """A damaged picture or array is an EvsimError, or reads with the shape that was asked for."""
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(data.draw(damaged(array() if kind == "npy" else picture(kind))) or b"x")
    spec = InputSpec("image", 3, 8, 8, 4, (0.5,) * 3, (0.5,) * 3)
    readers = (read_array,) if kind == "npy" else (read_grey, lambda p: read_picture(p, spec))
    for reader in readers:
        read_values, message = attempt(lambda read=reader: read(path))
        values = getattr(read_values, "values", read_values)
        assert values is None or values.size
        assert not message or any(word in message for word in ("damaged", "shape", "cannot be read"))


MARKS = (
    b"", b"#!AER-DAT2.0\r\n", b"#!AER-DAT3.1\r\n#!END-HEADER\r\n", b"% evt 3.0\n", b"% evt 2.0\n",
    b"% Version 2\n\x0c\x08", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"#!AER-DAT1.0\r\n", b"\x1f\x8b\x08",
    b"Event Stream\x02\x00\x00\x01\xff\x00\xff\x00", b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM",
    b"\x93NUMPY\x01\x00", b"1 2 3 1\n", b"t,x,y,p\n",
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), start=st.sampled_from(MARKS))
def test_noise_behind_every_mark(content, start, tmp_path_factory):
    """Random bytes behind each format's mark never raise anything but an EvsimError."""
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    path.write_bytes(start + content)
    for chosen in (ReadOptions(), ReadOptions(allow_truncated=True, layout="davis")):
        recording, message = attempt(lambda options=chosen: collect(open_stream(path, options), options))
        assert (recording is None) == bool(message)


def attempt(action):
    """Return what an action gives and "", or None and the message of its EvsimError."""
    try:
        return action(), ""
    except EvsimError as error:
        return None, str(error)
