"""Arrays and pictures that go wrong elsewhere, each row of a list of faults: taken as they are, said, or refused."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import event_files as files
import numpy as np
import pytest
from test_events_cli import call, fails
from test_events_cli import network as summing

from evsim import api, demo
from evsim.errors import OptionError, RecordingError
from evsim.events import FORMATS, ReadOptions, format_table
from evsim.events.images import read_grey, read_picture
from evsim.inputspec import InputSpec
from evsim.modelfile import save

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPEC = InputSpec("image", 3, 16, 16, 4, MEAN, STD)
PICTURES = summing(SPEC, "real")
EVENTS = summing(InputSpec("events", 2, 16, 16, 4), "integers")
RNG = np.random.default_rng(1)
SHOTS = ((RNG.random((4, 3, 16, 16)) - 0.5) * 2.0).astype(np.float32)
Image = pytest.importorskip("PIL.Image")


def npy(folder, name, values):
    """Write an array and return its path."""
    np.save(folder / name, values)
    return folder / name


def test_one_image_as_a_batch(tmp_path):
    """[1, C, H, W] is one image, shown at every timestep, with a note; it gives what [C, H, W] gives."""
    alone = api.read(npy(tmp_path, "img_one_chw.npy", SHOTS[0]), PICTURES)
    batch = api.read(npy(tmp_path, "img_one_nchw.npy", SHOTS[:1]), PICTURES)
    np.testing.assert_array_equal(alone.values, batch.values)
    assert not alone.notes
    assert any("batch of 1; image 0 is shown at every timestep" in note for note in batch.notes)
    assert api.simulate(PICTURES, alone).counts.sops == api.simulate(PICTURES, batch).counts.sops


def test_batch_or_time(tmp_path):
    """[4, C, H, W] for a model of T = 4 needs a word: an image of the batch, or one image a timestep."""
    path = npy(tmp_path, "img_batch4.npy", SHOTS)
    with pytest.raises(OptionError, match=r"img_batch4\.npy.*4 images.*`item=0` to `item=3`.*`axis=time`$"):
        api.read(path, PICTURES)
    np.testing.assert_array_equal(api.read(path, PICTURES, options=ReadOptions(item=2)).values, SHOTS[2])
    np.testing.assert_array_equal(api.read(path, PICTURES, options=ReadOptions(axis="time")).values, SHOTS)
    with pytest.raises(OptionError, match="evsim runs one"):
        api.read(path, PICTURES, options=ReadOptions(axis="batch"))
    with pytest.raises(OptionError, match="must be 0 to 3, got 4"):
        api.read(path, PICTURES, options=ReadOptions(item=4))
    three = npy(tmp_path, "three.npy", SHOTS[:3])
    with pytest.raises(OptionError, match="`axis=time` and `timesteps=3`"):
        api.read(three, PICTURES)
    with pytest.raises(OptionError, match="number of an image of a batch"):
        ReadOptions(axis="time", item=1)


def test_batches_of_frames(tmp_path):
    """Frames [1, T, C, H, W] and SpikingJelly's [T, 1, C, H, W] lose the axis of the batch, and that is said."""
    frames = RNG.integers(0, 3, (4, 2, 16, 16)).astype(np.float32)
    for values in (frames[None], frames[:, None]):
        sample = api.read(npy(tmp_path, "a.npy", values), EVENTS)
        np.testing.assert_array_equal(sample.values, frames)
        assert "batch of" in sample.notes[0]
    two = npy(tmp_path, "two.npy", np.stack([frames, frames + 1]))
    with pytest.raises(OptionError, match="`item=0` to `item=1`"):
        api.read(two, EVENTS)
    np.testing.assert_array_equal(api.read(two, EVENTS, options=ReadOptions(item=1)).values, frames + 1)


