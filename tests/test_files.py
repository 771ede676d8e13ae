"""Inputs that never end are refused; outputs go where they were sent, whole, and replace nothing that is no file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import evsim, refused

from evsim.converters import convert
from evsim.errors import EvsimError, RecordingError
from evsim.files import SUFFIXES, OutputError, check_input, check_outputs, replacing, write_whole
from evsim.modelfile import save

DVS = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
RUN = Path(sys.executable).with_name("evsim")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a model once."""
    path = tmp_path_factory.mktemp("model") / "m.h5"
    save(convert(DVS / "checkpoint.pth.tar").network, path)
    return path


def listen(pipe):
    """Read a pipe in a thread; return what joins it and gives its bytes."""
    heard = []
    thread = threading.Thread(target=lambda: heard.append(Path(pipe).read_bytes()))
    thread.start()

    def heard_all():
        thread.join(20)
        assert heard, "nobody wrote into the pipe"
        return heard[0]

    return heard_all


def device(path):
    """Make a device of one's own that is like /dev/null."""
    if not ROOT:
        pytest.skip("only root makes devices")
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with path.open("wb") as file:
            file.write(b"")
    except OSError:
        pytest.skip("devices cannot be made, or not used, in the temporary folder")
    return path


def names(folder):
    """Return names of all files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_a_pipe_is_written_into(tmp_path):
    """A FIFO stays one, and its reader gets the whole content, more than a pipe holds at a time."""
    os.mkfifo(tmp_path / "pipe")
    content = os.urandom(300_000)
    for writing in (
        lambda: write_whole(tmp_path / "pipe", content),
        lambda: write_by_block(tmp_path / "pipe", content),
    ):
        heard = listen(tmp_path / "pipe")
        writing()
        assert heard() == content
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def write_by_block(path, content):
    """Write as the formats do that write piece by piece."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def test_the_reader_of_a_pipe_may_have_seen_enough(tmp_path):
    """A reader that leaves early, such as head, is no error."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["head", "-c", "4", tmp_path / "pipe"], stdout=subprocess.PIPE) as head:
        write_whole(tmp_path / "pipe", bytes(1_000_000))
        assert head.stdout.read() == bytes(4)


def test_a_device_is_written_into(tmp_path):
    """A character device stays one."""
    null = device(tmp_path / "null")
    write_whole(null, b"content")
    write_by_block(null, b"content")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert names(tmp_path) == ["null"]


def test_the_target_of_a_link_is_replaced(tmp_path):
    """A link stays, also one of links, and one whose target is yet to be made; what it leads to has the content."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("far/old")
    (tmp_path / "again").symlink_to("link")
    (tmp_path / "dangling").symlink_to("far/new")
    for name, target in (("link", "old"), ("again", "old"), ("dangling", "new")):
        write_whole(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "far" / target).read_bytes() == name.encode()
    assert names(tmp_path / "far") == ["new", "old"]
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OutputError, match="round"):
        write_whole(tmp_path / "round", b"x")
    assert (tmp_path / "round").is_symlink()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_open_files_are_written_into(tmp_path):
    """/dev/fd/N, which `>(...)` and /dev/stdout stand for, is written into: a pipe, or a file, on at its end."""
    reading, writing = os.pipe()
    write_whole(f"/dev/fd/{writing}", b"content")
    os.close(writing)
    assert os.read(reading, 100) == b"content"
    os.close(reading)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"first ")
        write_whole(f"/dev/fd/{file.fileno()}", b"second")
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        write_whole(tmp_path / "link", b" third")
    assert (tmp_path / "file").read_bytes() == b"first second third"


def test_the_mode_of_a_file_stays(tmp_path):
    """A file that is replaced keeps its mode; a new one has what the umask leaves."""
    (tmp_path / "old").write_bytes(b"")
    (tmp_path / "old").chmod(0o640)
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "old", b"new")
        write_whole(tmp_path / "new", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "old").chmod(0o604)
    write_whole(tmp_path / "old", b"newer")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


