"""Through the command line: events tells, draws and converts; run takes the same options; errors are one line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import event_files as files
import numpy as np
import pytest
from typer.testing import CliRunner

from evsim import api
from evsim.cli.main import app
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions, read
from evsim.events.frames import to_frames
from evsim.inputspec import InputSpec
from evsim.modelfile import save
from evsim.network import Conv2d, Input, Linear, Network, TimeMean, TokenMean
from evsim.report.recordings import sparkline

KEYS = [
    "format", "width", "height", "count", "first", "last", "on", "off", "t_min", "t_max", "sum_x", "sum_y",
    "backward_steps", "skipped", "size_from", "sha256_tx_y_p",
]  # fmt: skip
EVENTS = ([5, 20, 21, 90], [1, 2, 3, 4], [9, 8, 7, 6], [1, 0, 0, 1])


def call(*arguments):
    """Run a command in this process; return what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def fails(*arguments):
    """Run the console script in a process of its own; return its one line of error."""
    command = [sys.executable, "-c", "from evsim.cli.main import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert lines[-1].startswith("evsim: ")
    assert not done.stdout
    return lines[-1]


@pytest.fixture
def path(tmp_path):
    """Return a DVS128 recording of four events, one word skipped."""
    path = tmp_path / "four.aedat"
    path.write_bytes(files.aedat2_dvs128(*EVENTS, special=[1]))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a model.h5 that takes events of 16 x 16 pixels and whose logits are the counts of both channels."""
    path = tmp_path_factory.mktemp("model") / "model.h5"
    spec = InputSpec("events", 2, 16, 16, 4)
    save(network(spec, "integers"), path)
    return path


def network(spec, kind):
    """Return a network that sums its input: a convolution of ones, the mean over pixels and time, an identity."""
    channels = spec.channels
    nodes = (
        Input("input", (), channels, spec.height, spec.width, kind),
        Conv2d("sum", ("input",), channels, channels, batch_norm=False),
        TokenMean("tokens", ("sum",)),
        TimeMean("time", ("tokens",)),
        Linear("head", ("time",), channels, channels),
    )
    weights = {
        "sum.weight": np.eye(channels, dtype=np.float32)[None, None],
        "head.weight": np.eye(channels, dtype=np.float32),
        "head.bias": np.zeros(channels, np.float32),
    }
    return Network("summing", "test", "test", spec, nodes, weights)


def test_json_on_standard_output(path):
    """--json - prints the facts alone, with the keys that docs/recordings.md lists; notes go to standard error."""
    result = call("events", path, "--json", "-")
    facts = json.loads(result.stdout)
    assert list(facts) == KEYS
    assert (facts["count"], facts["on"], facts["off"]) == (4, 2, 2)
    assert (facts["first"], facts["last"]) == ([5, 1, 9, 1], [90, 4, 6, 1])
    assert (facts["t_min"], facts["t_max"], facts["sum_x"], facts["sum_y"]) == (5, 90, 10, 30)
    assert (facts["skipped"], facts["size_from"]) == ({"special events": 1}, "the DVS128")
    assert facts["sha256_tx_y_p"] == files.digest(*EVENTS)
    raw = json.loads(call("events", path, "--json", "-", "--orientation", "raw").stdout)
    assert raw["first"] == [5, 127 - 9, 127 - 1, 0]


def test_orientation_is_taken_by_every_format(tmp_path):
    """Formats of one orientation read the same whatever is asked."""
    path = tmp_path / "a.bin"
    path.write_bytes(files.atis(*EVENTS))
    outputs = {call("events", path, "--json", "-", "--orientation", o).stdout for o in ("raw", "jaer", "spikingjelly")}
    assert len(outputs) == 1


def test_text(path, tmp_path):
    """The text names format, sensor, counts, time, rate, pixels and what was skipped; --json FILE writes beside it."""
    result = call("events", path, "--json", tmp_path / "facts.json")
    for words in (
        "aedat2", "128 x 128 pixels", "4 (2 ON, 2 OFF)", "from 5 to 90 us", "never runs backward",
        "4 fire, none is hot", "1 special events", "events/s on average",
    ):  # fmt: skip
        assert words in result.stdout
    assert json.loads((tmp_path / "facts.json").read_text())["count"] == 4


def test_hot_pixel(tmp_path):
    """A pixel that fires far more often than the others is named."""
    n = 400
    x, y = [i % 40 for i in range(n)] + [99] * 200, [0] * n + [77] * 200
    (tmp_path / "hot.bin").write_bytes(files.atis(list(range(n + 200)), x, y, [1] * (n + 200)))
    assert "1 hot (more than 10 times the mean): (99, 77) 200" in call("events", tmp_path / "hot.bin").stdout


def test_sparkline():
    """Bars are in proportion to the greatest value, and the greatest is the highest bar."""
    assert sparkline(np.array([0, 1, 4, 8])) == "▁▂▅█"
    assert sparkline(np.array([0, 0])) == "▁▁"


def test_recording_without_events(tmp_path, model):
    """No events: a warning and exit 0 in events, an error in run."""
    path = tmp_path / "none.aedat"
    path.write_bytes(files.DVS128)
    result = call("events", path, "--json", "-")
    facts = json.loads(result.stdout)
    assert (facts["count"], facts["first"], facts["last"]) == (0, None, None)
    assert "warning" in result.stderr
    call("events", path)
    assert "holds no events" in fails("run", model, "--input", path, "--sensor", "16x16")


def test_errors_are_one_line(path, tmp_path):
    """Bad files and options end with exit code 2 and one line; nothing half-written stays."""
    assert "is empty" in fails("events", _written(tmp_path / "empty.aedat", b""))
    assert "--sensor takes" in fails("events", path, "--sensor", "big")
    assert "must be .aedat, .npz or .csv" in fails("events", path, "--to", tmp_path / "out.txt")
    assert "give --to" in fails("events", path, "--aedat", "3.1")
    assert "must be 2.0 or 3.1" in fails("events", path, "--to", tmp_path / "o.aedat", "--aedat", "4")
    assert "cannot write" in fails("events", path, "--png", tmp_path / "missing" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.aedat", "four.aedat"]


def _written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("orientation", ["spikingjelly", "jaer", "raw"])
def test_conversion_to_aedat2_keeps_addresses(path, tmp_path, orientation):
    """AEDAT 2.0 becomes AEDAT 2.0 of the same addresses, in whatever orientation it was read."""
    call("events", path, "--to", tmp_path / "out.aedat", "--orientation", orientation)
    original = summary(path)
    assert summary(tmp_path / "out.aedat") == original


def summary(path):
    """Return digest and count of a recording."""
    recording = read(path)
    return files.digest(recording.t, recording.x, recording.y, recording.p), len(recording)


@pytest.mark.parametrize("name", ["out.aedat", "out.npz"])
def test_conversion(tmp_path, name):
    """Every recording converts to formats that read back the same; what fits no DVS128 becomes AEDAT 3.1."""
    source = _written(tmp_path / "a.dat", files.dat([1, 2**31 + 5, 2**32 - 1], [3, 250, 4], [1, 2, 180], [1, 0, 1]))
    result = call("events", source, "--to", tmp_path / name)
    assert summary(tmp_path / name) == summary(source)
    if name.endswith("aedat"):
        assert "AEDAT 3.1" in result.stderr
        assert read(tmp_path / name).format == "aedat3"


def test_conversion_to_text_and_of_a_range(path, tmp_path):
    """--to .csv writes t,x,y,p; with --start and --stop it writes that range."""
    call("events", path, "--to", tmp_path / "out.csv", "--start", "20", "--stop", "3ev")
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["t", "x", "y", "p"], ["20", "2", "8", "0"], ["21", "3", "7", "0"]]


def test_picture(path, tmp_path):
    """--png writes a PNG that Pillow opens: ON pixels red, OFF blue, at the place of the event."""
    from PIL import Image

    call("events", path, "--png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        pixels = np.asarray(image)
    letters, size = 2, 2 * 128  # four events: four frames, each enlarged twice, and letters with them
    left, top = 17 * letters + 4 * letters, 11 * letters  # "127" beside a frame, a line of time above it
    across = left + size + 6 * letters
    assert pixels.shape[1] == 4 * across
    first = pixels[top + 1 + 2 * 9, left + 1 + 2 * 1]
    second = pixels[top + 1 + 2 * 8, across + left + 1 + 2 * 2]
    assert first[0] > first[2]
    assert second[2] > second[0]
    assert (pixels[top + 1, left + 1] == 255).all()
    assert not (pixels[:top] == 255).all(), "the time stands above"
    assert not (pixels[:, : left - 1] == 255).all(), "rows have numbers"
    legend = pixels[top + size :, :].reshape(-1, 3)
    assert {(200, 30, 30), (30, 60, 200)} <= set(map(tuple, legend.tolist())), "ON and OFF"


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_moving_picture(kind, tmp_path):
    """--gif and --webp play the recording: each frame's events are those of its time."""
    from PIL import Image

    path = _written(tmp_path / "a.bin", files.atis([0, 45_000, 119_000], [1, 2, 31], [4, 5, 31], [1, 0, 1]))
    call("events", path, f"--{kind}", tmp_path / f"out.{kind}")
    with Image.open(tmp_path / f"out.{kind}") as image:
        assert image.n_frames == 3
        seen = []
        for i in range(3):
            image.seek(i)
            pixels = np.asarray(image.convert("RGB"), np.int64)
            legend = round(0.85 * pixels.shape[0])
            red = ((pixels[:legend, :, 0] - pixels[:legend, :, 2]) > 100).any()
            blue = ((pixels[:legend, :, 2] - pixels[:legend, :, 0]) > 100).any()
            seen.append((bool(red), bool(blue)))
            assert image.info["duration"] == 40
    assert seen == [(True, False), (False, True), (True, False)]
    assert "no file" in fails("events", path, f"--{kind}", "-")


def test_run_takes_the_options(tmp_path, model):
    """--split, --duration, --fit, --start and the like decide what the network is fed."""
    path = _written(tmp_path / "a.bin", files.atis([0, 10, 25, 95], [1, 2, 3, 31], [4, 5, 6, 31], [1, 1, 0, 1]))

    def fed(*options):
        call("run", model, "--input", path, "--save-frames", tmp_path / "fed.npz", *options)
        with np.load(tmp_path / "fed.npz") as file:
            return file["frames"]

    with pytest.raises(RecordingError, match="`sensor=WxH`"):
        fed()
    with pytest.raises(RecordingError, match="`fit=crop`"):
        fed("--sensor", "32x32")
    binned = fed("--sensor", "32x32", "--fit", "bin")
    assert binned.shape == (4, 2, 16, 16)
    assert [tuple(place) for place in np.argwhere(binned)] == [(0, 1, 2, 0), (1, 1, 2, 1), (2, 0, 3, 1), (3, 1, 15, 15)]
    by_time = fed("--stop", "3ev", "--split", "time", "--timesteps", "2")
    assert by_time.sum(axis=(1, 2, 3)).tolist() == [2, 0]
    by_duration = fed("--stop", "3ev", "--split", "duration", "--duration", "10us")
    assert by_duration.sum(axis=(1, 2, 3)).tolist() == [1, 1, 1]
    result = call(
        "run", model, "--input", path, "--stop", "3ev", "--split", "duration", "--duration", "10us", "--json", "-"
    )
    assert json.loads(result.stdout)["model"]["timesteps"] == 3
    assert "T = 3" in result.stderr
    with pytest.raises(OptionError, match="both decide T"):
        fed("--split", "duration", "--duration", "10us", "--timesteps", "4")


def test_python_reads_with_the_models_orientation(path):
    """`api.read` takes orientation and split of the model unless told otherwise, and gives what `to_frames` makes."""
    spec = InputSpec("events", 2, 128, 128, 2, orientation="jaer", frames="time")
    sample = api.read(path, network(spec, "integers"))
    expected = to_frames(read(path, ReadOptions(orientation="jaer")), 2, "time", 128, 128)
    np.testing.assert_array_equal(sample.values, expected.counts)
    raw = api.read(path, network(spec, "integers"), options=ReadOptions(orientation="raw", split="number"))
    np.testing.assert_array_equal(
        raw.values, to_frames(read(path, ReadOptions(orientation="raw")), 2, "number", 128, 128).counts
    )
    with pytest.raises(OptionError, match="`timesteps`"):
        api.read(path, network(spec, "integers"), 0)


@pytest.mark.parametrize(
    ("channels", "crop_pct", "how"),
    [(3, 1.0, "bicubic"), (3, 0.875, "bicubic"), (1, 0.9, "bilinear"), (3, 0.95, "nearest")],
)
@pytest.mark.parametrize("shape", [(40, 57), (57, 40), (32, 32), (9, 50)])
def test_pictures_as_timm_prepares_them(tmp_path, channels, crop_pct, how, shape):
    """PNG: shorter side resized as the model says to floor(size / crop_pct), centre crop, /255, mean, std, float32."""
    from PIL import Image

    size = 32
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    spec = InputSpec("image", channels, size, size, 4, mean, std, crop_pct, interpolation=how)
    sample = api.read(tmp_path / "a.png", network(spec, "real"))

    scale = int(np.floor(size / crop_pct))
    height, width = shape
    wide = (scale, int(scale * width / height))
    target = wide if height <= width else (int(scale * height / width), scale)
    image = Image.fromarray(pixels).convert("RGB" if channels == 3 else "L")
    if image.size != (target[1], target[0]):
        image = image.resize((target[1], target[0]), Image.Resampling[how.upper()])
    top, left = int(round((target[0] - size) / 2.0)), int(round((target[1] - size) / 2.0))  # noqa: RUF046 - as torchvision
    crop = np.asarray(image).reshape(*target, channels)[top : top + size, left : left + size]
    expected = (crop.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    assert sample.values.dtype == np.float32
    np.testing.assert_allclose(sample.values, expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert sample.kind == "picture"


def test_pictures_and_models_that_do_not_fit(tmp_path, path):
    """A picture for an event model, a recording for an image model, and other channels are errors."""
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.jpg")
    events = network(InputSpec("events", 2, 8, 8, 4), "integers")
    images = network(InputSpec("image", 3, 8, 8, 4, (0.5,) * 3, (0.5,) * 3), "real")
    two = network(InputSpec("image", 2, 8, 8, 4, (0.5,) * 2, (0.5,) * 2), "real")
    with pytest.raises(RecordingError, match="evsim record"):
        api.read(tmp_path / "a.jpg", events)
    with pytest.raises(RecordingError, match="the model takes images"):
        api.read(path, images)
    with pytest.raises(RecordingError, match="takes 2 channels"):
        api.read(tmp_path / "a.jpg", two)


def test_arrays_keep_their_type(tmp_path):
    """Frames and images in .npy come to the network as they are."""
    events = network(InputSpec("events", 2, 8, 8, 4), "integers")
    images = network(InputSpec("image", 2, 8, 8, 4, (0.0, 0.0), (1.0, 1.0)), "real")
    for values, taker in (
        (np.ones((4, 2, 8, 8), np.float64), events),
        (np.ones((2, 8, 8), np.float32), images),
        (np.ones((4, 2, 8, 8), np.uint8), events),
    ):
        np.save(tmp_path / "a.npy", values)
        sample = api.read(tmp_path / "a.npy", taker)
        assert sample.values.dtype == values.dtype
        np.testing.assert_array_equal(sample.values, values)
