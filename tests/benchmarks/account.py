"""Where the time of a run goes: ``python tests/benchmarks/account.py 8-512``, or with ``--integers`` of its int8 form.

Every compiled kernel that Python calls is timed, and what lies between is Python's. Additions and what follows them
(neurons, the stream of the residual) are one kernel; they are told apart by runs in which the additions alone are done
first, as cold as they are in a run. The table has one thread beside two: what does not get shorter is serial. The
kinds add up to the whole.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from quantized import integers
from workloads import WORKLOADS, prepare

from evsim import modelfile, observers, tallies
from evsim.engine import Simulator
from evsim.kernels.compiling import kernel
from evsim.kernels.frames import scatter
from evsim.kernels.octets import gather_octets
from evsim.kernels.quads import gather_quads
from evsim.kernels.synapses import after, gather, multiply, scratch_of, unit_of
from evsim.kernels.threads import Workers
from evsim.kernels.words import gather_windows
from evsim.layers import octets as octets_module
from evsim.layers import segments as segments_module
from evsim.observers import Counter


@kernel
def sums_of_quads(first, last, seat, size, lists, scratch, sink):  # noqa: ARG001
    """Do the additions of `synapses_of_quads` alone."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_quads(size, lists, scratch, unit)


@kernel
def sums_of_lists(first, last, seat, size, lists, scratch, sink):  # noqa: ARG001
    """Do the additions of `synapses` and `integer_synapses` alone."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather(size, lists, scratch, unit)


@kernel
def sums_of_octets(first, last, seat, size, lists, weights, cuts, wide, scratch, sink):  # noqa: ARG001
    """Do the additions of `integer_synapses_of_octets` alone, of windows in one part."""
    scratch = scratch_of(size, scratch, seat)
    before = -2 * size.block
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_octets(size, lists, weights, scratch, unit, before, cuts[0], cuts[1])
        before = unit.channel


@kernel
def sums_of_windows(first, last, seat, size, reads, scratch, sink):  # noqa: ARG001
    """Do the additions of `integer_synapses_of_windows` alone."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_windows(size, reads, scratch, unit)


@kernel
def sums_of_events(first, last, seat, size, reads, scratch, sink):  # noqa: ARG001
    """Do the additions of `integer_synapses_of_events` alone."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        scatter(size, reads, scratch, unit)


@kernel
def sums_of_reals(first, last, seat, size, inputs, weights, scratch, sink):  # noqa: ARG001
    """Do the products of `synapses_of_reals` and its kin alone."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        multiply(size, inputs, weights, scratch, unit)


SUMS = {
    "synapses_of_quads": (sums_of_quads, "additions"),
    "synapses": (sums_of_lists, "additions"),
    "integer_synapses": (sums_of_lists, "additions"),
    "integer_synapses_of_windows": (sums_of_windows, "additions"),
    "integer_synapses_of_events": (sums_of_events, "additions"),
    "integer_synapses_of_octets": (sums_of_octets, "additions"),
    "synapses_of_reals": (sums_of_reals, "first convolution, head"),
    "integer_synapses_of_reals": (sums_of_reals, "first convolution, head"),
}
"""What does the sums of a fused kernel alone, and what they are."""

KINDS = {
    "cut_quads": "lists", "count_segments": "lists", "fill_segments": "lists",
    "count_octets": "lists", "fill_octets": "lists", "add_up": "lists", "count_graded": "lists",
    "fill_graded": "lists", "cut_planes": "lists", "reach_of": "lists",
    "fire_map": "neurons on the stream", "fire_integers": "neurons on the stream",
    "attend": "attention",
    "attention_operations": "counting", "spikes_per_position": "counting", "weigh_spikes": "counting",
    "weigh_values": "counting", "weigh_integers": "counting", "sum_integers": "counting", "spikes_per_head": "counting",
    "pool_words": "pools", "pool_numbers": "pools",
    "integer_synapses_of_image": "first convolution, head", "mark_events": "lists",
    "fire_events": "windows of few channels, neurons behind", "fire_windows": "windows of few channels, neurons behind",
}  # fmt: skip
BEHIND = "neurons, stream behind sums"


