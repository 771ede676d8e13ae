"""What a converter finds in a checkpoint, where it takes each fact from, and what it refuses to guess."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from torch_files import Namespace, as_tensors, write_checkpoint

from evsim.cli.words import spell
from evsim.converters import ConvertOptions, convert
from evsim.converters.checkpoint import read_checkpoint
from evsim.converters.facts import Facts
from evsim.converters.registry import PRESETS, find_preset
from evsim.errors import CheckpointError, EvsimError, spelled

GOLDEN = Path(__file__).parent / "data" / "golden"
NUMBERS = {"heads": 2, "timesteps": 3, "image_size": 48}


@pytest.fixture(scope="module")
def states():
    """State dicts of the goldens as arrays by key."""

    def of(name):
        checkpoint = read_checkpoint(GOLDEN / name / "checkpoint.pth.tar")
        return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}

    names = ("spikingformer-imagenet", "spikingformer-dvs", "spikingformer-cifar-cml", "spikformer-imagenet")
    return {name: of(name) for name in names}


def write_h5(path, state):
    """Write a state_dict as HDF5, one dataset per key."""
    with h5py.File(path, "w") as file:
        for key, value in state.items():
            file[key] = value
    return path


def with_args(path, state, **args):
    """Write a timm-style checkpoint with these args."""
    return write_checkpoint(path, {"state_dict": as_tensors(state), "args": Namespace(**args)})


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("spikingformer-*")), ids=lambda path: path.name)
def test_finds_what_the_model_was_made_with(folder):
    """Family, tokenizer, sizes, constants and input of every golden come out as they were set."""
    made = json.loads((folder / "config.json").read_text())
    network = convert(folder / "checkpoint.pth.tar", ConvertOptions(variant=made["variant"])).network
    attention = network.node("block.0.attn.ssa")
    found = {
        "family": network.family,
        "tokenizer": network.provenance["tokenizer"].split()[0],
        "variant": network.variant,
        "depth": sum(node.name.endswith(".ssa") for node in network.nodes),
        "dim": network.shapes["block.0.attn.ssa"].channels,
        "heads": attention.heads,
        "timesteps": network.spec.timesteps,
        "classes": network.classes,
        "image_size": network.spec.height,
        "mlp_ratio": network.shapes["block.0.mlp.mlp1_conv"].channels // network.shapes["block.0.attn.ssa"].channels,
        "tau": network.node("block.0.attn.proj_lif").tau,
        "scale": attention.scale,
        "order": attention.order,
    }
    assert found == made
    assert network.node("block.0.attn.attn_lif").v_threshold == 0.5
    assert network.node("block.0.attn.q_lif").v_threshold == 1.0


@pytest.mark.parametrize(
    ("options", "args", "expected"),
    [
        ({"heads": 4, "preset": "spikingformer-8-512-imagenet"}, {"num_heads": 2}, "4 (from --heads, though args"),
        ({"preset": "small"}, {"num_heads": 4}, "2 (from --preset small, though args.num_heads is 4)"),
        ({}, {"num_heads": 4}, "4 (from the checkpoint's args.num_heads)"),
    ],
)
def test_option_before_preset_before_args(options, args, expected, states, tmp_path, monkeypatch):
    """The first source in the documented order that tells a fact decides, and the report names it."""
    small = PRESETS["spikingformer-2-256-dvs128"]
    sizes = {"tokenizer": "imagenet", "dim": 16, "depth": 2, "heads": 2, "timesteps": 4, "classes": 10}
    monkeypatch.setitem(PRESETS, "small", type(small)(**sizes, image_size=48))
    if "preset" in options and "heads" in options:
        options["preset"] = "small"
    path = with_args(tmp_path / "c.pth.tar", states["spikingformer-imagenet"], time_step=4, img_size=48, **args)
    assert convert(path, ConvertOptions(**options)).network.provenance["heads"].startswith(expected)


def test_what_a_preset_assumes_is_said():
    """Heads of models whose authors published none come from their preset, marked as assumed."""
    name = "spikingformer-4-256-cifar10"
    facts = Facts(ConvertOptions(preset=name), {}, find_preset(name))
    assert facts.find("heads") == 8
    assert facts.sources["heads"] == "8 (from --preset spikingformer-4-256-cifar10, not published: assumed)"


def test_constants_come_last_and_are_called_assumed(states, tmp_path):
    """Tau, thresholds and scale stand in no checkpoint: what is taken for them is marked, an option overrides it."""
    path = write_h5(tmp_path / "s.h5", states["spikingformer-dvs"])
    told = convert(path, ConvertOptions(**NUMBERS)).network.provenance
    assert told["tau"] == "1.5 (assumed: constant of spikingformer, dvs tokenizer, standard)"
    assert "assumed" in told["scale"]
    assert "assumed" in told["v_threshold"]
    network = convert(path, ConvertOptions(**NUMBERS, variant="cml")).network
    assert network.node("patch_embed.proj1_lif").tau == 1.75
    network = convert(path, ConvertOptions(**NUMBERS, tau=3.5)).network
    assert {node.tau for node in network.nodes if hasattr(node, "tau")} == {3.5}
    assert network.provenance["tau"] == "3.5 (from --tau)"


@pytest.mark.parametrize("fact", ["heads", "timesteps"])
def test_an_unknown_fact_is_asked_for_by_its_option(fact, states, tmp_path):
    """Without args, what the keys cannot say is no guess but an error that names the option."""
    path = write_h5(tmp_path / "s.h5", states["spikingformer-dvs"])
    known = [f"--{key}={value}" for key, value in {"heads": 2, "timesteps": 3}.items() if key != fact]
    assert f"--{fact}" in refused("convert", path, tmp_path / "m.h5", *known)
    assert not (tmp_path / "m.h5").exists()


def test_args_of_the_dvs_scripts_tell_timesteps_alone(states, tmp_path):
    """SEWResNet is a default that the authors' scripts never used: heads, sizes and patches beside it do not count."""
    path = with_args(
        tmp_path / "c.pth", states["spikingformer-imagenet"],
        model="SEWResNet", T=5, time_step=7, num_heads=4, img_size=99, patch_size=4, dim=1, num_classes=10,
    )  # fmt: skip
    assert "--heads" in refused("convert", path, tmp_path / "m.h5")
    network = convert(path, ConvertOptions(heads=2, image_size=224)).network
    assert (network.spec.timesteps, network.spec.height) == (5, 224)
    assert network.provenance["timesteps"] == "5 (from the checkpoint's args.T)"
    assert network.provenance["tokenizer"].startswith("imagenet (from the keys")


