"""Every format reads as its plain twin wrote it, as independent writers wrote it, and as golden.json says."""

from __future__ import annotations

import json
import struct

import event_files as files
import numpy as np
import pytest
from beside import needed
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_lists

from evsim.errors import RecordingError
from evsim.events import ReadOptions, read
from evsim.events.options import Bound
from evsim.events.summary import summarise
from evsim.report.recordings import summary_document

GOLDEN = json.loads((files.SHARED / "golden.json").read_text())["files"] if files.SHARED.exists() else {}
CONVENTIONS = {"raw": "raw", "jaer_image": "jaer", "spikingjelly_cifar10dvs": "spikingjelly"}
FACTS = ("count", "first", "last", "on", "off", "t_min", "t_max", "sum_x", "sum_y", "backward_steps", "sha256_tx_y_p")


def golden_cases():
    """Return file, orientation and facts of every recording in golden.json."""
    cases = [] if GOLDEN else [("golden.json", "raw", {})]
    for name, facts in GOLDEN.items():
        if name.startswith("frames_"):
            continue
        cases.append((name, "raw", facts["events"]))
        for convention, block in facts.get("conventions", {}).items():
            if isinstance(block, dict):
                cases.append((name, CONVENTIONS[convention], block))
    return cases


def columns(recording):
    """Return the columns of a recording as lists."""
    return tuple(column.tolist() for column in (recording.t, recording.x, recording.y, recording.p))


def read_bytes(folder, content, name="events.aedat", **options):
    """Read a file of that content."""
    path = folder / name
    path.write_bytes(content)
    return read(path, ReadOptions(**options))


@pytest.mark.parametrize(("name", "orientation", "facts"), golden_cases())
def test_golden_recordings(name, orientation, facts):
    """Count, ends, sums and digest of every real recording equal the golden reader's, in every orientation."""
    document = summary_document(summarise(needed(files.SHARED / name), ReadOptions(orientation=orientation)))
    wanted = {key: facts.get({"count": "n", "backward_steps": "t_backward_steps"}.get(key, key)) for key in FACTS}
    if not facts["n"]:
        wanted = {"count": 0, "first": None, "last": None, "on": 0, "off": 0}
    assert {key: document[key] for key in wanted} == wanted
    if "width" in GOLDEN[name]:
        assert [document["width"], document["height"]] == [GOLDEN[name]["width"], GOLDEN[name]["height"]]


@pytest.mark.parametrize(
    "path", [p for p in sorted(files.OWN.iterdir()) if p.suffix not in (".py", ".json")], ids=lambda path: path.name
)
def test_files_of_independent_writers(path):
    """What faery, evio, NumPy and h5py wrote reads as the events that they were given."""
    golden = json.loads((files.OWN / "golden.json").read_text())
    document = summary_document(summarise(path))
    assert {key: document[key] for key in golden} == golden


@settings(max_examples=30, deadline=None)
@given(events=event_lists(128, 128, 2**32 - 1), special=st.lists(st.integers(0, 40), max_size=3))
def test_aedat2_dvs128(tmp_path_factory, events, special):
    """AEDAT 2.0 of a DVS128 reads in each orientation, its special words skipped and counted."""
    folder = tmp_path_factory.mktemp("aedat2")
    t, x, y, p = events
    content = files.aedat2_dvs128(*events, special=special)
    recording = read_bytes(folder, content)
    assert columns(recording) == (t, x, y, p)
    assert recording.skipped == ({"special events": len(special)} if special else {})
    assert (recording.width, recording.height, recording.size_known) == (128, 128, True)
    assert columns(read_bytes(folder, content, orientation="jaer")) == (t, y, x, p)
    x_raw, y_raw, bit = [127 - v for v in y], [127 - v for v in x], [1 - v for v in p]
    assert columns(read_bytes(folder, content, orientation="raw")) == (t, x_raw, y_raw, bit)


