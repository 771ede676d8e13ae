"""What more cores would give, from times measured on one thread and on two, and what pipelining timesteps would.

Run as ``python tests/benchmarks/amdahl.py 8-512``. A stage that takes t1 on one thread and t2 on two has, by Amdahl, a
serial part of ``2 t2 - t1``; on n cores it takes ``serial + (t1 - serial) / n``, and no less than its units allow. Two
cores that share caches, clock or memory make that part look larger than it is: the last line tells how much two loops
of additions from the L1 cache lose by running at once.

A pipeline runs a stage at one timestep on one core while others run other stages, or the same at other timesteps: as
soon as what it reads is there and the stage has done the timestep before. Its times are those of a run by timestep.
"""

from __future__ import annotations

import argparse
import heapq
import re
import statistics
import threading
import time
from collections.abc import Mapping

import numpy as np
from clocked import Clocked
from roofline import roofline
from workloads import WORKLOADS, prepare

from evsim import modelfile
from evsim.engine import Simulator
from evsim.kernels.synapses import units
from evsim.observers import Counter
from evsim.timeline import Timeline

CORES = (2, 4, 8, 16, 64)
REST = "between and counting"


def measured(simulators: Mapping[int, Simulator], sample, rounds: int) -> dict[int, dict[str, float]]:
    """Return the milliseconds of each stage and of the rest, medians, by threads; runs take turns."""
    times: dict[int, dict[str, list[float]]] = {threads: {} for threads in simulators}
    for turn in range(rounds + 1):
        for threads, simulator in simulators.items():
            begin = time.perf_counter()
            counter = Counter(simulator.network, simulator.timesteps)
            simulator.run(sample, [counter])
            counter.counts()
            whole = time.perf_counter() - begin
            if turn == 0:
                continue
            spent = {stage.name: stage.layer.spent for stage in simulator.stages}
            for stage, seconds in (spent | {REST: whole - sum(spent.values())}).items():
                times[threads].setdefault(stage, []).append(1e3 * seconds)
    return {threads: {name: statistics.median(v) for name, v in rows.items()} for threads, rows in times.items()}


def serial_part(one: float, two: float) -> float:
    """Return what of a time no number of threads makes shorter."""
    return min(one, max(0.0, 2 * two - one))


def expected(one: float, two: float, cores: int, parts: float) -> float:
    """Return the time on so many cores of a stage that can be cut into `parts`."""
    serial = serial_part(one, two)
    return serial + (one - serial) / min(cores, parts)


def parts_of(simulator: Simulator, cores: int) -> dict[str, float]:
    """Return into how many units the stages with synapses are cut for so many threads; others have no such bound."""
    workers = simulator.context.workers
    known, workers.threads = workers.threads, cores
    parts = {}
    for stage in simulator.stages:
        if hasattr(stage.layer, "layout"):
            stage.layer._sizes.clear()
            parts[stage.name] = float(units(stage.layer._size(simulator.timesteps, 1)))
            stage.layer._sizes.clear()
    workers.threads = known
    return parts


def pipelined(simulator: Simulator, sample, cores: int, rounds: int) -> tuple[float, float]:
    """Return the milliseconds of all steps one after the other, and of a pipeline on so many cores."""
    runs: list[dict[tuple[str, int], float]] = []
    for _ in range(rounds):
        timeline = Timeline()
        simulator.run(sample, (), timeline)
        runs.append({(part.stage, part.start): 1e3 * (part.end - part.begin) for part in timeline.slices})
    steps = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {key: [] for key in steps}
    waits = dict.fromkeys(steps, 0)
    for stage in simulator.stages:
        for t in range(simulator.timesteps):
            if (stage.name, t) not in steps:
                continue
            needs = [(source, t) for source in stage.sources if (source, t) in steps]
            needs += [(stage.name, t - 1)] if (stage.name, t - 1) in steps else []
            waits[stage.name, t] = len(needs)
            for need in needs:
                readers[need].append((stage.name, t))
    ranks = {stage.name: rank for rank, stage in enumerate(simulator.stages)}
    ready = [(t, ranks[name], name) for (name, t), count in waits.items() if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, str, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < cores:
            t, _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + steps[name, t], name, t))
        now, name, t = heapq.heappop(running)
        for reader in readers[name, t]:
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(ready, (reader[1], ranks[reader[0]], reader[0]))
    return sum(steps.values()), now


def at_once() -> float:
    """Return how much two threads together add to what one adds from its L1 cache: 2 where they do not meet."""
    alone, rates = roofline(), []
    threads = [threading.Thread(target=lambda: rates.append(roofline(400))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates) / alone


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    prepare(workload)
    network, sample = modelfile.load(workload.model), np.load(workload.sample)
    simulators = {threads: Simulator(network, threads=threads) for threads in (1, 2)}
    for simulator in simulators.values():
        for stage in simulator.stages:
            object.__setattr__(stage, "layer", Clocked(stage.layer, stage.workers))
    times = measured(simulators, sample, options.rounds)
    parts = {cores: parts_of(simulators[1], cores) for cores in CORES}
    table: dict[str, list[float]] = {}
    for stage, one in times[1].items():
        two = times[2][stage]
        row = table.setdefault(re.sub(r"\.\d+\.", ".*.", stage), [0.0] * (3 + len(CORES)))
        more = [expected(one, two, cores, parts[cores].get(stage, np.inf)) for cores in CORES]
        for i, value in enumerate([one, two, serial_part(one, two), *more]):
            row[i] += value
    print("| stage | 1 thread ms | 2 threads ms | serial ms | " + " | ".join(f"{c} cores" for c in CORES) + " |")
    print("|---" * (4 + len(CORES)) + "|")
    totals = [sum(column) for column in zip(*table.values(), strict=True)]
    for name, row in [*table.items(), ("all", totals)]:
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    print("speed-up: " + ", ".join(f"{totals[0] / value:.2f}" for value in totals[3:]))
    by_time = Simulator(network, schedule="time", threads=1)
    for cores in CORES:
        alone, together = pipelined(by_time, sample, cores, 3)
        print(f"pipelined over {cores} cores: {alone:.1f} ms of steps in {together:.1f} ms, {alone / together:.2f} x")
    print(f"two loops of additions at once do {at_once():.2f} x as much as one")


if __name__ == "__main__":
    main()