@pytest.mark.parametrize(
    ("args", "options", "names"),
    [
        ({"dim": 32}, {}, "args.dim says dim 32, but its weights say 16"),
        ({"layer": 3}, {}, "args.layer says depth 3"),
        ({"num_classes": 1000}, {}, "args.num_classes says classes 1000"),
        ({"model": "SEWResNet", "T": 4, "num_classes": 1000}, {"heads": 2}, "args.num_classes says classes 1000"),
        ({"T": 4, "time_step": 6}, {}, "--timesteps"),
        ({}, {"tokenizer": "dvs"}, "--tokenizer"),
        ({}, {"tokenizer": "nonsense"}, "--tokenizer"),
        ({}, {"variant": "nonsense"}, "--variant"),
        ({}, {"variant": "standard", "tokenizer": "cifar"}, "--variant cml"),
        (
            {},
            {"preset": "spikingformer-2-256-dvs128"},
            "tokenizer dvs (from --preset spikingformer-2-256-dvs128) contradicts",
        ),
        ({}, {"preset": "spikingformer-8-512-imagenet"}, "--preset spikingformer-8-512-imagenet says dim 512"),
        ({}, {"preset": "no-such"}, "--preset no-such is unknown"),
        ({}, {"family": "no-such"}, "--family no-such is unknown"),
        ({}, {"tokenizer": "foo"}, "--tokenizer must be one of imagenet, cifar, dvs, got foo"),
        ({}, {"variant": "foo"}, "--variant must be one of standard, cml, got foo"),
        ({}, {"frames": "foo"}, "--frames must be one of number, time, got foo"),
        ({}, {"orientation": "foo"}, "--orientation must be one of spikingjelly, jaer, raw, got foo"),
        ({}, {"family": "foo"}, "known are spikingformer, spikformer"),
        ({"img_size": None}, {}, "--image-size"),
        ({"model": "SEWResNet", "T": 4, "img_size": 48}, {"heads": 2}, "--image-size"),
        ({}, {"heads": 0}, "--heads"),
        ({}, {"heads": 3}, "--heads"),
        ({}, {"tau": 0.5}, "--tau"),
        ({}, {"tau": float("inf")}, "--tau"),
        ({}, {"timesteps": -1}, "--timesteps"),
        ({}, {"image_size": 0}, "--image-size"),
        ({}, {"mean": (0.5,)}, "--mean"),
        ({}, {"std": (0.5, 0.0, 0.5)}, "--std"),
        ({}, {"frames": "time"}, "--frames"),
        ({}, {"orientation": "jaer"}, "--orientation"),
    ],
)
def test_contradictions_and_nonsense_are_errors_that_name_the_way_out(args, options, names, states, tmp_path):
    """Two sources that disagree about what the keys say, or a value that makes no sense, stop the conversion."""
    defaults = {} if "model" in args else {"model": "vitsnn", "num_heads": 2, "time_step": 4, "img_size": 48}
    path = with_args(tmp_path / "c.pth.tar", states["spikingformer-imagenet"], **(defaults | args))
    with pytest.raises(EvsimError) as error:
        convert(path, ConvertOptions(**options))
    assert names in spelled(str(error.value), spell)


