"""Frames of a sensor resized as torchvision resizes them, and recordings run by models of such frames."""

from __future__ import annotations

import numpy as np
import pytest
from commands import evsim, refused
from resformers import Model
from test_events_frames import recording
from torch_files import as_tensors, write_checkpoint

from evsim import api, modelfile
from evsim.converters import ConvertOptions, convert
from evsim.errors import RecordingError
from evsim.events.frames import to_frames
from evsim.events.resizing import resized, to_real_frames
from evsim.events.types import GREATEST_INDEX

EVENTS = ([0, 1, 2, 3, 4, 5], [0, 1, 3, 7, 6, 0], [0, 0, 2, 5, 5, 1], [1, 1, 0, 1, 0, 1])


def by_hand(values, size):
    """Resize a row of values by the triangle of torchvision's anti-aliased Resize, one output after the other."""
    scale = len(values) / size
    reach, out = max(scale, 1.0), []
    for i in range(size):
        centre = (i + 0.5) * scale
        weights = [max(0.0, 1.0 - abs(j + 0.5 - centre) / reach) for j in range(len(values))]
        out.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return out


def test_halving_weighs_four_pixels():
    """From 128 to 64, an output is 1/8, 3/8, 3/8, 1/8 of its neighbours; at the border 3/7, 3/7, 1/7 of three."""
    row = np.arange(8.0)[np.newaxis] ** 2
    got = resized(row, 1, 4)[0]
    inner = [(row[0, i - 1] + 3 * row[0, i] + 3 * row[0, i + 1] + row[0, i + 2]) / 8 for i in (2, 4)]
    edges = ((3 * 0 + 3 * 1 + 4) / 7, (25 + 3 * 36 + 3 * 49) / 7)
    np.testing.assert_allclose(got, [edges[0], *inner, edges[1]], rtol=1e-7)


@pytest.mark.parametrize(
    ("inner", "outer"), [((128, 128), (64, 64)), ((5, 7), (11, 3)), ((9, 4), (9, 4)), ((34, 30), (8, 64))]
)
def test_resizing_is_pillows_bilinear(inner, outer):
    """Maps become those of Pillow's BILINEAR and of the formula, larger or smaller; of equal size they stay."""
    image = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(0).poisson(2.0, (2, 3, *inner))
    got = resized(values, *outer)
    assert got.shape == (2, 3, *outer)
    assert got.dtype == np.float32
    for index in np.ndindex(2, 3):
        picture = image.fromarray(values[index].astype(np.float32))
        wanted = np.asarray(picture.resize(outer[::-1], image.Resampling.BILINEAR))
        np.testing.assert_allclose(got[index], wanted, rtol=0, atol=2e-5)
    across = np.array([by_hand(row, outer[1]) for row in values[0, 0]])
    np.testing.assert_allclose(got[0, 0], np.array([by_hand(c, outer[0]) for c in across.T]).T, rtol=1e-6, atol=1e-7)
    if inner == outer:
        assert np.array_equal(got, values)


def test_frames_are_those_of_the_whole_sensor():
    """All events of the sensor are counted, in the slices that count frames have, before they are resized."""
    events = recording(EVENTS, 8, 6)
    made = to_real_frames(events, 3, "number", 3, 4)
    whole = to_frames(events, 3, "number", 6, 8)
    assert np.array_equal(made.counts, resized(whole.counts, 3, 4))
    assert "frames of 8 x 6 pixels are resized to the model's 4 x 3" in made.notes[-1]
    alike = to_real_frames(events, 3, "number", 6, 8)
    assert np.array_equal(alike.counts, whole.counts)
    assert alike.notes == whole.notes
    binned = to_real_frames(events, 3, "number", 3, 4, fit="bin")
    assert np.array_equal(binned.counts, to_frames(events, 3, "number", 3, 4, fit="bin").counts)


def test_an_unknown_sensor_is_not_resized():
    """A size that is but the greatest index is no sensor's: what to resize is not known."""
    with pytest.raises(RecordingError, match=r"names no sensor size.*give `sensor=WxH`"):
        to_real_frames(recording(EVENTS, size_from=GREATEST_INDEX), 3, "number", 3, 4)


def test_a_recording_runs_on_a_model_of_resized_frames(tmp_path):
    """SpikingResformer's DVS form reads a recording: resized frames, and the sum of both as a third channel."""
    model = Model(wide=False, size=16, plif=True, patches=(4, 2), planes=(6, 12), group=3, steps=4)
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(model.state)})
    network = convert(path, ConvertOptions(timesteps=4, image_size=16)).network
    modelfile.save(network, tmp_path / "m.h5")
    random = np.random.default_rng(3)
    rows = "\n".join(f"{t} {x} {y} {p}" for t, (x, y, p) in enumerate(random.integers(0, (40, 30, 2), (400, 3))))
    (tmp_path / "events.txt").write_text(rows + "\n")
    network = modelfile.load(tmp_path / "m.h5")
    options = ("--sensor", "40x30", "--columns", "txyp", "--time-unit", "us")
    outcome = evsim("run", tmp_path / "m.h5", "--input", tmp_path / "events.txt", *options, "--precision", "float64")
    assert outcome.code == 0, outcome.err
    assert "resized to the model's 16 x 16" in outcome.err + outcome.out
    read = api.read(
        tmp_path / "events.txt", network, options=api.ReadOptions(sensor=(40, 30), columns="txyp", time_unit="us")
    )
    assert read.values.shape == (4, 3, 16, 16)
    np.testing.assert_allclose(read.values[:, 2], read.values[:, 0] + read.values[:, 1], rtol=1e-6)
    run = api.simulate(network, read, precision="float64")
    np.testing.assert_allclose(run.logits, model.forward(read.values.astype(np.float64)), rtol=0, atol=1e-9)
    assert "names no sensor size" in refused(
        "run", tmp_path / "m.h5", "--input", tmp_path / "events.txt", "--columns", "txyp", "--time-unit", "us"
    )
