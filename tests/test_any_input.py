"""Recordings and spike trains into networks that are not evsim's own: bins, parts of a sensor, pixels as channels."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from commands import evsim, refused

from evsim import api, modelfile
from evsim.errors import NetworkError, OptionError, RecordingError
from evsim.events.options import ReadOptions, parse_crop
from evsim.inputspec import InputSpec
from evsim.network import Input, Linear, Network
from evsim.origin import network_digest
from evsim.primitives import Flatten, TimeReduction

RNG = np.random.default_rng(12)


def network(channels, height=1, width=1, timesteps=5, **facts):
    """Return a network that adds up what it is fed."""
    nodes = [Input("input", (), channels, height, width, "integers")]
    spec = InputSpec("events", channels, height, width, timesteps, **({"frames": "bin", "bin_us": 1000} | facts))
    number = channels * height * width
    nodes += [Flatten("flat", ("input",)), Linear("fc", ("flat",), number, number, bias=False)]
    return Network("n", "test", "one", spec, (*nodes, TimeReduction("sum", ("fc",))),
                   {"fc.weight": np.eye(number, dtype=np.float32)})  # fmt: skip


def recording(path, events, size=(6, 4)):
    """Write events (t, x, y, p) as .npz; return path and the columns."""
    t, x, y, p = (np.array(column) for column in zip(*events, strict=True))
    np.savez(path, t=t.astype(np.int64), x=x.astype(np.uint16), y=y.astype(np.uint16), p=p.astype(np.uint8))
    return path, ReadOptions(sensor=size)


EVENTS = [
    (0, 0, 0, 1),
    (999, 5, 3, 0),
    (1000, 1, 2, 1),
    (1000, 1, 2, 1),
    (2500, 4, 1, 0),
    (4999, 2, 2, 1),
    (5000, 3, 3, 1),
]


def counted(events, steps, channels, bin_us=1000, begin=0):
    """Return counts [T, 2, 4, 6] by a loop."""
    frames = np.zeros((steps, 2, 4, 6), int)
    for t, x, y, p in events:
        place = (t - begin) // bin_us
        if 0 <= place < steps:
            frames[place, p, y, x] += 1
    return frames[:, :channels]


def test_bins_begin_at_time_0_and_later_events_are_left_out(tmp_path):
    """Counts are whole, those of the same bin add up, an event at the end of T is in no bin, and that is told."""
    path, options = recording(tmp_path / "a.npz", EVENTS)
    sample = api.read(path, network(2, 4, 6), options=options)
    assert sample.values.dtype.kind == "i"
    assert np.array_equal(sample.values, counted(EVENTS, 5, 2))
    assert any("1 of 7 events come after 5 bins of 1000 us" in note for note in sample.notes)
    assert sample.timesteps is None


def test_a_bin_can_be_chosen_and_begins_where_reading_starts(tmp_path):
    """`bin` goes before the model's rule; `start` moves the first bin, `start=0ev` to the first event."""
    later = [(t + 7_000_300, *rest) for t, *rest in EVENTS]
    path, options = recording(tmp_path / "a.npz", later)
    model = network(2, 4, 6)
    with pytest.raises(RecordingError, match=r"no event in 5 bins .* 7000300 to 7005300 us: give `start`"):
        api.read(path, model, options=options)
    for start, bin_us, begin in (("0ev", "2ms", 7_000_300), ("7000000us", "2ms", 7_000_000)):
        outcome = evsim_read(path, model, start, bin_us, tmp_path)
        assert np.array_equal(outcome, counted(later, 5, 2, 2000, begin)), start


def evsim_read(path, model, start, bin_us, tmp_path):
    """Return what `evsim run` fed to a model."""
    modelfile.save(model, tmp_path / "m.h5")
    fed = tmp_path / "fed.npz"
    outcome = evsim("run", tmp_path / "m.h5", "--input", path, "--sensor", "6x4", "--start", start, "--bin", bin_us,
                    "--save-frames", fed)  # fmt: skip
    assert outcome.code == 0, outcome.err
    with np.load(fed) as frames:
        return frames["frames"].astype(int)


def test_t_follows_the_input_where_the_model_fixes_none(tmp_path):
    """As many bins as reach to the last event; arrays of any length; `timesteps` goes before."""
    path, options = recording(tmp_path / "a.npz", EVENTS)
    model = network(2, 4, 6, open_time=True)
    sample = api.read(path, model, options=options)
    assert (sample.timesteps, len(sample.values)) == (6, 6)
    assert any("T = 6: bins of 1000 us to the last event" in note for note in sample.notes)
    run = api.simulate(model, sample)
    assert (run.timesteps, run.logits.sum()) == (6, len(EVENTS))
    assert len(api.read(path, model, 3, options).values) == 3
    frames = RNG.integers(0, 2, (9, 2, 4, 6))
    np.save(tmp_path / "f.npy", frames)
    for source in (frames, tmp_path / "f.npy"):
        assert api.simulate(model, source).timesteps == 9
    with pytest.raises(RecordingError, match="timesteps=9"):
        api.simulate(network(2, 4, 6), frames)