def test_options_of_images_mean_nothing_for_events(states, tmp_path):
    """Mean and std of a model of events are refused as options, and ignored in args, where timm writes them."""
    path = with_args(
        tmp_path / "c.pth.tar", states["spikingformer-dvs"], num_heads=2, time_step=3, img_size=48, mean=[0.5] * 3
    )
    assert convert(path).network.spec.mean == ()
    assert "--mean" in refused("convert", path, tmp_path / "m.h5", "--mean", "0.5,0.5")


def test_cml_on_cifar_is_told_by_the_patch_size(states, tmp_path):
    """Keys named proj.. with patches of 4 can only be the CML variant on CIFAR; without them an option tells."""
    state = states["spikingformer-cifar-cml"]
    path = with_args(tmp_path / "c.pth.tar", state, model="vitsnn", patch_size=4, num_heads=4, time_step=4)
    network = convert(path).network
    assert (network.variant, network.provenance["tokenizer"].split()[0]) == ("cml", "cifar")
    bare = write_h5(tmp_path / "s.h5", state)
    facts = {"heads": 4, "timesteps": 4, "image_size": 32}
    assert convert(bare, ConvertOptions(**facts, tokenizer="cifar")).network.nodes == network.nodes
    with pytest.raises(EvsimError, match="`tokenizer=cifar`"):
        convert(bare, ConvertOptions(**facts, variant="cml"))


def test_a_tokenizer_against_the_patch_size_is_noted(states, tmp_path):
    """An option that says another tokenizer than the checkpoint's patch size decides, and the report says so."""
    args = {"model": "vitsnn", "num_heads": 4, "time_step": 4, "img_size": 32, "patch_size": 16}
    path = with_args(tmp_path / "c.pth.tar", states["spikingformer-cifar-cml"], **args)
    told = convert(path, ConvertOptions(tokenizer="cifar")).network.provenance["tokenizer"]
    assert told == "cifar (from --tokenizer, though args.patch_size is 16)"
    path = with_args(tmp_path / "d.pth.tar", states["spikingformer-cifar-cml"], **args | {"patch_size": 4})
    told = convert(path, ConvertOptions(tokenizer="cifar")).network.provenance["tokenizer"]
    assert told == "cifar (from --tokenizer)"


