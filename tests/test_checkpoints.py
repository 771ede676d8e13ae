"""Checkpoints as they lie about: every case of a bug report, generated here, converts or is named as what it is."""

from __future__ import annotations

import json
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import data_sets
import h5py
import numpy as np
import pytest
from commands import evsim, refused
from torch_files import MARKER, Namespace, Tensor, as_tensors, text_opcode, with_opcodes, write_checkpoint

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.checkpoint import NOT_CHECKPOINTS, READ, read_checkpoint
from evsim.converters.choose import PROFILERS, WRAPPERS
from evsim.converters.safetensors import DTYPES
from evsim.converters.tensors import NUMPY
from evsim.errors import CheckpointError, OptionError

ROOT = Path(__file__).parents[1]
DVS = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
IMAGENET = Path(__file__).parent / "data" / "golden" / "spikingformer-imagenet"
FACTS = {"model": "vitsnn", "num_heads": 2, "time_step": 3, "img_size": 48}
NUMBERS = {"heads": 2, "timesteps": 3, "image_size": 48}
HEAD = "head.weight"


def state(folder=DVS):
    """Return a golden's state_dict as arrays."""
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}


def averaged():
    """Return a state_dict whose head differs from the plain one's."""
    return state() | {HEAD: state()[HEAD] + np.float32(1.0)}


def head(path, **options):
    """Return the head's weights of a converted checkpoint as PyTorch has them, and the notes."""
    converted = convert(path, ConvertOptions(**{**NUMBERS, **options}))
    return converted.network.weights[HEAD].T, "\n".join(converted.notes)


def write(path, **content):
    """Write a checkpoint with the golden's arguments."""
    return write_checkpoint(path, {**content, "args": Namespace(**FACTS)})


def write_safetensors(path, tensors, **entries):
    """Write arrays as ``.safetensors``; `entries` are put into the header as they are."""
    codes = {"float32": "F32", "float64": "F64", "int64": "I64", "float16": "F16"}
    header, place = {"__metadata__": {"format": "pt"}, **entries}, 0
    for name, value in tensors.items():
        header[name] = {
            "dtype": codes[value.dtype.name], "shape": list(value.shape), "data_offsets": [place, place + value.nbytes],
        }  # fmt: skip
        place += value.nbytes
    text = json.dumps(header).encode()
    values = b"".join(value.tobytes() for value in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)
    return path


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema", "EMA_weights", "swa_state_dict"])
def test_averaged_weights_are_named_and_can_be_taken(name, tmp_path):
    """EMA weights beside the plain ones: the plain are taken, a note names both, `weights` takes the others."""
    path = write(tmp_path / "c.pth", **{name: as_tensors(averaged()), "state_dict": as_tensors(state())})
    values, notes = head(path)
    np.testing.assert_array_equal(values, state()[HEAD])
    assert "under state_dict;" in notes
    assert f"`weights={name}`" in notes
    values, notes = head(path, weights=name)
    np.testing.assert_array_equal(values, averaged()[HEAD])
    assert f"took the weights under {name}" in notes
    assert f"--weights {name}" in evsim("convert", path, tmp_path / "m.h5").out
    assert evsim("convert", path, tmp_path / "m.h5", "--weights", name).code == 0


def test_averaged_weights_alone_are_taken_with_a_note(tmp_path):
    """Where there are no plain weights the averaged ones are taken, and said to be such."""
    _, notes = head(write(tmp_path / "c.pth", model_ema=as_tensors(averaged())))
    assert "model_ema, which are averaged ones" in notes


@pytest.mark.parametrize("name", ["net", "model_state_dict", "model", "state_dict", "module", "network", "weights"])
def test_weights_under_any_name_are_read(name, tmp_path):
    """A dict of weights is found under any name, beside a loss, an optimizer's state and numbers."""
    optimizer = {"state": {0: {"exp_avg": Tensor(np.zeros((3, 3), np.float32))}}, "param_groups": [{"lr": 0.1}]}
    path = write(
        tmp_path / "c.pth", **{name: as_tensors(state())}, optimizer=optimizer, epoch=3,
        loss=Tensor(np.zeros((), np.float32)),
    )  # fmt: skip
    values, notes = head(path)
    np.testing.assert_array_equal(values, state()[HEAD])
    assert notes == head(DVS / "checkpoint.pth.tar")[1]


