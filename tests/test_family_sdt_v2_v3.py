"""Spike-driven Transformer V2 and V3: the authors' code spike by spike, and what keys tell, ask for and refuse."""

from __future__ import annotations

import json

import dense
import h5py
import numpy as np
import plain_sdt_v2_v3 as plain
import pytest
import test_sharing
from beside import SHARED, needed
from torch_files import Namespace, as_tensors, write_checkpoint

from evsim import api, modelfile, synthesis
from evsim.audit.compare import stage_totals
from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.converters.registry import find_family, find_preset
from evsim.document import document
from evsim.energy import load_profile
from evsim.errors import CheckpointError, OptionError

GOLDENS = {"sdt-v2-16": "sdt-v2", "sdt-v3-8": "sdt-v3", "sdt-v3-large-32": "sdt-v3"}
RUNS = [("layer", 1), ("time", 1), ("layer", 3), ("time", 3)]


def folder_of(name):
    """Return a golden's folder, or skip."""
    return needed(SHARED / "golden-families" / name)


def content(name, which):
    """Return a JSON file of a golden, its layers where it names them so; empty if it has none."""
    path = folder_of(name) / f"{which}.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return whole.get("layers", whole)


def asked(name):
    """Return what the keys of a golden cannot tell."""
    config = content(name, "config")
    return {"heads": config["heads"], "image_size": config["image_size"], "timesteps": config["T"]}


def stored(conversion, tmp_path):
    """Return a network as its model.h5 holds it."""
    modelfile.save(conversion.network, tmp_path / "model.h5")
    return modelfile.load(tmp_path / "model.h5")