@pytest.mark.parametrize(("name", "size"), [("spikingformer-dvs", 128), ("spikingformer-cifar-cml", 32)])
def test_sizes_of_small_images_and_events_are_constants(name, size, states, tmp_path):
    """CIFAR's 32 and DVS128's 128 pixels are those of the family, and called assumed."""
    path = write_h5(tmp_path / "s.h5", states[name])
    options = ConvertOptions(heads=2, timesteps=3, tokenizer="cifar" if size == 32 else None)
    network = convert(path, options).network
    assert network.spec.height == size
    assert "assumed" in network.provenance["image_size"]


def old_names(state):
    """Rename a Spikingformer's keys to those of the oldest checkpoints."""
    renames = [
        ("proj4", "rpe"),
        ("proj3_", "proj_#3"),
        ("proj2_", "proj_#2"),
        ("proj1_", "proj_#1"),
        ("mlp.mlp", "mlp.fc"),
    ]
    result = {}
    for key, value in state.items():
        new = key
        for old, text in renames:
            if text.startswith("proj_#") and f"patch_embed.{old}" in new:
                kind = new.split(old)[1].split(".")[0]  # conv or bn
                new = new.replace(f"{old}{kind}", f"proj_{kind}{text[-1]}")
            elif not text.startswith("proj_#"):
                new = new.replace(old, text)
        result[new] = value
    return result


def test_keys_of_two_families_need_a_word(states, tmp_path):
    """The oldest Spikingformer's keys are Spikformer's: an option, a preset or args.model decides, never a guess."""
    state = old_names(states["spikingformer-imagenet"])
    assert {key for key in state if "patch_embed" in key} == {
        key for key in states["spikformer-imagenet"] if "patch_embed" in key
    }
    facts = {"num_heads": 2, "time_step": 4, "img_size": 48}
    undecided = with_args(tmp_path / "a.pth.tar", state, model="spikformer", **facts)
    assert "--family" in refused("convert", undecided, tmp_path / "m.h5")
    chosen = convert(undecided, ConvertOptions(family="spikingformer")).network
    new = with_args(tmp_path / "b.pth.tar", states["spikingformer-imagenet"], model="vitsnn", **facts)
    assert chosen.nodes == convert(new).network.nodes
    decided = with_args(tmp_path / "c.pth.tar", state, model="vitsnn", **facts)
    assert convert(decided).network.provenance["family"] == "spikingformer (from the checkpoint's args.model vitsnn)"


def test_unused_keys_pass_with_a_note_and_others_are_listed(states, tmp_path):
    """LayerNorms that are never read pass, and a note counts them; any other key that no layer takes is an error."""
    state = dict(states["spikingformer-dvs"])
    for key in ("block.0.norm1.weight", "block.0.norm1.bias", "block.0.norm2.weight", "block.0.norm2.bias"):
        state[key] = np.ones(16, np.float32)
    notes = convert(write_h5(tmp_path / "a.h5", state), ConvertOptions(**NUMBERS)).notes
    counters = sum(key.endswith("num_batches_tracked") for key in state)
    assert notes == (
        (
            "left out, as no forward pass reads them: 4 tensors of 64 numbers (block.0.norm1.bias, "
            "block.0.norm1.weight, block.0.norm2.bias, block.0.norm2.weight)"
        ),
        f"left out: {counters} counters of BatchNorm (num_batches_tracked), which are no parameters",
    )
    bare = {key: value for key, value in states["spikingformer-dvs"].items() if "num_batches" not in key}
    assert convert(write_h5(tmp_path / "c.h5", bare), ConvertOptions(**NUMBERS)).notes == ()
    for stranger in ("block.0.attn.extra", "patch_embed.norm1.weight", "total_things", "foo.num_batches_tracked"):
        path = write_h5(tmp_path / "b.h5", state | {stranger: np.ones(3, np.float32)})
        message = refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
        assert stranger in message