class Clock:
    """Takes the time of kernels; while `apart`, that of their sums before them.

    Attributes
    ----------
    spent
        Nanoseconds by kind.
    """

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}
        self.on = self.apart = self.by_name = False

    def time(self, name: str, call: Callable[[], None], sums: Callable[[], None]) -> None:
        """Call a kernel of that name."""
        if not self.on:
            call()
            return
        kind = name if self.by_name else KINDS.get(name, name)
        if name in SUMS:
            kind = SUMS[name][1]
            if self.apart:
                self._add(kind, sums)
                call()
                return
            kind += " and what follows"
        self._add(kind, call)

    def _add(self, kind: str, call: Callable[[], None]) -> None:
        begin = time.perf_counter_ns()
        call()
        self.spent[kind] = self.spent.get(kind, 0) + time.perf_counter_ns() - begin


CLOCK = Clock()


def put_clocks() -> None:
    """Time all kernels that Python calls, each at once, while the clock is `on`."""
    write = Workers._write

    def timed(workers: Workers, part: Any, total: int, arguments: tuple[Any, ...], effort: float) -> None:
        if not CLOCK.on:
            write(workers, part, total, arguments, effort)
            return

        def run(kernel: Any) -> None:
            write(workers, kernel, total, arguments, effort)
            workers.finish()

        workers.finish()
        CLOCK.time(part.__name__, partial(run, part), partial(run, SUMS.get(part.__name__, (None,))[0]))

    Workers._write = timed
    for module in (segments_module, octets_module, tallies, observers):
        for name in ("add_up", "spikes_per_head"):
            if hasattr(module, name):
                setattr(module, name, partial(direct, getattr(module, name)))


def direct(kernel: Any, *arguments: Any) -> None:
    """Call a kernel that threads do not share."""
    call = partial(kernel, *arguments)
    CLOCK.time(kernel.__name__, call, call)


def once(simulator: Simulator, sample: np.ndarray, *, on: bool, apart: bool = False) -> dict[str, float]:
    """Run once; return the milliseconds by kind, and of the whole."""
    CLOCK.spent, CLOCK.on, CLOCK.apart = {}, on, apart
    begin = time.perf_counter_ns()
    counter = Counter(simulator.network, simulator.timesteps)
    simulator.run(sample, [counter])
    counter.counts()
    whole = time.perf_counter_ns() - begin
    return {kind: value / 1e6 for kind, value in CLOCK.spent.items()} | {"whole": whole / 1e6}


def account(simulator: Simulator, sample: np.ndarray, rounds: int) -> dict[str, float]:
    """Return the medians of runs, by kind, with Python as what is left of runs without clocks."""
    ways = {"whole": {"on": False}, "kernels": {"on": True}, "sums": {"on": True, "apart": True}}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            got = once(simulator, sample, **way)
            if turn:
                runs[name].append(got)
    middle = {name: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for name, rs in runs.items()}
    kernels, table = middle["kernels"], {}
    for kind in dict.fromkeys(kind for _, kind in SUMS.values()):
        table[kind] = middle["sums"].get(kind, 0.0)
        together = kernels.pop(f"{kind} and what follows", 0.0)
        table[BEHIND] = table.get(BEHIND, 0.0) + max(0.0, together - table[kind])
    del kernels["whole"]
    for kind, value in kernels.items():
        table[kind] = table.get(kind, 0.0) + value
    whole = middle["whole"]["whole"]
    return table | {"Python": whole - sum(table.values()), "whole": whole}


def faults(simulator: Simulator, sample: np.ndarray) -> int:
    """Return the page faults of a run: memory that the system had to clear first."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    once(simulator, sample, on=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--integers", action="store_true")
    parser.add_argument("--by-name", action="store_true", help="kernel by kernel")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    prepare(workload)
    network = integers(workload).network if options.integers else modelfile.load(workload.model)
    sample = np.load(workload.sample)
    put_clocks()
    CLOCK.by_name = options.by_name
    tables, missed = {}, {}
    for threads in (1, 2):
        simulator = Simulator(network, threads=threads)
        tables[threads] = account(simulator, sample, options.rounds)
        missed[threads] = faults(simulator, sample)
    print("| kind | 1 thread ms | 2 threads ms | ratio |\n|---|---|---|---|")
    kinds = sorted(tables[1], key=lambda kind: (kind == "whole", -tables[1][kind]))
    for kind in kinds:
        one, two = (tables[threads].get(kind, 0.0) for threads in (1, 2))
        print(f"| {kind} | {one:.2f} | {two:.2f} | {one / two if two else 0:.2f} |")
    print(f"page faults of a run: {missed[1]:,} and {missed[2]:,}")


if __name__ == "__main__":
    main()
