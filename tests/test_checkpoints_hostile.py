"""Checkpoints of an attacker: each is refused in one line, soon and in little memory, and nothing in it is run."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import refused
from torch_files import MARKER, Namespace, Tensor, as_tensors, text_opcode, with_opcodes, write_checkpoint

from evsim.converters import convert, table, unpickle
from evsim.converters.checkpoint import read_checkpoint
from evsim.errors import CheckpointError, EvsimError

DVS = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
MOST_MEMORY = 16 << 20
"""Bytes that refusing a file may take."""


@pytest.fixture(scope="module")
def state():
    """Return the golden's state_dict as arrays."""
    checkpoint = read_checkpoint(DVS / "checkpoint.pth.tar")
    return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}


def _doubled(depth):
    """Return opcodes of a tuple that holds a tuple twice, and so on: 2 ** depth values in a few bytes."""
    return b")" + b"2\x86" * depth


def _grown(first, around, depth):
    """Return opcodes of a value, and `depth` times of one around it, which recalls it from the memo."""
    return first + b"q\xf00" + (around + b"q\xf00") * depth + b"h\xf0"


LIST = b"]h\xf0ah\xf0a"
DICT = b"}" + text_opcode("a") + b"h\xf0s" + text_opcode("b") + b"h\xf0s"
STAND_IN = b"cargparse\nNamespace\nh\xf0\x85R"
AS_VALUE = {
    "tuples shared 2 ** 60 times": (_doubled(60), "refers to its own values"),
    "lists shared 2 ** 60 times": (_grown(b"]", LIST, 60), "refers to its own values"),
    "dicts shared 2 ** 60 times": (_grown(b"}", DICT, 60), "refers to its own values"),
    "a tuple 200 deep": (b")" + b"\x85" * 200, "nested over 100 deep"),
    "a list 200 deep": (b"]" * 200 + b"a" * 199, "nested over 100 deep"),
    "a tuple four thousand deep": (b")" + b"\x85" * 4_000, "lists, dicts and objects; refused"),
    "stand-ins five hundred deep": (_grown(b"N", STAND_IN, 500), ""),
    "a list that holds itself": (b"]q\xf0h\xf0a", "that holds itself"),
    "a dict that holds itself": (b"}q\xf0" + text_opcode("a") + b"h\xf0s", "that holds itself"),
    "thirty thousand numbers": (b"(" + b"K\x01" * 30_000 + b"t", "values beside its weights; refused"),
    "a memo of thirty thousand": (b"N" + b"\x94" * 30_000, "values beside its weights; refused"),
    "marks without end": (b"(" * 4_000 + b"N" + b"t" * 4_000, "deep, which no checkpoint is"),
    "an integer of 2,000 bytes": (b"\x8b" + struct.pack("<i", 2000) + b"\x7f" * 2000, "an integer of 2000 bytes"),
    "an integer of 500 digits": (b"L" + b"9" * 500 + b"L\n", "an integer of 500 digits"),
    "a line without an end": (b"V" + b"x" * 10_000, "is damaged"),
    "an extension": (b"\x82\x01", "is damaged"),
    "a buffer out of band": (b"\x97", "is damaged"),
    "a call of a number": (b"K\x01)R", "is damaged"),
    "a call of a tensor": (b"ctorch._utils\n_rebuild_tensor_v2\n(tR", "is damaged"),
    "a type of types": (
        b"(" + b"ctorch._tensor\n_rebuild_from_type_v2\nN" * 6 + b"t"
        + b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN)tR", "is damaged",
    ),
    "a name that calls": (b"cos\nsystem\n(" + text_opcode("touch x") + b"tR", "asks to run os.system"),
    "a name with dots": (b"\x8c\x05torch\x8c\x0eos.system.call\x93)R", "asks to run"),
    "a name of control letters": (b"c\x1b[2Jx\nfunc\n)R", "asks to run \\x1b[2Jx.func"),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_VALUE)
@pytest.mark.parametrize("place", ["value", "argument"])
def test_hostile_values_are_refused(name, place, state, tmp_path, monkeypatch):
    """Whatever stands beside the weights or among the arguments: one line, or no harm, in bounded memory."""
    monkeypatch.setattr(unpickle, "MOST_STEPS", 20_000)
    monkeypatch.setattr(unpickle, "MOST_CONTAINERS", 3_000)
    opcodes, message = AS_VALUE[name]
    args = {"model": "vitsnn", "num_heads": 2, "time_step": 3, "img_size": 48}
    args |= {"dim": MARKER} if place == "argument" else {}
    extra = {"zz": MARKER} if place == "value" else {}
    path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state), "args": Namespace(**args), **extra})
    with_opcodes(path, opcodes, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        if message or place == "argument":
            with pytest.raises(EvsimError) as error:
                convert(path)
            assert message in str(error.value)
            assert str(error.value).startswith(str(path))
            assert "\n" not in str(error.value)
        else:
            convert(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


KEYS = {
    "nested tuples": (b")" + b"\x85" * 90, "a tuple as the key"),
    "shared tuples": (_doubled(50), "a tuple as the key"),
    "a list": (b"]", "a list as the key"),
    "a dict": (b"}", "a dict as the key"),
    "bytes of a text": (text_opcode("x" * 70_000), "a text as the key"),
}


@pytest.mark.parametrize("name", KEYS)
def test_hostile_keys_are_not_hashed(name, state, tmp_path):
    """A key that takes for ever to hash, or that cannot be hashed, is refused before that."""
    key, message = KEYS[name]
    path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state), "zz": MARKER})
    with_opcodes(path, b"}" + key + b"Ns")
    assert message in refused("convert", path, tmp_path / "m.h5")