def test_polarities_are_channels_or_are_added_up(tmp_path):
    """One channel takes the sum, three the sum beside both; another number is refused."""
    path, options = recording(tmp_path / "a.npz", EVENTS)
    both = counted(EVENTS, 5, 2)
    assert np.array_equal(api.read(path, network(1, 4, 6), options=options).values, both.sum(axis=1, keepdims=True))
    three = np.concatenate([both, both.sum(axis=1, keepdims=True)], axis=1)
    assert np.array_equal(api.read(path, network(3, 4, 6), options=options).values, three)
    with pytest.raises(RecordingError, match="the model takes 4"):
        api.read(path, network(4, 4, 6), options=options)


def test_a_network_without_space_reads_pixels_as_channels(tmp_path):
    """Polarity first, last, or merged: each numbering is as docs/recordings.md says; the sensor tells the size."""
    path, options = recording(tmp_path / "a.npz", EVENTS)
    both = counted(EVENTS, 5, 2)
    orders = {"first": both, "last": both.transpose(0, 2, 3, 1), "merged": both.sum(axis=1)}
    for polarity, expected in orders.items():
        flat = expected.reshape(5, -1, 1, 1)
        model = network(flat.shape[1], polarity=polarity)
        assert np.array_equal(api.read(path, model, options=options).values, flat), polarity
        plain = network(flat.shape[1], sensor=(6, 4))
        chosen = ReadOptions(polarity=polarity)
        assert np.array_equal(api.read(path, plain, options=chosen).values, flat), polarity
    sample = api.read(path, network(24), options=options)
    assert np.array_equal(sample.values, both.sum(axis=1).reshape(5, 24, 1, 1))
    assert any("as many channels as pixels" in note for note in sample.notes)
    with pytest.raises(RecordingError, match="give `sensor=WxH`"):
        api.read(path, network(48))
    with pytest.raises(RecordingError, match=r"6 x 4 pixels give 48 channels .*takes 50; give `sensor`"):
        api.read(path, network(50), options=options)


