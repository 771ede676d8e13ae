"""The commands as a person uses them: convert, info, run, demo."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from beside import SHARED, needed
from commands import evsim, refused
from shown import joules, tables, three

from evsim import demo
from evsim.cli import progress
from evsim.kernels.threads import available

GOLDEN = Path(__file__).parent / "data" / "golden"
DVS = GOLDEN / "spikingformer-dvs"
IMAGENET = GOLDEN / "spikingformer-imagenet"
COMMANDS = ("convert", "info", "run", "demo", "record")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Convert the golden DVS model with class names."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "labels.txt").write_text("\n".join(f"gesture-{i}" for i in range(10)))
    arguments = ("convert", DVS / "checkpoint.pth.tar", folder / "model.h5", "--labels", folder / "labels.txt")
    assert evsim(*arguments).code == 0
    return folder / "model.h5"


def run_json(*arguments):
    """Run and return the JSON of standard output."""
    outcome = evsim("run", *arguments, "--json", "-")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_help_and_version():
    """Every command is listed with a whole sentence, and explains its options."""
    listing = evsim("--help").out
    for command in COMMANDS:
        assert f"  {command} " in listing
        assert "Usage: evsim " + command in evsim(command, "--help").out
    cut = [line.split()[0] for line in listing.splitlines()[1:] if line.endswith("...")]
    assert not cut
    assert evsim("--version").out.startswith("evsim ")
    bare = evsim()
    assert (bare.code, bare.out) == (2, "")
    assert "Models:" in bare.err


def test_help_loads_nothing_heavy():
    """`evsim --help` imports neither NumPy nor what is slower still."""
    code = (
        "import sys, evsim.cli.main\n"
        "print([m for m in ('numpy', 'numba', 'scipy', 'h5py', 'tqdm', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_prints_prediction_table_and_totals(model):
    """A run prints the five best classes by name, a row per layer, and both energies."""
    outcome = evsim("run", model, "--input", DVS / "input.npy", "--precision", "float64")
    assert (outcome.code, outcome.err) == (0, "")
    with h5py.File(DVS / "golden.h5") as file:
        logits = file["logits_float64"][0]
    best = np.argsort(-logits)[:5]
    assert f"prediction: class {best[0]} (gesture-{best[0]})" in outcome.out
    assert "  ".join(f"gesture-{i} {logits[i]:.3f}" for i in best) in outcome.out
    run = run_json(model, "--input", DVS / "input.npy", "--precision", "float64")
    by_layer = ("run", model, "--input", DVS / "input.npy", "--precision", "float64", "--layers")
    (table,) = tables(evsim(*by_layer, "--format", "csv").out)
    rows = {row["layer"]: row for row in table}
    shown = {line.split()[0]: line for line in evsim(*by_layer).out.splitlines() if line}
    for row in run["layers"]:
        own, line = rows[row["name"]], shown[row["name"]]
        if row["kind"] == "lif":
            assert float(own["fires"]) == row["spikes"] / row["input_size"]
            assert three(100 * row["spikes"] / row["input_size"]) in line
            continue
        assert float(own["input"]) == row["input_nonzeros"] / row["input_size"]
        assert three(100 * row["input_nonzeros"] / row["input_size"]) in line
        assert [int(own[name]) for name in ("dense MACs", "SOPs", "MACs")] == [
            row["dense_macs"], row["sops"], row["macs"],
        ]  # fmt: skip
        assert float(own["paper SOPs"]) == row["paper"]["acs"]
        assert float(own["exact (mJ)"]) == row["energy_mj"]
        assert float(own["paper (mJ)"]) == row["paper"]["energy_mj"]
    totals = run["totals"]
    assert f"energy, exact: {joules(totals['energy_mj'])}" in outcome.out
    assert f"energy, paper: {joules(totals['paper']['energy_mj'])}" in outcome.out
    assert f"({totals['sops']:,} SOPs x 0.9 pJ + {totals['macs']:,} MACs x 4.6 pJ)" in outcome.out
    assert int(rows["total"]["SOPs"]) == totals["sops"]
    assert float(rows["total"]["exact (mJ)"]) == totals["energy_mj"]
    dense = sum(row["dense_macs"] for row in run["layers"])
    times = dense / (totals["sops"] + totals["macs"])
    assert f"{three(times)} times fewer operations than dense" in outcome.out.splitlines()[1]
    (sections,) = tables(evsim(*by_layer[:-1], "--format", "csv").out)
    assert len(sections) < len(table)
    assert sum(int(row["SOPs"]) for row in sections[:-1]) == totals["sops"]


def test_json_on_stdout_stands_alone(model, tmp_path):
    """With --json - only the JSON is on standard output; notes go to stderr; --json FILE writes the same."""
    outcome = evsim("run", DVS / "checkpoint.pth.tar", "--input", DVS / "input.npy", "--json", "-")
    json.loads(outcome.out)
    assert "note: " in outcome.err
    assert "is a checkpoint: converted on the fly" in outcome.err
    written = evsim("run", model, "--input", DVS / "input.npy", "--json", tmp_path / "run.json")
    assert "prediction: class" in written.out
    assert json.loads((tmp_path / "run.json").read_text()) == run_json(model, "--input", DVS / "input.npy")


def test_schedules_and_threads_change_nothing(model):
    """Either order of events and any number of threads give the same logits and counts, to the last bit."""
    frames = DVS / "input.npy"
    expected = run_json(model, "--input", frames)
    del expected["run"]
    for options in (["--schedule", "time"], ["--threads", 2], ["--schedule", "time", "--threads", 3]):
        run = run_json(model, "--input", frames, *options)
        assert run.pop("run") == {"threads": options[-1] if "--threads" in options else available()}
        assert run == expected


def test_recorded_spikes_are_the_golden_ones(model, tmp_path):
    """--record-spikes writes every LIF in the golden's own layout: packed bits, attribute shape."""
    arguments = ("--precision", "float64", "--record-spikes", tmp_path / "spikes.h5")
    assert evsim("run", model, "--input", DVS / "input.npy", *arguments).code == 0
    with h5py.File(tmp_path / "spikes.h5") as ours, h5py.File(DVS / "golden.h5") as golden:
        assert set(ours["spikes"]) == set(golden["spikes_float64"])
        for name, train in golden["spikes_float64"].items():
            shape = tuple(train.attrs["shape"])
            assert tuple(ours["spikes"][name].attrs["shape"]) == (shape[0], *shape[2:])
            np.testing.assert_array_equal(ours["spikes"][name][()], train[()])


