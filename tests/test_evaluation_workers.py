"""Processes and clusters: the same figures wherever samples run, in whatever order they come, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from evaluations import GOLDEN, folder, frames, told

import evsim
from evsim import api
from evsim.datasets import open_dataset
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.evaluation.parcel import LEAST, on_lines, pack, unpack
from evsim.evaluation.pool import WorkerError
from evsim.files import OutputError

EVSIM = Path(sys.executable).with_name("evsim")
SAMPLES = 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who runs")
DASK = pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed")


@pytest.fixture(scope="module")
def network():
    """Load the model."""
    return evsim.load(GOLDEN)


@pytest.fixture(scope="module")
def data(tmp_path_factory, network):
    """Write and open a data set, one of whose samples cannot be read."""
    place = folder(tmp_path_factory.mktemp("data"), SAMPLES)
    (place / "1" / "bad.npy").write_bytes(b"\x93NUMPY broken")
    return open_dataset(place, network.labels, classes=network.classes)


@pytest.fixture(scope="module")
def alone(network, data):
    """Evaluate it in this process."""
    return evsim.evaluate(network, data)


def children(parent):
    """Return the workers that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            line = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"evsim.evaluation.worker" in line and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def test_a_parcel_is_the_same_simulator(network):
    """What was packed and unpacked gives the same logits and counts; its weights lie in the memory that was given."""
    simulator = Simulator(network)
    parcel = pack(simulator)
    assert parcel.size > 0
    memory = on_lines(parcel.joined())
    before = bytes(memory)
    again = unpack(parcel.objects, memory)
    expected, run = (api.run_on(each, frames(3)) for each in (simulator, again))
    assert np.array_equal(run.logits, expected.logits)
    assert run.counts.sops == expected.counts.sops
    held = np.frombuffer(memory, np.uint8)
    packed = [stage.layer.weights for stage in again.stages if hasattr(stage.layer, "weights")]
    packed = [weights for weights in packed if weights.nbytes >= LEAST]
    assert packed
    assert all(np.shares_memory(weights.view(np.uint8), held) for weights in packed)
    assert bytes(memory) == before


def test_weights_that_stayed_behind_are_read_again(network):
    """A run whose sums may overflow is planned anew, which takes the network's own weights: from its file."""
    parcel = pack(simulator := Simulator(network))
    again = unpack(parcel.objects, on_lines(parcel.joined()))
    assert len(again.network.weights) == len(network.weights)
    assert all(np.array_equal(again.network.weights[key], network.weights[key]) for key in network.weights)
    whole = pack(Simulator(_in_memory(simulator.network)))
    assert len(parcel.objects) + parcel.size < len(whole.objects) + whole.size


def _in_memory(network):
    """Return a network without a file."""
    from dataclasses import replace

    return replace(network, file=None, weights=dict(network.weights))


def test_two_workers_are_one(network, data, alone, tmp_path):
    """Figures are the same, byte for byte, and so is the file; a network without a file travels too."""
    path, here = tmp_path / "two.h5", tmp_path / "one.h5"
    outcome = evsim.evaluate(network, data, workers=2, out=path)
    assert outcome.throughput.workers == 2
    assert told(outcome.to_dict()) == told(alone.to_dict())
    evsim.evaluate(network, data, out=here)
    assert path.read_bytes() == here.read_bytes()
    pairs = [(frames(i), i % 3) for i in range(3)]
    expected = evsim.evaluate(_in_memory(network), pairs).to_dict()
    assert told(evsim.evaluate(_in_memory(network), pairs, workers=2).to_dict()) == told(expected)


@LINUX
def test_a_worker_that_dies_is_replaced(network, data, alone):
    """A process that is killed in the middle is started again, and its chunk is given out anew."""
    killed = []

    def progress(_total, there):
        if there >= 4 and not killed:
            killed.extend(children(os.getpid())[:1])
            os.kill(killed[0], signal.SIGKILL)

    outcome = evsim.evaluate(network, data, workers=2, progress=progress)
    assert killed
    assert told(outcome.to_dict()) == told(alone.to_dict())
    assert children(os.getpid()) == []


@LINUX
def test_a_chunk_that_kills_its_workers_ends_the_run(network, data, tmp_path):
    """Where every process dies, the run ends with one line, and what was there is kept."""
    over = threading.Event()

    def killer():
        while not over.is_set():
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.05)

    def progress(_total, there):
        if there == 2:
            thread.start()

    thread = threading.Thread(target=killer, daemon=True)
    path = tmp_path / "audit.h5"
    try:
        with pytest.raises(WorkerError, match="fewer `workers`"):
            evsim.evaluate(network, data, workers=2, progress=progress, out=path)
    finally:
        over.set()
        thread.join()
    assert evsim.evaluate(network, data, out=path, resume=True).throughput.samples < SAMPLES