@pytest.mark.parametrize("fold", [None, False], ids=["folded", "apart"])
@pytest.mark.parametrize("name", GOLDENS)
def test_spikes_logits_and_counts_are_the_authors_own(name, fold, tmp_path):
    """In float64 no spike differs, folded or apart; logits agree, and counts to the integer in every way to run."""
    folder = folder_of(name)
    options = ConvertOptions(GOLDENS[name], **asked(name), fold=fold)
    network = stored(convert(folder / "state_dict.h5", options), tmp_path)
    sample = np.load(folder / "input.npy")
    runs = [
        api.simulate(
            network, sample, precision="float64", schedule=schedule, threads=threads, record_spikes=True, detail=True
        )
        for schedule, threads in RUNS
    ]
    for run in runs:
        with h5py.File(folder / "golden.h5") as golden:
            np.testing.assert_allclose(run.logits, golden["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
            assert set(run.spikes) == set(golden["spikes_float64"])
            for neurons, spikes in golden["spikes_float64"].items():
                packed, shape = run.spikes.packed[neurons]
                whole = tuple(int(n) for n in spikes.attrs["shape"])
                assert tuple(shape) == whole[:1] + tuple(n for n in whole[1:] if n > 1), neurons
                assert np.array_equal(packed, spikes[()]), neurons
        check_counts(name, run.counts, apart=fold is False)


def check_counts(name, counts, apart):
    """Hold layers, attention and folded layers against the golden; apart, all rows are the golden's."""
    exact, attention = content(name, "exact_counts"), content(name, "attention_counts")
    rows = {row.name: row for row in counts.layers}
    both = exact.keys() & rows.keys()
    synaptic = {row.name for row in counts.layers if row.kind in ("conv", "linear")}
    folded = attention.get("folded", {})
    assert synaptic - exact.keys() == (set() if apart else {layer for layer in folded if "+" not in layer})
    assert exact.keys() <= rows.keys() or not apart
    for layer in both:
        row, wanted = rows[layer], exact[layer]
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted["dense_macs_with_padding"], layer
        assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], layer
        assert int(row.input_size.sum()) == wanted["input_size"], layer
    for layer in synaptic - exact.keys():
        row, wanted = rows[layer], folded[layer]
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted.get("dense_macs_with_padding", wanted.get("dense_macs")), layer
        weighted = wanted.get("accumulates_value_weighted")
        assert weighted is None or int(row.acs_unrolled.sum()) == weighted, layer
    for layer, wanted in content(name, "unrolled_counts").items():
        assert layer not in rows or int(rows[layer].acs_unrolled.sum()) == wanted["accumulates_value_weighted"], layer
    for module, wanted in attention.get("attention", attention).items():
        row = rows[f"{module}.ssa"]
        pairs = wanted.get("nonzero_pairs", wanted)
        assert row.geometry.order == wanted["code_order"]
        other = "(qk)v" if wanted["code_order"] == "q(kv)" else "q(kv)"
        assert row.sops_per_head.tolist() == pairs[wanted["code_order"]]
        assert row.sops_other_order_per_head.tolist() == pairs[other]
        first = wanted.get("value_weighted_qk_pairs", wanted.get("value_weighted_kv_pairs"))
        assert first is None or int(row.acs_unrolled.sum()) == first + wanted["value_weighted_qkv"]


@pytest.mark.parametrize("name", GOLDENS)
def test_the_authors_own_files_convert_to_the_same_network(name):
    """Their checkpoint needs the heads alone, and gives the network of the bare state_dict, weights and all."""
    folder = folder_of(name)
    (path,) = folder.glob("checkpoint*")
    bare = convert(folder / "state_dict.h5", ConvertOptions(**asked(name))).network
    network = convert(path, ConvertOptions(heads=asked(name)["heads"])).network
    assert (network.family, network.nodes, network.spec) == (GOLDENS[name], bare.nodes, bare.spec)
    for key in bare.weights:
        assert np.array_equal(network.weights[key], bare.weights[key]), key
    with pytest.raises(OptionError, match="`heads`"):
        convert(path)


SIZES = {"widths": (8, 12, 16, 24), "heads": 4, "classes": 5}
CASES = {
    "v2": ("sdt-v2", "standard", {"timesteps": 3}),
    "v2 of two heads": ("sdt-v2", "kd", {"timesteps": 2}),
    "v2 of other depths": (
        "sdt-v2",
        "standard",
        {"timesteps": 2, "depth3": 2, "depth4": 3, "hidden3": 24, "wide1_1": 6},
    ),
    "v3": ("sdt-v3", "base", {}),
    "v3 of more levels": ("sdt-v3", "base", {"levels": 8, "depth3": 2, "value3": 32}),
    "v3 over time": ("sdt-v3", "har-dvs", {"timesteps": 3, "norm": 8.0}),
    "v3 large": ("sdt-v3", "large", {}),
    "v3 large of two heads": ("sdt-v3", "large-kd", {"depth3": 3}),
}


def generated(case):
    """Return a random state_dict, the options that it asks for, and an input [T, C, H, W] of it."""
    name, form, other = CASES[case]
    family, asks = find_family(name), {key: other[key] for key in ("timesteps", "levels", "norm") if key in other}
    variant = "standard" if name == "sdt-v2" else form.removesuffix("-kd")
    widths = SIZES["widths"][:3] if variant == "large" else SIZES["widths"]
    depth = 2 if variant == "large" else 8
    preset = Preset("imagenet", widths[-1], depth, 4, 1, 5, 48, name, variant, widths=widths)
    sizes = dict(family.sizes(preset)[1])
    sizes |= {key: value for key, value in other.items() if key in sizes}
    state = plain.random_state(family.form(form), sizes)
    rng = np.random.default_rng(1)
    if form == "har-dvs":
        frames = rng.poisson(0.6, (asks["timesteps"], 2, 48, 48)).astype(np.float32)
    else:
        frames = rng.normal(0.0, 1.0, (1, 3, 48, 48)).astype(np.float32)
    return state, {"heads": 4, "image_size": 48, **asks}, frames


def write(path, state):
    """Write a state_dict as HDF5 and return its path."""
    with h5py.File(path, "w") as file:
        for key, value in state.items():
            file[key] = value
    return path


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "apart"])
@pytest.mark.parametrize("case", CASES)
def test_a_random_model_equals_a_plain_forward_pass(case, fold, tmp_path):
    """In float64, spikes, integers and logits are those of plain NumPy on the unfolded layers, in every form."""
    state, asks, frames = generated(case)
    network = stored(convert(write(tmp_path / "s.h5", state), ConvertOptions(**asks, fold=fold)), tmp_path)
    run = api.simulate(network, frames if len(frames) > 1 else frames[0], precision="float64", record_spikes=True)
    steps = asks.get("timesteps", 1)
    maps = np.broadcast_to(frames.transpose(0, 2, 3, 1).astype(np.float64), (steps, 48, 48, frames.shape[1]))
    if CASES[case][0] == "sdt-v2":
        emitted, logits = plain.v2(state, maps, 4)
    else:
        emitted, logits = plain.v3(state, maps, 4, asks.get("levels", 4), asks.get("norm", asks.get("levels", 4)))
    np.testing.assert_allclose(run.logits, logits, rtol=0, atol=1e-9)
    assert set(run.spikes) == set(emitted)
    assert sum(values.any() for values in emitted.values()) > 0.9 * len(emitted), "most layers of neurons must fire"
    for name, values in emitted.items():
        if CASES[case][0] == "sdt-v3":
            unrolled = values[:, None] > np.arange(asks.get("levels", 4)).reshape(-1, 1, 1, 1)
            wanted = unrolled.reshape(-1, *values.shape[1:])
        else:
            wanted = values
        packed, shape = run.spikes.packed[name]
        assert shape[0] == len(wanted)
        mine = np.unpackbits(packed)[: np.prod(shape)].astype(bool)
        assert np.array_equal(mine, wanted.transpose(0, 3, 1, 2).reshape(-1)), name


