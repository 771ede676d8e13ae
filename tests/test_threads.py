"""Threads that share a kernel's units: each unit is done once, whatever threads come, sleep, fail or are missing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from numba import config, njit

import evsim.kernels.threads as threads_module
from evsim import api, demo, observers
from evsim.document import document
from evsim.engine import Simulator
from evsim.kernels.counting import sum_integers
from evsim.kernels.integers import add_spikes
from evsim.kernels.neuron import fire_map
from evsim.kernels.threads import Workers, available, dismiss
from evsim.kernels.together import CODE, CURRENT, PAGES, POSTED, way_in
from evsim.observers import Counter

compiled = pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT one thread does all")


def counted(workers, units, effort=np.inf):
    """Share units that each add 1 to a number of their own; return the numbers."""
    values = np.zeros(64 * units, np.int32)
    words = np.full((units, 1), ~np.uint64(0))
    workers.share(add_spikes, units, (words, 64, values), effort)
    return values


def helpers():
    """Return the threads that stand by."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("evsim-")]


def asleep(workers):
    """Whether all threads of workers sleep, at the latest after ten seconds."""
    end = time.monotonic() + 10
    while not all(helper.sleeps for helper in workers._helpers) and time.monotonic() < end:
        time.sleep(0.001)
    return all(helper.sleeps for helper in workers._helpers)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("units", [0, 1, 2, 7, 1000])
def test_every_unit_is_done_once(threads, units):
    """Whatever the numbers of threads and units, of threads more than there are cores too."""
    workers = Workers(threads)
    for _ in range(20):
        assert (counted(workers, units) == 1).all()


@compiled
def test_who_sleeps_is_woken():
    """Threads go to sleep when there is nothing to do, and the next call has them back."""
    workers = Workers(3)
    for _ in range(3):
        assert (counted(workers, 500) == 1).all()
        assert len(workers._helpers) == 2
        assert asleep(workers)


@compiled
def test_little_work_starts_no_threads():
    """Below `small` the calling thread does all of it alone."""
    before = len(helpers())
    workers = Workers(4)
    assert (counted(workers, 5, workers.small - 1) == 1).all()
    assert len(helpers()) == before


@compiled
def test_threads_end_with_their_workers():
    """Nobody stands by at a board that nobody will open again; others' threads go on."""
    kept, dropped = Workers(2), Workers(3)
    before = len(helpers())
    assert (counted(kept, 9) == 1).all()
    assert (counted(dropped, 9) == 1).all()
    assert len(helpers()) == before + 3
    del dropped
    gc.collect()
    assert len(helpers()) == before + 1
    assert (counted(kept, 9) == 1).all()


@compiled
def test_a_fault_in_any_share_is_raised():
    """An array that a kernel cannot take is told as the kernel tells it, and the next call works."""
    workers = Workers(2)
    for _ in range(50):
        with pytest.raises(ZeroDivisionError):
            workers.share(FAILING, 100, (0,))
        assert workers._board[CURRENT] == workers._board[POSTED]
        assert workers._board[CODE] == 0
        assert (counted(workers, 100) == 1).all()


@njit(nogil=True)
def FAILING(first, last, divisor):  # noqa: N802 - stands for a kernel
    """Raise, whatever the units."""
    for _ in range(first, last):
        if divisor == 0:
            raise ZeroDivisionError("no")


@compiled
def test_no_late_thread_takes_units_of_another_page():
    """More threads than cores, that come whenever they run, on pages that are written again and again."""
    workers, words = Workers(9), np.full((23, 1), ~np.uint64(0))
    workers.small = 0
    for _ in range(30):
        with workers.later():
            maps = [np.zeros(64 * 23, np.int32) for _ in range(10 * PAGES)]
            for turn in range(3):
                for values in maps:
                    workers.post(add_spikes, 23 - turn, (words, 64, values))
        assert all((values.reshape(23, 64).sum(axis=1) == [192] * 21 + [128, 64]).all() for values in maps)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_posted_calls_are_done_in_order(threads):
    """Each call sees what the ones before it wrote, more of them than a board has pages for, whatever is dropped."""
    workers, words = Workers(threads), np.full((50, 1), 5, np.uint64)
    workers.small = 0
    counts = []
    with workers.later():
        for i in range(3 * PAGES + 1):
            planes = np.zeros(64 * 50, np.int32)
            workers.post(add_spikes, 50, (words, 64, planes))
            count = np.empty(1, np.int64)
            workers.post(sum_integers, 1, (planes.reshape(1, -1), count))
            counts.append(count)
            if i == 2 * PAGES:
                workers.finish()
                assert all(int(count[0]) == 100 for count in counts)
            del planes
    assert [int(count[0]) for count in counts] == [100] * (3 * PAGES + 1)
    late = np.empty(1, np.int64)
    workers.post(sum_integers, 1, (np.ones((1, 7), np.int32), late))  # outside, nothing waits
    assert late[0] == 7