def test_several_dicts_of_weights_ask_which(tmp_path):
    """Two networks in one file: the message names both and the option, which takes either; any depth will do."""
    path = write(tmp_path / "c.pth", student=as_tensors(state()), deep={"teacher": as_tensors(averaged())})
    text = refused("convert", path, tmp_path / "m.h5")
    assert "under several names: student, deep.teacher" in text
    np.testing.assert_array_equal(head(path, weights="deep.teacher")[0], averaged()[HEAD])
    with pytest.raises(OptionError, match=r"can be one of: student, deep\.teacher"):
        head(path, weights="nothing")


def test_no_weights_lists_what_is_there(tmp_path):
    """Without any weights the message says what the file holds; a whole model under a key is named as such."""
    assert "only epoch, note" in refused(
        "convert", write_checkpoint(tmp_path / "a.pth", {"epoch": 1, "note": "x"}), "o"
    )
    path = write_checkpoint(tmp_path / "b.pth", {"net": Namespace(weight=Tensor(np.zeros(3, np.float32)))})
    assert "holds under net a whole argparse.Namespace" in refused("convert", path, "o")


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module.module.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "_orig_mod._orig_mod.module.",
    ],
)
def test_prefixes_of_wrappers_are_dropped_in_any_order(prefix, tmp_path):
    """DataParallel's and torch.compile's prefixes go, however many, with a note of each."""
    values, notes = head(write(tmp_path / "c.pth", model=as_tensors({prefix + k: v for k, v in state().items()})))
    np.testing.assert_array_equal(values, state()[HEAD])
    assert ("DataParallel" in notes) == ("module." in prefix)
    assert ("torch.compile" in notes) == ("_orig_mod." in prefix)


def test_wrappers_within_keys_are_dropped(tmp_path):
    """A compiled block puts its prefix in the middle of a key."""
    keys = {key.replace("block.0.", "block.0._orig_mod."): value for key, value in state().items()}
    assert "torch.compile put into" in head(write(tmp_path / "c.pth", model=as_tensors(keys)))[1]


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.encoder.", "model._orig_mod.", "a.b.c.d."])
@pytest.mark.parametrize("form", ["pth", "h5", "safetensors"])
def test_any_common_prefix_is_dropped(prefix, form, tmp_path):
    """Lightning's `model.` or any other: dropped with a note, whatever the file; a loss's weight does not disturb."""
    keys = {prefix + key: value for key, value in state().items()} | {"criterion.weight": np.ones(10, np.float32)}
    path = tmp_path / f"c.{form}"
    if form == "pth":
        write_checkpoint(path, {"state_dict": as_tensors(keys), "hyper_parameters": {"lr": 0.1}})
    elif form == "h5":
        with h5py.File(path, "w") as file:
            for key, value in keys.items():
                file[key.replace(".", "/")] = value
    else:
        write_safetensors(path, keys)
    values, notes = head(path)
    np.testing.assert_array_equal(values, state()[HEAD])
    assert f"dropped the prefix '{prefix.replace('_orig_mod.', '')}'" in notes
    assert "criterion.weight" in notes


def test_a_loss_without_a_prefix_does_not_disturb(tmp_path):
    """A loss's weight among plain keys is passed over with a note."""
    keys = state() | {"loss_fn.weight": np.ones(10, np.float32), "n_averaged": np.array(3)}
    assert "passed over 2 keys of no network" in head(write(tmp_path / "c.pth", model=as_tensors(keys)))[1]


def test_networks_under_two_prefixes(tmp_path):
    """Averaged weights under a prefix of their own are noted, two networks ask which."""
    both = {f"model.{k}": v for k, v in state().items()} | {f"model_ema.module.{k}": v for k, v in averaged().items()}
    values, notes = head(write(tmp_path / "a.pth", state_dict=as_tensors(both)))
    np.testing.assert_array_equal(values, state()[HEAD])
    assert "`weights=model_ema.module`" in notes
    two = {f"{n}.{k}": v for n in ("one", "two") for k, v in state().items()}
    with pytest.raises(OptionError, match="under one, two"):
        head(write(tmp_path / "b.pth", state_dict=as_tensors(two)))


@pytest.mark.parametrize("form", ["pth", "h5", "safetensors"])
def test_weights_take_the_prefix_that_the_message_names(form, tmp_path):
    """Of two networks under prefixes `weights` takes either, in any format, compiled or not; another is refused."""
    two = {f"student.{k}": v for k, v in state().items()} | {f"teacher._orig_mod.{k}": v for k, v in averaged().items()}
    path = tmp_path / f"c.{form}"
    if form == "pth":
        write_checkpoint(path, {"state_dict": as_tensors(two)})
    elif form == "h5":
        with h5py.File(path, "w") as file:
            for key, value in two.items():
                file[key] = value
    else:
        write_safetensors(path, two)
    with pytest.raises(OptionError, match="under student, teacher; say which by `weights=student`"):
        head(path)
    np.testing.assert_array_equal(head(path, weights="student")[0], state()[HEAD])
    values, notes = head(path, weights="teacher")
    np.testing.assert_array_equal(values, averaged()[HEAD])
    assert "dropped the prefix 'teacher.'" in notes
    with pytest.raises(OptionError, match=r"none under nobody|no weights under nobody"):
        head(path, weights="nobody")


