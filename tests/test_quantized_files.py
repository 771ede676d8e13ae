"""Integer networks in files and on the command line: they survive storing, say what they are, and run as such."""

from __future__ import annotations

import json
from dataclasses import replace

import fixed_twin
import h5py
import numpy as np
import pytest
from commands import evsim, refused

import evsim as library
from evsim import demo, modelfile
from evsim.audit.divergence import diverge
from evsim.errors import EvsimError, ModelFileError, OptionError
from evsim.evaluation.evaluate import evaluate
from evsim.origin import network_digest
from evsim.quantized import chosen_precision
from evsim.quantizing import quantize
from evsim.report.divergence import divergence_document

SAMPLE = str(demo.recordings()["3"] if "3" in demo.recordings() else next(iter(demo.recordings().values())))


def ran(*arguments):
    """Return what a command printed that must succeed."""
    outcome = evsim(*arguments)
    assert outcome.code == 0, outcome
    return outcome.out


@pytest.fixture(scope="module")
def original():
    """Load the bundled model."""
    return library.load(demo.model_path())


@pytest.fixture(scope="module", params=["int8", "int16"])
def integers(request, original):
    """Quantize it."""
    return quantize(original, request.param).network


@pytest.fixture(scope="module")
def stored(tmp_path_factory, original):
    """Store it in int8."""
    path = tmp_path_factory.mktemp("integers") / "int8.h5"
    modelfile.save(quantize(original).network, path)
    return path


