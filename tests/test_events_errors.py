"""Damaged, truncated, hostile and misread files: one clear line, never a wrong answer."""

from __future__ import annotations

import io
import struct
import zipfile

import event_files as files
import h5py
import numpy as np
import pytest

from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions, read
from evsim.events.options import Bound, parse_options
from evsim.events.summary import summarise

FOUR = ([1, 2, 3, 4], [10, 20, 30, 40], [5, 6, 7, 8], [1, 0, 0, 1])
WRITTEN = {
    "aedat2.aedat": files.aedat2_dvs128(*FOUR),
    "davis.aedat": files.aedat2_davis(*FOUR),
    "a.bin": files.atis(*FOUR),
    "a.dat": files.dat(*FOUR),
    "evt2.raw": files.evt2(*FOUR),
    "evt3.raw": files.evt3(*FOUR),
}


def write(folder, name, content):
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", WRITTEN)
def test_truncated(name, tmp_path):
    """A cut file is an error that counts its whole events; `allow_truncated` reads them and says what was left out."""
    path = write(tmp_path, name, WRITTEN[name] + b"\0")
    with pytest.raises(RecordingError, match=r"truncated: 4 whole events, then 1 bytes of another .*`allow_truncated"):
        read(path)
    recording = read(path, ReadOptions(allow_truncated=True))
    assert recording.t.tolist() == FOUR[0]
    said = "the file is truncated: after 4 whole events this is left out: 1 bytes of another"
    assert any(said in note for note in recording.notes)


@pytest.mark.parametrize(("cut", "whole"), [(1, 3), (8, 3), (15, 2), (30, 2), (60, 2), (90, 1)])
def test_truncated_aedat3(tmp_path, cut, whole):
    """AEDAT 3.1 cut within a packet or a packet's header is an error that counts whole events."""
    content = files.aedat3(*FOUR, per_packet=2)
    body = content[: content.rindex(struct.pack("<hhi", 2, 1, 5))][:-8]  # without the last frames and spare capacity
    path = write(tmp_path, "a.aedat", body[:-cut])
    with pytest.raises(RecordingError, match=rf"truncated: {whole} whole events"):
        read(path)
    assert len(read(path, ReadOptions(allow_truncated=True))) == whole


