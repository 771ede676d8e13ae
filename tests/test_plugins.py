"""A family that another package brings: one file and an entry point, and everything works as for evsim's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.checkpoint import read_checkpoint
from evsim.converters.presets import Preset
from evsim.converters.registry import BUILT_IN, find_family
from evsim.converters.table import Form, Row
from evsim.errors import PluginError
from evsim.synthesis import synthesize

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden" / "spikingformer-imagenet" / "checkpoint.pth.tar"
PRESET = "stripnet-3-16"


def install(folder, **points):
    """Install a package of these entry points, as pip would leave it."""
    info = folder / "stripnet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stripnet\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[evsim.converters]\n{lines}\n")


@pytest.fixture
def stripnet(tmp_path_factory, monkeypatch):
    """Install the family of tests/data/plugin; return the folder."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(DATA / "plugin" / "stripnet.py", folder)
    install(folder, stripnet="stripnet:FAMILY")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "stripnet", raising=False)
    return folder


def convolved(x, weight, stride, padding):
    """Oracle: [T, C, H, W] by [O, C, k, k], counting products with what is not 0."""
    side = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("tchwij,ocij->tohw", windows, weight), int((windows != 0).sum()) * len(weight)


def fired(x):
    """Oracle: LIF of tau 2 and threshold 1 over [T, ...]."""
    v, spikes = np.zeros(x.shape[1:]), np.zeros(x.shape)
    for t, current in enumerate(x):
        v += (current - v) / 2
        spikes[t] = v >= 1.0
        v[spikes[t] == 1] = 0.0
    return spikes


def forward(state, image, timesteps):
    """Oracle: StripNet's logits, and the operations of each layer."""
    x, operations = np.repeat(image[np.newaxis].astype(np.float64), timesteps, 0), {}
    for name, norm, stride, padding in (
        ("stem.conv", "stem.bn", 2, 1), ("blocks.0.conv", "blocks.0.norm.bn", 1, 0),
        ("blocks.1.conv", "blocks.1.norm.bn", 1, 1), ("blocks.2.conv", "blocks.2.norm.bn", 1, 1),
    ):  # fmt: skip
        y, operations[name] = convolved(x, state[f"{name}.weight"].astype(np.float64), stride, padding)
        p = {
            key: state[f"{norm}.{key}"].astype(np.float64) for key in ("weight", "bias", "running_mean", "running_var")
        }
        scale = p["weight"] / np.sqrt(p["running_var"] + 1e-5)
        y += state[f"{name}.bias"][:, None, None] if f"{name}.bias" in state else 0.0
        x = fired(y * scale[:, None, None] + (p["bias"] - p["running_mean"] * scale)[:, None, None])
    return state["classifier.weight"].astype(np.float64) @ x.mean(axis=(0, 2, 3)), operations


@pytest.mark.usefixtures("stripnet")
def test_one_file_converts_runs_counts_and_synthesizes(tmp_path):
    """Through the command line: random weights, their conversion, and a run whose logits and counts are an oracle's."""
    model, state, sample = (tmp_path / name for name in ("m.h5", "s.h5", "x.npy"))
    made = ("-o", model, "--state-dict", state, "--sample", sample)
    assert evsim("synthesize", PRESET, "--rates", 0.25, *made).code == 0
    outcome = evsim("convert", state, tmp_path / "again.h5", "--timesteps", 4, "--image-size", 12)
    assert outcome.code == 0, outcome.err
    assert "stripnet (from the keys)" in outcome.out
    assert modelfile.load(tmp_path / "again.h5").nodes == modelfile.load(model).nodes
    run = ("run", tmp_path / "again.h5", "--input", sample, "--precision", "float64", "--json", tmp_path / "r.json")
    assert evsim(*run).code == 0
    with h5py.File(state) as file:
        arrays = {key: file[key][()] for key in file}
    assert not any(key.startswith("classifier.bias") for key in arrays)
    logits, operations = forward(arrays, np.load(sample), 4)
    document = json.loads((tmp_path / "r.json").read_text())
    np.testing.assert_allclose(document["prediction"]["logits"], logits, atol=1e-9)
    rows = {row["name"]: row for row in document["layers"]}
    for name, count in operations.items():
        assert rows[name]["sops"] + rows[name]["macs"] == count, name
    rates = {name: row["spikes"] / row["input_size"] for name, row in rows.items() if name.endswith(".lif")}
    assert rates == pytest.approx(dict.fromkeys(rates, 0.25), rel=0.02)
    assert len(rates) == 4


