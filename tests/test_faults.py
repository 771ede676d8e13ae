"""Signals, full disks, small limits, old clocks and broken streams: one line, and no half of a file is left.

`make test-faults` sends 50 signals of a kind to each command (EVSIM_FAULTS), `make test` three.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
EVSIM = Path(sys.executable).with_name("evsim")
THOROUGH = "EVSIM_FAULTS" in os.environ
ROUNDS = int(os.environ.get("EVSIM_FAULTS", "3"))
LINUX = sys.platform == "linux"
CAUGHT = 1 << signal.SIGTERM - 1
LIMITS = pytest.mark.skipif(not LINUX, reason="limits are Linux's here")
INTERRUPTED = "evsim: interrupted\n"
COMMANDS = {
    "convert": ("convert {golden}/checkpoint.pth.tar {out}/m.h5", ["m.h5"]),
    "run": (
        "run {model} --input {golden}/input.npy {outputs}",
        ["c.h5", "f.npz", "r.json", "s.h5"],
    ),
    "record": ("record {image} {out}/e.aedat", ["e.aedat"]),
    "synthesize": ("synthesize spikingformer-2-256-dvs128 --out {out}/m.h5", ["m.h5"]),
    "energy": ("energy {counts} --method all --json {out}/e.json", ["e.json"]),
}
"""Commands, and the files that each writes."""

OUTPUTS = "--json {out}/r.json --counts {out}/c.h5 --record-spikes {out}/s.h5 --save-frames {out}/f.npz"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Make the inputs of all commands once, which compiles the kernels too."""
    folder = tmp_path_factory.mktemp("inputs")
    paths = {"golden": GOLDEN, "model": folder / "m.h5", "image": folder / "image.npy", "counts": folder / "c.h5"}
    np.save(paths["image"], np.add.outer(np.arange(96.0), np.arange(128.0) % 40))
    for line in (
        f"convert {GOLDEN}/checkpoint.pth.tar {paths['model']}",
        f"run {paths['model']} --input {GOLDEN}/input.npy --counts {paths['counts']}",
    ):
        assert call(line).returncode == 0
    return paths


def filled(name, out, inputs):
    """Return the line of a command with its places."""
    return COMMANDS[name][0].format(out=out, outputs=OUTPUTS.format(out=out), **inputs)


def start(line, folder=None, before="", streams="", **environment):
    """Start a command line of evsim in a shell that hands its process over, with a temporary folder of its own."""
    words = [f'"{EVSIM}"', *line.split(), streams]
    environment |= {"TMPDIR": str(folder / "tmp")} if folder else {}
    return subprocess.Popen(
        ["bash", "-c", f"{before} exec {' '.join(words)}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env=os.environ | environment, text=True, preexec_fn=hearing,  # noqa: PLW1509 - no thread of the tests forks
    )  # fmt: skip


def hearing():
    """Hear the signals that whoever started the tests has ignored: nohup does, and a shell's background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def call(line, folder=None, before="", streams="", **environment):
    """Run a command line of evsim to its end."""
    process = start(line, folder, before, streams, **environment)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(line, process.returncode, out, err)


def is_one_line(outcome, *words):
    """Whether a command was refused as it must be: exit code 2, one line of evsim's own, with these words."""
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith(("note: ", "compiled kernels cannot"))]
    assert outcome.returncode == 2, outcome
    assert len(lines) == 1, outcome
    assert lines[0].startswith("evsim: "), outcome
    assert all(word in lines[0] for word in words), outcome
    return True


