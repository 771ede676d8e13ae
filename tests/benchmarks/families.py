"""One preset of a family: evsim against the eager form of the same network, in one process, in turn.

`contest.py` calls it for all that are no Spikingformer. In float64 what every layer of neurons emits is compared
first; then both run in float32 in turn, once a round. Steps are timed in both, and summed up by what they read: a
layer is spike-driven if it reads spikes. On one thread times are those of its CPU, so that whatever else runs on the
machine is left out.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from clocked import Clocked
from eager import Eager
from roofline import roofline
from workloads import Workload, prepare

from evsim import modelfile
from evsim.engine import Simulator
from evsim.network import Conv2d, Linear, Network, Node
from evsim.observers import Counter
from evsim.primitives import HeadProduct, MultiSpike, SpikingSelfAttention
from evsim.spikes import RealMap, SpikeMap


class Compared:
    """Observer that counts where neurons emit something else than they should, [T, P, C] by name."""

    def __init__(self, wanted: dict[str, torch.Tensor]) -> None:
        self.wanted, self.different, self.names = wanted, 0, set()

    def observe(self, stage, inputs, output) -> None:  # noqa: ARG002
        """Compare a packet; each carries all timesteps."""
        if stage.name in self.wanted and not isinstance(output, RealMap):
            emitted = output.dense() if isinstance(output, SpikeMap) else output.values
            self.different += int(np.count_nonzero(emitted != self.wanted[stage.name].numpy()))
            self.names.add(stage.name)


def flips(network: Network, sample: np.ndarray) -> int:
    """Count what neurons emit otherwise in evsim than in the eager form, both in float64."""
    eager = Eager(network, torch.float64)
    eager.seen = {}
    with torch.inference_mode():
        eager(torch.from_numpy(sample))
    compared = Compared(eager.seen)
    Simulator(network, precision="float64").run(sample, [compared])
    missing = eager.seen.keys() - compared.names
    assert not missing, f"evsim has no {sorted(missing)}"
    return compared.different


def kind_of(network: Network, node: Node) -> str:
    """Return the group of layers that a node is timed with."""
    reads = network.shapes[node.inputs[0]].kind
    if isinstance(node, Conv2d) and node.groups > 1:
        return f"grouped convolutions on {reads}"
    if isinstance(node, Conv2d | Linear):
        return f"convolutions and linear layers on {reads}"
    if isinstance(node, SpikingSelfAttention | HeadProduct):
        products = "spikes" if isinstance(node, SpikingSelfAttention) else "spikes and real values"
        return f"attention on {'integers' if reads == 'integers' else products}"
    return "integer neurons" if isinstance(node, MultiSpike) else "neurons apart, sums, gates, pools and means"


def contest(workload: Workload, threads: int, rounds: int) -> dict:
    """Run the contest; return what bench.json holds of it."""
    prepare(workload)
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    network, sample = modelfile.load(workload.model), np.load(workload.sample)
    different = flips(network, sample)
    simulator = Simulator(network, threads=threads)
    for stage in simulator.stages:
        object.__setattr__(stage, "layer", Clocked(stage.layer, stage.workers, clock))
    eager, x = Eager(network, now=clock), torch.from_numpy(sample)
    eager.clock = {}
    times: dict[str, list[float]] = {"evsim": [], "eager": []}
    spent: dict[str, list[dict[str, float]]] = {"evsim": [], "eager": []}
    sops = 0
    with torch.inference_mode():
        for _ in range(rounds + 2):
            counter = Counter(network, simulator.timesteps)
            begin = clock()
            simulator.run(sample, [counter])
            sops = counter.counts().sops
            times["evsim"].append(clock() - begin)
            spent["evsim"].append(_sums((kind_of(network, stage.nodes[0]), stage.layer.spent)
                                        for stage in simulator.stages))  # fmt: skip
            begin = clock()
            eager(x)
            times["eager"].append(clock() - begin)
            taken, groups = eager.clock, ((kind_of(network, stage.nodes[0]), stage.nodes) for stage in simulator.stages)
            spent["eager"].append(_sums((kind, taken.get(node.name, 0.0)) for kind, nodes in groups for node in nodes))
    return {
        "run": {
            "workload": workload.name,
            "threads": threads,
            **{f"{name}_ms": round(1e3 * statistics.median(values[2:]), 2) for name, values in times.items()},
            "sops": sops,
            "flips": different,
        },
        "layers": [],
        "kinds": [
            {"workload": workload.name, "threads": threads, "kind": kind}
            | {f"{name}_ms": round(1e3 * statistics.median(run[kind] for run in spent[name][2:]), 2) for name in spent}
            for kind in spent["evsim"][0]
        ],
        "roofline_gacc_s": roofline(),
    }


def _sums(parts) -> dict[str, float]:
    """Sum up seconds by kind."""
    sums: dict[str, float] = {}
    for kind, seconds in parts:
        sums[kind] = sums.get(kind, 0.0) + seconds
    return sums