def test_a_part_of_the_sensor_is_read(tmp_path):
    """`crop` keeps a window and moves its corner to 0, 0, from the option or the model; the listing takes it too."""
    path, _ = recording(tmp_path / "a.npz", EVENTS)
    inside = [(t, x - 1, y - 2, p) for t, x, y, p in EVENTS if 1 <= x < 4 and 2 <= y < 4 and t < 5000]
    expected = np.zeros((5, 2, 2, 3), int)
    for t, x, y, p in inside:
        expected[t // 1000, p, y, x] += 1
    crop = parse_crop("3x2+1+2")
    for model, options in (
        (network(2, 2, 3), ReadOptions(sensor=(6, 4), crop=crop)),
        (network(2, 2, 3, crop=crop), ReadOptions(sensor=(6, 4))),
    ):
        sample = api.read(path, model, options=options)
        assert np.array_equal(sample.values, expected)
        assert "cropped to 3 x 2 pixels from x 1, y 2: 4 of 7 events" in sample.notes
    outcome = evsim("events", path, "--crop", "3x2+1+2")
    assert outcome.code == 0
    assert "4 of 7 events" in outcome.err
    assert "--crop takes width x height + left + top" in refused("events", path, "--crop", "3x2")
    with pytest.raises(RecordingError, match="outside its sensor"):
        api.read(path, network(2, 2, 3), options=ReadOptions(sensor=(3, 3), crop=crop))


SPIKES = [(0.0001, 3), (0.0012, 0), (0.0013, 0), (0.0044, 2), (0.0061, 1)]


def trains(path, kind):
    """Write spike trains in a form; return path and options."""
    t, i = (np.array(column) for column in zip(*SPIKES, strict=True))
    if kind == "npz":
        np.savez(path, t=t, i=i)
    elif kind == "npz us":
        np.savez(path, times=(t * 1e6).round().astype(np.int64), units=i)
    else:
        with h5py.File(path, "w") as file:
            if kind == "columns":
                file["t"], file["i"] = t, i
                return path, ReadOptions()
            for key, dtype, values in (("times", np.float64, t), ("units", np.uint16, i)):
                data = file.create_dataset(f"spikes/{key}", (3,), h5py.vlen_dtype(dtype))
                data[1] = values
                data[0] = data[2] = np.zeros(2, dtype)
            file["labels"] = np.array([5, 7, 9])
        return path, ReadOptions(sample=1)
    return path, ReadOptions()


@pytest.mark.parametrize("kind", ["npz", "npz us", "columns", "shd"])
def test_spike_trains_feed_networks_without_space(kind, tmp_path):
    """Times and channels become counts per bin and channel; the sample of a data set is chosen, its label told."""
    path, options = trains(tmp_path / ("a.npz" if "npz" in kind else "a.h5"), kind)
    expected = np.zeros((5, 4, 1, 1), int)
    for t, i in SPIKES:
        if t < 0.005:
            expected[int(t * 1000), i] += 1
    sample = api.read(path, network(4), options=options)
    assert np.array_equal(sample.values, expected)
    assert any("1 of 5 events come after" in note for note in sample.notes)
    if kind == "shd":
        assert "sample 1 of 3, label 7" in sample.notes
    assert any("times are" in note for note in sample.notes)
    assert len(api.read(path, network(4, open_time=True), options=options).values) == 7


def test_spike_trains_that_do_not_fit_are_refused(tmp_path):
    """No sample chosen, none of that number, a channel too many, fractions, lists of other lengths, a map."""
    path, _ = trains(tmp_path / "a.h5", "shd")
    with pytest.raises(OptionError, match="3 samples; choose one by `sample=0` to `sample=2`"):
        api.read(path, network(4))
    with pytest.raises(OptionError, match="must be 0 to 2, got 3"):
        api.read(path, network(4), options=ReadOptions(sample=3))
    with pytest.raises(RecordingError, match="channels 0 to 3, the model has 0 to 2"):
        api.read(path, network(3), options=ReadOptions(sample=1))
    np.savez(tmp_path / "empty.npz", t=np.empty(0), i=np.empty(0, int))
    with pytest.raises(RecordingError, match="holds no events"):
        api.read(tmp_path / "empty.npz", network(3))
    for times, units, said in (
        ([0.1, 0.2], [0.5, 1.0], "no whole numbers"),
        ([0.1, 0.2], [0, 1, 2], "one length"),
        ([np.nan, 0.2], [0, 1], "NaN"),
    ):
        np.savez(tmp_path / "b.npz", t=np.array(times), i=np.array(units))
        with pytest.raises(RecordingError, match=said):
            api.read(tmp_path / "b.npz", network(3))
    np.savez(tmp_path / "c.npz", t=np.array([0.1]), i=np.array([0]))
    with pytest.raises(OptionError, match="one spike train"):
        api.read(tmp_path / "c.npz", network(3), options=ReadOptions(sample=2))
    with pytest.raises(RecordingError, match="lacks x, y, p"):
        api.read(tmp_path / "c.npz", network(2, 4, 6))


def test_options_are_checked(tmp_path):
    """Two rules, a length of nothing, a crop of nothing, a polarity that is none."""
    for wrong, said in (
        ({"bin_us": 5, "split": "number"}, "both say how events become frames"),
        ({"split": "bin"}, "needs the length of a timestep"),
        ({"bin_us": 0}, "must last 1 to"),
        ({"crop": (0, 1, 2, 3)}, "must be of 1 to 65535 pixels"),
        ({"polarity": "second"}, "must be one of first, last, merged"),
        ({"sample": -1}, "from 0, got -1"),
    ):
        with pytest.raises(OptionError, match=said):
            ReadOptions(**wrong)
    for wrong in ({"bin_us": -1}, {"frames": "bin", "bin_us": 0}, {"sensor": (3,)}, {"crop": (0, 1, 1, 1)}):
        with pytest.raises(NetworkError):
            network(4, **wrong)
    path, options = recording(tmp_path / "a.npz", [(10**12, 0, 0, 1), (10**12 + 5, 1, 1, 0)])
    with pytest.raises(RecordingError, match=r"over 65536; give `timesteps`, a longer `bin`"):
        api.read(path, network(2, 4, 6, open_time=True), options=options)


def test_models_keep_what_they_are_fed(tmp_path):
    """The input's facts survive model.h5, as schema 2; those of other models are written and digested as before."""
    told = {"polarity": "last", "sensor": (6, 4), "crop": (6, 4, 0, 0), "open_time": True}
    modelfile.save(network(48, **told), tmp_path / "m.h5")
    assert modelfile.load(tmp_path / "m.h5").spec == network(48, **told).spec
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["schema"] == 2
    plain = network(2, 4, 6, frames="number", bin_us=0)
    assert set(plain.spec.told()) == {
        "kind", "channels", "height", "width", "timesteps", "mean", "std", "crop_pct", "frames", "orientation",
        "interpolation",
    }  # fmt: skip
    assert network_digest(plain) != network_digest(network(2, 4, 6))