@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("case", ["v2 of two heads", "v3"])
def test_shared_sums_are_those_of_the_definitions(case, way, tmp_path):
    """`sharing=True` counts what layers that read spikes share, and of integers which operations meet a weight."""
    state, asks, frames = generated(case)
    network = convert(write(tmp_path / "s.h5", state), ConvertOptions(**asks)).network
    schedule, threads = way
    run = api.simulate(network, frames[0], precision="float64", sharing=True, schedule=schedule, threads=threads)
    maps, _ = dense.run(network, frames[0], asks.get("timesteps", 1))
    test_sharing.agrees(network, run, maps)
    spiking = [layer for layer in run.counts.layers if getattr(layer, "shared_sums", None) is not None]
    assert bool(spiking) == (CASES[case][0] == "sdt-v2")


def test_attention_on_integers_names_both_orders_beside_what_is_weighted_by_values(tmp_path):
    """The row's operations are pairs of nonzeros in both orders, and the two products with k as k spikes."""
    state, asks, frames = generated("v3")
    run = api.simulate(convert(write(tmp_path / "s.h5", state), ConvertOptions(**asks)).network, frames[0])
    rows = [row for row in document(run)["layers"] if row["kind"] == "attention"]
    assert len(rows) > 0
    for row in rows:
        told = row["operations"]
        assert told.keys() == {"q(kv)", "(qk)v", "value_weighted_qk_pairs", "value_weighted_qkv"}, row["name"]
        assert sum(map(sum, told["(qk)v"])) == row["sops"]
        assert sum(map(sum, told["q(kv)"])) == row["sops_other_order"]
        assert told["value_weighted_qk_pairs"] + told["value_weighted_qkv"] == row["acs_unrolled"]
    whole = sum(row["acs_unrolled"] or 0 for row in document(run)["layers"])
    stages = stage_totals(run.counts, load_profile())
    assert sum(totals.acs_unrolled for totals in stages.values()) == whole, "a comparison has all of them"


def test_the_neuron_that_it_has_is_accepted(tmp_path):
    """An option that only repeats what the model has changes nothing; keys that say another are an error."""
    state, asks, _ = generated("v2")
    path = write(tmp_path / "s.h5", state)
    told, silent = (convert(path, ConvertOptions(**asks, neuron=neuron)).network for neuron in ("lif", None))
    assert told.nodes == silent.nodes
    learned = write(tmp_path / "plif.h5", state | {"lif.w": np.float32(0.0)})
    with pytest.raises(OptionError, match="`neuron=lif` contradicts the checkpoint"):
        convert(learned, ConvertOptions(**asks, neuron="lif"))


