"""Bad input: one line that says what and what to do, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from torch_files import Call, Namespace, Tensor, as_tensors, write_checkpoint

from evsim.converters.checkpoint import LEGACY_MAGIC, read_checkpoint
from evsim.events import aedat2, recorder

GOLDEN = Path(__file__).parent / "data" / "golden"
DVS = GOLDEN / "spikingformer-dvs"
IMAGENET = GOLDEN / "spikingformer-imagenet"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Convert a model of events, one of images, and one whose input is 128 x 128."""
    folder = tmp_path_factory.mktemp("models")
    assert evsim("convert", DVS / "checkpoint.pth.tar", folder / "dvs.h5").code == 0
    assert evsim("convert", IMAGENET / "checkpoint.pth.tar", folder / "image.h5").code == 0
    assert evsim("convert", DVS / "checkpoint.pth.tar", folder / "dvs128.h5", "--image-size", 128).code == 0
    return folder


@pytest.fixture(scope="module")
def recording():
    """Return a short recording in AEDAT 2.0."""
    image = np.zeros((8, 8))
    image[2:6, 3:5] = 1.0
    made = recorder.record(image)
    words = np.empty((len(made), 2), ">u4")
    x, y, p = (column.astype(np.uint32) for column in (made.x, made.y, made.p))
    words[:, 0] = (127 - x) << 8 | (127 - y) << 1 | (1 - p)
    words[:, 1] = made.t
    return aedat2.HEADER + words.tobytes()


def listing(folder):
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def state():
    """Return a state_dict as arrays."""
    checkpoint = read_checkpoint(DVS / "checkpoint.pth.tar")
    return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}


def nan_weights():
    """Return a state_dict with one NaN."""
    weights = state()
    weights["block.0.mlp.mlp1_conv.weight"][0, 0] = np.nan
    return weights


def write_hdf5(path, content):
    """Write arrays as HDF5."""
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file[key] = value


def write_claim(path):
    """Write an HDF5 file with a dataset that claims a terabyte and holds nothing."""
    with h5py.File(path, "w") as file:
        file.create_dataset("head.weight", (1 << 19, 1 << 19), np.float32, chunks=(1 << 10, 1 << 10))