def places(folder):
    """Make a folder for outputs, and one for temporary files."""
    for name in ("out", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    return folder / "out"


def left(folder):
    """Return names of all files that lie in the two folders."""
    return sorted(path.name for name in ("out", "tmp") for path in (folder / name).rglob("*"))


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """Run each command undisturbed: how long it takes, and what it writes."""
    outcomes = {}
    for name, (_, files) in COMMANDS.items():
        folder = tmp_path_factory.mktemp(name)
        out = places(folder)
        began = time.monotonic()
        assert call(filled(name, out, inputs), folder).returncode == 0
        outcomes[name] = time.monotonic() - began, {file: (out / file).read_bytes() for file in files}
        assert left(folder) == files
    return outcomes


def wait_for_evsim(process):
    """Wait until a process is evsim's and listens to signals; what came before was Python's own start."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & CAUGHT and "evsim" in Path(f"/proc/{process.pid}/cmdline").read_text():
            return
        time.sleep(0.002)


@pytest.mark.skipif(not LINUX, reason="/proc tells when a command listens")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_random_moments(name, number, inputs, whole, tmp_path):
    """A command that is ended at any moment leaves whole files or none, and SIGINT no temporary file."""
    moments = random.Random(f"{name} {number}")
    lasts, content = whole[name]
    for _ in range(ROUNDS):
        out = places(tmp_path)
        process = start(filled(name, out, inputs), tmp_path)
        wait_for_evsim(process)
        time.sleep(moments.uniform(0, lasts))
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        if number == signal.SIGINT:
            assert process.returncode in (0, 130), err
            assert err.endswith(INTERRUPTED) == (process.returncode == 130)
            assert set(left(tmp_path)) <= content.keys()
        assert all(file in content or file.startswith(".") for file in left(tmp_path))
        for path in out.iterdir():
            assert path.name.startswith(".") or path.read_bytes() == content[path.name]
        if process.returncode == 0:
            assert set(left(tmp_path)) == content.keys()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_signals_that_end_a_command(number, inputs, tmp_path):
    """What `timeout` and a closing terminal send ends a command cleanly too, with the shell's exit code."""
    process = start(filled("synthesize", places(tmp_path), inputs), tmp_path)
    wait_for_evsim(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert err.startswith("evsim: ended")
    assert left(tmp_path) == []


def test_a_half_written_file_goes_with_the_signal(tmp_path):
    """A signal in the middle of writing removes the temporary file, which lies hidden beside its target till then."""
    script = (
        "import os, signal, sys\n"
        "from evsim.cli import start\n"
        "from evsim.files import replacing\n"
        "start._listen()\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    print(*os.listdir(os.path.dirname(sys.argv[1])), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x.h5"], capture_output=True, text=True, check=False,
        preexec_fn=hearing,
    )  # fmt: skip
    assert (outcome.returncode, outcome.stderr) == (130, INTERRUPTED)
    assert outcome.stdout.startswith(".x.h5.")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """Who starts a command with SIGINT ignored, as a shell does in the background, is not interrupted."""
    out = places(tmp_path)
    process = start(f"convert {GOLDEN}/checkpoint.pth.tar {out}/m.h5", tmp_path, "trap '' INT;")
    wait_for_evsim(process)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    process.communicate()
    assert left(tmp_path) == ["m.h5"]


def test_two_processes_on_one_output(inputs, whole, tmp_path):
    """Two runs that write the same files leave whole ones, and nothing else."""
    line = filled("run", places(tmp_path), inputs)
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda _: call(line, tmp_path), range(2)))
    assert [outcome.returncode for outcome in outcomes] == [0, 0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole["run"][1]


@pytest.mark.skipif(not THOROUGH, reason="compiles all kernels twice: make test-faults")
def test_concurrent_cold_caches(inputs, tmp_path):
    """Two processes that fill one empty cache, of different precisions, keep what later runs can use."""
    cache = tmp_path / "cache"
    lines = [
        f"run {inputs['model']} --input {GOLDEN}/input.npy --json - --precision {p}" for p in ("float32", "float64")
    ]
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            outcomes = list(pool.map(lambda line: call(line, NUMBA_CACHE_DIR=str(cache)), lines))
        for outcome, line in zip(outcomes, lines, strict=True):
            assert (outcome.returncode, outcome.stderr) == (0, "")
            assert outcome.stdout == call(line).stdout
    assert [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".nbc"] == []


@LIMITS
@pytest.mark.parametrize("kilobytes", range(0, 56, 4) if THOROUGH else (0, 4, 32))
@pytest.mark.parametrize("name", ["convert", "run", "record", "synthesize"])
def test_files_that_may_not_grow(name, kilobytes, inputs, tmp_path):
    """Where files may be only so large (ulimit -f), those that are larger are one line, and nothing of them is left."""
    line, files = filled(name, places(tmp_path), inputs), COMMANDS[name][1]
    if name == "run":
        line, files = f"run {inputs['model']} --input {GOLDEN}/input.npy --counts {tmp_path}/out/c.h5", ["c.h5"]
    outcome = call(line, tmp_path, f"ulimit -f {kilobytes};")
    if outcome.returncode == 0:
        assert left(tmp_path) == files
        assert (tmp_path / "out" / files[0]).stat().st_size <= kilobytes << 10
    else:
        assert is_one_line(outcome, "cannot write", files[0])
        assert left(tmp_path) == []


@pytest.fixture
def disk(tmp_path):
    """Mount small disks; give what makes one of a size, or remounts it read-only."""
    place = tmp_path / "out"
    place.mkdir()

    def mounted(options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip("no disk can be mounted here")
        return place

    (tmp_path / "tmp").mkdir()
    yield mounted
    while subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0:
        pass


@pytest.mark.skipif(shutil.which("mount") is None, reason="no disk can be mounted here")
@pytest.mark.parametrize("kilobytes", range(4, 64, 4) if THOROUGH else (4, 32))
def test_a_full_disk(kilobytes, disk, inputs, tmp_path):
    """On a disk of any size each output is there whole, or refused in one line and not there at all."""
    out = disk(f"size={kilobytes}k")
    for name in ("convert", "run", "record"):
        outcome = call(filled(name, out, inputs), tmp_path)
        assert outcome.returncode == 0 or is_one_line(outcome, "cannot write", "No space left")
        assert set(left(tmp_path)) <= set(COMMANDS[name][1])
        for path in out.iterdir():
            path.unlink()


@pytest.mark.skipif(shutil.which("mount") is None, reason="no disk can be mounted here")
def test_read_only_everything(disk, inputs):
    """Where nothing may be written each output is refused at once; what only prints runs."""
    out = disk("ro,size=64k")
    for name in COMMANDS:
        assert is_one_line(call(filled(name, out, inputs), TMPDIR=str(out)), "cannot write", str(out))
    for line in (f"info {inputs['model']}", f"run {inputs['model']} --input {GOLDEN}/input.npy"):
        outcome = call(line, TMPDIR=str(out), HOME="/proc", NUMBA_CACHE_DIR=os.environ.get("NUMBA_CACHE_DIR", ""))
        assert outcome.returncode == 0, outcome


@LIMITS
@pytest.mark.parametrize("files", [5, 6, 7])
def test_few_open_files(files, inputs, tmp_path):
    """Where few files may be open (ulimit -n), a run works or is one line that says so; no model is called damaged."""
    line = f"run {inputs['model']} --input {GOLDEN}/input.npy --json {places(tmp_path)}/r.json"
    outcome = call(line, tmp_path, f"ulimit -n {files};")
    assert outcome.returncode == 0 or is_one_line(outcome, "ulimit -n")
    assert left(tmp_path) == ([] if outcome.returncode else ["r.json"])


@LIMITS
@pytest.mark.parametrize("megabytes", [20, 60, 150, 400, 900])
def test_little_address_space(megabytes, inputs, tmp_path):
    """Too little address space (ulimit -v) is one line: OpenBLAS would loop for ever, or interrupt the process."""
    line = f"run {inputs['model']} --input {GOLDEN}/input.npy --json {places(tmp_path)}/r.json"
    assert is_one_line(call(line, tmp_path, f"ulimit -v {megabytes << 10};"), f"{megabytes} MB", "ulimit -v")
    assert left(tmp_path) == []


def test_a_library_that_does_not_load(tmp_path):
    """An installation that lacks a library, when it is needed, is one line that names it."""
    (tmp_path / "numpy.py").write_text("raise ImportError('\\n\\nADVICE\\n\\nOriginal error was: cannot map it')\n")
    assert call("--help", PYTHONPATH=str(tmp_path)).returncode == 0
    outcome = call(f"info {GOLDEN}/state_dict.h5", PYTHONPATH=str(tmp_path))
    assert is_one_line(outcome, "a library cannot be loaded (Original error was: cannot map it)")


def test_a_clock_in_1970(inputs, whole, tmp_path):
    """A machine without a clock writes the same files; so do inputs of that date."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "local, universal = time.localtime, time.gmtime\n"
        "time.time = lambda: 7.0\n"
        "time.time_ns = lambda: 7_000_000_000\n"
        "time.localtime = lambda seconds=None: local(7 if seconds is None else seconds)\n"
        "time.gmtime = lambda seconds=None: universal(7 if seconds is None else seconds)\n"
    )
    old = {name: tmp_path / f"old-{Path(path).name}" for name, path in inputs.items() if name != "golden"}
    for name, path in old.items():
        shutil.copy(inputs[name], path)
        os.utime(path, (0, 0))
    for name in ("convert", "run", "record", "energy"):
        out = places(tmp_path)
        outcome = call(filled(name, out, {**old, "golden": GOLDEN}), tmp_path, PYTHONPATH=str(tmp_path))
        assert outcome.returncode == 0, outcome
        assert left(tmp_path) == COMMANDS[name][1]
        if name in ("convert", "record"):
            assert {path.name: path.read_bytes() for path in out.iterdir()} == whole[name][1]


@pytest.mark.parametrize(
    "line",
    ["run absent.h5 --input absent.npy", "run absent.h5 --input absent.npy --json -", "energy absent.h5 --csv -",
     "sweep --depth 1 --dim 32 --csv -", "info absent.h5", "events absent.aedat"],
)  # fmt: skip
def test_a_closed_standard_output_stops_a_command_before_any_work(line):
    """Where all that a command gives would be printed, a closed stream is refused before an input is looked at."""
    assert is_one_line(call(line, streams=">&-"), "standard output is closed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_broken_standard_error_changes_no_exit_code():
    """What is said beside a result goes nowhere where standard error is full; the exit code stays what it was."""
    assert call("info absent.h5", streams="2>/dev/full").returncode == 2
    checkpoint = GOLDEN / "checkpoint.pth.tar"  # converted on the fly, which a note tells
    outcome = call(f"run {checkpoint} --input {GOLDEN}/input.npy --json -", streams="2>/dev/full")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("{")


def test_record_refuses_a_suffix_before_it_reads(tmp_path):
    """A recording of another suffix, or over its own image, is refused before the image is looked at."""
    assert is_one_line(call(f"record absent.png {tmp_path}/x.mp4"), "x.mp4", ".aedat, .npz or .csv")
    assert is_one_line(call(f"record absent.png {tmp_path}/no/x.aedat"), "no folder")
    assert is_one_line(call(f"events absent.raw --to {tmp_path}/x.mp4"), "x.mp4")