@pytest.mark.parametrize("name", ["spikingformer-imagenet", "spikingformer-dvs", "spikformer-imagenet"])
def test_every_number_of_a_checkpoint_is_stored_or_left_out_with_a_note(name, states, tmp_path):
    """Parameters of model.h5 plus those that the notes count are all that the checkpoint holds but for counters."""
    path = write_h5(tmp_path / "s.h5", states[name])
    conversion = convert(path, ConvertOptions(**NUMBERS, family=name.split("-")[0]))
    left = sum(int(re.search(r"of ([\d,]+) numbers", note)[1].replace(",", "")) for note in conversion.notes[:-1])
    total = sum(value.size for key, value in states[name].items() if "num_batches" not in key)
    weights = conversion.network.weights
    # of BatchNorm's four arrays two are stored: scale and shift
    stored = sum(weights[key].size * (2 if ".bn_" in key else 1) for key in weights)
    assert stored + left == total


def always_there():
    """Every tensor of one block, the first stage and the head: what each layer of the family always has."""
    state = read_checkpoint(GOLDEN / "spikingformer-dvs" / "checkpoint.pth.tar").shapes
    parts = ("block.0.", "patch_embed.proj_", "head.")
    return sorted(key for key in state if key.startswith(parts) and "num_batches" not in key and ".norm" not in key)


@pytest.mark.parametrize("key", always_there())
def test_a_tensor_that_the_family_always_has_is_missed(key, states, tmp_path):
    """Whatever one tensor is missing, a bias too, is an error that names it, never another prediction."""
    state = {name: value for name, value in states["spikingformer-dvs"].items() if name != key}
    with pytest.raises(CheckpointError, match=re.escape(f"lacks {key}")):
        convert(write_h5(tmp_path / "s.h5", state), ConvertOptions(**NUMBERS))


def test_a_bias_of_ones_own_is_taken_with_a_note(states, tmp_path):
    """A bias that the family's models do not have is computed with, and said."""
    state = states["spikingformer-dvs"] | {"block.0.attn.q_conv.bias": np.full(16, 0.5, np.float32)}
    conversion = convert(write_h5(tmp_path / "s.h5", state), ConvertOptions(**NUMBERS))
    assert conversion.notes[-1] == "took a bias that the family's models do not have: block.0.attn.q_conv.bias"
    assert (conversion.network.weights["block.0.attn.q_conv.bias"] == 0.5).all()


def test_shapes_that_contradict_each_other_are_named(states, tmp_path):
    """A layer whose channels are not those of the layers around it is refused by its key and both shapes."""
    state = states["spikingformer-dvs"] | {"block.0.mlp.mlp2_conv.weight": np.zeros((16, 60, 1, 1), np.float32)}
    text = refused("convert", write_h5(tmp_path / "s.h5", state), tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
    assert "block.0.mlp.mlp2_conv.weight has shape [16, 60, 1, 1]" in text
    assert "[dim, hidden, 1, 1] is [16, 64, 1, 1]" in text
    assert str(tmp_path / "s.h5") in text


@pytest.mark.parametrize("key", ["head.weight", "patch_embed.proj2_conv.weight", "block.0.attn.q_bn.running_var"])
def test_missing_weights_are_named(key, states, tmp_path):
    """An incomplete state_dict is refused by the name of what it lacks."""
    state = {name: value for name, value in states["spikingformer-dvs"].items() if name != key}
    path = write_h5(tmp_path / "s.h5", state)
    assert key in refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)


@pytest.mark.parametrize("name", ["spikingformer-dvs", "spikformer-imagenet"])
def test_a_state_dict_without_its_first_block_names_it(name, states, tmp_path):
    """Without block.0 no family can be told, but what is missing can."""
    state = {key: value for key, value in states[name].items() if not key.startswith("block.0.")}
    text = refused("convert", write_h5(tmp_path / "s.h5", state), tmp_path / "m.h5")
    assert "block.0.attn.q_conv.weight" in text
    assert "give the complete state_dict" in text


