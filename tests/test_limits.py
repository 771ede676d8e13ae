"""Values beyond what evsim computes exactly, outputs that collide or cannot be written: refused in one line."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from torch_files import as_tensors, write_checkpoint

from evsim import api, intake, modelfile
from evsim.converters import convert
from evsim.converters.checkpoint import read_checkpoint
from evsim.engine import Simulator
from evsim.errors import NetworkError, OptionError, RecordingError
from evsim.inputspec import InputSpec
from evsim.network import Add, Conv2d, Input, Linear, Network, TimeMean, TokenMean

GOLDEN = Path(__file__).parent / "data" / "golden"
DVS = GOLDEN / "spikingformer-dvs"
IMAGENET = GOLDEN / "spikingformer-imagenet"
COMMAND = str(Path(sys.executable).parent / "evsim")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Convert a model of events and one of images."""
    folder = tmp_path_factory.mktemp("models")
    assert evsim("convert", DVS / "checkpoint.pth.tar", folder / "dvs.h5").code == 0
    assert evsim("convert", IMAGENET / "checkpoint.pth.tar", folder / "image.h5").code == 0
    return folder


def summing(factor=1.0, doublings=0):
    """Return a network of events [T, 2, 2, 2] that doubles its counts, multiplies and averages them."""
    nodes = [Input("input", (), 2, 2, 2, "integers")]
    for i in range(doublings):
        nodes.append(Add(f"twice{i}", (nodes[-1].name, nodes[-1].name)))
    nodes += [Conv2d("conv", (nodes[-1].name,), 2, 2, batch_norm=False)]
    nodes += [TokenMean("tokens", ("conv",)), TimeMean("times", ("tokens",))]
    nodes += [Linear("head", ("times",), 2, 2, bias=False)]
    weights = {
        "conv.weight": np.full((1, 1, 2, 2), factor, np.float32),
        "head.weight": np.full((2, 2), 1.0, np.float32),
    }
    return Network("sum", "test", "standard", InputSpec("events", 2, 2, 2, 2), tuple(nodes), weights)


def frames(value, dtype):
    """Return event frames [2, 2, 2, 2] with one large count."""
    made = np.zeros((2, 2, 2, 2), dtype)
    made[0, 0, 0, 0] = value
    return made


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64", "float32", "float64"])
def test_counts_are_exact_or_refused(dtype):
    """A count is taken as it is up to 2^31 - 1, and refused beyond; none wraps around."""
    largest = 2**31 - 128 if dtype == "float32" else 2**31 - 1  # the largest float32 below 2^31
    run = api.simulate(summing(), frames(largest, dtype), precision="float64")
    assert run.counts.layer("conv").acs_unrolled.sum() == 2 * largest
    assert run.logits[0] == 2 * largest / 4 / 2
    for beyond in (2**31, 2**31 + 256):
        with pytest.raises(RecordingError, match="2147483647"):
            api.simulate(summing(), frames(beyond, dtype))


def test_sums_of_counts_stay_exact(monkeypatch):
    """Counts whose sums inside the network would leave 32 bits, or whose operations 64 bits, are refused."""
    assert api.simulate(summing(doublings=3), frames(2**28 - 1, "int64")).counts.layer("conv").acs_unrolled.sum()
    with pytest.raises(RecordingError, match="twice2"):
        api.simulate(summing(doublings=3), frames(2**28, "int64"))
    full = np.full((2, 2, 2, 2), 2**31 - 1)
    assert api.simulate(summing(), full).counts.layer("conv").acs_unrolled.sum() == 2 * 16 * (2**31 - 1)
    monkeypatch.setattr(intake, "LARGEST_SUM", 2 * 16 * (2**31 - 1) - 1)
    with pytest.raises(RecordingError, match="conv"):
        api.simulate(summing(), full)


def test_an_image_beyond_float32_is_refused(models, tmp_path):
    """Values that float32 cannot hold are refused where the run is float32, whatever type the file has."""
    image = np.load(IMAGENET / "input.npy").astype(np.float64)
    for value in (1e39, -1e300):
        image.flat[5] = value
        np.save(tmp_path / "big.npy", image)
        text = refused("run", models / "image.h5", "--input", tmp_path / "big.npy", "--json", tmp_path / "run.json")
        assert "float32" in text
        assert str(tmp_path / "big.npy") in text
    assert not (tmp_path / "run.json").exists()