@settings(max_examples=30, deadline=None)
@given(events=event_lists(240, 180, 2**32 - 1), others=st.lists(st.integers(0, 40), max_size=3))
def test_aedat2_davis(tmp_path_factory, events, others):
    """AEDAT 2.0 of a DAVIS reads without its APS and external words; jAER's orientation turns both axes."""
    folder = tmp_path_factory.mktemp("davis")
    t, x, y, p = events
    content = files.aedat2_davis(*events, others=others)
    recording = read_bytes(folder, content)
    assert columns(recording) == (t, x, y, p)
    skipped = {"APS and IMU words": len(others), "external events": len(others)} if others else {}
    assert recording.skipped == skipped
    turned = columns(read_bytes(folder, content, orientation="jaer"))
    assert turned == (t, [239 - v for v in x], [179 - v for v in y], p)


@settings(max_examples=30, deadline=None)
@given(events=event_lists(128, 128, 3 * 2**31), data=st.data())
def test_aedat3(tmp_path_factory, events, data):
    """AEDAT 3.1 reads over time overflows, spare capacity and foreign packets, and drops invalid events on demand."""
    folder = tmp_path_factory.mktemp("aedat3")
    n = len(events[0])
    valid = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    content = files.aedat3(*events, valid=valid)
    assert columns(read_bytes(folder, content)) == events
    honoured = read_bytes(folder, content, honour_validity=True)
    assert columns(honoured) == tuple([v for v, good in zip(c, valid, strict=True) if good] for c in events)
    assert honoured.skipped.get("invalid events", 0) == n - sum(valid)


@settings(max_examples=25, deadline=None)
@given(events=event_lists(256, 239, 2**23 - 1))
def test_atis(tmp_path_factory, events):
    """N-MNIST's five bytes read under both suffixes."""
    folder = tmp_path_factory.mktemp("bin")
    if events[0]:
        assert columns(read_bytes(folder, files.atis(*events), "a.bin")) == events
        assert columns(read_bytes(folder, files.atis(*events), "a.bs2")) == events


@settings(max_examples=25, deadline=None)
@given(events=event_lists(300, 200, 2**32 - 1))
def test_dat(tmp_path_factory, events):
    """Prophesee's DAT reads, with the size of its header."""
    recording = read_bytes(tmp_path_factory.mktemp("dat"), files.dat(*events), "a.dat")
    assert columns(recording) == events
    assert (recording.width, recording.height) == (300, 200)


@settings(max_examples=25, deadline=None)
@given(events=event_lists(1280, 720, 2**33))
def test_evt2(tmp_path_factory, events):
    """EVT2 reads, its triggers skipped and counted."""
    recording = read_bytes(tmp_path_factory.mktemp("evt2"), files.evt2(*events), "a.raw")
    assert columns(recording) == events
    assert recording.skipped == {"external triggers": 1}


@settings(max_examples=40, deadline=None)
@given(events=event_lists(60, 3, 40))
def test_evt3_vectors(tmp_path_factory, events):
    """EVT3 reads with single events and with vectors, in their order."""
    ordered = sorted(zip(*events, strict=True))
    t, x, y, p = (list(column) for column in zip(*ordered, strict=True)) if ordered else events
    recording = read_bytes(tmp_path_factory.mktemp("evt3"), files.evt3(t, x, y, p), "a.raw")
    assert columns(recording) == (t, x, y, p)
    assert recording.skipped == {"external triggers": 1, "other words": 1}


def test_evt3_clock_wraps(tmp_path):
    """Times of EVT3 go on where its 24-bit clock begins anew, and a small step back is none."""
    t = [2**24 - 5000, 2**24 - 1, 2**24 + 3, 2**24 + 9000]
    recording = read_bytes(tmp_path, files.evt3(t, [1] * 4, [2] * 4, [1] * 4), "a.raw")
    assert recording.t.tolist() == t
    assert any("clock began anew 1 times" in note for note in recording.notes)
    words = [8 << 12 | 5, 6 << 12 | 100, 0, 2 << 12, 6 << 12 | 90, 2 << 12, 8 << 12 | 4, 2 << 12]
    back = read_bytes(tmp_path, b"% evt 3.0\n" + struct.pack("<8H", *words), "b.raw")
    assert back.t.tolist() == [5 << 12 | 100, 5 << 12 | 90, 4 << 12 | 90]


@settings(max_examples=25, deadline=None)
@given(events=event_lists(400, 300, 2**40), dtype=st.sampled_from(["<i8", ">i8", "<u8", ">u8"]))
def test_npz(tmp_path_factory, events, dtype):
    """SpikingJelly's .npz reads whatever the type and byte order of its integers."""
    recording = read_bytes(tmp_path_factory.mktemp("npz"), files.npz(*events, dtype=dtype), "a.npz")
    assert columns(recording) == events
    assert not recording.size_known