def test_numbers_as_keys_do_not_collide(state, tmp_path):
    """Integers that Python hashes to one value, by which a dict takes its square, are no trouble."""
    pairs = b"".join(
        b"\x8a\x0a" + ((1 + n) * (2**61 - 1)).to_bytes(10, "little", signed=True) + b"N" for n in range(60_000)
    )
    path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state), "zz": MARKER})
    assert len(read_checkpoint(with_opcodes(path, b"}(" + pairs + b"u")).shapes) == len(state)


@pytest.mark.parametrize("attribute", ["items", "get", "keys", "__class__"])
def test_attributes_of_dicts_are_refused(attribute, state, tmp_path):
    """A file may not shadow what a dict does; `_metadata`, which PyTorch sets, passes."""
    path = write_checkpoint(tmp_path / "c.pth", {"zz": MARKER, "state_dict": as_tensors(state)})
    build = b"ccollections\nOrderedDict\n)R}" + text_opcode(attribute) + text_opcode("x") + b"sb"
    assert f"sets {attribute} of a dict" in refused("convert", with_opcodes(path, build), tmp_path / "m.h5")
    path = write_checkpoint(tmp_path / "d.pth", {"zz": MARKER, "state_dict": as_tensors(state)})
    read_checkpoint(with_opcodes(path, build.replace(text_opcode(attribute), text_opcode("_metadata"))))


@pytest.mark.parametrize(
    "key", ["block.0\x00.weight", "a\x1b[31m.weight", "block." + "9" * 5000 + ".weight", "\ud800.weight"]
)
def test_names_that_no_module_has_are_refused(key, state, tmp_path):
    """NUL, terminal escapes, lone surrogates and 5,000 letters in a name: one line, escaped and short."""
    path = write_checkpoint(
        tmp_path / "c.pth", {"state_dict": as_tensors(state) | {"zz": Tensor(np.zeros((2, 2), np.float32))}}
    )
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["archive/data.pkl"] = members["archive/data.pkl"].replace(text_opcode("zz"), text_opcode(key))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    text = refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
    assert len(text) < 600
    assert text.strip().isprintable()


def test_what_unpacks_to_more_than_it_may_is_refused(tmp_path):
    """A storage of forty megabytes of zeros in a few kilobytes is refused before it is unpacked."""
    path = write_checkpoint(tmp_path / "c.pth", {"a.weight": Tensor(np.zeros((10, 1 << 20), np.float32)), "b": MARKER})
    with_opcodes(path, b"N", zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert "would unpack from" in refused("convert", path, tmp_path / "m.h5")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_compression_that_pytorch_does_not_know_is_refused(tmp_path):
    """Of bzip2 and LZMA nobody knows what they unpack to before they did."""
    path = write_checkpoint(tmp_path / "c.pth", {"a.weight": Tensor(np.zeros((2, 2), np.float32)), "b": MARKER})
    with_opcodes(path, b"N", zipfile.ZIP_BZIP2)
    assert "missing or damaged" in refused("convert", path, tmp_path / "m.h5")


def test_tensors_that_share_a_storage_a_thousand_times_are_refused(tmp_path):
    """A thousand tensors on one storage would be read a thousand times."""
    big = Tensor(np.ones((1 << 20,), np.float32), (1 << 10, 1 << 10), (1 << 10, 1))
    path = write_checkpoint(tmp_path / "c.pth", OrderedDict((f"l{n}.weight", big) for n in range(1000)))
    assert "more than the file can hold" in refused("convert", path, tmp_path / "m.h5")


def test_zip_files_of_too_many_or_doubled_members_are_refused(state, tmp_path):
    """A list of members beyond 8 MB, and a name that is there twice."""
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(state))
    with zipfile.ZipFile(path, "a") as archive:
        for n in range(9000):
            archive.writestr(f"archive/{n}{'x' * 1000}", b"")
    assert "a directory of" in refused("convert", path, tmp_path / "m.h5")
    path = write_checkpoint(tmp_path / "d.pth", as_tensors(state))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", b"")
    assert "holds a name twice" in refused("convert", path, tmp_path / "m.h5")


def test_damaged_weights_are_found(tmp_path):
    """One flipped bit in a storage is found by its checksum, whether all of it is read or a part."""
    path = write_checkpoint(tmp_path / "c.pth", {"a.weight": Tensor(np.ones((4, 4), np.float32), (2, 2), (1, 1))})
    raw = bytearray(path.read_bytes())
    raw[raw.index(np.ones(4, np.float32).tobytes()) + 40] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        read_checkpoint(path).tensors["a.weight"]