def test_saved_frames_are_what_was_fed(model, tmp_path):
    """--save-frames writes the network's input as float32."""
    assert evsim("run", model, "--input", DVS / "input.npy", "--save-frames", tmp_path / "f.npz").code == 0
    with np.load(tmp_path / "f.npz") as file:
        assert file["frames"].dtype == np.float32
        np.testing.assert_array_equal(file["frames"], np.load(DVS / "input.npy"))


def test_timesteps_of_arrays_need_a_word(model, tmp_path):
    """Frames of another number of timesteps than the model's run only if --timesteps says so."""
    frames = np.repeat(np.load(DVS / "input.npy"), 2, axis=0)
    np.save(tmp_path / "six.npy", frames)
    text = refused("run", model, "--input", tmp_path / "six.npy")
    assert "holds 6 timesteps, the run has 3; give --timesteps 6" in text
    run = run_json(model, "--input", tmp_path / "six.npy", "--timesteps", 6)
    assert run["model"]["timesteps"] == 6
    assert len(run["layers"][0]["per_timestep"]["macs"]) == 6
    assert "--timesteps 3" in refused("run", model, "--input", DVS / "input.npy", "--timesteps", 2)


@pytest.mark.parametrize("timesteps", [1, 7])
def test_images_take_any_timesteps(timesteps):
    """An image runs for as many timesteps as asked for; its convolution counts each time."""
    arguments = (IMAGENET / "checkpoint.pth.tar", "--input", IMAGENET / "input.npy")
    own = run_json(*arguments)["layers"][0]["macs"]
    run = run_json(*arguments, "--timesteps", timesteps)
    assert run["layers"][0]["macs"] == own // 4 * timesteps


def test_an_image_that_nobody_normalised_is_noted(tmp_path):
    """Whole numbers up to 255 fed to a model of images get a note."""
    np.save(tmp_path / "raw.npy", np.arange(3 * 48 * 48, dtype=np.uint8).reshape(3, 48, 48))
    outcome = evsim("run", IMAGENET / "checkpoint.pth.tar", "--input", tmp_path / "raw.npy")
    assert outcome.code == 0
    assert "whole numbers up to 255" in outcome.err