@compiled
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_runs_behind_a_fault(threads):
    """What was posted behind a call that fails is not done: it would read what is not there."""
    workers, count = Workers(threads), np.zeros(1, np.int64)
    workers.small = 0

    def failing():
        with workers.later():
            workers.post(FAILING, 100, (0,))
            workers.post(sum_integers, 1, (np.ones((1, 7), np.int32), count))

    with pytest.raises(ZeroDivisionError):
        failing()
    assert count[0] == 0
    assert (counted(workers, 100) == 1).all()


class Sums:
    """Sees the sum of all that passes by; `later`, once all is there."""

    def __init__(self, later):
        self.later, self.seen = later, []

    def observe(self, _stage, _inputs, output):
        """Take the sum, or keep the packet."""
        self.seen.append(output if self.later else total_of(output))


def total_of(packet):
    """Return the sum of a packet's values."""
    return None if packet is None else float((packet.dense() if hasattr(packet, "dense") else packet.values).sum())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("schedule", ["layer", "time"])
def test_an_observer_sees_values(threads, schedule):
    """Who looks at once sees what is there when all is over."""
    network = api.load(demo.model_path())
    sample = api.read(next(iter(demo.recordings().values())), network)
    now, later = Sums(later=False), Sums(later=True)
    for observer in (now, later):
        api.simulate(network, sample, threads=threads, schedule=schedule, observers=[observer])
    assert now.seen == [total_of(packet) for packet in later.seen]
    assert any(now.seen)


@contextmanager
def interrupted(monkeypatch, name, stands_in):
    """Let Ctrl-C come where something of `threads` is called."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012 - what raises is whatever runs inside
        patch.setattr(threads_module, name, stands_in)
        yield


def _interrupt(*_):
    raise KeyboardInterrupt


def _post(workers):
    """Post a call that adds 1 to each of its numbers; return these."""
    values = np.zeros(64 * 50, np.int32)
    workers.post(add_spikes, 50, (np.full((50, 1), ~np.uint64(0)), 64, values))
    return values


@compiled
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_while_waiting_drops_no_call(monkeypatch, threads):
    """What is not done yet keeps its arrays, and is done before anything else begins."""
    workers, posted = Workers(threads), []
    with interrupted(monkeypatch, "finish", _interrupt), workers.later():
        posted.append(_post(workers))
    assert any(values is posted[0] for arguments in workers._waiting for values in arguments)
    with workers.later():
        assert (posted[0] == 1).all()
    assert not any(workers._waiting)


@compiled
def test_an_interrupt_behind_a_call_that_was_written_drops_no_call(monkeypatch):
    """From the moment it stands on the board, somebody waits for it, and the board is never written over."""
    workers, posted = Workers(1), []

    def written(kernel):
        way = way_in(kernel)

        def write(*arguments):
            way(*arguments)
            raise KeyboardInterrupt

        return write

    with workers.later():
        with interrupted(monkeypatch, "way_in", written):
            _post(workers)
        posted += [_post(workers) for _ in range(2 * PAGES)]
        assert workers._board[POSTED] == 2 * PAGES + 1
    assert workers._board[CURRENT] == workers._board[POSTED]
    assert all((values == 1).all() for values in posted)
    with interrupted(monkeypatch, "way_in", written), workers.later():
        posted.append(_post(workers))
    assert workers._board[CURRENT] == workers._board[POSTED]


@compiled
def test_a_thread_that_cannot_be_started_leaves_no_seat_taken_twice(monkeypatch):
    """Two threads of one seat would work in one memory; what was started before stays, and is used."""
    before, workers, starts = len(helpers()), Workers(3), []

    def start(thread, start=threading.Thread.start):
        starts.append(thread)
        if len(starts) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        counted(workers, 100)
    assert (counted(workers, 100) == 1).all()
    names = sorted(thread.name for thread in starts[:1] + starts[2:])
    assert names == ["evsim-1", "evsim-2"]
    del workers
    gc.collect()
    assert len(helpers()) == before


@compiled
def test_a_thread_whose_wake_was_interrupted_ends():
    """Its bell was not rung: the end of its workers does not wait for it in vain."""
    workers = Workers(2)
    assert (counted(workers, 100) == 1).all()
    assert asleep(workers)
    workers._helpers[0].sleeps = False  # Ctrl-C came between the two lines of `wake`
    end = threading.Thread(target=dismiss, args=(workers._board, workers._helpers, workers._waiting), daemon=True)
    end.start()
    end.join(20)
    assert not end.is_alive()


@compiled
def test_calls_of_another_thread_do_not_wait_on_this_ones_board():
    """Who posts while another thread's calls wait gets a turn when these are done, and finds its result at once."""
    workers, sums = Workers(2), []
    with workers.later():
        other = threading.Thread(target=lambda: sums.append(int(_post(workers).sum())))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert workers._board[POSTED] == 0
        own = _post(workers)
    other.join(20)
    assert sums == [64 * 50]
    assert (own == 1).all()


