"""Whether calls that wait change anything: random networks run in every way, by threads that come when they like.

The reference looks at nothing early: each call is done before Python goes on. Held against it, to the bit, are runs in
which calls wait, in both schedules and all precisions: by one thread, which does nothing of a call before somebody
waits for it, in memory that holds rubbish until then, so that whoever looks too early sees it every time; and by two
and three, with sleepers, on all cores or on one.

Run as ``python tests/racing.py [MINUTES] [SEED]``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import sys
import time
from contextlib import contextmanager, suppress

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from networks import networks, sources
from test_quantizing import quantized

import evsim.layers
from evsim import observers, tallies
from evsim.engine import Simulator
from evsim.errors import EvsimError
from evsim.inputspec import InputSpec
from evsim.kernels import threads
from evsim.kernels.threads import Workers
from evsim.network import Network
from evsim.primitives import LIF, Conv2d, Input, Linear, SumPool, TimeMean, TokenMean

WAYS = [("layer", 1), ("layer", 2), ("layer", 3), ("time", 1), ("time", 2), ("time", 3)]
REPEATS = 3
"""Runs of each way: the second finds memory, rooms and potentials as the first left them."""


class Rubbish:
    """NumPy, but for memory that nobody has written to: that is full of what no run would give."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype=float):
        """Return an array of rubbish."""
        return spoilt(np.empty(shape, dtype))


def spoilt(array):
    """Fill an array with bytes of 0x3A: no denormal, no NaN, and no small integer."""
    array.reshape(-1).view(np.uint8)[:] = 0x3A
    return array


@contextmanager
def rubbish():
    """Let layers and counters begin with rubbish wherever they ask for memory."""
    names = [f"evsim.layers.{each.name}" for each in pkgutil.iter_modules(evsim.layers.__path__)]
    modules = [*map(importlib.import_module, names), observers, tallies]
    kept = [(module, name, getattr(module, name)) for module in modules for name in ("np", "aligned")
            if hasattr(module, name)]  # fmt: skip
    for module, name, value in kept:
        setattr(module, name, Rubbish() if name == "np" else lambda *a, value=value: spoilt(value(*a)))
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


@contextmanager
def nothing_waits():
    """Have each call done before Python goes on."""
    post = Workers.post
    Workers.post = Workers.share
    try:
        yield
    finally:
        Workers.post = post


def outcome(simulator, source):
    """Run; return logits, spikes and counts, or the message of a refusal."""
    counter = observers.Counter(simulator.network, simulator.timesteps)
    recorder = observers.SpikeRecorder(simulator.network)
    try:
        bare = simulator.run(source)  # who counts what is no spike waits for it, and hides who does not
        logits = simulator.run(source, [counter, recorder])
    except EvsimError as error:
        return str(error)
    spikes = {name: (packed.tobytes(), shape) for name, (packed, shape) in recorder.trains.items()}
    return bare.tobytes(), logits.tobytes(), spikes, repr(counter.counts())


def differs(network, source, precision, ways=WAYS, repeats=REPEATS):
    """Return the first way in which a run is not the reference's; None if there is none."""
    for schedule, number in ways:
        try:
            with nothing_waits():
                want = outcome(Simulator(network, precision=precision, schedule=schedule, threads=1), source)
        except EvsimError:
            return None  # it does not run in that precision
        with rubbish():
            simulator = Simulator(network, precision=precision, schedule=schedule, threads=number)
            for repeat in range(repeats):
                if outcome(simulator, source) != want:
                    return f"{precision}, {schedule}, threads={number}, run {repeat}"
    return None


def pooled():
    """Return a network whose neurons are read by a pool of NumPy's, and an input."""
    nodes = (
        Input("input", (), 2, 4, 4, "integers"),
        Conv2d("conv", ("input",), 2, 8, kernel=(3, 3), padding=(1, 1), bias=False, batch_norm=False),
        LIF("fires", ("conv",), v_threshold=0.5),
        SumPool("sums", ("fires",), kernel=2, stride=2),
        TokenMean("tokens", ("sums",)),
        TimeMean("times", ("tokens",)),
        Linear("head", ("times",), 8, 3, bias=False),
    )
    rng = np.random.default_rng(0)
    weights = {"conv.weight": rng.standard_normal((3, 3, 2, 8)), "head.weight": rng.standard_normal((8, 3))}
    weights = {key: values.astype(np.float32) for key, values in weights.items()}
    network = Network("pooled", "test", "standard", InputSpec("events", 2, 4, 4, 3), nodes, weights)
    return network, rng.poisson(1.0, (3, 2, 4, 4))


@contextmanager
def disturbed(rng):
    """Run on one core now and then, or with threads that fall asleep at once."""
    looks = threads.LOOKS
    cores = os.sched_getaffinity(0)
    threads.LOOKS = rng.choice([1, 100, looks])
    sys.setswitchinterval(rng.choice([1e-6, 5e-3]))
    if rng.random() < 0.3:
        os.sched_setaffinity(0, {rng.choice(sorted(cores))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        sys.setswitchinterval(5e-3)
        threads.LOOKS = looks


def main(minutes, number):
    """Try networks for so many minutes; return how many were tried."""
    threads.SMALL = 0
    end, tried, rng = time.monotonic() + 60 * minutes, 0, random.Random(number)

    def check(data):
        nonlocal tried
        network = data.draw(networks())
        source = data.draw(sources(network))
        precision = data.draw(st.sampled_from(["float32", "float64", "int8"]))
        if precision == "int8":
            network = quantized(network, precision, source)
        with disturbed(rng):
            fault = differs(network, source, precision)
        assert fault is None, fault
        tried += 1
        if tried % 50 == 0:
            print(f"{tried} networks", flush=True)

    turn = 0
    while time.monotonic() < end:
        once = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                        phases=[Phase.generate], print_blob=True)  # fmt: skip
        with suppress(UnsatisfiedAssumption):
            seed(number + turn)(once(given(st.data())(check)))()
        turn += 1
    return tried


if __name__ == "__main__":
    MINUTES, SEED = (*map(float, sys.argv[1:]), *(10.0, 1.0)[len(sys.argv) - 1 :])
    print(f"{main(MINUTES, int(SEED))} networks ran alike in every way")