def test_strict_ends_all_workers(network, data):
    """The first sample that cannot be read ends the run, and no process is left."""
    with pytest.raises(evsim.errors.RecordingError, match=r"bad\.npy"):
        evsim.evaluate(network, data, workers=2, strict=True)
    if sys.platform == "linux":
        assert children(os.getpid()) == []


@LINUX
def test_what_goes_wrong_here_ends_all_workers(network, data, tmp_path):
    """Where this process cannot go on, a full disk say, its workers end with it, and so do the threads beside it."""

    def progress(_total, there):
        if there >= 3:
            raise OutputError("cannot write: the disk is full")

    before = threading.active_count()
    with pytest.raises(OutputError, match="the disk is full"):
        evsim.evaluate(network, data, workers=2, out=tmp_path / "a.h5", progress=progress)
    assert children(os.getpid()) == []
    assert threading.active_count() == before


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_no_worker_outlives_the_command(data, tmp_path, number):
    """A command that is ended takes its workers with it, and says one line at most."""
    process = subprocess.Popen(
        [EVSIM, "eval", GOLDEN, data.path, "--out", tmp_path / "a.h5", "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread of the tests forks
    )  # fmt: skip
    workers = []
    while len(workers) < 2 and process.poll() is None:
        time.sleep(0.05)
        workers = children(process.pid)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    said = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert said == (["evsim: interrupted"] if number == signal.SIGINT else [])
    end = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a.h5"])


def test_dask_that_is_not_there_is_one_line(network, data, monkeypatch):
    """Without the library, or without a scheduler, one line says what to do."""
    if find_spec("distributed") is not None:
        with pytest.raises(OptionError, match="no Dask scheduler answers at `dask=nonsense"):
            evsim.evaluate(network, data, dask="nonsense://x")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionError, match="pip install distributed"):
        evsim.evaluate(network, data, dask="tcp://localhost:1")


@DASK
@LINUX
def test_a_dask_cluster_gives_the_same(network, tmp_path):
    """On a scheduler and three workers in processes of their own, one killed, one slow: byte for byte the same."""
    data = folder(tmp_path / "data", 60)
    alone = evsim.evaluate(network, str(data), out=tmp_path / "alone.h5")
    file, out = tmp_path / "scheduler.json", tmp_path / "dask.h5"
    quiet = {
        "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
        "env": os.environ | {"DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
    }  # fmt: skip
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    worker = [*dask, "worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    processes = [subprocess.Popen(each, **quiet) for each in (scheduler, worker, worker, worker)]
    try:
        wait_for_workers(file, 3)
        command = subprocess.Popen(
            [EVSIM, "eval", GOLDEN, data, "--out", out, "--dask", file, "--json", tmp_path / "dask.json"],
            **quiet | {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, text=True,
        )  # fmt: skip
        wait_for_chunk(out, command)
        slow, doomed = processes[2:]
        for each in (slow, doomed):  # what they hold of the work, nobody has
            each.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        assert command.poll() is None
        doomed.kill()
        time.sleep(2.0)
        slow.send_signal(signal.SIGCONT)
        stdout, err = command.communicate(timeout=300)
        assert command.returncode == 0, err
        assert "top-1" in stdout
        document = json.loads((tmp_path / "dask.json").read_text())
        assert told(document) == told(alone.to_dict())
        assert out.read_bytes() == (tmp_path / "alone.h5").read_bytes()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for_workers(file, workers):
    """Wait, in a process of its own, until a scheduler has so many workers."""
    code = (
        "import sys, time, distributed\n"
        "from pathlib import Path\n"
        "while not Path(sys.argv[1]).exists(): time.sleep(0.1)\n"
        "client = distributed.Client(scheduler_file=sys.argv[1])\n"
        "client.wait_for_workers(int(sys.argv[2]), timeout=120)\n"
    )
    environment = os.environ | {"DASK_TEMPORARY_DIRECTORY": str(file.parent)}
    subprocess.run([sys.executable, "-c", code, file, str(workers)], check=True, env=environment, timeout=180)


def wait_for_chunk(path, command):
    """Wait until the first chunk of an audit stands."""
    import h5py

    while command.poll() is None:
        if path.exists():
            with h5py.File(path, locking=False) as file:
                if file["chunks"][:].any():
                    return
        time.sleep(0.005)
    raise AssertionError(command.communicate())