CHECKPOINTS = {
    "empty": (lambda path: path.write_bytes(b""), "is empty; copy"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 9), "neither a PyTorch checkpoint nor HDF5; give"),
    "truncated": (
        lambda path: path.write_bytes((DVS / "checkpoint.pth.tar").read_bytes()[:5000]),
        "truncated or damaged zip file; copy",
    ),
    "truncated HDF5": (
        lambda path: path.write_bytes((DVS / "state_dict.h5").read_bytes()[:5000]),
        "damaged HDF5 file",
    ),
    "format before 1.6": (
        lambda path: path.write_bytes(b"\x80\x02\x8a\n" + LEGACY_MAGIC + b"\x80\x02M\xe9\x03."),
        "torch.save(torch.load(",
    ),
    "plain pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "save the state_dict by torch.save"),
    "foreign HDF5": (lambda path: write_hdf5(path, {"images": np.zeros((3, 4))}), "are of no family that evsim knows"),
    "HDF5 of a huge claim": (write_claim, "more than the file can hold; refused"),
    "HDF5 of nothing": (lambda path: write_hdf5(path, {}), "without any tensor; give"),
    "NaN weights": (
        lambda path: write_checkpoint(path, {"state_dict": as_tensors(nan_weights()), "args": FACTS}),
        "block.0.mlp.mlp1_conv.weight holds NaN or infinite values; use",
    ),
    "integer weights": (
        lambda path: write_checkpoint(
            path, {"model": as_tensors(state() | {"head.bias": np.zeros(10, np.int64)}), "args": FACTS}
        ),
        "head.bias holds int64, not real numbers",
    ),
    "unknown family": (
        lambda path: write_checkpoint(path, as_tensors({"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)})),
        "are of no family that evsim knows",
    ),
    "a whole module": (
        lambda path: write_checkpoint(path, Namespace(weight=Tensor(np.zeros(3, np.float32)))),
        "not a state_dict; save model.state_dict()",
    ),
    "no tensors": (lambda path: write_checkpoint(path, {"epoch": 3}), "holds no state_dict"),
    "a lying shape": (
        lambda path: write_checkpoint(
            path,
            {
                "state_dict": as_tensors(state())
                | {"head.bias": Tensor(np.zeros(2, np.float32), shape=(10,), strides=(1,))},
                "args": FACTS,
            },
        ),
        "does not fit its storage",
    ),
    "a negative shape": (
        lambda path: write_checkpoint(path, {"a": Tensor(np.zeros(2, np.float32), shape=(-1,), strides=(1,))}),
        "impossible shape",
    ),
}
IN_THE_VALUES = ("NaN weights", "integer weights", "a lying shape")
FACTS = Namespace(model="vitsnn", num_heads=2, time_step=3, img_size=48)


@pytest.mark.parametrize("command", ["convert", "run", "info"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_bad_checkpoints(name, command, tmp_path):
    """A checkpoint that cannot be read safely and whole is refused by convert, run and info alike."""
    path = tmp_path / "checkpoint.pth"
    write, message = CHECKPOINTS[name]
    write(path)
    if command == "info" and name in IN_THE_VALUES:
        assert evsim("info", path).code == 0  # the table of layers needs no values
        return
    more = {"convert": [tmp_path / "m.h5"], "run": ["--input", DVS / "input.npy"], "info": []}[command]
    text = refused(command, path, *more)
    assert str(path) in text
    if command == "convert":
        assert message in text
    assert listing(tmp_path) == ["checkpoint.pth"]


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "eval", "getattr", "shutil.rmtree", "torch.load"])
def test_a_pickle_that_calls_something_is_refused(target, tmp_path):
    """Functions, and whatever runs programs, are refused by name; nothing is called."""
    trace = tmp_path / "trace"
    module, _, name = target.rpartition(".")
    if module == "torch":  # named by hand: the test writes pickles without torch
        path = write_checkpoint(tmp_path / "evil.pth", {"state_dict": as_tensors(state()), "x": 1.5})
        _replace(path, b"G?\xf8\x00\x00\x00\x00\x00\x00", b"ctorch\nload\n)R")
    else:
        function = getattr(__import__(module), name) if module else __builtins__[name]
        call = Call(function, f"touch {trace}" if name != "getattr" else trace, *(["x"] if name == "getattr" else []))
        path = write_checkpoint(tmp_path / "evil.pth", {"state_dict": as_tensors(state()), "args": call})
    text = refused("convert", path, tmp_path / "m.h5")
    assert "asks to run" in text
    assert name in text
    assert "save its state_dict alone" in text
    assert listing(tmp_path) == ["evil.pth"]


def _replace(path, old, new):
    """Replace bytes within the pickle of a checkpoint."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert old in members["archive/data.pkl"]
    members["archive/data.pkl"] = members["archive/data.pkl"].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_unknown_classes_become_inert(tmp_path):
    """Objects of classes that no one knows here pass as stand-ins: the checkpoint converts, nothing is called."""
    odd = {"path": Path("x"), "set": {1, 2}, "scalar": np.float64(2.5), "rng": np.random.default_rng(0), "e": OSError}
    content = {"state_dict": as_tensors(state()), "args": FACTS, "metrics": [Call(_Metric, 3), odd]}
    path = write_checkpoint(tmp_path / "c.pth.tar", content)
    _Metric.made = 0
    assert evsim("convert", path, tmp_path / "m.h5").code == 0
    assert _Metric.made == 0


class _Metric:
    made = 0

    def __init__(self, _: object) -> None:
        type(self).made += 1


def test_a_pickle_cannot_alter_a_tensor(tmp_path):
    """A pickle that gives a tensor a new state, such as another file to read, is refused."""
    path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state()), "args": FACTS, "x": 1.5})
    _replace(
        path,
        b"G?\xf8\x00\x00\x00\x00\x00\x00",
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89N\x74R}X\x07\x00\x00\x00archiveX\x01\x00\x00\x00/sb",
    )
    assert "may not alter a tensor" in refused("convert", path, tmp_path / "m.h5")


def test_a_pickle_cannot_claim_memory(tmp_path):
    """A memo index or length beyond the file itself is refused before anything is allocated."""
    for claim in (b"r\xff\xff\xff\x7f", b"\x96" + (1 << 40).to_bytes(8, "little")):  # LONG_BINPUT, BYTEARRAY8
        path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state()), "args": FACTS, "x": 1.5})
        _replace(path, b"G?\xf8\x00\x00\x00\x00\x00\x00", b"G?\xf8\x00\x00\x00\x00\x00\x00" + claim)
        assert "is damaged" in refused("convert", path, tmp_path / "m.h5")


@pytest.mark.parametrize("command", ["convert", "run", "info"])
@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_missing_checkpoint_or_a_folder(what, command, tmp_path):
    """A path that leads nowhere, or to a folder, is named."""
    path = tmp_path / "x"
    if what == "folder":
        path.mkdir()
    more = {"convert": [tmp_path / "m.h5"], "run": ["--input", DVS / "input.npy"], "info": []}[command]
    text = refused(command, path, *more)
    assert f"{path} {'is a folder; give' if what == 'folder' else 'does not exist; '}" in text
    assert not (tmp_path / "m.h5").exists()


INPUTS = {
    "missing": (None, "check the path"),
    "empty": (b"", "is empty; give"),
    "noise": (bytes(range(256)) * 9, "it is damaged or misnamed"),
    "no events": (aedat2.HEADER, "no events; give"),
    "damaged npy": (b"\x93NUMPY\x01\x00\x00\x00", "no .npy file of numbers, or damaged"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_bad_inputs(name, models, tmp_path):
    """An input that cannot be read is named with what is wrong."""
    path = tmp_path / "input.aedat"
    content, message = INPUTS[name]
    if content is not None:
        path.write_bytes(content)
    text = refused("run", models / "dvs.h5", "--input", path, "--json", tmp_path / "run.json")
    assert str(path) in text
    assert message in text
    assert not (tmp_path / "run.json").exists()


def test_a_folder_as_input(models, tmp_path):
    """A folder is no input."""
    assert "is a folder; give a file" in refused("run", models / "dvs.h5", "--input", tmp_path)


def test_a_truncated_recording(models, recording, tmp_path):
    """A recording that ends within an event says how many whole events there are and which option reads them."""
    path = tmp_path / "cut.aedat"
    path.write_bytes(recording[:-3])
    text = refused("run", models / "dvs128.h5", "--input", path)
    assert "truncated" in text
    assert f"{(len(recording) - len(aedat2.HEADER)) // 8 - 1} whole events" in text
    assert "--allow-truncated" in text


def test_a_recording_of_another_size_or_for_another_model(models, recording, tmp_path):
    """A sensor larger than the model's input, and events for a model of images, are refused."""
    path = tmp_path / "digit.aedat"
    path.write_bytes(recording)
    assert evsim("run", models / "dvs128.h5", "--input", path).code == 0
    assert "128 x 128 pixels, the model takes 48 x 48" in refused("run", models / "dvs.h5", "--input", path)
    assert "the model takes images" in refused("run", models / "image.h5", "--input", path)


ARRAYS = {
    "wrong size": (np.zeros((3, 2, 32, 32), np.float32), "frames [T, 2, 48, 48], but the input has shape"),
    "wrong channels": (np.zeros((3, 3, 48, 48), np.float32), "frames [T, 2, 48, 48], but the input has shape"),
    "an image": (np.zeros((2, 48, 48), np.float32), "frames [T, 2, 48, 48], but the input has shape"),
    "one axis": (np.zeros(7), "wanted an image"),
    "no values": (np.zeros((0, 2, 48, 48)), "wanted an image"),
    "texts": (np.array(["a"]), "wanted an image"),
    "NaN": (np.full((3, 2, 48, 48), np.nan), "NaN or infinite"),
    "fractions": (np.full((3, 2, 48, 48), 0.5), "event counts"),
    "negative": (np.full((3, 2, 48, 48), -1), "event counts"),
    "other timesteps": (np.zeros((5, 2, 48, 48)), "--timesteps 5"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit(name, models, tmp_path):
    """Frames of another size, kind or number than the model takes are refused, with both shapes."""
    array, message = ARRAYS[name]
    np.save(tmp_path / "frames.npy", array)
    text = refused("run", models / "dvs.h5", "--input", tmp_path / "frames.npy")
    assert str(tmp_path / "frames.npy") in text
    assert message in text


def test_arrays_of_objects_are_not_unpickled(models, tmp_path):
    """A .npy of pickled objects is refused, never loaded."""
    np.save(tmp_path / "o.npy", np.array([Call(os.system, f"touch {tmp_path / 'trace'}")], object), allow_pickle=True)
    refused("run", models / "dvs.h5", "--input", tmp_path / "o.npy")
    assert listing(tmp_path) == ["o.npy"]


OPTIONS = [
    (["--precision", "float16"], "--precision must be float32 or float64"),
    (["--schedule", "random"], "--schedule must be time or layer"),
    (["--threads", "0"], "--threads must be at least 1"),
    (["--timesteps", "0"], "--timesteps must be at least 1"),
    (["--timesteps", "-3"], "--timesteps must be at least 1"),
    (["--timesteps", "x"], "--timesteps"),
    (["--profile", "nonsense"], "45nm"),
    (["--json", "no/such/folder/run.json"], "there is no folder no/such/folder"),
    (["--record-spikes", "."], "it is a folder"),
    (["--no-such-option"], "--no-such-option"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=lambda value: str(value[0]) if value else "")
def test_bad_options(options, message, models):
    """An option without sense is named in one line."""
    assert message in refused("run", models / "dvs.h5", "--input", DVS / "input.npy", *options)


def test_outputs_never_overwrite_what_is_read(models, tmp_path):
    """Writing over the checkpoint, the model or the input that is being read is refused."""
    for name in ("state_dict.h5", "input.npy"):
        shutil.copy(DVS / name, tmp_path / name)
    shutil.copy(models / "dvs.h5", tmp_path / "m.h5")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    same = tmp_path / "state_dict.h5"
    assert "the very file that is read" in refused("convert", same, same, "--heads", 2, "--timesteps", 3)
    for option in ("--json", "--record-spikes", "--save-frames"):
        for target in ("m.h5", "input.npy"):
            refused("run", tmp_path / "m.h5", "--input", tmp_path / "input.npy", option, tmp_path / target)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_the_installed_command_shows_no_traceback(tmp_path):
    """What a person sees in a shell: one line on stderr, exit code 2."""
    command = [Path(sys.executable).parent / "evsim", "info", tmp_path / "none.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "does not exist" in done.stderr
