"""model.h5: a network survives storing, and a damaged, newer or foreign file is refused in one clear line."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shown import tables

from evsim import demo, modelfile
from evsim.converters import convert, load_model
from evsim.errors import EvsimError, ModelFileError
from evsim.inputspec import InputSpec
from evsim.network import Input, Linear, Network, TimeMean, TokenMean

GOLDEN = Path(__file__).parent / "data" / "golden"
CHECKPOINT = GOLDEN / "spikingformer-dvs" / "checkpoint.pth.tar"
DOCUMENT = Path(__file__).parents[1] / "docs" / "model-format.md"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Write a model once."""
    path = tmp_path_factory.mktemp("model") / "model.h5"
    modelfile.save(convert(CHECKPOINT).network, path)
    return path


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("spikingformer-*")), ids=lambda path: path.name)
def test_a_network_survives_storing(folder, tmp_path):
    """Nodes, input, names, provenance and every weight come back as they were, in their own precision."""
    network = convert(folder / "checkpoint.pth.tar").network
    modelfile.save(network, tmp_path / "m.h5")
    loaded = modelfile.load(tmp_path / "m.h5")
    for part in ("name", "family", "variant", "spec", "nodes", "labels", "shapes"):
        assert getattr(loaded, part) == getattr(network, part)
    assert dict(loaded.provenance) == dict(network.provenance)
    assert set(loaded.weights) == set(network.weights)
    for key in network.weights:
        assert loaded.weights[key].dtype == (np.float64 if "bn_" in key else np.float32)
        np.testing.assert_array_equal(loaded.weights[key], network.weights[key])


def test_storing_twice_gives_the_same_file(stored, tmp_path):
    """A loaded model stored again is the same model."""
    modelfile.save(modelfile.load(stored), tmp_path / "again.h5")
    with h5py.File(stored) as a, h5py.File(tmp_path / "again.h5") as b:
        assert dict(a.attrs) == dict(b.attrs)
        assert a["nodes"][()] == b["nodes"][()]


def test_the_layout_is_the_documented_one(stored):
    """docs/model-format.md names every attribute, dataset and field that the file has, and its schema version."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"schema {modelfile.SCHEMA}" in text
    with h5py.File(stored) as file:
        names = {*file.attrs, *file}
        assert names == {"format", "schema", "network", "input", "nodes", "labels", "provenance", "weights"}
        names |= json.loads(file.attrs["network"]).keys() | json.loads(file.attrs["input"]).keys()
        for node in json.loads(file["nodes"][()]):
            names |= {node["type"], *node}
        names |= {key.rsplit(".", 1)[1] for key in file["weights"]}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def change(source, target, edit):
    """Copy a model and edit the copy."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        edit(file)
    return target


def edit_json(attribute, **values):
    """Return an edit that sets values within a JSON attribute."""

    def edit(file):
        text = json.dumps(json.loads(file.attrs[attribute]) | values)
        file.attrs[attribute] = text.replace(f'"{BEYOND}"', "1e999")

    return edit


def edit_node(name, /, **values):
    """Return an edit that sets values of a node."""

    def edit(file):
        nodes = json.loads(file["nodes"][()])
        for node in nodes:
            node.update(values if node["name"] == name else {})
        del file["nodes"]
        file["nodes"] = json.dumps(nodes).replace(f'"{BEYOND}"', "1e999")

    return edit


def replace_dataset(name, value):
    """Return an edit that replaces a dataset."""

    def edit(file):
        del file[name]
        if value is not None:
            file[name] = value

    return edit


BEYOND = "BEYOND"
"""Stands for 1e999, which is JSON and infinite."""