def test_logits_that_are_no_numbers_are_an_error(tmp_path):
    """Weights whose sums overflow give one line and no output at all, not half of the files."""
    modelfile.save(summing(factor=3e38), tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", frames(9, "int32"))
    before = sorted(path.name for path in tmp_path.iterdir())
    text = refused(
        "run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--record-spikes", tmp_path / "s.h5",
        "--save-frames", tmp_path / "f.npz", "--counts", tmp_path / "c.h5", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert "overflow in float32" in text
    assert "--precision float64" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert evsim("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--precision", "float64").code == 0
    with pytest.raises(NetworkError, match="overflow"):
        api.simulate(modelfile.load(tmp_path / "m.h5"), frames(9, "int32"))


def test_folded_weights_beyond_float32_name_their_layer(models, tmp_path):
    """A BatchNorm whose scale lifts weights beyond float32 stops a float32 run before it begins."""
    path = tmp_path / "m.h5"
    path.write_bytes((models / "dvs.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["weights/block.0.mlp.mlp1_conv.bn_scale"][0] = 1e60
    text = refused("run", path, "--input", DVS / "input.npy")
    assert "block.0.mlp.mlp1_conv" in text
    assert "--precision float64" in text


@pytest.mark.parametrize("schedule", ["layer", "time"])
def test_the_number_of_steps_is_the_number_of_steps(schedule):
    """What a progress bar is told to expect is what comes, in both orders of events."""

    class Steps:
        seen = 0

        def observe(self, *_):
            self.seen += 1

    for path in (DVS, IMAGENET):
        simulator = Simulator(convert(path / "checkpoint.pth.tar").network, schedule=schedule)
        steps = Steps()
        simulator.run(np.load(path / "input.npy"), [steps])
        assert steps.seen == simulator.steps


def test_timesteps_have_an_upper_limit(models):
    """A T that no memory holds is refused before anything is made for it."""
    aedat = Path(__file__).parents[1] / "evsim" / "data" / "digit_3.aedat"
    for source in (DVS / "input.npy", aedat):
        assert "65536" in refused("run", models / "dvs.h5", "--input", source, "--timesteps", 10**9)
    network = modelfile.load(models / "dvs.h5")
    with pytest.raises(OptionError, match="65536"):
        Simulator(network, 65537)
    with pytest.raises(OptionError, match="65536"):
        api.read(aedat, network, 65537)
    assert "65536" in refused(
        "convert", DVS / "state_dict.h5", models / "m.h5", "--heads", 2, "--timesteps", 10**9, "--image-size", 48
    )


def test_a_machine_out_of_memory_is_told_so(models, monkeypatch):
    """Where memory does not suffice after all, that is one line too."""

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(api, "read", exhausted)
    assert "not enough memory" in refused("run", models / "dvs.h5", "--input", DVS / "input.npy")


def state():
    """Return a state_dict as arrays."""
    checkpoint = read_checkpoint(DVS / "checkpoint.pth.tar")
    return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}


FACTS = ("--heads", 2, "--timesteps", 3, "--image-size", 48)


@pytest.mark.parametrize("form", ["h5", "pth"])
@pytest.mark.parametrize(
    "key", ["head.weight", "head.bias", "block.0.mlp.mlp1_bn.weight", "block.0.mlp.mlp1_bn.running_mean"]
)
def test_weights_beyond_their_type_write_no_model(key, form, tmp_path):
    """A value of float64 that the stored type cannot hold is refused by its name before anything is written."""
    weights = state()
    weights[key] = weights[key].astype(np.float64)
    weights[key].flat[0] = 1e308 if "_bn" in key else 1e39
    if "running_mean" in key:
        weights["block.0.mlp.mlp1_bn.weight"] = np.full(weights[key].shape, 1e5, np.float32)
    path = tmp_path / f"c.{form}"
    if form == "pth":
        write_checkpoint(path, as_tensors(weights))
    else:
        with h5py.File(path, "w") as file:
            for name, value in weights.items():
                file[name] = value
    if key == "block.0.mlp.mlp1_bn.weight":
        weights["block.0.mlp.mlp1_bn.running_var"][:] = 0.0
        path = write_checkpoint(tmp_path / f"c.{form}", as_tensors(weights))
    text = refused("convert", path, tmp_path / "m.h5", *FACTS)
    assert key in text
    assert "overflow" in text
    assert sorted(name.name for name in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize(
    ("dtype", "note"),
    [
        ("float64", "note: weights of float64 were rounded to float32"),
        ("float16", "note: weights of float16 are stored as float32, which holds each exactly"),
        ("float32", None),
    ],
)
@pytest.mark.parametrize("form", ["h5", "pth"])
def test_a_change_of_precision_is_noted(dtype, note, form, tmp_path):
    """Converting says when weights are stored in another type than the checkpoint's, and whether that rounds."""
    weights = {key: value.astype(dtype) if value.dtype == np.float32 else value for key, value in state().items()}
    path = tmp_path / f"c.{form}"
    if form == "pth":
        write_checkpoint(path, as_tensors(weights))
    else:
        with h5py.File(path, "w") as file:
            for name, value in weights.items():
                file[name] = value
    outcome = evsim("convert", path, tmp_path / "m.h5", *FACTS)
    assert outcome.code == 0
    assert (note in outcome.out) if note else ("float" not in outcome.out)


OUTPUTS = ("--json", "--record-spikes", "--save-frames", "--counts")


def test_two_outputs_of_one_name_are_refused(models, tmp_path, monkeypatch):
    """Two outputs that lead to one file, by whatever path, are refused before the run."""
    monkeypatch.chdir(tmp_path)
    run = ("run", models / "dvs.h5", "--input", DVS / "input.npy")
    for first, second in itertools.pairwise(OUTPUTS):
        text = refused(*run, first, "out", second, tmp_path / "out")
        assert first in text
        assert second in text
    size = ("sweep", "--depth", "1", "--dim", "32")
    assert "--csv" in refused(*size, "--csv", "a", "--json", "./a")
    preset = "spikingformer-2-256-dvs128"
    assert "--state-dict" in refused("synthesize", preset, "-o", "m.h5", "--state-dict", "m.h5")
    assert "--sample" in refused("synthesize", preset, "-o", "m.h5", "--sample", "m.h5")
    assert list(tmp_path.iterdir()) == []


def test_standard_output_is_for_json_alone(models, tmp_path, monkeypatch):
    """`-` names no file: other outputs than --json (and a sweep's --csv) refuse it."""
    monkeypatch.chdir(tmp_path)
    for option in OUTPUTS[1:]:
        assert option in refused("run", models / "dvs.h5", "--input", DVS / "input.npy", option, "-")
    assert "OUT" in refused("convert", DVS / "checkpoint.pth.tar", "-")
    assert "--out" in refused("synthesize", "spikingformer-2-256-dvs128", "-o", "-")
    assert list(tmp_path.iterdir()) == []


def test_audits_never_overwrite_what_they_read(models, tmp_path):
    """Check and compare refuse to write over a model or an input, and a place that is none, before they run."""
    model = tmp_path / "m.h5"
    model.write_bytes((models / "dvs.h5").read_bytes())
    before = model.read_bytes()
    assert "the very file" in refused("check", model, "--json", model)
    assert "the very file" in refused("compare", model, model, "--input", DVS / "input.npy", "--json", model)
    assert "no folder" in refused("paper", "--json", tmp_path / "no" / "a.json")
    assert model.read_bytes() == before


READING = [
    ("--orientation", "raw"), ("--fit", "crop"), ("--split", "time"), ("--sensor", "48x48"), ("--start", "1ms"),
    ("--stop", "9ms"), ("--layout", "davis"), ("--trial", "1"), ("--allow-truncated",), ("--honour-validity",),
]  # fmt: skip


@pytest.mark.parametrize("option", READING, ids=lambda option: option[0])
def test_options_of_recordings_mean_nothing_for_arrays(option, models):
    """An option that says how a recording is read is refused for frames and images, by its name."""
    for model, folder in (("dvs.h5", DVS), ("image.h5", IMAGENET)):
        text = refused("run", models / model, "--input", folder / "input.npy", *option)
        assert option[0] in text
        assert str(folder / "input.npy") in text


def test_options_of_recordings_mean_nothing_for_pictures(models, tmp_path):
    """The same for pictures; the length of a frame is named as it is typed."""
    from PIL import Image

    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "a.png")
    assert evsim("run", models / "image.h5", "--input", tmp_path / "a.png").code == 0
    run = ("run", models / "image.h5", "--input", tmp_path / "a.png")
    assert "--duration, --split" in refused(*run, "--split", "duration", "--duration", "1ms")


@pytest.mark.parametrize("arguments", [["profiles"], ["--help"], ["paper", "--json", "-"]], ids=lambda a: a[0])
def test_a_full_disk_behind_standard_output(arguments):
    """Standard output that cannot be written to is one line and exit code 2."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("evsim: cannot write the output: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["profiles"], ["--help"], ["paper", "--json", "-"]], ids=lambda a: a[0])
def test_a_closed_pipe_ends_quietly(arguments):
    """A reader that has gone, as `| head` goes, ends a command without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_help_is_not_cut_on_80_columns(monkeypatch):
    """Each command's line in `evsim --help` is a whole sentence, and arguments stand in capitals."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = {line.split()[0]: line for line in evsim("--help").out.splitlines() if line.startswith("  ")}
    for command in ("convert", "synthesize", "info", "run", "demo", "check", "compare", "paper", "sweep"):
        assert lines[command].endswith("."), lines[command]
        assert not lines[command].endswith("..."), lines[command]
        usage = evsim(command, "--help").out.splitlines()[0].split("[OPTIONS]")[1]
        assert usage == usage.upper()