def test_dataparallel_prefix_is_dropped_with_a_note(states, tmp_path):
    """Keys that all begin with module. are those of DataParallel."""
    state = {f"module.{key}": value for key, value in states["spikingformer-dvs"].items()}
    for path in (
        write_h5(tmp_path / "s.h5", state),
        write_checkpoint(tmp_path / "s.pth", as_tensors(state)),
    ):
        outcome = evsim("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
        assert outcome.code == 0
        assert "note: dropped the prefix 'module.'" in outcome.out


def test_half_precision_weights_convert(states, tmp_path):
    """Weights stored in float16 are read as they are."""
    state = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in states["spikingformer-dvs"].items()}
    path = write_checkpoint(tmp_path / "s.pth", as_tensors(state))
    network = convert(path, ConvertOptions(**NUMBERS)).network
    expected = state["head.weight"].T.astype(np.float32)
    np.testing.assert_array_equal(network.weights["head.weight"], expected)


def test_batch_norm_is_folded_in_float64(states, tmp_path):
    """BatchNorm becomes a scale and a shift in float64, the weights stay the checkpoint's float32."""
    state = states["spikingformer-dvs"]
    network = convert(write_h5(tmp_path / "s.h5", state), ConvertOptions(**NUMBERS)).network
    norm = {key: state[f"block.0.mlp.mlp1_bn.{key}"].astype(np.float64) for key in ("weight", "bias")}
    scale = norm["weight"] / np.sqrt(state["block.0.mlp.mlp1_bn.running_var"].astype(np.float64) + 1e-5)
    shift = norm["bias"] - state["block.0.mlp.mlp1_bn.running_mean"].astype(np.float64) * scale
    np.testing.assert_array_equal(network.weights["block.0.mlp.mlp1_conv.bn_scale"], scale)
    np.testing.assert_array_equal(network.weights["block.0.mlp.mlp1_conv.bn_shift"], shift)
    weight = network.weights["block.0.mlp.mlp1_conv.weight"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight[0, 0].T, state["block.0.mlp.mlp1_conv.weight"][:, :, 0, 0])


def test_convert_prints_every_fact_and_its_source(states, tmp_path):
    """The report of a conversion has one line per fact: its value and where it came from."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {i}" for i in range(10)) + "\n\n")
    path = write_h5(tmp_path / "s.h5", states["spikingformer-dvs"])
    outcome = evsim(
        "convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3, "--image-size", 48, "--orientation", "jaer",
        "--frames", "time", "--labels", labels,
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in outcome.out.splitlines()[:-1])
    assert facts["family"] == "spikingformer (from the keys)"
    assert facts["tokenizer"] == "dvs (from the keys)"
    assert facts["heads"] == "2 (from --heads)"
    assert facts["orientation"] == "jaer (from --orientation)"
    assert facts["frames"] == "time (from --frames)"
    assert facts["variant"].startswith("standard (assumed: ")
    assert {"dim", "depth", "classes", "tau", "timesteps", "image_size", "scale", "v_threshold"} <= facts.keys()
    assert "class 9" in evsim("info", tmp_path / "m.h5").out


def test_labels_must_fit_the_classes(states, tmp_path):
    """A label file of another length, empty or missing is refused by the option's name."""
    path = write_h5(tmp_path / "s.h5", states["spikingformer-dvs"])
    for name, text in (("few.txt", "cat\ndog\n"), ("empty.txt", "\n")):
        (tmp_path / name).write_text(text)
        arguments = ("--heads", 2, "--timesteps", 3, "--labels", tmp_path / name)
        assert f"--labels {tmp_path / name}" in refused("convert", path, tmp_path / "m.h5", *arguments)
    assert "--labels" in refused(
        "convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3, "--labels", tmp_path / "none.txt"
    )
    assert not (tmp_path / "m.h5").exists()


def test_another_familys_keys_are_of_no_family(states, tmp_path):
    """Keys that look like Spikformer's but hold 1x1 Conv2d attention, as other families' do, are not taken for it."""
    state = dict(states["spikformer-imagenet"])
    for key in state:
        if "attn.q_conv.weight" in key:
            state[key] = state[key][..., np.newaxis]
    path = write_h5(tmp_path / "s.h5", state)
    assert "of no family that evsim knows" in refused("convert", path, tmp_path / "m.h5")
