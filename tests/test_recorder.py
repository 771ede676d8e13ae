"""The recorder: events of the DVS pixel model, the same for ever; what it writes others read."""

from __future__ import annotations

import struct
import warnings

import event_files as files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_lists
from typer.testing import CliRunner

from evsim.cli.main import app
from evsim.errors import EvsimError, OptionError, RecordingError
from evsim.events import aedat2, aedat3, npz, read
from evsim.events.images import read_grey
from evsim.events.recorder import RecorderSettings, record
from evsim.events.types import Recording


def digit():
    """Return a drawn seven."""
    image = np.zeros((8, 8))
    image[1, 1:7] = 16
    for i in range(5):
        image[2 + i, 6 - i] = 12
    return image


def recording(events, width=128, height=128):
    """Return a recording of lists."""
    t, x, y, p = events
    return Recording(
        np.array(t, np.int64), np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8),
        width, height, "the test", "test",
    )  # fmt: skip


def columns(events):
    """Return the columns of a recording as lists."""
    return tuple(column.tolist() for column in (events.t, events.x, events.y, events.p))


PINNED = {
    "saccade": (19374, "cc0bfd54aa3b641eb434d79d3f5d9ec51c1b0521233aa6af0e09dc43ca91274c"),
    "loop": (16736, "141e5356593143fac7ea33cc1a285be8b344cd4e500e57fdc7e02167a4608959"),
}


@pytest.mark.parametrize("motion", PINNED)
def test_default_recordings_never_change(motion):
    """The bundled model was trained on these very events."""
    made = record(digit(), RecorderSettings(motion=motion))
    assert (len(made), files.digest(made.t, made.x, made.y, made.p)) == PINNED[motion]


def test_defaults():
    """Defaults are those of the bundled model's training."""
    assert RecorderSettings() == RecorderSettings("saccade", 0.2, 1000, 0.0, 0, 8.0, 96, 64.0, True)


def pixel(intensities, theta, refractory):
    """Return the events of one pixel, sampled each millisecond, as the pixel model says."""
    response = [v * np.log(20) / 20 if v <= 20 else np.log(v) for v in intensities]
    events, reference, silent = [], response[0], -1
    for i in range(1, len(response)):
        change = response[i] - reference
        n = int(abs(change) / theta)
        for k in range(1, n + 1):
            level = reference + np.sign(change) * k * theta
            share = (level - response[i - 1]) / (response[i] - response[i - 1])
            when = int((i - 1 + min(max(share, 0.0), 1.0)) * 1000)
            if when >= silent:
                events.append((when, int(change > 0)))
                silent = when + refractory
        reference += np.sign(change) * n * theta
    return events


def bilinear(scene, row, column, outside):
    """Return the scene between pixels."""
    top, left = int(np.floor(row)), int(np.floor(column))
    value = 0.0
    for y, wy in ((top, 1 - (row - top)), (top + 1, row - top)):
        for x, wx in ((left, 1 - (column - left)), (left + 1, column - left)):
            inside = 0 <= y < scene.shape[0] and 0 <= x < scene.shape[1]
            value += wy * wx * (scene[y, x] if inside else outside)
    return value


@pytest.mark.parametrize(("motion", "refractory"), [("saccade", 1000), ("loop", 0), ("loop", 5000)])
def test_pixels_follow_the_model(motion, refractory):
    """Chosen pixels fire exactly when a plain twin of the pixel model says so."""
    from evsim.events.recorder import _path, _scene

    settings_ = RecorderSettings(motion=motion, refractory_us=refractory)
    made = record(digit(), settings_)
    scene, path = _scene(digit(), settings_), _path(settings_)
    busiest = np.argsort(-np.bincount(made.y.astype(int) * 128 + made.x, minlength=128 * 128))[:12]
    for place in [*busiest.tolist(), 0, 64 * 128 + 64]:
        row, column = divmod(place, 128)
        seen = [bilinear(scene, row - dy, column - dx, scene[0, 0]) for dy, dx in path]
        mine = (made.y == row) & (made.x == column)
        found = list(zip(made.t[mine].tolist(), made.p[mine].tolist(), strict=True))
        assert found == pixel(seen, 0.2, refractory), (row, column)


def test_order_and_noise():
    """Events are sorted by time, row and column; a seed repeats its noise, another gives other events."""
    made = record(digit())
    keys = list(zip(made.t.tolist(), made.y.tolist(), made.x.tolist(), strict=True))
    assert keys == sorted(keys)
    noisy = [record(digit(), RecorderSettings(noise=0.1, seed=seed)) for seed in (1, 1, 2)]
    assert columns(noisy[0]) == columns(noisy[1])
    assert columns(noisy[0]) != columns(noisy[2])


