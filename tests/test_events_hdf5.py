"""Event HDF5 by way of the one opener: types and links as writers make them, MATLAB 7.3, and nothing left open."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from pathlib import Path

import event_files as files
import h5py
import numpy as np
import pytest
from commands import refused
from test_events_errors import FOUR, write

from evsim.errors import RecordingError
from evsim.events import ReadOptions, open_stream, read
from evsim.events.types import PIECE
from evsim.hdf5 import File

ROOT = Path(__file__).resolve().parents[1]
POLARITY = h5py.enum_dtype({"OFF": 0, "ON": 1}, "u1")


def columns(recording):
    """Return t, x, y and p as lists."""
    return tuple(getattr(recording, key).tolist() for key in "txyp")


def stored(path, block=0, attrs=None, **datasets):
    """Write an HDF5 file; ``__`` parts groups."""
    with h5py.File(path, "w", userblock_size=block) as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
        file.attrs.update(attrs or {})
    return path


def test_one_place_opens_hdf5():
    """Nothing in the three packages imports h5py but the opener and its child process."""
    using = {
        str(path.relative_to(ROOT))
        for room in ("evsim", "converters", "cli")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"^\s*(import|from) h5py|importlib.*h5py", path.read_text(), re.MULTILINE)
    }
    assert using == {"evsim/hdf5.py", "evsim/hdf5_child.py", "evsim/hdf5_space.py"}
    for name in ("hdf5.py", "hdf5_space.py"):
        opened = re.findall(r"h5py\.File\((\w+), \"(\w+)\"", (ROOT / "evsim" / name).read_text())
        assert [mode for _, mode in opened] == ["w"], "to write, in memory"


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]),
        np.dtype({"names": list("xypt"), "formats": [">u2", "<u2", "?", "<f8"], "offsets": [2, 8, 12, 16]}),
        np.dtype(
            [("t", "<u4"), ("more", [("a", "<f4"), ("b", "u1", (2,))]), ("x", "u1"), ("y", "u1"), ("p", POLARITY)]
        ),
    ],
    ids=["metavision", "padded", "nested"],
)
def test_tables_of_any_layout(tmp_path, dtype, compression):
    """Compound types with gaps, other byte orders, enumerations, booleans and nested fields read field by field."""
    rows = np.zeros(4, dtype)
    for key, values in zip("txyp", FOUR, strict=True):
        rows[key] = values
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("CD/events", data=rows, dtype=dtype, compression=compression)
        file["CD/indexes"] = np.zeros(3, [("id", "<u8"), ("ts", "<i8")])
    assert columns(read(tmp_path / "a.h5")) == FOUR
    with File(tmp_path / "a.h5", RecordingError) as file:
        np.testing.assert_array_equal(file.read("CD/events", 1, 3)["t"], rows["t"][1:3])


def test_types_that_numpy_lacks_do_not_disturb(tmp_path):
    """Datasets and attributes of such types beside the events are passed over; as a column they are refused."""
    with h5py.File(stored(tmp_path / "a.h5", **dict(zip("txyp", FOUR, strict=True))), "a") as file:
        time = h5py.h5t.UNIX_D32LE
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"odd", time, space)
        h5py.h5a.create(file.id, b"odd", time, h5py.h5s.create(h5py.h5s.SCALAR))
        file.create_dataset("words", data=["a", "b"], dtype=h5py.string_dtype())
        file["reference"] = file["t"].ref
    assert columns(read(tmp_path / "a.h5")) == FOUR
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["x"]
        file.create_dataset("x", data=["a"] * 4, dtype=h5py.string_dtype())
    with pytest.raises(RecordingError, match=r"a\.h5: x has shape \[4\] of object, wanted \[4\] of whole numbers"):
        read(tmp_path / "a.h5")


def test_links_to_one_recording_are_one(tmp_path):
    """Events that stand in a file by several names are one recording, which each of the names chooses."""
    rows = np.zeros(4, [(key, "<i8") for key in "txyp"])
    for key, values in zip("txyp", FOUR, strict=True):
        rows[key] = values
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["left/events"] = rows
        file["right/events"] = file["left/events"]
        file["newest"] = h5py.SoftLink("/left/events")
    for camera in (None, "left", "right", "newest"):
        assert columns(read(tmp_path / "a.h5", ReadOptions(camera=camera))) == FOUR
    with h5py.File(
        stored(tmp_path / "b.h5", **dict(zip(("e__t", "e__x", "e__y", "e__p"), FOUR, strict=True))), "a"
    ) as file:
        for key in "txyp":
            file[key] = h5py.SoftLink(f"e/{key}")
    assert columns(read(tmp_path / "b.h5")) == FOUR


def test_many_recordings_are_not_all_listed(tmp_path):
    """A file of 300 recordings names some, escaped, and says how many more there are."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for i in range(300):
            for key in "txyp":
                file[f"\x1b{i:03}/{key}"] = np.zeros(1, np.uint8)
    text = refused("events", path)
    assert "several recordings (\\x1b000, \\x1b001" in text
    assert "and 292 more" in text
    assert len(text) < 600


