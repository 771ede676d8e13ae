"""Nothing about a recording is assumed in silence: contradictions are errors, conventions and guesses are said."""

from __future__ import annotations

import io
import json
import struct

import event_files as files
import h5py
import numpy as np
import pytest
from beside import needed
from test_events_cli import call, fails, network
from typer.testing import CliRunner

from evsim import api, demo
from evsim.cli.main import app
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions, read
from evsim.events.frames import to_frames
from evsim.events.options import Bound
from evsim.events.types import GREATEST_INDEX, GREATEST_SELECTED
from evsim.inputspec import InputSpec

FOUR = ([1, 2, 3, 4], [10, 20, 30, 40], [5, 6, 7, 8], [1, 0, 0, 1])
DVS128_CHIP, DAVIS_CHIP = r"ch\.unizh\.ini\.jaer\.chip\.retina\.DVS128", r"eu\.seebetter\.ini\.chips\.davis\.DAVIS240C"


MODEL = demo.model_path()


def write(folder, name, content):
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content)
    return path


def columns(recording):
    """Return the columns of a recording as lists."""
    return tuple(column.tolist() for column in (recording.t, recording.x, recording.y, recording.p))


@pytest.mark.parametrize(
    ("content", "layout", "chip"),
    [(files.aedat2_dvs128(*FOUR), "davis", DVS128_CHIP), (files.aedat2_davis(*FOUR), "dvs128", DAVIS_CHIP)],
)
def test_layout_that_contradicts_the_header(tmp_path, content, layout, chip):
    """--layout other than that of the chip in the header is an error that names both; the same layout is none."""
    path = write(tmp_path, "a.aedat", content)
    with pytest.raises(OptionError, match=rf"`layout={layout}` contradicts the header of .*a\.aedat.* {chip}"):
        read(path, ReadOptions(layout=layout))
    assert f"--layout {layout} contradicts" in fails("events", path, "--layout", layout)
    right = "dvs128" if layout == "davis" else "davis"
    assert columns(read(path, ReadOptions(layout=right))) == FOUR


def test_sensor_that_differs_from_the_header_is_said(tmp_path):
    """--sensor goes before the size that a header names, and a note names both; the same size needs none."""
    path = write(tmp_path, "a.aedat", files.aedat3(*FOUR))
    recording = read(path, ReadOptions(sensor=(64, 32)))
    assert (recording.width, recording.height, recording.size_from) == (64, 32, "the option sensor")
    assert "`sensor=64x32` is taken, not 128 x 128 (Source in the header)" in recording.notes
    assert not read(path, ReadOptions(sensor=(128, 128))).notes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seconds_of_hdf5_are_said(tmp_path, dtype):
    """Float times of HDF5 below a million are taken for seconds, and a note says so, for a range too."""
    t = np.array([0.25, 0.5, 3.0, 3.5], dtype)
    path = write(tmp_path, "a.h5", files.hdf5(t, *FOUR[1:]))
    for options in (ReadOptions(), ReadOptions(stop=Bound(2, "event"))):
        recording = read(path, options)
        assert recording.t.tolist() == [250_000, 500_000, 3_000_000, 3_500_000][: len(recording)]
        (note,) = recording.notes
        assert f"{np.dtype(dtype)} up to 3.5, below a million, are taken for seconds" in note


@pytest.mark.parametrize(("t", "why"), [([1.0, 2.0, 3.0, 4.0], "all whole"), ([1.0, 2.0, 3.4, 1e6], "a million")])
def test_microseconds_of_hdf5_in_a_float_type_are_said(tmp_path, t, why):
    """Float times of HDF5 that are all whole, or reach a million, are microseconds as stored; a note says so."""
    recording = read(write(tmp_path, "a.h5", files.hdf5(np.array(t), *FOUR[1:])))
    assert recording.t.tolist() == [round(time) for time in t]
    (note,) = recording.notes
    assert "are taken for microseconds" in note
    assert why in note


def test_float_times_of_npz_are_microseconds(tmp_path):
    """SpikingJelly's .npz holds microseconds whatever the type; of a float type they are rounded, and that is said."""
    for t in ([1.0, 2.0, 3.0, 4.0], [0.6, 2.0, 3.2, 4.0]):
        recording = read(write(tmp_path, "a.npz", npz_of(t=np.array(t))))
        assert recording.t.tolist() == FOUR[0]
        assert any("float64 are taken for microseconds as SpikingJelly does, and rounded" in n for n in recording.notes)
    assert not read(write(tmp_path, "b.npz", files.npz(*FOUR))).notes