@pytest.mark.parametrize(
    ("values", "model", "words"),
    [
        (np.ones((3, 16, 15), np.float32), PICTURES, r"an image \[3, 16, 16\].*shape \[3, 16, 15\]"),
        (np.ones((2, 16, 16), np.float32), EVENTS, "takes frames"),
        (np.ones((1, 2, 16, 16), np.float32), EVENTS, "holds one timestep, the run has 4"),
        (np.ones((8, 2, 16, 16), np.float32), EVENTS, "holds 8 timesteps, the run has 4; give `timesteps=8`"),
        (np.full((4, 2, 16, 16), 0.5), EVENTS, "negative or fractional"),
        (np.full((4, 2, 16, 16), np.nan), EVENTS, "NaN"),
    ],
)
def test_read_checks_what_fits(tmp_path, values, model, words):
    """What does not fit the network is refused by read, with the file's name, and never by advice to run less."""
    with pytest.raises(RecordingError, match=rf"a\.npy.*{words}") as refusal:
        api.read(npy(tmp_path, "a.npy", values), model)
    assert "timesteps=1`" not in str(refusal.value)


def test_values_that_nobody_normalised(tmp_path):
    """Floats of 0 to 255, or of 0 to 1, draw the note that whole numbers draw; normalised ones draw none."""
    pixels = RNG.random((3, 16, 16)).astype(np.float32)
    for name, values in (("img_f255", pixels * 255), ("img_01", pixels), ("img_u8", (pixels * 255).astype(np.uint8))):
        notes = api.read(npy(tmp_path, f"{name}.npy", values), PICTURES).notes
        assert any("(x / 255 - (0.485" in note for note in notes), name
    normal = (pixels - np.array(MEAN, np.float32)[:, None, None]) / np.array(STD, np.float32)[:, None, None]
    assert not api.read(npy(tmp_path, "normal.npy", normal), PICTURES).notes


def picture(folder, name, mode, fill=0, exif=None):
    """Write a picture of 20 x 16 pixels: its left half opaque black, its right half transparent black."""
    image = Image.new(mode, (20, 16), fill)
    if mode in ("RGBA", "LA"):
        opaque = (0, 0, 0, 255) if mode == "RGBA" else (0, 255)
        image.paste(opaque, (0, 0, 10, 16))
    image.save(folder / name, **({"exif": exif} if exif else {}))
    return folder / name