def test_sizes_of_any_text(tmp_path):
    """The sensor size is read from texts of fixed and of any length, and from a calibration beside the columns."""
    four = dict(zip("txyp", FOUR, strict=True))
    for name, more in (
        ("bytes", {"attrs": {"geometry": np.bytes_("640x480")}}), ("text", {"attrs": {"geometry": "640x480"}}),
        ("calib", {"calib__resolution": np.array([640, 480])}),
    ):  # fmt: skip
        recording = read(stored(tmp_path / f"{name}.h5", **four, **more))
        assert (recording.width, recording.height, recording.size_known) == (640, 480, True)
    for name, more in (
        ("number", {"attrs": {"geometry": 640}}), ("words", {"attrs": {"geometry": "largexsmall"}}),
        ("minus", {"calib__resolution": np.array([-640, 480])}), ("three", {"calib__resolution": np.array([1, 2, 3])}),
    ):  # fmt: skip
        assert not read(stored(tmp_path / f"{name}.h5", **four, **more)).size_known
    with pytest.raises(RecordingError, match="t_offset is no whole number"):
        read(stored(tmp_path / "offset.h5", **four, t_offset=0.5))
    with pytest.raises(RecordingError, match="t_offset is no whole number"):
        read(stored(tmp_path / "offsets.h5", **four, t_offset=np.array([1, 2])))


@pytest.mark.parametrize("place", ["", "TD__"])
@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_matlab_7_3(tmp_path, place, shape):
    """Vectors that MATLAB 7.3 stored, as matrices of one row, read as those of MATLAB 5 do, in a struct or not."""
    values = [np.array(column, np.float64).reshape(shape) for column in FOUR]
    names = [f"{place}{name}" for name in ("ts", "x", "y", "pol")]
    values[1:3] = [values[1] + 1, values[2] + 1]
    path = stored(tmp_path / "a.mat", 512, **dict(zip(names, values, strict=True)))
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2IM")
    recording = read(path)
    assert columns(recording) == FOUR
    assert recording.format == "mat"
    assert any("taken to count from 1" in note for note in recording.notes)
    with h5py.File(path, "a") as file:
        del file[names[1].replace("__", "/")]
        file[names[1].replace("__", "/")] = np.zeros((2, 2))
    with pytest.raises(RecordingError, match=r"a\.mat: x has shape \[2, 2\]"):
        read(path)


def test_columns_of_one_row_are_matlabs_alone(tmp_path):
    """Other writers' matrices are no columns."""
    path = stored(tmp_path / "a.h5", **{key: np.array([values]) for key, values in zip("txyp", FOUR, strict=True)})
    with pytest.raises(RecordingError, match=r"t has shape \[1, 4\]"):
        read(path)


def test_large_blocks_are_unpacked_once(tmp_path, monkeypatch):
    """A column compressed in one block of many pieces is read at a time, and given piece by piece."""
    n = 3 * PIECE + 5
    wanted = np.arange(n)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, values in zip("txyp", (wanted, wanted % 100, wanted % 7, wanted % 2), strict=True):
            file.create_dataset(key, data=values.astype(np.int32), chunks=(n,), compression="gzip", compression_opts=1)
    reads = []
    reading = File.read
    monkeypatch.setattr(File, "read", lambda file, name, *at: reads.append(name) or reading(file, name, *at))
    pieces = list(open_stream(tmp_path / "a.h5").pieces)
    assert reads == list("txyp")
    assert [len(piece.t) for piece in pieces] == [PIECE, PIECE, PIECE, 5]
    np.testing.assert_array_equal(np.concatenate([piece.t for piece in pieces]), wanted)
    np.testing.assert_array_equal(np.concatenate([piece.y for piece in pieces]), wanted % 7)


def test_an_unknown_codec_is_named(tmp_path):
    """A column of a codec that nobody knows says its number and where to look."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((4,))
        settings.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
        for key in "txyp":
            h5py.h5d.create(file.id, key.encode(), h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((4,)), settings)
    said = r"a\.h5: \w is compressed by the codec \(HDF5 filter 31999\), which is not installed; pip install hdf5plugin"
    with pytest.raises(RecordingError, match=said):
        read(tmp_path / "a.h5")


def children():
    """Return process numbers of all children of this process."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's list of processes")
def test_no_reader_leaves_a_process(tmp_path):
    """The child ends with the last piece, with a reader that stops early, with one never begun and with an error."""
    before = children()
    path = write(tmp_path, "a.h5", files.hdf5(*FOUR))
    stream = open_stream(path)
    assert len(children() - before) == 1
    assert sum(len(piece.t) for piece in stream.pieces) == 4
    assert children() == before
    open_stream(path)
    gc.collect()
    assert children() == before
    stream = open_stream(path)
    next(stream.pieces)
    stream.pieces.close()
    assert children() == before
    for column in ([0, 1, 2], ["a"] * 4):
        with pytest.raises(RecordingError):
            open_stream(stored(tmp_path / "b.h5", **dict(zip("txyp", (*FOUR[:3], column), strict=True))))
    assert children() == before


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's list of processes")
def test_a_crash_on_the_way_is_one_line(tmp_path):
    """libhdf5 that dies while it unpacks events is one line, like one that dies as it opens the file."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, values in zip("txyp", FOUR, strict=True):
            file.create_dataset(key, data=values, compression="gzip")
    before = children()
    stream = open_stream(tmp_path / "a.h5")
    (pid,) = children() - before
    os.kill(int(pid), signal.SIGSEGV)
    with pytest.raises(RecordingError, match=r"a\.h5 is damaged: the HDF5 library crashed \(SIGSEGV\); copy it again"):
        list(stream.pieces)
    assert children() == before
