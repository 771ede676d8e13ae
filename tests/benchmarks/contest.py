"""One workload, one number of threads: evsim's layers against those of dense PyTorch, in one process, in turn.

Run as ``python tests/benchmarks/contest.py 8-512 --threads 1 --rounds 5``; prints one JSON object.
In float64 every spike is compared first; then both run in float32 in turn, once a round. `bench.py` takes the times of
layers from here; those of whole networks are measured by `runtimes.py`, each runtime alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import families
import numpy as np
import torch
from clocked import Clocked
from roofline import roofline
from workloads import WORKLOADS, Workload, prepare, reference

from evsim import modelfile
from evsim.engine import Simulator
from evsim.network import Conv2d, Linear
from evsim.observers import Counter, SpikeRecorder


def row_of(name: str) -> str:
    """Return the row that a module belongs to: q, k and v are one, as the dense form computes them."""
    for letter in "qkv":
        name = name.replace(f".attn.{letter}_conv", ".attn.qkv_conv").replace(f".attn.{letter}_lif", ".attn.qkv_lif")
    return name


def flips(workload: Workload, config, state, x) -> int:
    """Count the spikes of all LIF layers that differ between evsim and the reference, both in float64."""
    from models import build
    from parts import LIF

    network = modelfile.load(workload.model)
    recorder = SpikeRecorder(network)
    Simulator(network, precision="float64").run(np.load(workload.sample), [recorder])
    model = build(config, state, dtype=torch.float64)
    different = [0]
    trains = recorder.trains

    def compare(name):
        def hook(_module, _inputs, output):
            packed, shape = trains.pop(name)
            wanted = output[:, 0].bool().numpy()
            assert wanted.shape == shape, name
            different[0] += int(np.bitwise_count(np.packbits(wanted) ^ packed).sum())

        return hook

    for name, module in model.named_modules():
        if isinstance(module, LIF):
            module.register_forward_hook(compare(name))
    with torch.inference_mode():
        model(x.double())
    assert not trains, f"the reference has no {sorted(trains)}"
    return different[0]


def contest(workload: Workload, threads: int, rounds: int) -> dict:
    """Run the contest; return what bench.json holds of it."""
    prepare(workload)
    config, state, x = reference(workload)
    from opponents import Eager

    torch.set_num_threads(threads)
    different = flips(workload, config, state, x)
    network = modelfile.load(workload.model)
    sample = np.load(workload.sample)
    simulator = Simulator(network, threads=threads)
    for stage in simulator.stages:
        object.__setattr__(stage, "layer", Clocked(stage.layer, stage.workers))
    eager = Eager(config, state, torch.float32).eval()
    spent: dict[str, dict[str, list[float]]] = {"evsim": {}, "eager": {}}
    times: dict[str, list[float]] = {"evsim": [], "eager": []}

    def run_evsim():
        counter = Counter(network, simulator.timesteps)
        simulator.run(sample, [counter])
        return counter.counts()

    counts = run_evsim()
    with torch.inference_mode():
        eager(x)
        eager(x)
        for _ in range(rounds):
            begin = time.perf_counter()
            run_evsim()
            times["evsim"].append(time.perf_counter() - begin)
            for stage in simulator.stages:
                per_run(spent["evsim"], row_of(stage.nodes[0].name), stage.layer.spent, len(times["evsim"]))
            clock = eager.clock = {}
            begin = time.perf_counter()
            eager(x)
            times["eager"].append(time.perf_counter() - begin)
            for layer, seconds in clock.items():
                per_run(spent["eager"], layer, seconds, len(times["eager"]))
    peak = roofline()
    return {
        "run": {
            "workload": workload.name,
            "threads": threads,
            **{f"{name}_ms": round(1e3 * statistics.median(values), 2) for name, values in times.items()},
            "sops": counts.sops,
            "flips": different,
        },
        "layers": layers(workload, threads, simulator, counts, spent, peak),
        "roofline_gacc_s": peak,
    }


def per_run(table, row, seconds, run):
    """Add to the figure of a row in the run of that number, counted from 1."""
    values = table.setdefault(row, [])
    values.extend([0.0] * (run - len(values)))
    values[run - 1] += seconds


def layers(workload, threads, simulator, counts, spent, peak) -> list[dict]:
    """Return one row per stage with synapses: what evsim and the dense form took for the same modules."""
    rows: dict[str, dict] = {}
    for stage in simulator.stages:
        if not isinstance(stage.nodes[0], Conv2d | Linear):
            continue
        name = row_of(stage.nodes[0].name)
        row = rows.setdefault(name, {"sops": 0, "modules": set()})
        row["sops"] += int(counts.layer(stage.nodes[0].name).sops.sum())
        row["modules"] |= {row_of(node.name) for node in stage.nodes}
    result = []
    for name, row in rows.items():
        ours = statistics.median(spent["evsim"][name])
        theirs = [spent["eager"][module] for module in row["modules"] if module in spent["eager"]]
        dense = statistics.median(map(sum, zip(*theirs, strict=True))) if theirs else None
        rate = row["sops"] / ours / 1e9
        result.append(
            {
                "workload": workload.name,
                "threads": threads,
                "name": name,
                "evsim_ms": round(1e3 * ours, 3),
                "eager_ms": None if dense is None else round(1e3 * dense, 3),
                "gacc_s": round(rate, 2),
                "roofline_share": round(rate / peak / threads, 3),
            }
        )
    return result


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    run = families.contest if workload.of_family else contest
    json.dump(run(workload, options.threads, options.rounds), sys.stdout)


if __name__ == "__main__":
    main()
