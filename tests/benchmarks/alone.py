"""Measurements without PyTorch in the process: time against activity, two images at once, the L1 add rate.

Run as ``python tests/benchmarks/alone.py activity|images|roofline``; prints one JSON value.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time

import numpy as np
from roofline import roofline
from workloads import WORKLOADS, Workload, prepare

from evsim import modelfile
from evsim.engine import Simulator
from evsim.observers import Counter

IMAGES = 12
SCALES = (0.25, 0.5, 1.0, 2.0)


def run_times(workload: Workload, images: int) -> tuple[list[float], int]:
    """Return the seconds that each of some runs took, one thread, counting; and the SOPs of one."""
    network = modelfile.load(workload.model)
    simulator, sample = Simulator(network, threads=1), np.load(workload.sample)
    times = []
    for _ in range(images + 1):
        counter = Counter(network, simulator.timesteps)
        begin = time.perf_counter()
        simulator.run(sample, [counter])
        counts = counter.counts()
        times.append(time.perf_counter() - begin)
    return times[1:], counts.sops


def activity() -> list[dict]:
    """Time 8-512 at multiples of the published rates, in turn."""
    base = WORKLOADS["8-512"]
    workloads = {scale: Workload(base.name, base.preset, scale) for scale in SCALES}
    for workload in workloads.values():
        prepare(workload)
    networks = {scale: modelfile.load(workload.model) for scale, workload in workloads.items()}
    simulators = {scale: Simulator(network, threads=1) for scale, network in networks.items()}
    samples = {scale: np.load(workload.sample) for scale, workload in workloads.items()}
    times: dict[float, list[float]] = {scale: [] for scale in SCALES}
    sops = {}
    for _ in range(IMAGES):
        for scale, simulator in simulators.items():
            counter = Counter(networks[scale], simulator.timesteps)
            begin = time.perf_counter()
            simulator.run(samples[scale], [counter])
            sops[scale] = counter.counts().sops
            times[scale].append(time.perf_counter() - begin)
    medians = {scale: round(1e3 * statistics.median(times[scale][1:]), 2) for scale in SCALES}
    return [{"workload": base.name, "scale": scale, "sops": sops[scale], "ms": medians[scale]} for scale in SCALES]


def worker(barrier, results) -> None:
    """Run some images once everybody is ready."""
    workload = WORKLOADS["8-512"]
    network = modelfile.load(workload.model)
    simulator, sample = Simulator(network, threads=1), np.load(workload.sample)
    simulator.run(sample, [Counter(network, simulator.timesteps)])
    barrier.wait()
    begin = time.perf_counter()
    for _ in range(IMAGES):
        simulator.run(sample, [Counter(network, simulator.timesteps)])
    results.put(time.perf_counter() - begin)


def together(processes: int) -> float:
    """Return the images per second of that many processes, one core each."""
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(processes), spawn.Queue()
    workers = [spawn.Process(target=worker, args=(barrier, results)) for _ in range(processes)]
    for process in workers:
        process.start()
    slowest = max(results.get() for _ in workers)
    for process in workers:
        process.join()
    return processes * IMAGES / slowest


def images() -> float:
    """Return how much more two processes get done than one, in turn."""
    prepare(WORKLOADS["8-512"])
    pairs = [(together(1), together(2)) for _ in range(3)]
    return round(statistics.median(two / one for one, two in pairs), 3)


if __name__ == "__main__":
    json.dump({"activity": activity, "images": images, "roofline": roofline}[sys.argv[1]](), sys.stdout)
