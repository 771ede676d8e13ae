"""Recordings as they lie about, each row of a list of faults: read to the same events, or refused by the right word."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import event_files as files
import h5py
import numpy as np
import pytest
from test_events_cli import call, fails
from test_events_cli import network as summing

from evsim import api
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions, convert, read
from evsim.events.frames import to_frames
from evsim.inputspec import InputSpec

RNG = np.random.default_rng(3)
N = 400
T = np.sort(RNG.integers(100, 300_000, N))
X, Y, P = RNG.integers(0, 34, N), RNG.integers(0, 34, N), RNG.integers(0, 2, N)
WANTED = files.digest(T, X, Y, P)
FIELDS = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
CASES = files.SHARED.parent / "cases" / "recordings"


def structured(fields=FIELDS, names=None):
    """Return the events as a structured array of these fields."""
    array = np.zeros(N, fields)
    names = names or {"t": "t", "x": "x", "y": "y", "p": "p"}
    for key, column in (("t", T), ("x", X), ("y", Y), ("p", P)):
        array[names[key]] = column
    return array


def table(order, scale=1.0, p=P):
    """Return the events as [N, 4] in this order of columns."""
    columns = {"t": T * scale, "x": X, "y": Y, "p": p}
    return np.stack([columns[key] for key in order], axis=1)


def h5(attrs=None, **datasets):
    """Return an HDF5 file; ``__`` parts groups."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
        file.attrs.update(attrs or {})
    return buffer.getvalue()


def text(order="txyp", separator=" ", head="", scale=1, end="\n"):
    """Return lines of events; times with six decimals if scaled to seconds."""
    columns = {"t": [f"{t * scale:.6f}" if scale != 1 else str(t) for t in T], "x": X, "y": Y, "p": P}
    rows = [separator.join(str(columns[key][i]) for key in order) for i in range(N)]
    return (head + end.join(rows) + end).encode()


EVENTS = (T.tolist(), X.tolist(), Y.tolist(), P.tolist())
SIGNED = 2 * P - 1
AEDAT2 = files.aedat2_dvs128(*EVENTS)
CD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
OTHER_NAMES = {"t": "timestamp", "x": "x", "y": "y", "p": "polarity"}
OTHER_FIELDS = [("timestamp", "<u8"), ("polarity", "u1"), ("y", "<u2"), ("x", "<u2")]
LAYOUTS = {
    "structured.npy": (files.npy(structured()), {}),
    "metavision.npy": (files.npy(structured(OTHER_FIELDS, OTHER_NAMES)), {}),
    "xytp.npy": (files.npy(table("xytp")), {"columns": "xytp"}),
    "fortran.npy": (files.npy(np.asfortranarray(table("ptyx").astype(np.int64))), {"columns": "ptyx"}),
    "seconds.npy": (files.npy(table("txyp", 1e-6)), {"columns": "txyp", "time_unit": "s"}),
    "tonic_style.npz": (files.npz_of(events=structured()), {}),
    "table.npz": (files.npz_of(arr_0=table("txyp").astype(np.int64)), {"columns": "txyp"}),
    "fortran.npz": (files.npz_of(arr_0=np.asfortranarray(table("txyp"))), {"columns": "txyp"}),
    "ns.npz": (files.npz_of(t=T * 1000, x=X, y=Y, p=P), {"time_unit": "ns"}),
    "float_seconds.npz": (files.npz_of(t=T * 1e-6, x=X, y=Y, p=P), {}),
    "names.npz": (files.npz_of(ts=T, xs=X, ys=Y, pol=P), {}),
    "e2vid.h5": (h5(events__xs=X, events__ys=Y, events__ts=T * 1e-6, events__ps=P > 0), {}),
    "v2e.h5": (h5(events=table("txyp").astype(np.uint32)), {}),
    "mvsec.hdf5": (h5(davis__left__events=table("xytp", 1e-6, SIGNED)), {}),
    "metavision.h5": (h5({"geometry": "640x480"}, CD__events=structured(CD)), {}),
    "m3ed.h5": (
        h5(**{f"prophesee__left__{key}": column for key, column in zip("txyp", (T, X, Y, P), strict=True)}),
        {},
    ),
    "rpg_events.txt": (text(head="34 34\n", scale=1e-6), {}),
    "v2e.txt": (text(head="# v2e\n# timestamp x y polarity\n", scale=1e-6), {}),
    "crlf.csv": (text(separator=",", head="t,x,y,p\r\n", end="\r\n"), {}),
    "bom.csv": (b"\xef\xbb\xbf" + text(order="pyxt", separator=";", head='"polarity";"y";"x";"timestamp"\n'), {}),
    "prophesee.csv": (text(order="xypt", separator=","), {"columns": "x,y,p,t"}),
    "geometry.csv": (text(order="xypt", separator=",", head="%geometry:640,480\n"), {}),
    "zipped.zip": (files.zipped("rec.aedat", AEDAT2), {}),
    "rec.aedat.gz": (gzip.compress(AEDAT2), {}),
    "text.zip": (files.zipped("folder/events.txt", text(head="34 34\n", scale=1e-6)), {}),
    "stream.es": (files.event_stream(*EVENTS, width=34, height=34), {}),
    "one.aedat": (files.aedat1(*EVENTS), {}),
    "bare.dat": (files.aedat1(*EVENTS, header=b""), {}),
    "vectors.mat": (files.mat(ts=T, x=X, y=Y, pol=SIGNED), {}),
    "struct.mat": (files.mat(TD={"ts": T.astype(float), "x": X + 1.0, "y": Y + 1.0, "p": SIGNED * 1.0}), {}),
}