def test_a_counter_of_runs_of_two_simulators_counts_what_is_there(monkeypatch):
    """It waits for the threads of the run that goes on, not of the one before."""
    network = api.load(demo.model_path())
    sample = api.read(next(iter(demo.recordings().values())), network).values
    one, other = (Simulator(network, schedule="time", threads=1) for _ in range(2))

    def counts(*simulators):
        counter = Counter(network, one.timesteps)
        for simulator in simulators:
            simulator.run(sample, [counter])
        return [layer.sops.tolist() for layer in counter.counts().layers]

    expected = counts(one, one)
    for together in range(5, 60, 6):
        monkeypatch.setattr(observers, "TOGETHER", together)
        assert counts(one, other) == expected


def test_answers_before_the_last_timestep_take_their_turn():
    """Runs of several threads on one simulator, each with what it would have answered earlier."""
    network = api.load(demo.model_path())
    samples = [api.read(path, network) for path in list(demo.recordings().values())[:2]]
    simulator = Simulator(network, threads=2)

    def answers(sample):
        given = api.run_on(simulator, sample, anytime=True).answers
        return given.logits.tobytes(), given.sops.tobytes(), given.macs.tobytes()

    expected = [answers(sample) for sample in samples]
    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(answers, samples * 8)) == expected * 8


def _forked(workers, queue):
    queue.put((int(counted(workers, 300).sum()), len(workers._helpers)))


@compiled
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    """A child has none of its parent's threads; it starts its own, and the parent keeps its."""
    workers = Workers(2)
    assert (counted(workers, 300) == 1).all()
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=_forked, args=(workers, queue))
    child.start()
    assert queue.get(timeout=30) == (300 * 64, 1)
    child.join()
    assert child.exitcode == 0
    assert (counted(workers, 300) == 1).all()


def test_one_simulator_serves_several_threads():
    """Samples that several threads run on one simulator wait for each other, and none sees another's sums."""
    network = api.load(demo.model_path())
    samples = [api.read(path, network).values for path in list(demo.recordings().values())[:2]]
    simulator = Simulator(network, threads=2)
    expected = [simulator.run(sample) for sample in samples]
    with ThreadPoolExecutor(4) as callers:
        got = list(callers.map(simulator.run, samples * 8))
    assert all((logits == want).all() for logits, want in zip(got, expected * 8, strict=True))


SHARE = """
import sys
import numpy as np
from evsim.kernels.counting import sum_integers
from evsim.kernels.integers import add_spikes
from evsim.kernels.lists import add_up
from evsim.kernels.threads import Workers
if sys.argv[1] == "other":
    add_up(np.zeros(3, np.int64))
values = np.zeros(64 * 50, np.int32)
Workers(2).share(add_spikes, 50, (np.full((50, 1), 7, np.uint64), 64, values))
print(values.sum())
"""


@compiled
def test_a_kernel_that_another_process_compiled_again_is_called_by_its_new_name(tmp_path):
    """What calls a kernel by name is never taken for one of another name: that would end the process."""

    def outcome(order):
        command = [sys.executable, "-c", SHARE, order]
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    assert outcome("first") == "150"
    (kept,) = tmp_path.rglob("integers.add_spikes-*.nbc")
    kept.unlink()
    assert outcome("other") == "150"
    assert outcome("first") == "150"


def test_all_cores_are_the_default(monkeypatch):
    """A run that is not told takes the cores it may run on; with the number told it gives the same bits."""
    network = api.load(demo.model_path())
    sample = api.read(next(iter(demo.recordings().values())), network)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert available() == 3
    runs = [api.simulate(network, sample, threads=threads) for threads in (None, 1, 2)]
    assert [run.threads for run in runs] == [3, 1, 2]
    assert document(runs[0])["run"] == {"threads": 3}
    for run in runs[1:]:
        assert (run.logits == runs[0].logits).all()
        assert document(run)["layers"] == document(runs[0])["layers"]
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available() == 1


@compiled
def test_seats_are_the_threads_own():
    """A kernel that works in memory of its seat is given one below the number of threads."""
    workers = Workers(3)
    rooms = workers.room("sums", 10, np.float32)
    assert rooms.size == 30
    assert workers.room("sums", 5, np.float64).size == 15
    assert way_in(fire_map) is way_in(fire_map)