def npz_of(**changes):
    """Return SpikingJelly's .npz of four events, some arrays replaced."""
    buffer = io.BytesIO()
    np.savez(buffer, **(dict(zip("txyp", map(np.array, FOUR), strict=True)) | changes))
    return buffer.getvalue()


def test_polarity_of_minus_one_is_said(tmp_path):
    """A p of -1 reads as 0 (OFF), once said, in .npz and HDF5; p of 0 and 1 needs no note."""
    p = np.array([1, -1, -1, 1])
    for name, content in (("a.npz", npz_of(p=p)), ("a.h5", files.hdf5(*FOUR[:3], p))):
        recording = read(write(tmp_path, name, content))
        assert columns(recording) == FOUR
        assert recording.notes == ("p is -1 or 1; -1 is read as 0 (OFF)",)
    assert not read(write(tmp_path, "b.h5", files.hdf5(*FOUR))).notes


def test_a_range_of_a_large_file_says_polarity_once(tmp_path):
    """Columns longer than a piece give the note about p = -1 once."""
    n = (1 << 18) + 5
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for key in "txy":
            file[key] = np.zeros(n, np.int64)
        file["p"] = np.full(n, -1, np.int8)
    assert read(path).notes == ("p is -1 or 1; -1 is read as 0 (OFF)",)