def test_weights_beside_a_network_without_a_prefix(tmp_path):
    """Plain keys are taken unless `weights` names a network beside them; a prefix that holds no network is refused."""
    both = state() | {f"teacher.{k}": v for k, v in averaged().items()} | {"loss.weight": np.ones((3, 3), np.float32)}
    path = write(tmp_path / "c.pth", state_dict=as_tensors(both))
    np.testing.assert_array_equal(head(path, weights="teacher")[0], averaged()[HEAD])
    two = {f"{n}.{k}": v for n in ("one", "two") for k, v in state().items()} | {"other.weight": np.ones((3, 3))}
    with pytest.raises(OptionError, match="under other is no network that evsim knows; `weights` can be one of: one"):
        head(write(tmp_path / "d.pth", state_dict=as_tensors(two)), weights="other")


def test_buffers_of_profilers_are_passed_over(tmp_path):
    """Thop's total_ops and total_params, at the top and in every module, are no weights."""
    extra = {f"{m}{b}": np.zeros(1) for m in ("", "head.", "block.0.attn.q_conv.") for b in PROFILERS}
    assert "passed over 6 buffers of a profiler" in head(write(tmp_path / "c.pth", net=as_tensors(state() | extra)))[1]


def test_safetensors_are_read(tmp_path):
    """A .safetensors file gives what the .pth gives, through `convert` and through `run` on the fly."""
    path = write_safetensors(tmp_path / "m.safetensors", state())
    read = read_checkpoint(path)
    for key, value in state().items():
        np.testing.assert_array_equal(read.tensors[key], value)
        assert read.tensors[key].dtype == value.dtype
    assert "convert it first" in refused("info", path)
    assert evsim("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3).code == 0


def _header(text, length=None):
    raw = text if isinstance(text, bytes) else text.encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw


def _one(**entry):
    whole = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}
    return _header(json.dumps({"a.weight": whole})) + bytes(8)