@settings(max_examples=30, deadline=None)
@given(events=event_lists(128, 128, 2**32 - 1), orientation=st.sampled_from(["spikingjelly", "jaer", "raw"]))
def test_written_aedat2_is_read_by_spikingjellys_loader(tmp_path_factory, events, orientation):
    """A transcript of SpikingJelly's CIFAR10-DVS loader reads AEDAT 2.0 as it was written."""
    path = tmp_path_factory.mktemp("sj") / "a.aedat"
    aedat2.write(recording(events), path, orientation)
    with path.open("rb") as file:  # spikingjelly.datasets.cifar10_dvs: skip_header, load_raw_events, parse_raw_address
        at, line = 0, file.readline()
        while line.startswith(b"#"):
            assert line.endswith(b"\r\n")
            at += len(line)
            line = file.readline()
        file.seek(at)
        words = np.fromfile(file, ">u4")
    address, time = words[0::2], words[1::2]
    x_raw, y_raw, bit = (address & 0xFE) >> 1, (address & 0x7F00) >> 8, address & 1
    t, x, y, p = events
    if orientation == "spikingjelly":
        assert ((127 - y_raw).tolist(), (127 - x_raw).tolist(), (1 - bit).tolist()) == (x, y, p)
    elif orientation == "jaer":
        assert ((127 - x_raw).tolist(), (127 - y_raw).tolist(), (1 - bit).tolist()) == (x, y, p)
    else:
        assert (x_raw.tolist(), y_raw.tolist(), bit.tolist()) == (x, y, p)
    assert time.tolist() == t


def test_written_aedat2_is_read_by_evutils_and_dv(tmp_path):
    """Two public readers find our events in AEDAT 2.0, as far as they know a DVS128.

    evutils takes bit 10 for a DAVIS's external event and drops those rows; dv knows DAVIS addresses only, of which
    three bits of ours are the low bits of x.
    """
    made = record(digit())
    path = tmp_path / "a.aedat"
    aedat2.write(made, path)
    theirs = evutils_read(path, layout="dvs128")
    y_raw, x_raw = 127 - made.x, 127 - made.y
    kept = (y_raw & 4) == 0
    assert 0.3 < kept.mean() < 0.7
    for name, mine in (("t", made.t), ("x", x_raw), ("y", y_raw), ("p", 1 - made.p)):
        np.testing.assert_array_equal(np.asarray(theirs[name]), mine[kept])
    events = legacy(path)
    assert [t for t, _, _, _ in events] == made.t.tolist()
    assert [x for _, x, _, _ in events] == (y_raw >> 4).tolist()


def evutils_read(path, **options):
    """Return the events that evutils reads."""
    from evutils.io import EventReader

    with path.open("rb") as file:
        return EventReader(file, **options).read_all()