UNNAMED = {
    "a.bin": files.atis(*FOUR),
    "a.dat": files.dat(*FOUR, header=b"% Version 2\n\x0c\x08"),
    "a.raw": files.evt3(*FOUR),
    "a.npz": files.npz(*FOUR),
    "a.h5": files.hdf5(*FOUR),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_range_keeps_the_sensor_size(tmp_path, name):
    """A range by time or from an event on leaves the size that the whole file tells; one that ends early says so."""
    path = write(tmp_path, name, UNNAMED[name])
    for options in (
        ReadOptions(),
        ReadOptions(start=Bound(2, "us"), stop=Bound(3, "us")),
        ReadOptions(stop=Bound(2, "us")),
        ReadOptions(start=Bound(3, "event")),
        ReadOptions(start=Bound(99, "us")),
    ):
        found = read(path, options)
        assert (found.width, found.height, found.size_from) == (41, 9, GREATEST_INDEX), options
        assert not found.size_known
    part = read(path, ReadOptions(start=Bound(1, "event"), stop=Bound(2, "event")))
    assert (part.width, part.height, part.size_from) == (21, 7, GREATEST_SELECTED)
    assert GREATEST_SELECTED == "greatest index + 1 of the selected events"
    assert not part.size_known


def test_trial_keeps_the_sensor_size(tmp_path):
    """A trial of a recording whose header names no known camera has the size that the whole file tells."""
    (tmp_path / "u_labels.csv").write_text("class,start,end\n1,1,3\n")
    content = files.aedat3(*FOUR).replace(b"Source 1: DVS128", b"Source 1: other")
    path = write(tmp_path, "u.aedat", content)
    facts = json.loads(call("events", path, "--trial", "1", "--json", "-").stdout)
    assert (facts["count"], facts["width"], facts["height"], facts["size_from"]) == (2, 41, 9, GREATEST_INDEX)


def test_sensor_size_of_the_model_is_said(tmp_path):
    """Where a file names no size the model's is taken, and a note says so; where the whole file is larger it is not."""
    path = write(tmp_path, "a.bin", files.atis(*FOUR))
    sample = api.read(path, network(InputSpec("events", 2, 48, 64, 2), "integers"))
    assert (
        "the file names no sensor size (greatest index + 1: 41 x 9); the model's 64 x 48 is taken" in sample.notes[-1]
    )
    assert "`sensor=WxH`" in sample.notes[-1]
    small = network(InputSpec("events", 2, 16, 32, 2), "integers")
    with pytest.raises(RecordingError, match=r"up to 41 x 9 pixels\); give `sensor=WxH`"):
        api.read(path, small, options=ReadOptions(stop=Bound(3, "us")))
    selected = api.read(path, small, options=ReadOptions(stop=Bound(2, "event")))
    assert "greatest index + 1 of the selected events: 21 x 7" in selected.notes[-1]
    assert not to_frames(read(path, ReadOptions(sensor=(64, 48))), 2, "number", 48, 64).notes


AEDAT4 = ["faery_none.aedat4", "faery_lz4.aedat4", "faery_zstd.aedat4"]


def table_at(content):
    """Return where the position of the file table stands in the header of AEDAT 4, and that position."""
    root = 18 + struct.unpack_from("<I", content, 18)[0]
    vtable = root - struct.unpack_from("<i", content, root)[0]
    field = root + struct.unpack_from("<H", content, vtable + 6)[0]
    return field, struct.unpack_from("<q", content, field)[0]


@pytest.mark.parametrize("name", AEDAT4)
def test_aedat4_without_its_end(name, tmp_path):
    """AEDAT 4 that lost any part of what follows its packets is an error by default, a note with leave."""
    content = (files.OWN / name).read_bytes()
    _, table = table_at(content)
    assert not read(files.OWN / name).notes
    for end in (table, table + 1, table + 4, table + 9, table + 30, len(content) - 1):
        path = write(tmp_path, "a.aedat4", content[:end])
        with pytest.raises(RecordingError, match=rf"truncated: 500 whole events, then .*byte {table}.*`allow_trunc"):
            read(path)
        recording = read(path, ReadOptions(allow_truncated=True))
        assert len(recording) == 500
        assert any(f"byte {table}" in note for note in recording.notes)


@pytest.mark.parametrize("position", [-1])
def test_aedat4_that_was_never_closed(tmp_path, position):
    """AEDAT 4 whose header names no file table reads, and a note says that its last events may be missing."""
    content = bytearray((files.OWN / "faery_zstd.aedat4").read_bytes())
    field, table = table_at(content)
    struct.pack_into("<q", content, field, position)
    recording = read(write(tmp_path, "a.aedat4", bytes(content[:table])))
    assert len(recording) == 500
    assert any("names no file table" in note and "may be missing" in note for note in recording.notes)


def test_real_aedat4_files_have_their_end(tmp_path):
    """No real file is taken for truncated; each is, once its last byte or its whole table is gone."""
    paths = sorted(needed(files.SHARED).glob("*.aedat4"))
    assert len(paths) == 5
    for path in paths:
        content = path.read_bytes()
        assert not any("table" in note for note in read(path).notes)
        for end in (len(content) - 1, table_at(content)[1]):
            with pytest.raises(RecordingError, match="truncated"):
                read(write(tmp_path, "a.aedat4", content[:end]))


@pytest.mark.parametrize("command", [("check", MODEL), ("compare", MODEL, MODEL)])
def test_audits_take_the_reading_options(command, tmp_path):
    """Check and compare read their input by the options of run, and print its notes."""
    path = write(tmp_path, "a.bin", files.atis(*FOUR) + b"\0")
    assert "truncated: 4 whole events" in fails(*command, "--input", path)
    options = (
        "--allow-truncated",
        "--start",
        "1ev",
        "--split",
        "duration",
        "--duration",
        "5us",
        "--sensor",
        "50x60",
        "--json",
        tmp_path / "o",
    )
    result = CliRunner().invoke(app, [str(word) for word in (*command, "--input", path, *options)])
    assert result.exit_code == 0, result.output
    assert "the file is truncated: after 4 whole events" in result.stderr
    assert "the sensor of 50 x 60 pixels fills the upper left" in result.stderr
    assert "outside its sensor of 5 x 5" in fails(*command, "--input", path, "--allow-truncated", "--sensor", "5x5")


def test_compare_shortens_the_notes_of_many_inputs(tmp_path):
    """Notes on a folder of inputs name their files, and are cut short after eight."""
    for i in range(6):
        write(tmp_path, f"{i}.npz", npz_of(p=np.array([1, -1, -1, 1])))
    result = call("compare", MODEL, MODEL, "--input", tmp_path)
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert notes[0].endswith("0.npz: p is -1 or 1; -1 is read as 0 (OFF)")
    assert len(notes) == 9
    assert notes[8] == "note: and 10 more on the inputs"  # of three notes on each of six