@pytest.mark.parametrize("arguments", [("convert",), ("--counts",), ("--record-spikes",), ("--save-frames",)])
def test_a_full_disk_is_one_line(arguments, model, tmp_path):
    """Where no more can be written, that is one line, and nothing is left behind; HDF5 does not crash."""
    target = tmp_path / ("out.npz" if "frames" in arguments[0] else "out.h5")
    if arguments == ("convert",):
        command = f"convert {DVS / 'checkpoint.pth.tar'} {target}"
    else:
        command = f"run {model} --input {DVS / 'input.npy'} {arguments[0]} {target}"
    outcome = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; exec {RUN} {command} >&2"],
        capture_output=True, text=True, check=False, env=os.environ | {"NUMBA_CACHE_DIR": ""},
    )  # fmt: skip
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("evsim: ")]
    assert outcome.returncode == 2, outcome
    assert len(lines) == 1
    assert "cannot write" in lines[0]
    assert names(tmp_path) == []


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "nothing", "zero byte", "surrogate"])
def test_inputs_that_are_no_files(what, model, tmp_path):
    """A pipe, device or folder, and no file at all, is refused at once as any input, in one line that names it."""
    path = tmp_path / "x.h5"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        device(path)
    elif what == "folder":
        path.mkdir()
    elif what == "zero byte":
        path = f"{tmp_path}/a\0b"
    elif what == "surrogate":
        path = f"{tmp_path}/a\ud800b"
    array = DVS / "input.npy"
    for command in (
        ("info", path), ("run", path, "--input", array), ("run", model, "--input", path), ("events", path),
        ("energy", path), ("convert", path, tmp_path / "m.h5"), ("record", path, tmp_path / "o.aedat"),
        ("check", path), ("compare", model, model, "--input", path),
            ("counts", "merge", path, path, "--out", tmp_path / "c.h5"),
        ("convert", DVS / "checkpoint.pth.tar", tmp_path / "m.h5", "--labels", path),
        ("events", DVS.parents[3] / "evsim" / "data" / "digit_3.aedat", "--trial", "1", "--trials", path),
    ):  # fmt: skip
        if what == "folder" and command[0] == "compare":
            continue  # a folder of inputs is one
        text = refused(*command)
        if what not in ("zero byte", "surrogate"):
            assert str(path) in text, command
    assert "m.h5" not in names(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path):
    """A file without permission is called so, not damaged."""
    (tmp_path / "x.h5").write_bytes((DVS / "state_dict.h5").read_bytes())
    (tmp_path / "x.h5").chmod(0)
    if os.access(tmp_path / "x.h5", os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(RecordingError, match="permission denied"):
        check_input(tmp_path / "x.h5", RecordingError)


@pytest.mark.parametrize("option", SUFFIXES)
def test_suffixes_of_other_formats_are_refused(option, tmp_path):
    """Each output takes its own suffixes, none, and any that says nothing; not that of another format."""
    for suffix in (*SUFFIXES[option], *(fit.upper() for fit in SUFFIXES[option]), "", ".out", ".2024-01-01"):
        check_outputs({option: tmp_path / f"x{suffix}"})
    for suffix in {".json", ".h5", ".npz", ".npy", ".png", ".jpg", ".csv", ".gz"} - set(SUFFIXES[option]):
        with pytest.raises(OutputError, match=rf"`{option}` writes .*{suffix}; give it that suffix"):
            check_outputs({f"--{option.replace('_', '-')}": tmp_path / f"x{suffix}"})


def test_a_wrong_suffix_stops_a_command_before_any_work(model, tmp_path):
    """`run --record-spikes x.npz` and `events --png x.jpg` are refused, and the option is named as it was typed."""
    run = ("run", model, "--input", DVS / "input.npy")
    assert "--record-spikes writes .h5" in refused(*run, "--record-spikes", tmp_path / "x.npz")
    assert "--counts writes .h5" in refused(*run, "--counts", tmp_path / "x.json")
    recording = Path(__file__).parents[1] / "evsim" / "data" / "digit_3.aedat"
    assert "--png writes .png" in refused("events", recording, "--png", tmp_path / "x.jpg")
    assert "OUT writes .h5" in refused("convert", DVS / "checkpoint.pth.tar", tmp_path / "x.npz")
    assert names(tmp_path) == []


def test_two_outputs_into_one_device(model, tmp_path):
    """A run may send several outputs into devices, and to a pipe what a shell's reader takes."""
    null = device(tmp_path / "null")
    os.mkfifo(tmp_path / "pipe")
    heard = listen(tmp_path / "pipe")
    outputs = ("--json", tmp_path / "pipe", "--counts", null, "--save-frames", null, "--record-spikes", null)
    outcome = evsim("run", model, "--input", DVS / "input.npy", *outputs)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(heard())["schema"] == 1
    assert names(tmp_path) == ["null", "pipe"]


def test_long_names(tmp_path):
    """A name as long as the system allows is written; a longer one is one line."""
    write_whole(tmp_path / ("x" * 255), b"content")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"content"
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(EvsimError, match="cannot write"):
            write_whole(tmp_path / name, b"content")