def test_an_integer_network_survives_storing(integers, tmp_path):
    """Every integer comes back in its own type, and so do the floats made of them; the file is of schema 2."""
    modelfile.save(integers, tmp_path / "m.h5")
    loaded = modelfile.load(tmp_path / "m.h5")
    for name in ("weights", "fraction", "input_fraction"):
        assert getattr(loaded.quantization, name) == getattr(integers.quantization, name)
    assert set(loaded.quantization.layers) == set(integers.quantization.layers)
    for name, layer in integers.quantization.layers.items():
        for mine, theirs in zip(layer, loaded.quantization.layers[name], strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
    assert set(loaded.weights) == set(integers.weights)
    assert all(np.array_equal(loaded.weights[key], integers.weights[key]) for key in integers.weights)
    assert network_digest(loaded) == network_digest(integers)
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["schema"] == 2
        assert file["integers/head.weight"].dtype == integers.quantization.weights
        assert not any(key.startswith("head.") for key in file["weights"])


def test_the_integer_layout_is_the_documented_one(stored):
    """docs/model-format.md names what is new."""
    text = (demo.model_path().parents[2] / "docs" / "model-format.md").read_text(encoding="utf-8")
    with h5py.File(stored) as file:
        names = {"quantization", "integers", *json.loads(file.attrs["quantization"])}
        names |= {"<node>." + key.rsplit(".", 1)[1] for key in file["integers"]}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def put(name, values):
    """Return an edit that replaces a dataset."""

    def edit(file):
        del file[name]
        file[name] = values

    return edit


def told(**values):
    """Return an edit of the attribute."""
    return lambda file: file.attrs.modify("quantization", json.dumps(json.loads(file.attrs["quantization"]) | values))


def beside_floats(file):
    """Give a layer floats too."""
    file["weights/head.weight"] = np.zeros((64, 10), np.float32)


HEAD = np.zeros((64, 10), np.int8)
DAMAGES = {
    "a weight of -128": (put("integers/head.weight", np.full_like(HEAD, -128)), "weights beyond 127"),
    "weights of another type": (put("integers/head.weight", HEAD.astype(np.int16)), "int16, the layer wants"),
    "weights of another shape": (put("integers/head.weight", HEAD[1:]), "the layer wants [64, 10] of int8"),
    "a multiplier of 0": (put("integers/head.multiplier", np.zeros(10, np.int32)), "a multiplier below 1"),
    "an offset of 31 bits": (put("integers/head.offset", np.full(10, 2**30, np.int32)), "an offset beyond 30 bits"),
    "offsets of 64 bits": (put("integers/head.offset", np.zeros(10, np.int64)), "int64, the layer wants"),
    "no offset": (lambda file: file.__delitem__("integers/head.offset"), "its integers of head are no weight"),
    "a layer less": (
        lambda file: [file.__delitem__(f"integers/head.{part}") for part in ("weight", "multiplier", "offset")],
        "weights missing",
    ),
    "floats beside integers": (beside_floats, "head.weight as floats beside integers"),
    "unknown weights": (told(weights="int4"), "no weights that evsim knows"),
    "a fraction of 17": (told(fraction=17), "no whole number from 0 to 16"),
    "a fraction of 1.5": (told(fraction=1.5), "no whole number from 0 to 16"),
    "an input fraction of -1": (told(input_fraction=-1), "no whole number from 0 to 12"),
    "a stranger's field": (told(colour="red"), "no JSON object of weights"),
    "no attribute": (lambda file: file.attrs.__delitem__("quantization"), "no attribute quantization"),
    "weights beyond the file": (
        lambda file: file.create_dataset("integers/x.weight", (1 << 20, 1 << 20), np.int8, chunks=(64, 64)),
        "claims",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_integers_are_one_line(damage, stored, tmp_path):
    """What does not fit is refused when the file is loaded, values when they are read; the line names the file."""
    edit, says = DAMAGES[damage]
    path = tmp_path / "damaged.h5"
    path.write_bytes(stored.read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(ModelFileError) as caught:
        dict(modelfile.load(path).quantization.layers)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "\n" not in message


def test_huge_multipliers_are_refused_before_a_run(stored, tmp_path):
    """A file whose sums could wrap around does not run."""
    path = tmp_path / "huge.h5"
    path.write_bytes(stored.read_bytes())
    with h5py.File(path, "r+") as file:
        put("integers/block.0.mlp.mlp1_conv.multiplier", np.full(256, 2**31 - 1, np.int32))(file)
    with pytest.raises(EvsimError, match="30 bits"):
        library.simulate(library.load(path), SAMPLE)


def test_the_engine_is_the_twin(integers):
    """Logits and every spike of the bundled model are those of plain NumPy, which knows the arithmetic alone."""
    sample = library.read(SAMPLE, integers)
    run = library.simulate(integers, sample, record_spikes=True)
    maps = fixed_twin.run(integers, sample.values, integers.spec.timesteps)
    assert run.precision == integers.quantization.weights
    assert np.array_equal(run.logits, fixed_twin.logits(integers, maps))
    for layer in run.counts.layers:
        if layer.kind == "lif":
            assert int(layer.spikes.sum()) == int(maps[layer.name].sum()), layer.name


def test_precision_follows_the_model(original, integers):
    """The default is the network's own; floats run its dequantized weights; integers need a quantized model."""
    weights = integers.quantization.weights
    other = "int16" if weights == "int8" else "int8"
    assert chosen_precision(integers.quantization, None) == weights
    assert chosen_precision(original.quantization, None) == "float32"
    assert library.simulate(integers, SAMPLE, precision="float64").precision == "float64"
    with pytest.raises(OptionError, match=f"weights are {weights}; run it as {weights}"):
        library.simulate(integers, SAMPLE, precision=other)
    with pytest.raises(OptionError, match=f"needs a quantized model; make one with `weights={weights}`"):
        library.simulate(original, SAMPLE, precision=weights)
    with pytest.raises(OptionError, match="float32 or float64, got int4"):
        library.simulate(original, SAMPLE, precision="int4")


def test_divergence_adds_up(original, integers):
    """Flips by timestep are those of two recorded runs, and the first is where these part first."""
    sample = library.read(SAMPLE, integers)
    mine, theirs = diverge(integers, sample, original)
    runs = [
        library.simulate(network, sample, precision=precision, record_spikes=True)
        for network, precision in ((integers, None), (integers, "float64"), (original, "float64"))
    ]
    assert (mine.reference, theirs.reference) == ("dequantized", "original")
    for outcome, floats in ((mine, runs[1]), (theirs, runs[2])):
        known = {}
        for layer in outcome.layers:
            ours, other = runs[0].spikes[layer.name], floats.spikes[layer.name]
            known[layer.name] = [int(n) for n in (ours != other).reshape(len(ours), -1).sum(axis=1)]
            assert list(layer.by_timestep) == known[layer.name]
            assert layer.spikes == (int(ours.sum()), int(other.sum()))
            assert layer.neurons == ours.size
        assert outcome.flips == sum(map(sum, known.values())) > 0
        name = next(name for name, flips in known.items() if sum(flips))
        step = next(t for t, number in enumerate(known[name]) if number)
        assert {(flip.layer, flip.timestep) for flip in outcome.first} == {(name, step)}
        assert len(outcome.first) == min(3, known[name][step])
        for flip in outcome.first:
            assert flip.fires == (flip.margin < 0)
            assert runs[0].spikes[name][step, flip.channel, flip.y, flip.x] == flip.fires
        assert np.array_equal(outcome.floats.logits, floats.logits)
    document = divergence_document((mine, theirs))
    assert json.loads(json.dumps(document)) == document


def test_what_cannot_diverge_is_one_line(original, integers):
    """A network of floats, an original that is none, one of other neurons."""
    sample = library.read(SAMPLE, original)
    with pytest.raises(OptionError, match="is not quantized"):
        diverge(original, sample)
    with pytest.raises(OptionError, match="quantized too"):
        diverge(integers, sample, integers)
    renamed = replace(
        original,
        nodes=tuple(
            replace(
                node,
                name=node.name.replace("proj1_lif", "other"),
                inputs=tuple(name.replace("proj1_lif", "other") for name in node.inputs),
            )
            for node in original.nodes
        ),
    )
    with pytest.raises(OptionError, match="whose neurons are not those of"):
        diverge(integers, sample, renamed)


def test_evaluations_run_integers(integers):
    """An evaluation's logits are those of single runs, and it says its precision."""
    pairs = [(str(path), int(digit)) for digit, path in list(demo.recordings().items())[:2]]
    outcome = evaluate(integers, pairs, threads=1)
    assert outcome.audit.header.precision == integers.quantization.weights
    for row, (path, _) in zip(outcome.audit.arrays["logits"], pairs, strict=True):
        assert np.array_equal(row, library.simulate(integers, path).logits)


def test_workers_run_integers_of_a_file(stored):
    """Processes that share packed integers give the same logits as this one."""
    network = library.load(stored)
    pairs = [(str(path), int(digit)) for digit, path in demo.recordings().items()]
    alone, spread = (evaluate(network, pairs, workers=workers, threads=1) for workers in (1, 2))
    assert np.array_equal(alone.audit.arrays["logits"], spread.audit.arrays["logits"])


def test_quantize_run_and_diverge_from_the_command_line(tmp_path):
    """The whole way of a user: quantize by data, look, run, compare; every output says what it is."""
    model, out = str(demo.model_path()), str(tmp_path / "int8.h5")
    printed = ran("quantize", model, out, "--calibrate", SAMPLE, "--json", str(tmp_path / "q.json"))
    assert "times smaller" in printed
    assert "proven: no sum overflows with event counts up to 255 and 8 timesteps" in printed
    assert f"wrote {out}" in printed
    told = json.loads((tmp_path / "q.json").read_text())
    assert (told["weights"], told["fraction"], told["calibration_samples"], told["limit"]) == ("int8", 16, 1, None)
    assert len(told["layers"]) == 18
    assert "quantized: int8 weights, values in units of 2^-16" in ran("info", out)
    run = json.loads(ran("run", out, "--input", SAMPLE, "--json", "-"))
    assert run["model"]["precision"] == "int8"
    assert run["prediction"]["logits"] == run["anytime"][-1]["logits"]
    assert "`profile" not in ran("run", out, "--input", SAMPLE)
    assert "--profile 45nm-int8-sum32 prices such additions" in ran("run", out, "--input", SAMPLE)
    assert "such additions" not in ran("run", out, "--input", SAMPLE, "--profile", "45nm-int8-sum32")
    both = json.loads(ran("run", out, "--input", SAMPLE, "--precision", "both", "--json", "-"))
    assert both["model"]["precision"] == "float64"
    assert both["integers"]["prediction"] == run["prediction"]
    assert [part["reference"] for part in both["integers"]["against"]] == ["dequantized"]
    printed = ran("diverge", out, "--input", SAMPLE, "--against", model)
    assert "int8 against the original in float64" in printed
    assert "fires in" in printed


def test_accuracies_are_compared_sample_by_sample(tmp_path, stored):
    """With a data set, the change of accuracy has its paired interval; a is float64, b the integers."""
    table = tmp_path / "labels.csv"
    rows = "".join(f"{path},{digit}\n" for digit, path in demo.recordings().items())
    table.write_text(f"file,label\n{rows}")
    options = ["--data", str(table), "--outside", "--against", str(demo.model_path()), "--json", "-"]
    document = json.loads(ran("diverge", str(stored), *options))
    data = document["data"]
    assert data["data"]["samples"] == 3
    assert data["a"]["top1"] == data["b"]["top1"] == 1.0
    assert data["b"]["against_a"]["top1"]["difference"] == 0.0
    assert data["a"]["file"].endswith("float64")
    assert data["b"]["file"].endswith("int8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["quantize", "MODEL", "OUT.h5", "--weights", "int4"], "--weights must be int8 or int16, got int4"),
        (["quantize", "MODEL", "OUT.h5", "--samples", "0"], "--samples must be at least 1"),
        (["quantize", "INT8", "OUT.h5"], "quantized already (int8); give its original"),
        (["run", "MODEL", "--input", "SAMPLE", "--precision", "int8"], "--precision int8 needs a quantized model"),
        (["run", "INT8", "--input", "SAMPLE", "--precision", "int16"], "the model's weights are int8"),
        (["explain", "INT8", "--input", "SAMPLE", "--neuron", "LIF:0,0,0", "--precision", "int8"], "not explained"),
        (["diverge", "INT8"], "nothing to compare on; give --input, one input, or --data"),
        (["diverge", "MODEL", "--input", "SAMPLE"], "is not quantized; make it by: evsim quantize"),
        (["diverge", "INT8", "--input", "SAMPLE", "--against", "INT8"], "quantized too"),
    ],
)
def test_wrong_commands_are_one_line(arguments, says, stored, tmp_path):
    """Each says what is wrong and what to do, and writes nothing."""
    words = {
        "MODEL": str(demo.model_path()),
        "INT8": str(stored),
        "SAMPLE": SAMPLE,
        "OUT.h5": str(tmp_path / "out.h5"),
        "LIF:0,0,0": "patch_embed.proj1_lif:0@0,0",
    }
    message = refused(*(words.get(word, word) for word in arguments))
    assert says in message
    assert not (tmp_path / "out.h5").exists()