@settings(max_examples=15, deadline=None)
@given(events=event_lists(400, 300, 2**33, least=1), group=st.sampled_from(["/", "events", "CD/left"]))
def test_hdf5(tmp_path_factory, events, group):
    """Event HDF5 reads from a group of any name; t_offset is added, as DSEC says."""
    folder = tmp_path_factory.mktemp("h5")
    t, x, y, p = events
    assert columns(read_bytes(folder, files.hdf5(*events, group=group), "a.h5")) == events
    shifted = read_bytes(folder, files.hdf5(*events, group=group, t_offset=1000), "b.h5")
    assert columns(shifted) == ([v + 1000 for v in t], x, y, p)


def test_hdf5_times_of_float_types(tmp_path):
    """Float times below a million are seconds, else microseconds; polarities may be -1 and 1."""
    x = np.array([1, 2, 3])
    seconds = read_bytes(tmp_path, files.hdf5(np.array([0.1, 0.2500004, 3.0]), x, x, np.array([-1, 1, -1])), "a.h5")
    assert columns(seconds) == ([100_000, 250_000, 3_000_000], [1, 2, 3], [1, 2, 3], [0, 1, 0])
    micro = read_bytes(tmp_path, files.hdf5(np.array([1.0, 2.4, 1e6]), x, x, np.array([True, False, True])), "b.h5")
    assert columns(micro) == ([1, 2, 1_000_000], [1, 2, 3], [1, 2, 3], [1, 0, 1])


@settings(max_examples=60, deadline=None)
@given(events=event_lists(128, 128, 60, least=1), data=st.data())
def test_ranges(tmp_path_factory, events, data):
    """A range by time, by number, or mixed keeps what a plain filter keeps."""
    bounds = st.none() | st.builds(Bound, st.integers(0, 70), st.sampled_from(["us", "event"]))
    start, stop = data.draw(bounds), data.draw(bounds)
    recording = read_bytes(tmp_path_factory.mktemp("range"), files.aedat2_dvs128(*events), start=start, stop=stop)
    place = {"us": lambda i: events[0][i], "event": lambda i: i}
    kept = [
        i
        for i in range(len(events[0]))
        if (start is None or place[start.unit](i) >= start.value) and (stop is None or place[stop.unit](i) < stop.value)
    ]
    assert columns(recording) == tuple([column[i] for i in kept] for column in events)


def test_trials(tmp_path):
    """--trial N keeps the events of line N of the label csv beside the recording, and says its label."""
    t = list(range(0, 100, 10))
    (tmp_path / "user_labels.csv").write_text("class,startTime_usec,endTime_usec\n3,20,50\n1,50,51\n")
    recording = read_bytes(tmp_path, files.aedat3(t, t, t, [1] * 10), "user.aedat", trial=1)
    assert recording.t.tolist() == [20, 30, 40]
    assert any("label 2, 20 to 50 us" in note for note in recording.notes)
    assert read_bytes(tmp_path, files.aedat3(t, t, t, [1] * 10), "user.aedat", trial=2).t.tolist() == [50]
    for number in (0, 3):
        with pytest.raises(ValueError, match="holds trials 1 to 2"):
            read_bytes(tmp_path, files.aedat3(t, t, t, [1] * 10), "user.aedat", trial=number)


def test_trials_of_the_golden_fixture():
    """The trials of the public fixture hold as many events as SpikingJelly finds."""
    path = needed(files.SHARED / "aedat31_fixture1.aedat")
    golden = GOLDEN["aedat31_fixture1.aedat"]["trials_spikingjelly"]
    found = [len(read(path, ReadOptions(trial=i + 1))) for i in range(len(golden))]
    assert found == [trial["n"] for trial in golden]


def test_real_nmnist_files():
    """Real N-MNIST recordings lie within 34 x 34 pixels and run forward."""
    for path in sorted(needed(files.SHARED.parent / "nmnist-small").glob("*.bs2"))[:20]:
        recording = read(path)
        assert len(recording) > 500
        assert max(recording.width, recording.height) <= 34
        assert not recording.notes