SAFETENSORS = {
    "a header beyond the file": (_header(json.dumps({"a": {}}), 50) + bytes(9), "claims a header of 50 bytes"),
    "no JSON": (_header("{what}") + bytes(9), "damaged .safetensors header"),
    "nested without end": (_header('{"a":' * 100_000), "nested too deep"),
    "a name twice": (_header('{"a": 1, "a": 2}') + bytes(9), "stands there twice"),
    "no number": (_header('{"a": NaN}') + bytes(9), "no number that JSON knows"),
    "a huge number": (_header('{"a": ' + "9" * 5000 + "}") + bytes(9), "damaged .safetensors header"),
    "a size that is not the shape's": (_one(shape=[3]), "which is not its shape [3] of float32"),
    "a negative shape": (_one(shape=[-2, -1]), "impossible shape"),
    "a fraction": (_one(shape=[0.5]), "impossible shape"),
    "a negative offset": (_one(data_offsets=[-8, 0]), "is no tensor's"),
    "an end before its begin": (_one(data_offsets=[8, 0]), "has -8 bytes"),
    "an unknown field": (_one(more=1), "is no tensor's"),
    "no object": (_header(json.dumps({"a": 3})) + bytes(8), "is no tensor's"),
    "cut short": (_one()[:-1], "is cut short"),
    "bytes of no tensor": (_one() + b"x", "has bytes of no tensor at its end"),
    "a hole": (_one(data_offsets=[4, 12]) + bytes(4), "lies behind bytes of no tensor"),
    "an overlap": (
        _header(json.dumps({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"})) + bytes(8),
        "overlaps another tensor",
    ),
    "a name of control letters": (
        _header(json.dumps({"\x1b[2J.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})) + bytes(8),
        "\\x1b[2J.weight",
    ),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_damaged_safetensors_are_refused(name, tmp_path):
    """Every part of a header is checked before a tensor is read."""
    content, message = SAFETENSORS[name]
    (tmp_path / "m.safetensors").write_bytes(content)
    text = refused("convert", tmp_path / "m.safetensors", tmp_path / "m.h5")
    assert message in text


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("plain", [True, False])
def test_arrays_of_numpy_in_pickles_are_read(protocol, plain, tmp_path):
    """A state_dict of NumPy arrays, pickled plainly by any protocol or by torch.save, and NumPy's numbers as facts."""
    weights = OrderedDict(state()) | {HEAD: np.asfortranarray(state()[HEAD].astype(">f4"))}
    content = {"weights": weights, "args": {**FACTS, "num_heads": np.int64(2)}}
    path = tmp_path / "c.pth"
    if plain:
        path.write_bytes(pickle.dumps(content, protocol))
    else:
        write_checkpoint(path, content)
    if plain and protocol < 2:  # begins with no mark of a pickle
        with pytest.raises(CheckpointError, match="neither a PyTorch checkpoint"):
            read_checkpoint(path)
        return
    converted = convert(path)
    assert converted.network.provenance["heads"] == "2 (from the checkpoint's args.num_heads)"
    np.testing.assert_array_equal(converted.network.weights[HEAD].T, state()[HEAD])


def test_large_arrays_in_pickles_are_read(tmp_path):
    """An array beyond what is kept as a text, which torch.save writes as Latin letters, comes out as it went in."""
    values = np.random.default_rng(1).normal(size=(300, 700)).astype(np.float32)
    path = write_checkpoint(tmp_path / "c.pth", {"conv.weight": values})
    np.testing.assert_array_equal(read_checkpoint(path).tensors["conv.weight"], values)


@pytest.mark.parametrize("number", [3, 30_000])
def test_arrays_that_python_2_pickled_are_read(number, tmp_path):
    """Python 2 writes the bytes of an array as a text: short or long, they come out as they went in."""
    values = np.random.default_rng(2).normal(size=(2, number)).astype(np.float32)
    (tmp_path / "c.pkl").write_bytes(data_sets.python_two({"conv.weight": values}))
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "c.pkl").tensors["conv.weight"], values)


@pytest.mark.parametrize(("first", "what"), NOT_CHECKPOINTS.items())
@pytest.mark.parametrize("command", ["convert", "run"])
def test_what_is_no_checkpoint_is_named(first, what, command, tmp_path):
    """Git LFS pointers, web pages and compressed files are named as what they are, with what to do."""
    path = tmp_path / "c.pth"
    path.write_bytes(b"\n" * (first[:1] == b"<") + first + b" and more of it" * 9)
    more = {"convert": [tmp_path / "m.h5"], "run": ["--input", DVS / "input.npy"]}[command]
    assert what in refused(command, path, *more)


def _opcode_tensor(storage, dtype):
    """Return opcodes of a tensor [10] whose storage is that of key 0, of a class and dtype of any name."""
    pid = b"(" + text_opcode("storage") + storage + text_opcode("0") + text_opcode("cpu") + b"K\x0atQ"
    return b"ctorch._utils\n_rebuild_tensor_v3\n(" + pid + b"K\x00K\x0a\x85K\x01\x85\x89N" + dtype + b"tR"


UNREAD = {
    "float8_e4m3fn": _opcode_tensor(b"ctorch.storage\nUntypedStorage\n", b"ctorch\nfloat8_e4m3fn\n"),
    "float8_e5m2": _opcode_tensor(b"ctorch.storage\nUntypedStorage\n", b"ctorch\nfloat8_e5m2\n"),
    "quantized qint8": _opcode_tensor(b"ctorch\nQInt8Storage\n", b"N")
    .replace(b"_v3", b"_v2")
    .replace(b"_rebuild_tensor_v2", b"_rebuild_qtensor"),
    "a tensor of another kind (sparse tensor)": b"ctorch._utils\n_rebuild_sparse_tensor\n(tR",
    "a list": b"(G?\xf0\x00\x00\x00\x00\x00\x00l",
}


@pytest.mark.parametrize("kind", [*UNREAD, "complex64"])
def test_types_that_are_not_read_are_named(kind, tmp_path):
    """A bias of a type that no layer takes is named with its type, never a class of Python's, and never left out."""
    bias = Tensor(np.zeros(10, np.complex64)) if kind == "complex64" else MARKER
    path = write(tmp_path / "c.pth", model=OrderedDict(as_tensors(state()) | {"head.bias": bias}))
    if kind != "complex64":
        with_opcodes(path, UNREAD[kind])
    text = refused("convert", path, tmp_path / "m.h5")
    assert f"head.bias holds {kind}," in text
    assert "<class" not in text


def test_types_of_hdf5_that_are_not_read_are_named(tmp_path):
    """A dataset of complex numbers, of times or of texts is no weight: named, not left out."""
    for kind, value in {"complex64": np.zeros(10, np.complex64), "a compound type": np.zeros(10, "f4,i4")}.items():
        path = tmp_path / "c.h5"
        with h5py.File(path, "w") as file:
            for key, array in (state() | {"head.bias": value}).items():
                file[key] = array
        assert f"head.bias holds {kind}," in refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
    with h5py.File(path, "w") as file:
        for key, array in state().items():
            file[key] = array
        file["written by"] = "a script"
        kind = h5py.h5t.TypeID.copy(h5py.h5t.UNIX_D32LE)
        h5py.h5d.create(file.id, b"head.time", kind, h5py.h5s.create_simple((2,)))
    text = refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
    assert "no layer takes: head.time" in text


def test_a_trained_time_constant_makes_plif_neurons(tmp_path):
    """Neurons with a w of their own are PLIF in every family, the others stay LIF; `convert` tells how many."""
    with_w = state() | {"block.0.attn.q_lif.w": np.full((), -1.0, np.float32)}
    path = write(tmp_path / "c.pth", model=as_tensors(with_w))
    out = evsim("convert", path, tmp_path / "m.h5").out
    assert "took trained time constants (PLIF) of 1 layers of neurons: tau 3.72 to 3.72" in out
    network = modelfile.load(tmp_path / "m.h5")
    neurons = {node.name: node.neuron for node in network.nodes if hasattr(node, "neuron")}
    assert [name for name, neuron in neurons.items() if neuron == "plif"] == ["block.0.attn.q_lif"]
    assert network.weights["block.0.attn.q_lif.w"].tolist() == [-1.0]


@pytest.mark.parametrize(
    ("w", "why"),
    [
        (np.zeros(4, np.float32), "has shape [4] for"),
        (np.full((), np.nan, np.float32), "NaN or infinite"),
        (np.full((), -1e4, np.float32), "no time constant that was learned"),
    ],
)
def test_a_time_constant_that_is_none_is_refused(tmp_path, w, why):
    """A w of several numbers, or of which no tau comes, is named."""
    path = write(tmp_path / "c.pth", model=as_tensors(state() | {"block.0.attn.q_lif.w": w}))
    text = refused("convert", path, tmp_path / "m.h5")
    assert "block.0.attn.q_lif.w" in text
    assert why in text


def test_crop_and_interpolation_are_facts(tmp_path):
    """Timm's crop_pct and interpolation are taken with their source; options say otherwise; others are refused."""
    facts = FACTS | {"crop_pct": 0.875, "interpolation": "bilinear", "patch_size": 16}
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state(IMAGENET)), "args": Namespace(**facts)})
    assert evsim("convert", path, tmp_path / "m.h5").code == 0
    network = modelfile.load(tmp_path / "m.h5")
    assert (network.spec.crop_pct, network.spec.interpolation) == (0.875, "bilinear")
    assert network.provenance["crop_pct"] == "0.875 (from the checkpoint's args.crop_pct)"
    assert network.provenance["interpolation"] == "bilinear (from the checkpoint's args.interpolation)"
    assert evsim("convert", path, tmp_path / "m.h5", "--crop-pct", 0.9, "--interpolation", "bicubic").code == 0
    network = modelfile.load(tmp_path / "m.h5")
    assert (network.spec.crop_pct, network.spec.interpolation) == (0.9, "bicubic")
    assert network.provenance["crop_pct"].endswith("though args.crop_pct is 0.875)")
    assert "must be one of bicubic" in refused("convert", path, tmp_path / "m.h5", "--interpolation", "spline")
    assert "makes no sense" in refused("convert", path, tmp_path / "m.h5", "--crop-pct", 1.5)
    odd = write_checkpoint(
        tmp_path / "d.pth",
        {"model": as_tensors(state(IMAGENET)), "args": Namespace(**facts | {"interpolation": "random"})},
    )
    assert "interpolation random" in refused("convert", odd, tmp_path / "m.h5")
    assert "events" in refused("convert", DVS / "checkpoint.pth.tar", tmp_path / "m.h5", "--crop-pct", 0.9)


def test_the_document_lists_what_is_read():
    """docs/checkpoints.md names every form, type, wrapper and buffer that the readers know."""
    text = re.sub("<!--.*?-->", "", (ROOT / "docs" / "checkpoints.md").read_text())
    names = [*READ.values(), *(f"`{n}`" for n in (*NUMPY, *WRAPPERS, *PROFILERS, *DTYPES))]
    assert [name for name in names if name not in text] == []