def legacy(path):
    """Return the events that iniVation's dv reads from AEDAT 2.0 or 3.1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dv import LegacyAedatFile
    with LegacyAedatFile(str(path)) as file:
        return [(e.timestamp, e.x, e.y, int(e.polarity)) for e in file]


@settings(max_examples=20, deadline=None)
@given(events=event_lists(300, 200, 3 * 2**31, least=1))
def test_written_aedat3_is_read_by_dv_and_evutils(tmp_path_factory, events):
    """Two public readers read AEDAT 3.1 as it was written, over overflows of time."""
    path = tmp_path_factory.mktemp("aedat3") / "a.aedat"
    aedat3.write(recording(events, 300, 200), path)
    assert columns(read(path)) == events
    assert legacy(path) == list(zip(*events, strict=True))
    theirs = evutils_read(path)
    assert tuple(np.asarray(theirs[name]).tolist() for name in "txyp") == events


def test_packets_change_where_time_overflows(tmp_path):
    """A packet of AEDAT 3.1 holds 4096 events at most, and none across an overflow of time."""
    n = 5000
    path = tmp_path / "a.aedat"
    aedat3.write(recording((list(range(2**31 - 4500, 2**31 + 500)), [1] * n, [2] * n, [1] * n)), path)
    content, at, packets = path.read_bytes(), path.read_bytes().index(b"#!END-HEADER\r\n") + 14, []
    while at < len(content):
        _, _, size, _, overflow, capacity, number, valid = struct.unpack_from("<hhiiiiii", content, at)
        assert capacity == number == valid
        packets.append((overflow, number))
        at += 28 + size * capacity
    assert packets == [(0, 4096), (0, 404), (1, 500)]


def test_written_npz_is_numpys(tmp_path):
    """SpikingJelly's .npz has the arrays t, x, y and p."""
    npz.write(recording(([1, 2], [3, 4], [5, 6], [0, 1])), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert {key: file[key].tolist() for key in file} == {"t": [1, 2], "x": [3, 4], "y": [5, 6], "p": [0, 1]}


def test_what_does_not_fit_is_not_written(tmp_path):
    """Sensors and times beyond a format are errors, and leave no file."""
    for write, events, size, words in (
        (aedat2.write, ([1], [1], [1], [1]), 129, "128 x 128 pixels"),
        (aedat2.write, ([2**32], [1], [1], [1]), 128, "2\\^32"),
        (aedat3.write, ([-1], [1], [1], [1]), 128, "2\\^62"),
        (aedat3.write, ([1], [1], [1], [1]), 40_000, "32768 pixels"),
    ):
        with pytest.raises(RecordingError, match=words):
            write(recording(events, size, 5), tmp_path / "a.aedat")
    assert not list(tmp_path.iterdir())


def test_bad_settings_and_images():
    """Settings and images that no pixel could follow are errors."""
    nan = float("nan")
    for change, words in (
        ({"motion": "walk"}, "`motion`"), ({"threshold": 0.0}, "`threshold`"), ({"threshold": nan}, "`threshold`"),
        ({"threshold": 1e-9}, "`threshold`"), ({"refractory_us": -1}, "`refractory`"), ({"noise": nan}, "`noise`"),
        ({"seed": -1}, "`seed`"), ({"darkest": 255.0}, "`darkest`"), ({"extent": 200}, "2 to 128 pixels"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=words):
            record(digit(), RecorderSettings(**change))
    for image in (np.zeros((4, 4)), np.ones(4), np.array([[1, np.nan], [1, 2]]), np.ones((1, 9))):
        with pytest.raises(EvsimError):
            record(image)


@pytest.mark.parametrize(("version", "form"), [("2.0", "aedat2"), ("3.1", "aedat3")])
@pytest.mark.parametrize("kind", ["npy", "png"])
def test_record_command(tmp_path, version, form, kind):
    """Record plays a picture or an array, and writes AEDAT 2.0 or 3.1 that reads upright."""
    from PIL import Image

    image = (digit() * 15).astype(np.uint8)
    source, out = tmp_path / f"seven.{kind}", tmp_path / "seven.aedat"
    if kind == "npy":
        np.save(source, image)
    else:
        Image.fromarray(image).save(source)
    options = ["--motion", "loop", "--threshold", "0.3", "--refractory", "500", "--noise", "0.05", "--seed", "4"]
    result = CliRunner().invoke(app, ["record", str(source), str(out), *options, "--aedat", version])
    assert result.exit_code == 0, result.output
    made = record(image, RecorderSettings("loop", 0.3, 500, 0.05, 4))
    back = read(out)
    assert (back.format, columns(back)) == (form, columns(made))
    assert f"{len(made):,} events" in result.output


def test_record_without_stretching(tmp_path):
    """--no-stretch plays intensities as they are on the image's darkest grey; stretching says from what to what."""
    from evsim.events.recorder import _scene

    image = np.full((8, 8), 40.0)
    image[2:6, 3:5] = 120.0
    settings_ = RecorderSettings(stretch=False)
    scene = _scene(image, settings_)
    assert (scene.min(), scene.max(), scene[0, 0]) == pytest.approx((40.0, 120.0, 40.0))
    np.save(tmp_path / "a.npy", image)
    as_is = record_command(tmp_path, "--no-stretch")
    assert columns(read(tmp_path / "out.aedat")) == columns(record(image, settings_))
    assert "intensities 40 to 120 as they are" in as_is.output
    assert "intensities 40 to 120 stretched to 64 to 255" in record_command(tmp_path).output
    assert columns(read(tmp_path / "out.aedat")) == columns(record(image))
    assert "40 to 120 stretched to 30 to 255" in record_command(tmp_path, "--darkest", "30").output
    assert columns(read(tmp_path / "out.aedat")) == columns(record(image, RecorderSettings(darkest=30.0)))


def record_command(folder, *options):
    """Record a.npy of a folder as out.aedat."""
    arguments = ["record", str(folder / "a.npy"), str(folder / "out.aedat"), *options]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("values", [(-1.0, 200.0), (0.0, 255.5), (0.0, 65535.0)])
def test_intensities_that_cannot_be_taken_as_they_are(tmp_path, values):
    """--no-stretch refuses values outside 0 to 255, and --darkest, which only stretching uses; nothing is written."""
    image = np.full((8, 8), values[0])
    image[2:6] = values[1]
    np.save(tmp_path / "a.npy", image)
    with pytest.raises(RecordingError, match=rf"holds {values[0]:g} to {values[1]:g}.* 0 to 255"):
        record_command(tmp_path, "--no-stretch")
    with pytest.raises(OptionError, match=r"`darkest` .* `no_stretch=True`"):
        record_command(tmp_path, "--no-stretch", "--darkest", "10")
    with pytest.raises(OptionError, match="`darkest` must lie in 0 to 254"):
        record_command(tmp_path, "--darkest", "255")
    assert not (tmp_path / "out.aedat").exists()


def test_pictures_of_16_bits_are_not_cut_off(tmp_path):
    """A grey picture of 16 bits keeps all its levels."""
    from PIL import Image

    deep = (digit() * 4000).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "deep.png").values, deep)


def test_record_command_says_when_nothing_happens(tmp_path):
    """An image that moves no pixel over the threshold is an error, and nothing is written."""
    np.save(tmp_path / "a.npy", digit())
    with pytest.raises(RecordingError, match=r"no events with `threshold=50\.0`"):
        CliRunner().invoke(
            app,
            ["record", str(tmp_path / "a.npy"), str(tmp_path / "o.aedat"), "--threshold", "50"],
            catch_exceptions=False,
        )
    assert not (tmp_path / "o.aedat").exists()