def test_folding_is_told_and_named_by_the_wrapper(tmp_path):
    """Folded weights are float64 under the wrapper's name, others as stored; `convert` says what was folded."""
    state, asks, _ = generated("v2 of two heads")
    path = write(tmp_path / "s.h5", state)
    folded, apart = (convert(path, ConvertOptions(**asks, fold=fold)) for fold in (None, False))
    names = {node.name for node in folded.network.nodes}
    assert {"block3.0.attn.q_conv", "block4.1.attn.proj_conv", "head"} <= names
    assert not [name for name in names if ".body." in name or name == "head_kd"]
    assert "block3.0.attn.q_conv" not in {node.name for node in apart.network.nodes}
    kinds = {key: folded.network.weights[key].dtype for key in folded.network.weights if key.endswith(".weight")}
    assert kinds["block3.0.attn.q_conv.weight"] == kinds["head.weight"] == np.float64
    assert kinds["downsample2.encode_conv.weight"] == kinds["ConvBlock1_1.0.Conv.pwconv2.weight"] == np.float32
    facts = " ".join(folded.notes)
    assert "folded RepConv into one convolution of 3 x 3 each: 32 (block3.0.attn.q_conv" in facts
    assert "folded head and head_kd" in facts
    assert folded.network.provenance["fold"].startswith("yes")
    assert apart.network.provenance["fold"] == "no (from --no-fold)"
    assert not any("folded" in note for note in apart.notes)