def put(folder, name, content):
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_that_people_hold(tmp_path, name):
    """Every layout reads as the same events."""
    content, options = LAYOUTS[name]
    recording = read(
        put(tmp_path, name, content), ReadOptions(**options) if "," not in str(options) else by_text(options)
    )
    assert files.digest(recording.t, recording.x, recording.y, recording.p) == WANTED


def by_text(options):
    """Return options as the command line takes them."""
    from evsim.events.options import parse_options

    return parse_options(**options)


@pytest.mark.skipif(not CASES.exists(), reason="../shared absent")
@pytest.mark.parametrize(
    "name", ["structured.npy", "xytp.npy", "tonic_style.npz", "e2vid.h5", "v2e.h5", "rpg_events.txt", "crlf.csv"]
)
def test_cases_read_as_the_plain_one(name):
    """Each public layout of one recording reads to the digest of the plain one."""
    plain, other = (
        read(CASES / "plain.npz"),
        read(CASES / name, ReadOptions(columns="xytp" if "xytp" in name else None)),
    )
    assert all(np.array_equal(getattr(plain, key), getattr(other, key)) for key in "txyp")


def test_sizes_that_files_name(tmp_path):
    """The sensor size is taken from where each format keeps it."""
    for name, size in (
        ("metavision.h5", (640, 480)), ("mvsec.hdf5", (346, 260)), ("rpg_events.txt", (34, 34)),
        ("geometry.csv", (640, 480)), ("stream.es", (34, 34)), ("one.aedat", (128, 128)),
    ):  # fmt: skip
        recording = read(put(tmp_path, name, LAYOUTS[name][0]))
        assert (recording.width, recording.height) == size
        assert recording.size_known
    for line, size in (
        (b"% plugin_name hal_plugin_gen41_evk3", (1280, 720)), (b"% plugin_name hal_plugin_gen31_fx3", (640, 480)),
        (b"% integrator_name Prophesee\n% system_ID 49", (1280, 720)), (b"% system_ID 40", (640, 480)),
    ):  # fmt: skip
        header = b"% evt 3.0\n" + line + b"\n% end\n"
        recording = read(put(tmp_path, "a.raw", files.evt3([1], [2], [3], [1], header=header)))
        assert (recording.width, recording.height) == size, line
    other = b"% evt 3.0\n% integrator_name Other\n% system_ID 49\n% end\n"
    assert not read(put(tmp_path, "b.raw", files.evt3([1], [2], [3], [1], header=other))).size_known


def test_camera_chooses(tmp_path):
    """Of two cameras in one HDF5 file, `camera` takes one, by the name of its group; else the message names both."""
    right = table("xytp", 1e-6, SIGNED)[:5]
    content = h5(davis__left__events=table("xytp", 1e-6, SIGNED), davis__right__events=right)
    path = put(tmp_path, "mvsec.hdf5", content)
    with pytest.raises(
        RecordingError, match=r"several recordings .davis/left/events, davis/right/events.*`camera=left`"
    ):
        read(path)
    assert len(read(path, ReadOptions(camera="left"))) == N
    assert len(read(path, ReadOptions(camera="davis/right"))) == 5
    with pytest.raises(OptionError, match="`camera=middle` is in none"):
        read(path, ReadOptions(camera="middle"))
    assert "--camera" in fails("events", path)
    assert "5" in call("events", path, "--camera", "right").stdout