@pytest.mark.usefixtures("stripnet")
def test_a_preset_of_a_plugin_converts_and_names_itself(tmp_path):
    """Option and preset lead to the plug-in too; its missing tensors are named as those of evsim's own families."""
    made = synthesize(Preset("", 8, 2, 1, 3, 4, 8, "stripnet", mean=(0.5,) * 3, std=(0.2,) * 3), 0.2)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for key, value in made.state.items():
            file[key] = value
    options = ConvertOptions(family="stripnet", timesteps=3, image_size=8)
    assert convert(tmp_path / "s.h5", options).network.nodes == made.network.nodes
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["blocks.1.conv.bias"]
    assert "lacks blocks.1.conv.bias" in refused("convert", tmp_path / "s.h5", tmp_path / "m.h5", "--timesteps", 3)
    text = refused("convert", GOLDEN, tmp_path / "m.h5", "--preset", PRESET)
    assert f"its keys are those of spikingformer, not of stripnet (from --preset {PRESET})" in text


@pytest.mark.usefixtures("stripnet")
def test_what_is_not_published_is_not_made_up(tmp_path):
    """A family without published rates asks for one."""
    text = refused("synthesize", PRESET, "-o", tmp_path / "m.h5")
    assert "no rates are published for StripNet; give one for all neurons by --rates 0.2" in text
    text = refused("synthesize", "no-such", "-o", tmp_path / "m.h5")
    assert PRESET in text
    assert "spikingformer-8-512-imagenet" in text


@pytest.mark.usefixtures("stripnet")
def test_neurons_without_batch_norm_are_calibrated(monkeypatch):
    """A rate is set by the weights before the neurons where there is neither a BatchNorm nor a bias."""
    family = find_family("stripnet")
    first, *rows = family.forms[0].rows
    bare = replace(family, name="bare", forms=(Form("plain", (replace(first, norm=""), *rows)),))
    monkeypatch.setitem(BUILT_IN, "bare", bare)
    preset = replace(family.presets[PRESET], family="bare")
    assert not synthesize(preset, 0.2).missed


@pytest.mark.usefixtures("stripnet")
def test_options_that_a_family_does_not_have_are_refused(tmp_path):
    """A variant means nothing to a family without variants, and is refused by that word."""
    evsim("synthesize", PRESET, "--rates", 0.25, "-o", tmp_path / "m.h5", "--state-dict", tmp_path / "s.h5")
    text = refused("convert", tmp_path / "s.h5", tmp_path / "n.h5", "--timesteps", 4, "--variant", "cml")
    assert "--variant means nothing for stripnet" in text


FAULTS = [
    ("no_such_module:FAMILY", "ModuleNotFoundError"),
    ("stripnet:NOTHING", "AttributeError"),
    ("broken:FAMILY", "SyntaxError"),
    ("dividing:FAMILY", "ZeroDivisionError"),
    ("stripnet:ROWS", "is a tuple, not an evsim.converters.Family"),
    ("stripnet:FAMILY", "calls itself stripnet"),
]