@pytest.mark.parametrize(
    ("name", "mode"), [("black_on_transparent.png", "RGBA"), ("black_on_transparent_LA.png", "LA")]
)
def test_transparency_lies_on_white(tmp_path, name, mode):
    """What is transparent becomes white, for record and run, and a note names the file."""
    path = picture(tmp_path, name, mode, (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    grey, notes = read_grey(path)
    assert grey[:, :10].max() == 0
    assert grey[:, 10:].min() == 255
    assert notes == (f"{path}: its transparent pixels are laid on white",)
    values, notes = read_picture(path, SPEC)
    assert values[0, :, 0].max() == pytest.approx((0 - MEAN[0]) / STD[0])
    assert values[0, :, -1].min() == pytest.approx((1 - MEAN[0]) / STD[0])
    assert "laid on white" in notes[0]
    Image.new(mode, (20, 16), (9, 9, 9, 255) if mode == "RGBA" else (9, 255)).save(tmp_path / "opaque.png")
    assert not read_grey(tmp_path / "opaque.png").notes
    assert "laid on white" in call("record", path, tmp_path / "out.aedat").stderr


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_several_pictures_in_a_file(tmp_path, suffix):
    """Of an animation, or of the pages of a TIFF, the first is taken, and a note says so."""
    path, still = tmp_path / f"a.{suffix}", tmp_path / f"still.{suffix}"
    first, second = (Image.new("RGB", (20, 16), (shade,) * 3) for shade in (40, 200))
    first.save(still)
    first.save(path, save_all=True, append_images=[second])
    for several, single in ((read_grey(path), read_grey(still)), (read_picture(path, SPEC), read_picture(still, SPEC))):
        assert several.notes == (f"{path}: it holds several pictures; the first is taken",)
        assert not single.notes
        np.testing.assert_array_equal(several[0], single[0])


def test_orientation_of_exif(tmp_path):
    """Orientation is applied by record and told by run, which leaves it as timm does."""
    image = Image.fromarray(np.arange(320, dtype=np.uint8).reshape(16, 20) // 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "exif6.png", exif=exif)
    grey, notes = read_grey(tmp_path / "exif6.png")
    np.testing.assert_array_equal(grey, np.rot90(np.asarray(image), -1))
    assert "turned as its EXIF data say (orientation 6)" in notes[0]
    values, notes = read_picture(tmp_path / "exif6.png", SPEC)
    image.save(tmp_path / "plain.png")
    np.testing.assert_array_equal(values, read_picture(tmp_path / "plain.png", SPEC).values)
    assert "exif6.png: its EXIF data (orientation 6) are left alone" in notes[0]


def test_only_pictures_that_are_named_are_opened(tmp_path):
    """PostScript, which would start Ghostscript, is no picture whatever it is called; messages name the file."""
    path = tmp_path / "postscript.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 60\n%%EndComments\nshowpage\n%%EOF\n")
    assert "postscript.png is no picture (PNG, JPEG, GIF, BMP, TIFF, WEBP)" in fails(
        "record", path, tmp_path / "o.aedat"
    )
    flat = picture(tmp_path, "flat.png", "L", 7)
    assert "flat.png: the image holds" in fails("record", flat, tmp_path / "o.aedat")


def limited(*arguments, megabytes):
    """Run a command in a process that may grow by so much beyond what Python, NumPy and Numba take."""
    code = (
        "import resource, sys, numba, numpy, scipy.ndimage, h5py\n"
        "from evsim.cli.main import main\n"
        "base = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (base + ({megabytes} << 20),) * 2)\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="no limit of memory here")
def test_pixel_bombs_and_sensors_beyond_reason(tmp_path):
    """Pictures of absurd sizes, or that resizing would make so, and sensors too large to draw are one line."""
    model = tmp_path / "model.h5"
    save(PICTURES, model)
    Image.new("1", (400_000, 1)).save(tmp_path / "400000x1.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "20000x20000.png")
    wide = tmp_path / "x_8191.npz"
    wide.write_bytes(files.npz([0, 1], [0, 8191], [0, 8191], [0, 1]))
    for arguments, words in (
        (("run", model, "--input", tmp_path / "400000x1.png"), "400000x1.png of 6400000 x 16 pixels would take"),
        (("run", model, "--input", tmp_path / "20000x20000.png"), "20000x20000.png"),
        (("record", tmp_path / "20000x20000.png", tmp_path / "o.aedat"), "20000x20000.png"),
        (("events", wide, "--png", tmp_path / "o.png"), "8192 x 8192 is too large to draw; give --sensor"),
    ):
        outcome = limited(*arguments, megabytes=500)
        assert outcome.returncode == 2, outcome.stderr
        assert words in outcome.stderr.strip().splitlines()[-1]
        assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.glob("o.*"))


def test_options_of_arrays_and_recordings(tmp_path):
    """`axis` and `item` mean nothing for events, the options of recordings nothing for arrays."""
    path = npy(tmp_path, "a.npy", SHOTS[0])
    with pytest.raises(OptionError, match="for which alone there is `time_unit`"):
        api.read(path, PICTURES, options=ReadOptions(time_unit="ns"))
    with pytest.raises(OptionError, match="`axis` and `item` are for arrays"):
        api.read(demo.recordings()[3] if 3 in demo.recordings() else next(iter(demo.recordings().values())),
                 api.load(demo.model_path()), options=ReadOptions(item=1))  # fmt: skip


def test_tables_of_events_in_npy_are_recordings(tmp_path):
    """A structured ``.npy`` is read as events by an event model, and becomes frames."""
    path = tmp_path / "structured.npy"
    path.write_bytes(files.structured([1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 0, 1]))
    sample = api.read(path, EVENTS)
    assert (sample.kind, sample.events, int(np.asarray(sample.values).sum())) == ("npy", 4, 4)


def test_list_of_formats_in_the_docs():
    """docs/recordings.md holds the list that the registry gives."""
    document = Path(__file__).parents[1] / "docs" / "recordings.md"
    assert format_table() in document.read_text(encoding="utf-8")
    assert len({reader.NAME for reader in FORMATS}) == len(FORMATS)