def test_what_no_name_tells_is_asked_for(tmp_path):
    """Nameless columns need `columns`; options that a format has no use for are refused."""
    for name in ("xytp.npy", "table.npz", "prophesee.csv"):
        with pytest.raises(OptionError, match="`columns=xytp`"):
            read(put(tmp_path, name, LAYOUTS[name][0]))
    with pytest.raises(OptionError, match="has 4 columns, but `columns=xytpa` names 5"):
        read(put(tmp_path, "a.npy", LAYOUTS["xytp.npy"][0]), ReadOptions(columns="xytpa"))
    with pytest.raises(OptionError, match="aedat2, which has no use for `time_unit`"):
        read(put(tmp_path, "a.aedat", AEDAT2), ReadOptions(time_unit="ns"))
    for columns in ("xyt", "xxtp", "xytpt"):
        with pytest.raises(OptionError, match="once each"):
            ReadOptions(columns=columns)


def test_codecs_that_are_missing_are_named(tmp_path):
    """A dataset of Prophesee's ECF codec, or another that is not installed, is refused by its name."""
    path = tmp_path / "ecf.h5"
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((16,))
        creation.set_filter(36559, h5py.h5z.FLAG_OPTIONAL, (0,))
        group = file.create_group("CD")
        h5py.h5d.create(group.id, b"events", h5py.h5t.py_create(CD), h5py.h5s.create_simple((16,)), creation)
    with pytest.raises(RecordingError, match=r"Prophesee's ECF codec \(HDF5 filter 36559\).*HDF5_PLUGIN_PATH"):
        read(path)