def _virtual(file, other):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "a", (2,))
    file.create_virtual_dataset("x.weight", layout)


HDF5 = {
    "a soft link": (lambda f, _: f.__setitem__("x.weight", h5py.SoftLink("/head.weight")), "no layer takes: x.weight"),
    "an external link": (lambda f, p: f.__setitem__("x.weight", h5py.ExternalLink(str(p), "a")), "to another file"),
    "external storage": (
        lambda f, p: f.create_dataset("x.weight", (2,), "f4", external=[(str(p), 0, 8)]), "lies in another file",
    ),
    "a virtual dataset": (_virtual, "made of other files"),
    "a claim of terabytes": (lambda f, _: f.create_dataset("x", (1 << 40,), "f4", chunks=(9,)), "more than the file"),
    "two names of one key": (lambda f, _: f.create_dataset("head/weight", (1,), "f4"), "would both be named"),
    "a name of control letters": (lambda f, _: f.create_dataset("\x1b[2J", (1,), "f4"), "named \\x1b[2J"),
}  # fmt: skip

HARMLESS = {
    "groups 200 deep": lambda f: f.create_group("/".join("g" * 200)),
    "a group that holds itself": lambda f: f.create_group("g").__setitem__("g", f["g"]),
    "a soft link to nowhere": lambda f: f.__setitem__("x.weight", h5py.SoftLink("/etc/passwd")),
    "a text": lambda f: f.__setitem__("written by", "a script"),
}


def _hdf5(path, state, change):
    with h5py.File(path, "w") as file:
        for key, value in state.items():
            file[key] = value
        change(file)
    return path


@pytest.mark.parametrize("name", HDF5)
def test_hdf5_that_leads_elsewhere_is_refused(name, state, tmp_path):
    """No other file is read through a state_dict.h5, no claim is followed without end, no key taken twice."""
    change, message = HDF5[name]
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    path = _hdf5(tmp_path / "c.h5", state, lambda file: change(file, secret))
    assert message in refused("convert", path, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)


@pytest.mark.parametrize("name", HARMLESS)
def test_hdf5_that_holds_more_is_read(name, state, tmp_path):
    """Groups without weights, however nested, links to nowhere and texts leave the weights as they are."""
    read = read_checkpoint(_hdf5(tmp_path / "c.h5", state, HARMLESS[name]))
    assert read.shapes == {key: value.shape for key, value in state.items()}
    np.testing.assert_array_equal(read.tensors["head.weight"], state["head.weight"])


@pytest.mark.parametrize(("path", "what"), [("fifo", "a pipe"), ("/dev/zero", "a device"), (".", "a folder")])
def test_pipes_and_devices_are_no_checkpoints(path, what, tmp_path):
    """A FIFO, which would wait for ever, and a device without an end are refused at once."""
    os.mkfifo(tmp_path / "fifo")
    assert f"is {what}" in refused("convert", tmp_path / path, tmp_path / "m.h5")


CLAIMS = {
    "a block of a high number": lambda n: [f"k{i}.weight" for i in range(n)] + ["block.99999999.x.weight"],
    "blocks at every depth": lambda n: [f"a.a.a.a.a.a.block.{i}.w" for i in range(n)],
    "blocks under many prefixes": lambda n: [f"p{i % 20}.block.{i}.w" for i in range(n)],
}


@pytest.mark.parametrize("name", CLAIMS)
def test_blocks_that_a_key_claims_are_not_walked_through(name, tmp_path, monkeypatch):
    """What is looked for among so many keys is a few times as much, whatever numbers of blocks they claim."""
    keys, looked = CLAIMS[name](3000), [0]
    plain = table.Row.at

    def counted(row, index):
        looked[0] += 1
        return plain(row, index)

    monkeypatch.setattr(table.Row, "at", counted)
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(dict.fromkeys(keys, np.zeros((1, 1), np.float32))))
    assert "of no family that evsim knows" in refused("convert", path, tmp_path / "m.h5")
    assert looked[0] < 25 * len(keys)


def test_a_plain_pickle_runs_nothing(tmp_path):
    """A plain pickle is read by the same machine: what it asks to run is refused."""

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'trace'}",)

    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"a.weight": Evil()}))
    assert "asks to run" in refused("convert", tmp_path / "c.pkl", tmp_path / "m.h5")
    assert not (tmp_path / "trace").exists()


def test_letters_that_are_no_bytes_are_damage(tmp_path):
    """An array whose bytes are written as letters beyond Latin ones is damaged."""
    path = write_checkpoint(tmp_path / "c.pth", {"a.weight": np.full((2, 2), 1.5, np.float32)})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("archive/data.pkl")
    letters = "\xc0?".encode()
    assert letters in content
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content.replace(letters, "\u0161?".encode()))
    with pytest.raises(CheckpointError, match="letters that are no bytes"):
        read_checkpoint(path).tensors["a.weight"]