@pytest.mark.parametrize(("target", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_a_broken_plugin_is_one_line_and_only_when_needed(target, fault, tmp_path, monkeypatch):
    """A plug-in that cannot be loaded is named with its package where it might be the family, and hinders no other."""
    shutil.copy(DATA / "plugin" / "stripnet.py", tmp_path)
    (tmp_path / "broken.py").write_text("FAMILY = = 1\n")
    (tmp_path / "dividing.py").write_text("FAMILY = 1 / 0\n")
    install(tmp_path, faulty=target)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("stripnet", "broken", "dividing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert evsim("convert", GOLDEN, tmp_path / "m.h5").code == 0
    with h5py.File(tmp_path / "unknown.h5", "w") as file:
        file["a.weight"] = np.ones((2, 2), np.float32)
    for command in (
        ("convert", GOLDEN, tmp_path / "n.h5", "--family", "faulty"),
        ("synthesize", "no-such", "-o", tmp_path / "n.h5"),
        ("convert", tmp_path / "unknown.h5", tmp_path / "n.h5"),
    ):
        text = refused(*command)
        assert "the family faulty of stripnet" in text
        assert target in text
        assert fault in text
    assert "faulty" in refused("convert", GOLDEN, tmp_path / "n.h5", "--family", "other")


def test_a_working_plugin_is_found_beside_a_broken_one(stripnet, tmp_path):
    """What fits is taken, whatever else is installed."""
    evsim("synthesize", PRESET, "--rates", 0.25, "-o", tmp_path / "m.h5", "--state-dict", tmp_path / "s.h5")
    points = stripnet / "stripnet-1.0.dist-info" / "entry_points.txt"
    points.write_text("[evsim.converters]\nabsent = no_such_module:FAMILY\nstripnet = stripnet:FAMILY\n")
    outcome = evsim("convert", tmp_path / "s.h5", tmp_path / "n.h5", "--timesteps", 4, "--image-size", 12)
    assert outcome.code == 0, outcome.err
    with pytest.raises(PluginError, match="absent"):
        find_family("absent")


@pytest.mark.usefixtures("stripnet")
def test_a_prefix_before_the_keys_of_a_plugin_is_dropped(tmp_path):
    """What wrappers and losses add is dropped for families of other packages too."""
    evsim("synthesize", PRESET, "--rates", 0.25, "-o", tmp_path / "m.h5", "--state-dict", tmp_path / "s.h5")
    plain = read_checkpoint(tmp_path / "s.h5").tensors
    with h5py.File(tmp_path / "p.h5", "w") as prefixed:
        for key, values in plain.items():
            prefixed[f"net.{key}"] = values
        prefixed["criterion.weight"] = np.ones(3, np.float32)
    outcome = evsim("convert", tmp_path / "p.h5", tmp_path / "n.h5", "--timesteps", 4, "--image-size", 12)
    assert outcome.code == 0, outcome.err
    assert "dropped the prefix 'net.'" in outcome.out
    assert "criterion.weight" in outcome.out


def test_help_loads_no_family():
    """`evsim --help` imports no converter, and so looks for no plug-in."""
    code = "import sys, evsim.cli.main; print(sorted(m for m in sys.modules if m.startswith('evsim.converters')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_plugin_cannot_take_the_name_of_a_family_of_evsim(tmp_path, monkeypatch):
    """Families of evsim come first, and under their names alone."""
    install(tmp_path, spikingformer="no_such_module:FAMILY")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_family("spikingformer") is BUILT_IN["spikingformer"]


@pytest.mark.parametrize("family", BUILT_IN.values(), ids=lambda family: family.name)
def test_every_preset_has_a_form_and_all_its_sizes(family):
    """Recognition and random weights follow from one table: a preset's layers are recognised as its form."""
    for name, preset in family.presets.items():
        form, sizes = family.sizes(preset)
        shapes = {layer.weight: layer.sized(sizes) for layer in family.form(form).layers(sizes)}
        match = family.match(shapes)
        assert (match.form.name, match.complete) == (form, True), name
        assert match.sizes(shapes, Path(name)) == sizes


def test_a_fixed_row_stands_in_for_a_counted_one():
    """A block whose layer differs has a row of its own; the counted row is that of all others."""
    form = Form("x", (Row("s.0.c", ("b", "a", 3, 3)), Row("s.{n}.c", ("b", "b", 3, 3)), Row("s.{n}.d", ("b", "b"))))
    keys = [layer.weight for layer in form.layers({"n": 3})]
    assert keys == ["s.0.c.weight", "s.0.d.weight", "s.1.c.weight", "s.1.d.weight", "s.2.c.weight", "s.2.d.weight"]
    shapes = dict.fromkeys(keys, (4, 4, 3, 3)) | {"s.0.c.weight": (4, 2, 3, 3)}
    shapes |= {key: (4, 4) for key in keys if ".d." in key}
    assert form.match(shapes).sizes(shapes, Path("x")) == {"n": 3, "a": 2, "b": 4}


@pytest.mark.parametrize("folder", sorted((DATA / "golden").iterdir()), ids=lambda folder: folder.name)
def test_the_kinds_of_keys_are_those_of_real_checkpoints(folder):
    """The table names every key of a checkpoint but for counters and what no forward pass reads, and no other."""
    shapes = read_checkpoint(folder / "checkpoint.pth.tar").shapes
    family = BUILT_IN[folder.name.split("-")[0]]
    assert family.fits(shapes)
    held = {re.sub(r"\.\d+\.", ".N.", key) for key in shapes}
    kinds = set(family.match(shapes).form.kinds())
    assert kinds <= held
    assert not [key for key in held - kinds if not re.search(r"num_batches_tracked|norm|pos_embed", key)]


@pytest.mark.parametrize("digits", [9, 5000])
def test_a_block_of_a_huge_number_takes_no_time(digits):
    """One key cannot claim a million blocks: what lacks is named at once; too many digits count no blocks."""
    match = BUILT_IN["spikingformer"].match({f"block.{'9' * digits}.attn.q_conv.weight": (4, 4, 1)})
    assert not match.complete
    assert "block.0.attn.q_conv.weight" in match.missing