@pytest.mark.parametrize(
    ("name", "t", "backward"),
    [("back99ms", T - 99_000 * (np.arange(N) % 80 == 7), 5), ("glitch", np.where(np.arange(N) == 200, 0, T), 1)],
)
def test_unsorted_times(tmp_path, name, t, backward):
    """Where time runs backward each event falls into the one frame of its own time, and that is said."""
    recording = read(put(tmp_path, f"{name}.npz", files.npz_of(t=t, x=X, y=Y, p=P)))
    first, last = int(t.min()), int(t.max())
    for split, length in (("time", (last - first) // 4), ("duration", 100_000)):
        frames = to_frames(recording, 4, split, 34, 34, duration_us=length if split == "duration" else None)
        number = len(frames.counts)
        wanted = np.bincount(np.minimum((t - first) // length, number - 1), minlength=number)
        assert frames.counts.sum(axis=(1, 2, 3)).tolist() == wanted.tolist()
        assert any(f"time runs backward {backward} times" in note and "frame" in note for note in frames.notes)


def test_unit_of_time_is_said_where_a_span_is_absurd(tmp_path):
    """Nanoseconds read as microseconds draw a note that names `time_unit`; plain ones draw none."""
    path = put(tmp_path, "ns.npz", files.npz_of(t=np.sort(RNG.integers(0, 300_000_000, N)), x=X, y=Y, p=P))
    assert any("were taken for microseconds" in note and "`time_unit`" in note for note in read(path).notes)
    assert "--time-unit" in call("events", path).stderr
    assert not read(path, ReadOptions(time_unit="ns")).notes
    assert not read(put(tmp_path, "plain.npz", files.npz_of(t=T, x=X, y=Y, p=P))).notes


def test_seconds_since_1970(tmp_path):
    """Float times of the epoch are seconds, in HDF5, in text and in .npz, whatever their size."""
    t = 1.7e9 + T * 1e-6
    wanted = 1_700_000_000_000_000 + T
    lines = "".join(f"{1.7e9 + a * 1e-6:.6f} {b} {c} {d}\n" for a, b, c, d in zip(T, X, Y, P, strict=True))
    for name, content in (
        ("a.h5", files.hdf5(t, X, Y, P)), ("a.npz", files.npz_of(t=t, x=X, y=Y, p=P)), ("a.txt", lines.encode()),
    ):  # fmt: skip
        recording = read(put(tmp_path, name, content))
        np.testing.assert_array_equal(recording.t, wanted)
        assert any("seconds" in note for note in recording.notes)


@pytest.mark.parametrize("t", [[-(2**62), 2**62], [0, 2**54]])
def test_extreme_times(tmp_path, t):
    """Times that no recording spans are one line that names both ends, in events and in run."""
    path = put(tmp_path, "extreme_t.npz", files.npz_of(t=np.array(t), x=[1, 2], y=[1, 2], p=[0, 1]))
    message = fails("events", path)
    assert f"times from {t[0]} to {t[1]} us, which no recording spans" in message


def test_nan(tmp_path):
    """Times that are no numbers are refused by that word."""
    t = np.where(np.arange(N) == 9, np.nan, T * 1e-6)
    for name, content in (("nan.npz", files.npz_of(t=t, x=X, y=Y, p=P)), ("nan.h5", files.hdf5(t, X, Y, P))):
        assert "1 times are NaN, no number" in fails("events", put(tmp_path, name, content))


def test_same_t(tmp_path):
    """Events of one time cannot be split by time: no event would be in any frame."""
    recording = read(put(tmp_path, "same_t.npz", files.npz_of(t=np.full(N, 7), x=X, y=Y, p=P)))
    with pytest.raises(RecordingError, match="no event would be in any frame"):
        to_frames(recording, 8, "time", 34, 34)
    assert to_frames(recording, 8, "number", 34, 34).counts.sum() == N


def test_trials_without_a_line_of_names(tmp_path):
    """A label csv that begins with numbers has its first trial in its first line, and that is said."""
    path = put(tmp_path, "u.aedat", files.aedat3(*EVENTS))
    put(tmp_path, "u_labels.csv", b"3,100,150000\n5,150000,300000\n")
    recording = read(path, ReadOptions(trial=1))
    assert len(recording) == np.count_nonzero((T >= 100) & (T < 150_000))
    assert any("label 2" in note and "no line of names" in note for note in recording.notes)
    put(tmp_path, "u_labels.csv", b"class,start,end\n3,100,150000\n5,150000,300000\n")
    assert len(read(path, ReadOptions(trial=1))) == len(recording)


def test_what_is_no_picture(tmp_path):
    """A cochlea's AEDAT, and .bin files whose clock runs wild or repeats itself, are refused by what is wrong."""
    named = files.DVS128.replace(b"retina.DVS128", b"cochlea.CochleaAMS1b")
    channels = b"".join(struct.pack(">II", int(a), int(t)) for a, t in zip(RNG.integers(0, 512, N), T, strict=True))
    for header in (named, b"#!AER-DAT2.0\r\n# from CochleaAMS1c\r\n"):
        with pytest.raises(RecordingError, match=r"silicon cochlea .*holds sound"):
            read(put(tmp_path, "a.aedat", header + channels))
    bare = put(tmp_path, "b.aedat", b"#!AER-DAT2.0\r\n" + channels)
    with pytest.raises(RecordingError, match=r"2 of 128 rows.*cochlea.*`layout=dvs128`"):
        read(bare)
    assert len(read(bare, ReadOptions(layout="dvs128"))) == N
    for content, words in (
        (RNG.bytes(5000), "time runs backward"), (b"\xff" * 5000, "repeat the one before"),
        (RNG.bytes(1000) + b"\0" * 50_000, "repeat the one before|time runs backward"),
    ):  # fmt: skip
        with pytest.raises(RecordingError, match=f"no recording of N-MNIST's kind.*({words})"):
            read(put(tmp_path, "firmware.bin", content))
    with pytest.raises(RecordingError, match="does not begin like it"):
        read(put(tmp_path, "c.dat", RNG.bytes(6000)))


def test_evsim_reads_what_it_writes(tmp_path):
    """Every suffix of --to reads back as the same events."""
    recording = read(put(tmp_path, "a.aedat", AEDAT2))
    for suffix in (".csv", ".npz", ".aedat"):
        convert.write(recording, tmp_path / f"out{suffix}")
        again = read(tmp_path / f"out{suffix}")
        assert files.digest(again.t, again.x, again.y, again.p) == WANTED


def test_frames_in_npz(tmp_path):
    """SpikingJelly's cached frames, and evsim's own --save-frames, are fed as they are; another T is named."""
    frames = RNG.integers(0, 3, (4, 2, 16, 16)).astype(np.float32)
    path = put(tmp_path, "sj_frames.npz", files.npz_of(frames=frames))
    model = summing(InputSpec("events", 2, 16, 16, 4), "integers")
    np.testing.assert_array_equal(api.read(path, model).values, frames)
    with pytest.raises(
        RecordingError, match=r"sj_frames\.npz: the input holds 4 timesteps, the run has 8; give `timesteps=4`"
    ):
        api.read(path, model, timesteps=8)
    with pytest.raises(RecordingError, match="holds frames"):
        read(path)


def test_packed_files_that_hold_something_else(tmp_path):
    """A zip of several files names them; one that is damaged, or unpacks to far more than it holds, is refused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.aedat", AEDAT2)
        archive.writestr("b.aedat", AEDAT2)
    with pytest.raises(RecordingError, match=r"zip file of 2 files \(a.aedat, b.aedat\)"):
        read(put(tmp_path, "two.zip", buffer.getvalue()))
    with pytest.raises(RecordingError, match=r"cut.zip"):
        read(put(tmp_path, "cut.zip", LAYOUTS["zipped.zip"][0][:-40]))
    with pytest.raises(RecordingError, match="more than 64 MB"):
        read(put(tmp_path, "bomb.gz", gzip.compress(bytes(70 << 20))))
    with pytest.raises(RecordingError, match=r"bad.zip is truncated: 400 whole events"):
        read(put(tmp_path, "bad.zip", files.zipped("bad.aedat", AEDAT2 + b"abc")))


def test_text_that_cannot_be_read(tmp_path):
    """A line that is no event, columns of other names, and a last line that is cut are told."""
    with pytest.raises(RecordingError, match="a line below line 0 is no event"):
        read(put(tmp_path, "a.txt", text() + b"1 2 three 4\n"))
    with pytest.raises(RecordingError, match="names its columns a, b, c, d"):
        read(put(tmp_path, "a.csv", b"a,b,c,d\n1,2,3,4\n"))
    cut = put(tmp_path, "b.txt", text()[:-4])
    with pytest.raises(RecordingError, match="truncated: 399 whole events"):
        read(cut)
    assert len(read(cut, ReadOptions(allow_truncated=True))) == N - 1


def test_event_streams_of_other_kinds(tmp_path):
    """Event Stream of ATIS or colour events is refused by that name; one that is cut is truncated."""
    for kind, name in ((2, "ATIS"), (4, "colour")):
        with pytest.raises(RecordingError, match=f"holds {name} events"):
            read(put(tmp_path, "a.es", files.event_stream(*EVENTS, width=34, height=34, kind=kind)))
    with pytest.raises(RecordingError, match="truncated: 399 whole events"):
        read(put(tmp_path, "b.es", files.event_stream(*EVENTS, width=34, height=34)[:-3]))


def test_mat_counts_from_one_only_where_nothing_is_zero(tmp_path):
    """MATLAB's x and y become one less where none is 0, and a note says so."""
    recording = read(put(tmp_path, "struct.mat", LAYOUTS["struct.mat"][0]))
    assert any("taken to count from 1" in note for note in recording.notes)
    assert not any("count from 1" in note for note in read(put(tmp_path, "v.mat", LAYOUTS["vectors.mat"][0])).notes)
    with pytest.raises(RecordingError, match="no vectors ts, x, y and pol"):
        read(put(tmp_path, "b.mat", files.mat(image=np.ones((3, 3)))))


def test_what_was_downloaded_instead_of_a_recording(tmp_path):
    """A Git LFS pointer and a web page are named."""
    with pytest.raises(RecordingError, match=r"Git LFS pointer.*git lfs pull"):
        read(put(tmp_path, "a.aedat", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"))
    with pytest.raises(RecordingError, match="is a web page"):
        read(put(tmp_path, "b.bin", b"\n<!DOCTYPE html><html></html>"))


def test_stream_of_aedat4():
    """`camera` chooses a stream of AEDAT 4 by its number, and the message lists those that there are."""
    path = files.OWN / "faery_lz4.aedat4"
    assert len(read(path, ReadOptions(camera="0"))) == len(read(path))
    with pytest.raises(OptionError, match="`camera=7` is no stream of events; it has 0"):
        read(path, ReadOptions(camera="7"))