DAMAGES = {
    "a newer schema": (lambda file: file.attrs.modify("schema", 3), "schema 3, this evsim reads up to 2; install"),
    "an impossible schema": (lambda file: file.attrs.modify("schema", 0), "schema 0"),
    "no schema": (lambda file: file.attrs.__delitem__("schema"), "schema"),
    "no nodes": (replace_dataset("nodes", None), "nodes"),
    "broken JSON": (replace_dataset("nodes", "[{"), "damaged or no model"),
    "nodes that are none": (replace_dataset("nodes", "[3]"), "a node is no JSON object"),
    "no weights": (replace_dataset("weights", None), "weights"),
    "one weight less": (replace_dataset("weights/head.bias", None), "head.bias"),
    "a stranger's weight": (lambda file: file["weights"].create_dataset("x.weight", data=[1.0]), "x.weight"),
    "a weight of another shape": (replace_dataset("weights/head.bias", np.zeros(3, np.float32)), "head.bias"),
    "a weight beyond the file": (
        lambda file: file.create_dataset("weights/x.weight", (1 << 20, 1 << 20), np.float32, chunks=(64, 64)),
        "claims",
    ),
    "a weight of integers": (replace_dataset("weights/head.bias", np.zeros(10, np.int32)), "int32"),
    "an unknown primitive": (edit_node("head", type="Softmax"), "Softmax"),
    "an unknown field": (edit_node("head", colour="red"), "colour"),
    "a field of another type": (edit_node("head", in_channels="16"), "in_channels"),
    "a bad edge": (edit_node("head", inputs=["nowhere"]), "nowhere"),
    "a bad constant": (edit_node("block.0.attn.q_lif", tau=0.1), "tau"),
    "a pool's stride of 0": (edit_node("patch_embed.proj1_pool", stride=0), "stride"),
    "a pool's kernel of 0": (edit_node("patch_embed.proj1_pool", kernel=0), "kernel"),
    "a pool's negative padding": (edit_node("patch_embed.proj1_pool", padding=-1), "padding"),
    "a pool's padding beyond half its window": (edit_node("patch_embed.proj1_pool", padding=2), "padding"),
    "a convolution's stride of 0": (edit_node("patch_embed.proj1_conv", stride=[1, 0]), "stride"),
    "a convolution's kernel of 0": (edit_node("patch_embed.proj1_conv", kernel=[0, 3]), "kernel"),
    "a convolution's negative padding": (edit_node("patch_embed.proj1_conv", padding=[1, -1]), "padding"),
    "a negative number of channels": (edit_node("patch_embed.proj1_conv", out_channels=-8), "out_channels"),
    "a linear layer of no channels": (edit_node("head", out_channels=0), "out_channels"),
    "a scale that is no number": (edit_node("block.0.attn.ssa", scale=math.nan), "NaN"),
    "an infinite scale": (edit_node("block.0.attn.ssa", scale=BEYOND), "scale must be"),
    "a scale of 0": (edit_node("block.0.attn.ssa", scale=0.0), "scale must be"),
    "an infinite tau": (edit_node("block.0.attn.q_lif", tau=BEYOND), "tau must be"),
    "a tau beyond float32": (edit_node("block.0.attn.q_lif", tau=1e39), "tau must be"),
    "an infinite threshold": (edit_node("block.0.attn.q_lif", v_threshold=BEYOND), "v_threshold must be"),
    "Infinity as JSON has it not": (edit_node("block.0.attn.q_lif", v_threshold=math.inf), "Infinity"),
    "a threshold that float32 has not": (edit_node("block.0.attn.q_lif", v_threshold=1e-60), "v_threshold must be"),
    "an input of spikes": (edit_node("input", kind="spikes"), "kind"),
    "an input of another kind": (edit_node("input", kind="real"), "kind"),
    "a mean that is no number": (edit_json("input", mean=[math.nan, 0.5]), "NaN"),
    "an infinite mean": (edit_json("input", mean=[BEYOND, 0.5]), "mean"),
    "an infinite std": (edit_json("input", std=[BEYOND, 0.5]), "std"),
    "a crop of 0": (edit_json("input", crop_pct=0.0), "crop_pct"),
    "a crop of more than all": (edit_json("input", crop_pct=1.5), "crop_pct"),
    "timesteps without end": (edit_json("input", timesteps=10**9), "65536"),
    "heads that do not divide": (edit_node("block.0.attn.ssa", heads=3), "3 heads"),
    "an unknown kind of input": (edit_json("input", kind="sound"), "kind"),
    "timesteps of 0": (edit_json("input", timesteps=0), "below 1"),
    "no timesteps": (edit_json("input", timesteps=None), "timesteps"),
    "another input size": (edit_json("input", height=64), "[2, 48, 48], but the input specification says [2, 64, 48]"),
    "a name that is no text": (edit_json("network", name=3), "texts"),
    "padding without end": (edit_node("patch_embed.proj1_conv", padding=[1 << 20, 1 << 20]), "bytes at each timestep"),
    "padding beyond reckoning": (edit_node("patch_embed.proj1_conv", padding=[1 << 40, 1 << 40]), "at most 1048576"),
    "nodes without end": (replace_dataset("nodes", json.dumps([{}] * 20_000)), "nodes are no list of at most"),
    "a number beyond int64": (edit_node("head", in_channels=10**30), "beyond int64"),
    "JSON without bottom": (replace_dataset("nodes", "[" * 100_000), "nested without end"),
    "a name of slashes": (edit_node("head", name="a/b"), "no name for a node"),
    "a name of escapes": (edit_node("head", name="\x1b[31m"), "no name for a node"),
    "a label of another type": (replace_dataset("labels", "[1,2,3,4,5,6,7,8,9,10]"), "texts"),
    "labels of another number": (replace_dataset("labels", '["a"]'), "1 labels for 10 classes"),
    "another format": (lambda file: file.attrs.modify("format", "nir"), "of no family"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_models_are_refused(name, stored, tmp_path):
    """Whatever is wrong inside a model.h5 is found on loading, in one line that names the file and the fault."""
    edit, message = DAMAGES[name]
    text = refused("info", change(stored, tmp_path / "bad.h5", edit))
    assert str(tmp_path / "bad.h5") in text
    assert message in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value, stored, tmp_path):
    """NaN or infinite weights stop a run before it begins."""

    def edit(file):
        file["weights/head.bias"][3] = value

    path = change(stored, tmp_path / "bad.h5", edit)
    text = refused("run", path, "--input", CHECKPOINT.parent / "input.npy")
    assert "head.bias hold NaN or infinite values; convert again" in text


@pytest.mark.parametrize("size", [0, 7, 600, 5000, -1])
def test_truncated_models_are_refused(size, stored, tmp_path):
    """A model cut short anywhere is refused."""
    (tmp_path / "cut.h5").write_bytes(stored.read_bytes()[:size])
    assert str(tmp_path / "cut.h5") in refused("info", tmp_path / "cut.h5")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_never_raise_anything_else(stored, tmp_path, flips):
    """A model with bytes changed at random loads, or is refused as every bad input is."""
    content = bytearray(stored.read_bytes())
    for position, value in flips:
        content[position % len(content)] = value
    (tmp_path / "flipped.h5").write_bytes(content)
    with suppress(EvsimError):
        network = load_model(tmp_path / "flipped.h5").network
        for key in network.weights:
            assert np.isfinite(network.weights[key]).all()


def test_labels_and_names_are_shown_in_printable_letters(stored, tmp_path):
    """Terminal escapes and lone surrogates in labels, names and provenance reach no terminal."""

    def edit(file):
        replace_dataset("labels", json.dumps(["\x1b[31m", "\ud800", *"abcdefgh"]))(file)
        edit_json("network", name="\x1b]0;x\x07")(file)

    outcome = evsim("info", change(stored, tmp_path / "x.h5", edit))
    assert outcome.code == 0
    assert "\\x1b[31m, \\ud800, a" in outcome.out
    assert outcome.out.replace("\n", "").isprintable()


def test_a_repacked_model_is_the_same(stored, tmp_path):
    """A model whose weights are compressed, as h5repack may do, loads to the same weights."""

    def edit(file):
        for key in list(file["weights"]):
            values = file["weights"][key][()]
            del file["weights"][key]
            file["weights"].create_dataset(key, data=values, compression="gzip", shuffle=True)

    network, again = modelfile.load(stored), modelfile.load(change(stored, tmp_path / "x.h5", edit))
    for key in network.weights:
        np.testing.assert_array_equal(again.weights[key], network.weights[key])


def test_a_failed_conversion_leaves_the_old_model(stored, tmp_path):
    """Writing replaces a model as a whole or not at all, and leaves no temporary file."""
    target = tmp_path / "m.h5"
    target.write_bytes(stored.read_bytes())
    network = modelfile.load(
        change(stored, tmp_path / "bad.h5", lambda file: file["weights/head.bias"].write_direct(BAD))
    )
    with pytest.raises(ModelFileError):
        modelfile.save(network, target)
    assert target.read_bytes() == stored.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5", "m.h5"]


BAD = np.full(10, np.nan, np.float32)


def test_info_does_not_advise_to_overwrite_a_foreign_file(tmp_path):
    """A file that is nothing of evsim's is called so; nobody is told to write a model over it."""
    (tmp_path / "notes.txt").write_text("milk, bread\n" * 50)
    text = refused("info", tmp_path / "notes.txt")
    assert "is no model.h5" in text
    assert f"evsim convert CHECKPOINT {tmp_path}" not in text


def test_a_recording_in_the_place_of_the_model_is_named(stored):
    """Model and input the other way round: the line says which file is which."""
    recording = next(iter(demo.recordings().values()))
    text = refused("run", recording, "--input", stored)
    assert f"{recording} is a recording (aedat2), not a model; give the model in its place" in text


def test_a_cut_model_says_how_much_of_it_is_there(stored, tmp_path):
    """A file cut short is called so, in numbers of bytes, not in words of libhdf5's."""
    whole = stored.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    text = refused("info", tmp_path / "cut.h5")
    assert (
        f"cut.h5 is a damaged HDF5 file: {len(whole) // 2} of its {len(whole)} bytes are there; make it again" in text
    )


def test_a_model_is_not_converted_again(stored, tmp_path):
    """`evsim convert model.h5 out.h5` says that there is nothing to convert."""
    text = refused("convert", stored, tmp_path / "out.h5")
    assert "is a model.h5 already" in text
    assert not (tmp_path / "out.h5").exists()


def test_messages_show_no_insides_of_the_program(stored, tmp_path):
    """Sizes that do not match are told in words, not as Python would print its objects."""
    for edit in (edit_json("input", height=64), edit_json("input", height=0), edit_node("head", inputs=["a", "b"])):
        text = refused("info", change(stored, tmp_path / "bad.h5", edit))
        assert "InputSpec" not in text
        assert "Input(" not in text
        assert "('" not in text


def test_info_shows_the_layer_table(stored):
    """`evsim info` lists every node with kind, shape, parameters and dense MACs, and sums them."""
    outcome = evsim("info", stored, "--layers", "--format", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    (table,) = tables(outcome.out)
    rows = {row["layer"]: list(row.values()) for row in table}
    assert rows["patch_embed.proj1_conv"][1:] == ["Conv2d", "3 x 3 / 1", "real [4, 24, 24]", "80", "41472"]
    assert rows["block.0.attn.ssa"][1] == "SpikingSelfAttention"
    expected = json.loads((CHECKPOINT.parent / "exact_counts.json").read_text())
    dense = sum(layer["dense_macs_with_padding"] for name, layer in expected.items() if not name.endswith(".ssa"))
    timesteps, head = 3, expected["head"]["dense_macs_with_padding"]
    assert rows["total"][-1] == str((dense - head) // timesteps + head)
    parameters = json.loads((CHECKPOINT.parent / "paper_tool.json").read_text())["params"]
    assert rows["total"][4] == str(parameters)
    (pool,) = {row["kernel/stride"] for row in table if row["kind"] == "MaxPool"}
    assert pool == "3 x 3 / 2"
    (sections,) = tables(evsim("info", stored, "--format", "csv").out)
    assert len(sections) < len(table)
    assert sections[-1]["parameters"] == str(parameters)
    assert sum(int(row["parameters"] or 0) for row in sections[:-1]) == parameters


def test_only_what_needs_schema_2_is_written_as_such(stored, tmp_path):
    """Another interpolation than bicubic makes schema 2, which older readers refuse; all else is as before."""
    network = modelfile.load(stored)
    with h5py.File(stored) as file:
        assert file.attrs["schema"] == 1
        assert "interpolation" not in json.loads(file.attrs["input"])
    spec = InputSpec("image", 3, 8, 8, 4, (0.5,) * 3, (0.5,) * 3, 0.875, interpolation="bilinear")
    nodes = (Input("input", (), 3, 8, 8, "real"), TokenMean("tokens", ("input",)), TimeMean("time", ("tokens",)))
    image = Network("x", "t", "standard", spec, (*nodes, Linear("head", ("time",), 3, 2, bias=False)), WEIGHTS)
    modelfile.save(image, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["schema"] == 2
    assert modelfile.load(tmp_path / "m.h5").spec == spec
    assert network.spec.interpolation == "bicubic"


WEIGHTS = {"head.weight": np.ones((3, 2), np.float32)}
