"""How many events of a file reached the network, and why the others did not: exact, in every way to choose them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import evsim
from data_sets import network
from hypothesis import given
from hypothesis import strategies as st

from evsim import api, demo, modelfile
from evsim.events import ReadOptions
from evsim.events.options import Bound
from evsim.events.types import BEFORE, BEHIND, BEHIND_BINS, OUTSIDE_CROP, OUTSIDE_RANGE

SIDE = 20


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return a recording of 900 events at 0 to 898 us, and of one far behind them, on 20 x 20 pixels."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("fed") / "a.npz"
    t = np.sort(rng.integers(0, 899, 900))
    t[0], t[-1] = 0, 898
    x, y, p = (rng.integers(0, limit, 900) for limit in (SIDE, SIDE, 2))
    np.savez(path, t=t, x=x, y=y, p=p)
    return path


@pytest.mark.parametrize("split", ["number", "time", "duration", "bin"])
@given(data=st.data())
def test_events_add_up(file, split, data):
    """Those that were fed are the sum of the frames, and with those left out they are the file's."""
    moment = st.integers(0, 300)
    start, stop = data.draw(moment), data.draw(st.integers(600, 1000))
    crop = data.draw(st.none() | st.just((12, 14, 3, 2)))
    more = {"bin": {"bin_us": 50}, "duration": {"split": "duration", "duration_us": 70}}.get(split, {"split": split})
    options = ReadOptions(
        start=Bound(start, "us"), stop=Bound(stop, "us"), crop=crop, sensor=None if crop else (SIDE, SIDE), **more
    )
    steps = None if split == "duration" else data.draw(st.integers(1, 12))
    sample = api.read(file, network(height=SIDE, width=SIDE), steps, options)
    assert sample.fed == sample.values.sum()
    assert sample.in_file == 900
    assert sample.fed + sum(sample.left_out.values()) == sample.in_file
    assert set(sample.left_out) <= {OUTSIDE_RANGE, OUTSIDE_CROP, BEFORE, BEHIND, BEHIND_BINS}
    times = np.load(file)["t"]
    assert sample.left_out.get(OUTSIDE_RANGE, 0) == np.count_nonzero((times < start) | (times >= stop))
    if split == "bin":  # bins begin with the range
        kept = times[(times >= start) & (times < stop)]
        late = np.count_nonzero(kept >= start + 50 * steps)
        assert crop or sample.left_out.get(BEHIND_BINS, 0) == late


def test_middle_of_a_larger_sensor(file):
    """What `fit=crop` cuts off is outside the crop, not lost without a word."""
    sample = api.read(file, network(height=10, width=10), 3, ReadOptions(sensor=(SIDE, SIDE), fit="crop"))
    columns = np.load(file)
    inside = sum((columns["x"] >= 5) & (columns["x"] < 15) & (columns["y"] >= 5) & (columns["y"] < 15))
    assert (sample.fed, sample.left_out) == (inside, {OUTSIDE_CROP: 900 - inside})
    assert sample.fed == sample.values.sum()


def test_report_json_and_page_tell_it(tmp_path):
    """Headline, JSON and page name both numbers and the reasons; what was not read is not guessed."""
    model, recording = tmp_path / "m.h5", next(iter(demo.recordings().values()))
    modelfile.save(api.load(demo.model_path()), model)
    line = ("run", model, "--input", recording, "--bin", "50ms", "--timesteps", 4)
    outcome = evsim(*line, "--json", tmp_path / "a.json", "--html", tmp_path / "a.html")
    assert outcome.code == 0, outcome.err
    told = json.loads((tmp_path / "a.json").read_text())["input"]
    whole, fed, left = told["events_in_file"], told["events_fed"], told["events_left_out"]
    assert left == {BEHIND_BINS: whole - fed}
    assert 0 < fed < whole
    assert f"{fed:,} of {whole:,} events" in " ".join(outcome.out.split())
    assert f"events left out: {whole - fed:,} behind the last bin" in outcome.out
    page = (tmp_path / "a.html").read_text()
    assert f"made of {fed:,} of {whole:,} events (left out: {whole - fed:,} behind the last bin)" in page
    assert [each in outcome.err for each in (f"wrote {tmp_path / 'a.json'}", f"wrote {tmp_path / 'a.html'}")] == [
        True
    ] * 2
    outcome = evsim("run", model, "--input", recording, "--stop", "2000ev", "--json", "-")
    told = json.loads(outcome.out)["input"]
    assert (told["events_fed"], told["events_in_file"], told["events_left_out"]) == (2000, None, {})
    assert "wrote" not in outcome.err


def test_read_for_so_many_timesteps_runs_as_many(file):
    """What was read for T timesteps is simulated over T without saying so again."""
    net = network(height=SIDE, width=SIDE)
    assert net.spec.timesteps != 5
    sample = api.read(file, net, timesteps=5)
    assert sample.timesteps == 5
    assert api.simulate(net, sample).timesteps == 5
    image = network("image", channels=3)
    np.save(file.with_name("i.npy"), np.zeros((3, image.spec.height, image.spec.width), np.float32))
    assert api.simulate(image, api.read(file.with_name("i.npy"), image, timesteps=2)).timesteps == 2