def test_large_files_cross_pieces(tmp_path):
    """Files of more events than a reader decodes at a time are read whole, in every format of fixed records."""
    rng = np.random.default_rng(0)
    n = (1 << 18) + 1000
    t = np.sort(rng.integers(0, 2**23, n)).astype(np.uint32)
    x, y, p = (rng.integers(0, high, n).astype(np.uint32) for high in (128, 128, 2))
    wanted = files.digest(t, x, y, p)
    aedat2 = np.stack([(127 - x) << 8 | (127 - y) << 1 | (1 - p), t], axis=1).astype(">u4").tobytes()
    (tmp_path / "a.aedat").write_bytes(files.DVS128 + aedat2)
    header = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, n, n, n)
    aedat3 = np.stack([x << 17 | y << 2 | p << 1 | 1, t], axis=1).astype("<u4").tobytes()
    (tmp_path / "b.aedat").write_bytes(files.AEDAT3 + header + aedat3)
    (tmp_path / "c.npz").write_bytes(files.npz(t, x, y, p))
    (tmp_path / "d.h5").write_bytes(files.hdf5(t, x, y, p))
    evt2 = np.stack([8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y], axis=1).astype("<u4").tobytes()
    (tmp_path / "e.raw").write_bytes(b"% evt 2.0\n" + evt2)
    for name in ("a.aedat", "b.aedat", "c.npz", "d.h5", "e.raw"):
        summary = summarise(tmp_path / name)
        assert (summary.count, summary.digest, summary.backward_steps) == (n, wanted, 0), name
        assert files.digest(*columns(read(tmp_path / name))) == wanted, name
        tail = read(tmp_path / name, ReadOptions(start=Bound(n - 5, "event")))
        assert tail.t.tolist() == t[-5:].tolist(), name


def test_maps_move_along(tmp_path, monkeypatch):
    """Files are read the same through memory maps far smaller than they are."""
    monkeypatch.setattr("evsim.events.binary.SPAN", 100)
    n = 300
    events = (list(range(n)), [i % 128 for i in range(n)], [i % 90 for i in range(n)], [i % 2 for i in range(n)])
    assert columns(read_bytes(tmp_path, files.aedat3(*events, per_packet=17))) == events
    assert columns(read_bytes(tmp_path, files.aedat2_dvs128(*events))) == events


def test_layout_of_a_chip_that_no_header_names(tmp_path):
    """Without AEChip small addresses are a DVS128's, said so; large ones need --layout."""
    plain = b"#!AER-DAT2.0\r\n"
    recording = read_bytes(tmp_path, files.aedat2_dvs128([5], [7], [9], [1], header=plain))
    assert columns(recording) == ([5], [7], [9], [1])
    assert any("names no chip" in note for note in recording.notes)
    davis = plain + struct.pack(">II", 100 << 22 | 200 << 12 | 1 << 11, 5)
    with pytest.raises(RecordingError, match="`layout=dvs128` or `layout=davis`"):
        read_bytes(tmp_path, davis)
    assert columns(read_bytes(tmp_path, davis, layout="davis")) == ([5], [200], [100], [1])


def test_header_ends_at_data_that_begins_like_a_header(tmp_path):
    """A DAVIS word whose first byte is # is an event, also where the header has no end line."""
    word = struct.pack(">II", ord("#") << 24 | 7 << 12, 5)
    header = b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n"
    recording = read_bytes(tmp_path, header + word + struct.pack(">II", 0, 10))
    assert recording.t.tolist() == [5, 10]
    assert recording.y.tolist()[0] == ord("#") << 2


def test_content_decides_before_the_suffix(tmp_path):
    """A file is read by what it is, whatever it is called; only formats without a mark go by their suffix."""
    assert read_bytes(tmp_path, files.aedat3([1], [2], [3], [1]), "a.bin").format == "aedat3"
    assert read_bytes(tmp_path, files.evt3([1], [2], [3], [1]), "a.dat").format == "evt3"
    with pytest.raises(RecordingError, match="suffix of aedat2"):
        read_bytes(tmp_path, b"nothing of the kind", "a.aedat")
    with pytest.raises(RecordingError, match="of no format that evsim reads"):
        read_bytes(tmp_path, b"nothing of the kind", "a.xyz")