PUBLISHED = {
    "sdt-v2-8-384-imagenet": 31.334, "sdt-v2-8-512-imagenet": 55.350, "sdt-v2-8-768-imagenet": 123.741,
    "sdt-v3-t-imagenet": 2.702, "sdt-v3-s-imagenet": 5.106, "sdt-v3-m-imagenet": 10.023, "sdt-v3-l-imagenet": 18.988,
    "sdt-v3-12-768-imagenet": 170.972,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_number_of_parameters(name):
    """Millions of parameters, as computed from the authors' code at full size."""
    preset = find_preset(name)
    form, sizes = find_family(preset.family).sizes(preset)
    count = 0
    for layer in find_family(preset.family).form(form).layers(sizes):
        outputs = layer.sized(sizes)[0]
        count += int(np.prod(layer.sized(sizes))) + outputs * (layer.bias + 2 * len(layer.norms))
    assert round(count / 1e6, 3) == PUBLISHED[name]
    assert set(PUBLISHED) == {p for f in ("sdt-v2", "sdt-v3") for p in find_family(f).presets}


def test_what_keys_cannot_tell_is_asked_for_or_assumed_with_a_note(tmp_path):
    """Heads, T and image size are asked for; D, norm, rounding and crop are assumed, and options change them."""
    state, asks, _ = generated("v2")
    path = write(tmp_path / "s.h5", state)
    for lacking in ("heads", "timesteps", "image_size"):
        with pytest.raises(OptionError, match=f"`{lacking}`"):
            convert(path, ConvertOptions(**{key: value for key, value in asks.items() if key != lacking}))
    facts = convert(path, ConvertOptions(**asks, tau=1.5, crop_pct=0.9)).network.provenance
    assert facts["tau"] == "1.5 (from --tau)"
    assert facts["crop_pct"] == "0.9 (from --crop-pct)"
    assert facts["family"] == "sdt-v2 (from the keys)"
    assert convert(path, ConvertOptions(**asks)).network.spec.crop_pct == 0.875
    assert convert(path, ConvertOptions(**asks | {"image_size": 288})).network.spec.crop_pct == 1.0

    state, asks, _ = generated("v3")
    path = write(tmp_path / "s.h5", state)
    facts = convert(path, ConvertOptions(**asks)).network.provenance
    assert facts["levels"].startswith("4 (assumed")
    assert facts["norm"].startswith("4.0 (assumed")
    assert facts["rounding"].startswith("half-even (assumed")
    assert facts["timesteps"].startswith("1 (assumed")
    facts = convert(path, ConvertOptions(**asks, levels=8, variant="base", timesteps=1)).network.provenance
    assert (facts["levels"], facts["norm"][:3]) == ("8 (from --levels)", "8.0")

    state, asks, _ = generated("v3 over time")
    path = write(tmp_path / "s.h5", state)
    for lacking in ("heads", "timesteps", "image_size", "norm"):
        with pytest.raises(OptionError, match=f"`{lacking}`"):
            convert(path, ConvertOptions(**{key: value for key, value in asks.items() if key != lacking}))


@pytest.mark.parametrize(
    ("case", "options", "message"),
    [
        ("v2", {"family": "sdt-v3"}, "keys are those of sdt-v2, not of sdt-v3"),
        ("v3", {"family": "sdt-v2"}, "keys are those of sdt-v3, not of sdt-v2"),
        ("v3", {"variant": "large"}, "`variant=large` contradicts the checkpoint, whose weights say base"),
        ("v3 large", {"variant": "base"}, "`variant=base` contradicts"),
        ("v3", {"timesteps": 4}, "timesteps is 4; give `timesteps=1`"),
        ("v3", {"tau": 2.0}, "`tau` means nothing for integer neurons"),
        ("v3", {"levels": 0}, "levels 0"),
        ("v2", {"levels": 4}, "`levels` means nothing for sdt-v2"),
        ("v2", {"variant": "cml"}, "`variant` must be one of standard"),
        ("v2", {"heads": 5}, "do not divide into 5 heads"),
        ("v2", {"preset": "sdt-v2-8-512-imagenet"}, "says dim 640, but the checkpoint's weights say 24"),
    ],
)
def test_wrong_options_are_refused(case, options, message, tmp_path):
    """Another family, variant, T or number of heads than the model's is one line that says so."""
    state, asks, _ = generated(case)
    with pytest.raises((OptionError, CheckpointError, ValueError), match=message):
        convert(write(tmp_path / "s.h5", state), ConvertOptions(**asks | options))


def test_a_checkpoint_that_lacks_part_of_what_is_folded_is_refused(tmp_path):
    """A BatchNorm that is missing or of another size is named, folded or apart."""
    state, asks, _ = generated("v2")
    for fold in (True, False):
        for key in ("block3.1.attn.k_conv.1.running_var", "block3.1.attn.k_conv.0.body.1.bn.bias"):
            broken = {name: value for name, value in state.items() if name != key}
            with pytest.raises(CheckpointError, match=f"lacks {key}"):
                convert(write(tmp_path / "s.h5", broken), ConvertOptions(**asks, fold=fold))
            broken = state | {key: np.ones(3, np.float32)}
            with pytest.raises(CheckpointError, match=f"{key} has shape"):
                convert(write(tmp_path / "s.h5", broken), ConvertOptions(**asks, fold=fold))


def test_weights_that_overflow_when_folded_are_refused(tmp_path):
    """Infinity never reaches a model.h5: the message names the tensors."""
    state, asks, _ = generated("v2")
    huge = {key: value.astype(np.float64) * 1e200 for key, value in state.items() if ".q_conv.0.body.2" in key}
    conversion = convert(write(tmp_path / "s.h5", state | huge), ConvertOptions(**asks))
    with pytest.raises(CheckpointError, match=r"q_conv.0.body.0.weight.* overflow in float64"):
        modelfile.save(conversion.network, tmp_path / "m.h5")


def test_a_published_checkpoint_of_a_script_tells_all_but_the_heads(tmp_path):
    """`args` of the MAE-style scripts: image size, T and classes; DataParallel's prefix is taken off."""
    state, _, _ = generated("v2")
    args = Namespace(model="metaspikformer_8_512", time_steps=4, input_size=48, nb_classes=5, kd=False)
    held = {"model": as_tensors({f"module.{key}": value for key, value in state.items()}), "args": args}
    path = write_checkpoint(tmp_path / "checkpoint-199.pth", held)
    network = convert(path, ConvertOptions(heads=4)).network
    assert (network.spec.timesteps, network.spec.height, network.classes) == (4, 48, 5)
    assert network.provenance["image_size"] == "48 (from the checkpoint's args.input_size)"


def test_a_synthetic_v2_fires_at_its_rates():
    """Depthwise layers and folded RepConvs are calibrated too; Spikingformer's rates stand in for published ones."""
    like = find_family("sdt-v2").fires_like
    assert like("block4.1.attn.head_lif") == "block.7.attn.proj_lif"
    assert like("block3.2.attn.k_lif") == "block.2.attn.k_lif"
    assert like("ConvBlock2_1.0.Conv.lif2") == like("downsample2.encode_lif") == "patch_embed.proj3_lif"
    assert like("lif") == "block.7.mlp.mlp1_lif"
    statistics = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    preset = Preset("imagenet", 64, 8, 4, 2, 10, 64, "sdt-v2", **statistics, widths=(16, 32, 32, 64))
    model = synthesis.synthesize(preset, 0.2)
    assert len(model.rates) == 77
    # the 64 neurons of the readout, at two timesteps, cannot come nearer
    assert [rate.name for rate in model.missed] in ([], ["lif"])
    assert np.asarray(model.state["block3.0.attn.q_conv.0.body.1.bn.weight"]).dtype == np.float32