@pytest.mark.parametrize("name", ["faery_none.aedat4", "faery_lz4.aedat4", "faery_zstd.aedat4"])
def test_truncated_aedat4(name, tmp_path):
    """AEDAT 4 cut within a packet is an error, as is one cut within its header."""
    content = (files.OWN / name).read_bytes()
    half = write(tmp_path, "half.aedat4", content[: len(content) // 2])
    with pytest.raises(RecordingError, match=r"truncated: 0 whole events, then a damaged packet; copy it again$"):
        read(half)  # nothing is there for `allow_truncated` to read
    assert len(read(half, ReadOptions(allow_truncated=True))) == 0
    with pytest.raises(RecordingError, match="damaged AEDAT 4"):
        read(write(tmp_path, "head.aedat4", content[:200]))


def test_empty_and_missing(tmp_path):
    """An empty file, a folder, a missing file and one without leave are errors that name the path."""
    with pytest.raises(RecordingError, match="is empty"):
        read(write(tmp_path, "a.aedat", b""))
    with pytest.raises(RecordingError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(RecordingError, match=r"missing\.aedat does not exist"):
        read(tmp_path / "missing.aedat")
    with pytest.raises(RecordingError, match="is a device, no regular file"):
        read("/dev/zero")


def test_header_only_is_a_recording_without_events(tmp_path):
    """A header without events reads as none, in every format that has a header."""
    none = ([], [], [], [])
    for name, content in (
        ("a.aedat", files.DAVIS), ("b.aedat", files.DVS128), ("c.aedat", files.AEDAT3),
        ("d.raw", b"% evt 3.0\n% end\n"), ("e.dat", files.dat(*none)),
        ("f.npz", files.npz(*none)), ("g.h5", files.hdf5(*none)),
    ):  # fmt: skip
        summary = summarise(write(tmp_path, name, content))
        assert (summary.count, summary.first, summary.t_min) == (0, None, None)
        assert summary.digest == files.digest([], [], [], [])


def test_time_backward_is_said(tmp_path):
    """Shuffled events are read as they stand; a note counts the steps back, across pieces too."""
    path = write(tmp_path, "a.aedat", files.aedat2_dvs128([5, 3, 4, 1], *FOUR[1:]))
    recording = read(path)
    assert recording.t.tolist() == [5, 3, 4, 1]
    assert recording.notes == ("time runs backward 2 times",)


def test_wrong_byte_order(tmp_path):
    """Files of the other byte order are errors, or their time runs backward and that is said."""
    rng = np.random.default_rng(1)
    n = 50
    t = np.sort(rng.integers(0, 10**6, n)).tolist()
    x, y, p = (rng.integers(1, high, n).tolist() for high in (100, 100, 2))
    dvs = files.aedat2_dvs128(t, x, y, p)
    swapped = files.DVS128 + np.frombuffer(dvs[len(files.DVS128) :], ">u4").astype("<u4").tobytes()
    with pytest.raises(RecordingError, match="more than 16 bits"):
        read(write(tmp_path, "a.aedat", swapped))
    three = files.aedat3(t, x, y, p)
    body = np.frombuffer(three[len(files.AEDAT3) :][: 28 + 24], "<u4").astype(">u4").tobytes()
    with pytest.raises(RecordingError, match="makes no sense"):
        read(write(tmp_path, "b.aedat", files.AEDAT3 + body))
    header = b"% Version 2\n\x0c\x08"
    payload = files.dat(t, x, y, p, header=b"")
    with pytest.raises(RecordingError, match="bits that DAT leaves free"):
        read(write(tmp_path, "c.dat", header + np.frombuffer(payload, "<u4").astype(">u4").tobytes()))
    davis = files.aedat2_davis(t, x, y, p)
    swapped = files.DAVIS + np.frombuffer(davis[len(files.DAVIS) :], ">u4").astype("<u4").tobytes()
    with pytest.raises(RecordingError, match="outside its sensor"):
        read(write(tmp_path, "d.aedat", swapped))


def test_huge_header(tmp_path):
    """A header of 175 kB is read; one of more than any real header, or that never ends, is an error."""
    long = files.DVS128 + b"#" + b"x" * 175_000 + b"\r\n" + b"#End Of ASCII Header\r\n"
    assert read(write(tmp_path, "a.aedat", files.aedat2_dvs128(*FOUR, header=long))).t.tolist() == FOUR[0]
    lines = files.DVS128 + b"# comment\n" * 500_000
    for name, start in (("b.aedat", lines), ("c.aedat", files.DVS128 + b"#" + b"x" * (5 << 20))):
        with pytest.raises(RecordingError, match="header is longer than 4 MB"):
            read(write(tmp_path, name, start))
    with pytest.raises(RecordingError, match="header is longer than 4 MB"):
        read(write(tmp_path, "d.raw", b"% evt 3.0\n" + b"% more\n" * 700_000))


def test_outside_the_sensor(tmp_path):
    """Events outside the sensor of the header or of --sensor are an error that says where it came from."""
    with pytest.raises(RecordingError, match=r"x 240, y 5, outside its sensor of 240 x 180 \(AEChip"):
        read(write(tmp_path, "a.aedat", files.aedat2_davis([1], [240], [5], [1])))
    with pytest.raises(RecordingError, match=r"outside its sensor of 128 x 128 \(Source"):
        read(write(tmp_path, "b.aedat", files.aedat3([1], [128], [5], [1])))
    path = write(tmp_path, "c.bin", files.atis([1], [33], [12], [1]))
    with pytest.raises(RecordingError, match=r"outside its sensor of 33 x 34 \(the option sensor\)"):
        read(path, ReadOptions(sensor=(33, 34)))
    assert read(path, ReadOptions(sensor=(34, 34))).size_known


def test_packets_that_claim_too_much(tmp_path):
    """AEDAT 3.1 packets of negative, contradictory or gigantic sizes are errors and allocate nothing."""
    for values in (
        (1, 1, -8, 4, 0, 5, 5, 5),
        (1, 1, 8, 4, 0, 1, 5, 5),
        (1, 1, 8, 4, -1, 1, 1, 1),
        (1, 1, 8, 4, 0, 5, -5, 5),
    ):
        with pytest.raises(RecordingError, match="makes no sense"):
            read(write(tmp_path, "a.aedat", files.AEDAT3 + struct.pack("<hhiiiiii", *values) + b"\0" * 40))
    huge = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 2**31 - 1, 2**31 - 1, 5) + struct.pack("<II", 3, 7)
    with pytest.raises(RecordingError, match="truncated: 1 whole events"):
        read(write(tmp_path, "b.aedat", files.AEDAT3 + huge))


def test_headers_of_other_versions(tmp_path):
    """Versions and kinds that evsim does not read are named."""
    for name, content, words in (
        ("a.aedat", b"#!AER-DAT3.0\r\n#!END-HEADER\r\n", "not of AEDAT 3.1"),
        ("b.aedat", b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "lacks the line #!END-HEADER"),
        ("c.raw", b"% evt 2.1\n% end\n" + b"\0" * 8, r"EVT 2\.1; evsim reads"),
        ("d.raw", b"% format EVT21;height=720;width=1280\n% end\n" + b"\0" * 8, r"EVT 2\.1"),
        ("e.dat", b"% Version 1\n\x00\x08", "DAT version 1"),
        ("f.dat", b"% Version 2\n\x0e\x08", "events of type 14"),
        ("g.dat", b"% Version 2\n\x0c", "ends within its header"),
        ("h.aedat", b"#!AER-DAT2.0\r\n# AEChip: DVXplorer\r\n", "chip DVXplorer, which evsim does not know"),
    ):
        with pytest.raises(RecordingError, match=words):
            read(write(tmp_path, name, content))


def test_evt3_of_nothing_known(tmp_path):
    """EVT3 of mostly unknown words, or a vector past the last column, is an error; early events are said."""
    with pytest.raises(RecordingError, match="no known kind"):
        read(write(tmp_path, "a.raw", b"% evt 3.0\n" + struct.pack("<4H", *[0x9000] * 4)))
    with pytest.raises(RecordingError, match="past column 2047"):
        read(write(tmp_path, "b.raw", b"% evt 3.0\n" + struct.pack("<2H", 3 << 12 | 2040, 4 << 12 | 0xFFF)))
    early = read(write(tmp_path, "c.raw", b"% evt 3.0\n" + struct.pack("<2H", 2 << 12 | 7, 8 << 12 | 1)))
    assert any("before the first whole time" in note for note in early.notes)


def test_npz_that_is_no_recording(tmp_path):
    """Missing arrays, other types, other lengths and values out of range are errors."""
    good = {"t": FOUR[0], "x": FOUR[1], "y": FOUR[2], "p": FOUR[3]}
    for change, words in (
        ({"p": None}, "lacks p"), ({"x": [1, 2]}, r"x has shape \[2\]"), ({"x": [0.5] * 4}, "no whole"),
        ({"x": [-1, 1, 1, 1]}, "x has values outside 0 .. 65535"), ({"y": [70_000] * 4}, "y has values outside"),
        ({"p": [2] * 4}, "p has values outside"), ({"p": [0, -1, 0, 1]}, "p holds 0 and -1"),
        ({"t": [float("nan")] * 4}, "4 times are NaN"), ({"t": np.full(4, 2**64 - 1, np.uint64)}, "t has values"),
        ({"t": np.array(["a"] * 4)}, "t has shape"), ({"t": [[1], [2], [3], [4]]}, "t has shape"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        np.savez(buffer, **{key: values for key, values in (good | change).items() if values is not None})
        with pytest.raises(RecordingError, match=words):
            read(write(tmp_path, "a.npz", buffer.getvalue()))
    with pytest.raises(RecordingError, match="damaged"):
        read(write(tmp_path, "b.npz", files.npz(*FOUR)[:-30]))
    buffer = io.BytesIO()
    np.savez(buffer, t=np.array([{}] * 4, object), x=[1] * 4, y=[1] * 4, p=[1] * 4)
    with pytest.raises(RecordingError, match="t has shape"):
        read(write(tmp_path, "c.npz", buffer.getvalue()))


def test_zip_bomb(tmp_path):
    """An .npz that claims far more than it holds is refused before anything is unpacked; so is a lying header."""
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 22,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in "txyp":
            archive.writestr(f"{key}.npy", header.getvalue() + bytes(8 << 22))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(RecordingError, match="zip bomb"):
        read(path)
    lying = tmp_path / "lying.npz"
    with zipfile.ZipFile(lying, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in "txyp":
            archive.writestr(f"{key}.npy", header.getvalue() + bytes(80))
    with pytest.raises(RecordingError, match="another length than its header says"):
        read(lying)


def test_hdf5_that_is_no_recording(tmp_path):
    """HDF5 without or with several recordings, or whose datasets were never written, is an error."""
    with pytest.raises(
        RecordingError, match="no group with the datasets t, x, y and p, nor a table of events; it holds other"
    ):
        read(write(tmp_path, "a.h5", _hdf5({"other": [1]})))
    two = {f"{side}/{key}": values for side in ("left", "right") for key, values in zip("txyp", FOUR, strict=True)}
    with pytest.raises(RecordingError, match="several recordings"):
        read(write(tmp_path, "b.h5", _hdf5(two)))
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        for key in "txyp":
            file.create_dataset(key, (1 << 40,), "i8", chunks=(1 << 16,))
    with pytest.raises(RecordingError, match="more than the file can hold"):
        read(path)
    with pytest.raises(RecordingError, match="damaged HDF5"):
        read(write(tmp_path, "d.h5", files.hdf5(*FOUR)[:600]))


def _hdf5(datasets):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return buffer.getvalue()


def test_files_that_hold_no_events(tmp_path):
    """Arrays and pictures are no recordings, and the message says what to do with them."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 4, 4)))
    with pytest.raises(RecordingError, match="holds an array"):
        read(write(tmp_path, "a.npy", buffer.getvalue()))
    with pytest.raises(RecordingError, match="evsim record"):
        read(write(tmp_path, "a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 20))


def test_options_as_typed():
    """Times, event numbers, sizes and contradictions are read as people type them."""
    options = parse_options(start="1.5ms", stop="2000ev", sensor="346x260", fit="bin", orientation=None)
    assert (options.start, options.stop) == (Bound(1500, "us"), Bound(2000, "event"))
    assert (options.sensor, options.fit) == ((346, 260), "bin")
    assert parse_options(split="duration", duration="0.1s").duration_us == 100_000
    for typed, words in (
        ({"start": "soon"}, "`start` takes a time"), ({"stop": "-5"}, "`stop` takes a time"),
        ({"sensor": "10"}, "`sensor` takes width x height"), ({"sensor": "0x5"}, "1 to 65536"),
        ({"orientation": "up"}, "`orientation` must be one of spikingjelly, jaer, raw"), ({"fit": "no"}, "`fit` must"),
        ({"split": "half"}, "`split` must"), ({"split": "duration"}, "give `duration`"),
        ({"duration": "5"}, "`split=duration`"),
        ({"split": "duration", "duration": "0"}, "at least 1 us"), ({"trials": "a.csv"}, "by `trial`"),
        ({"trial": 1, "start": "5"}, "leave out `start`"), ({"start": "9" * 30}, "too large"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=words):
            parse_options(**typed)


def test_label_csv(tmp_path):
    """A label csv that is missing, not of numbers, or of other columns is an error that names it."""
    path = write(tmp_path, "u.aedat", files.aedat3(*FOUR))
    with pytest.raises(OptionError, match=r"u_labels\.csv does not exist"):
        read(path, ReadOptions(trial=1))
    for text in ("class,start,end\n1,2\n", "class,start,end\na,b,c\n", "class,start,end\n1,9,2\n"):
        table = tmp_path / "labels.csv"
        table.write_text(text)
        with pytest.raises(OptionError, match="no label csv of trials"):
            read(path, ReadOptions(trial=1, trials=str(table)))


@pytest.mark.parametrize("shape", ["(True, 4)", "(1.0, 4)", "(-1, 4)", "(" * 3000, "(9" * 2, "('4',)"])
def test_shape_of_npy(shape, tmp_path):
    """A shape that is none, a truth value for a number among them, is one line that names the file."""
    header = f"{{'descr':'<i8','fortran_order':False,'shape':{shape}}}".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(256)
    with pytest.raises(RecordingError, match=r"a\.npy is no \.npy file of numbers, or damaged"):
        read(write(tmp_path, "a.npy", content))