def test_a_checkpoint_that_lacks_facts_says_how_to_convert_it():
    """Run has no options for facts: it names the one that is missing and the command that takes it."""
    text = refused("run", DVS / "state_dict.h5", "--input", DVS / "input.npy")
    assert "--heads" in text
    assert f"evsim convert {DVS / 'state_dict.h5'} model.h5" in text


def test_progress_shows_on_a_terminal_alone(model, monkeypatch):
    """A long run shows a bar on stderr if that is a terminal, and leaves nothing behind it."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.Progress(5)
    for _ in range(5):
        bar.observe()
    bar.close()
    assert "/5" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert evsim("run", model, "--input", DVS / "input.npy").err == ""


def test_demo_predicts_the_bundled_digits():
    """The demo runs the bundled model on recordings of digits that it never saw, and gets them right."""
    outcome = evsim("demo")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(demo.recordings()) in (2, 3)
    for digit in demo.recordings():
        assert any(line.split()[:2] == [digit, digit] for line in outcome.out.splitlines())
    assert f"{len(demo.recordings())} of {len(demo.recordings())} digits recognised" in outcome.out
    rows, sections = tables(evsim("demo", "--format", "csv").out)
    first, total = rows[0], sections[-1]
    share = (int(first["SOPs"]) + int(first["MACs"])) / int(total["dense MACs"])
    assert f"{three(1 / share)} times fewer" in outcome.out.splitlines()[0]
    (told,) = (value for name, value in first.items() if name.startswith("of dense MACs"))
    assert float(told) == pytest.approx(share), "headline, column and table divide by one number"
    assert outcome.out.count("patch_embed") == 1, "one table of where it goes"
    bundled = [demo.model_path(), *demo.recordings().values()]
    assert sum(path.stat().st_size for path in bundled) < 3_000_000


def test_saved_demo_runs_word_for_word(tmp_path, monkeypatch):
    """`evsim demo --save DIR`, then `evsim run model.h5 --input dvs_sample.aedat` in that folder."""
    monkeypatch.chdir(tmp_path)
    assert "now try: evsim run" in evsim("demo", "--save", "out").out
    monkeypatch.chdir(tmp_path / "out")
    run = run_json("model.h5", "--input", "dvs_sample.aedat")
    first = next(iter(demo.recordings()))
    assert run["prediction"]["label"] == first
    assert run["input"]["kind"] == "aedat2"
    assert run["input"]["shape"] == [8, 2, 128, 128]
    assert run["totals"]["sops"] > 0
    other = run_json("model.h5", "--input", "dvs_sample.aedat", "--timesteps", 5)
    assert other["input"]["shape"] == [5, 2, 128, 128]
    (tmp_path / "file").write_text("")
    assert "--save" in refused("demo", "--save", tmp_path / "file")


def test_recorded_digits_are_told_apart(tmp_path):
    """An image that the model never saw, recorded by `evsim record`, is recognised."""
    from sklearn.datasets import load_digits

    sys.path.insert(0, str(Path(__file__).parent / "reference"))
    try:
        from digits import split
    finally:
        sys.path.pop(0)
    digits, (_, held_out) = load_digits(), split()
    right = 0
    for index in held_out[:12]:
        np.save(tmp_path / "digit.npy", digits.images[index])
        assert evsim("record", tmp_path / "digit.npy", tmp_path / "digit.aedat").code == 0
        run = run_json(demo.model_path(), "--input", tmp_path / "digit.aedat")
        right += run["prediction"]["label"] == str(digits.target[index])
    assert right >= 11


@pytest.mark.parametrize("timesteps", [10, 16])
def test_frames_of_a_real_recording_are_the_golden_ones(timesteps, tmp_path):
    """The frames that a model is fed from a jAER recording equal SpikingJelly's."""
    folder = needed(SHARED / "golden" / "spikingformer-dvs-2-64")
    arguments = ("--timesteps", timesteps, "--save-frames", tmp_path / "f.npz")
    recording = SHARED / "events" / "dvs128_jaer_scissors.aedat"
    assert evsim("run", folder / "checkpoint.pth.tar", "--input", recording, *arguments).code == 0
    with np.load(tmp_path / "f.npz") as ours, np.load(SHARED / "events" / "frames_dvs128_jaer_scissors.npz") as golden:
        np.testing.assert_array_equal(ours["frames"], golden[f"number_T{timesteps}"])
