"""How many additions shared sums save, and what they cost where there is nothing to share.

Run as ``python tests/benchmarks/sharing.py MODEL INPUT``: for each layer, rows that are listed against spikes; INPUT is
an array of the model's own shape (.npy) or a recording. Layers whose neighbours share no sums (see docs/performance.md)
add one row per spike. Without arguments: one layer (512 inputs, 1536 outputs, 196 tokens, T = 4) with shared sums and
without, at several rates, of which a share comes from channels that fire everywhere; the rest fires independently.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np

from evsim import api
from evsim.engine import Simulator
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.segments import segments
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, Linear, Shape
from evsim.observers import Counter
from evsim.spikes import SpikeMap

STEPS, SIDE, INPUTS, OUTPUTS = 4, 14, 512, 1536
ROUNDS = 25


class Rows:
    """Observer that keeps how many rows are listed, and how many spikes there are, for each layer."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = defaultdict(int)
        self.spikes: dict[str, int] = defaultdict(int)

    def observe(self, stage, inputs, output) -> None:  # noqa: ARG002
        """Look at the lists that the layer has just read."""
        node, packet = stage.nodes[0], inputs[0]
        if isinstance(node, Conv2d | Linear) and isinstance(packet, SpikeMap):
            lists = segments(packet, stage.layer.context, stage.layer.layout)
            self.rows[node.name] += len(lists.index)
            self.spikes[node.name] += int(np.bitwise_count(packet.words).sum())


def layer_times(rate: float, common: float) -> tuple[float, dict[str, float]]:
    """Time a layer with lists of quads and of single positions, in turn; return rows per spike, and milliseconds."""
    rng = np.random.default_rng(0)
    shape = (STEPS, SIDE * SIDE, INPUTS)
    always = rng.random(INPUTS) < rate * common
    spikes = (rng.random(shape) < rate * (1 - common) / (1 - rate * common)) | always
    node = Conv2d("conv", ("x",), INPUTS, OUTPUTS)
    weights = {
        "weight": rng.standard_normal((1, 1, INPUTS, OUTPUTS)),
        "bn_scale": np.ones(OUTPUTS),
        "bn_shift": np.zeros(OUTPUTS),
    }
    source, target = Shape("spikes", INPUTS, SIDE, SIDE), Shape("real", OUTPUTS, SIDE, SIDE)
    layer = Synapses(
        node, source, target, weights, Context(np.dtype(np.float32), Workers(1), False), LIF("lif", ("x",))
    )
    times: dict[str, list[float]] = {"flat quads": [], "tiles": []}
    rows = {}
    for _ in range(ROUNDS):
        for layout, spent in times.items():
            packet = SpikeMap.from_dense(spikes, SIDE, SIDE)
            layer.layout = layout
            layer.reset()
            begin = time.thread_time()
            layer.step(packet)
            spent.append(time.thread_time() - begin)
            rows[layout] = sum(len(lists.index) for lists in packet.lists.values())
    best = {layout: 1e3 * min(spent) for layout, spent in times.items()}
    return rows["flat quads"] / rows["tiles"], best


def main() -> None:
    """Print a table of one layer or, of a model, one line per layer and the share of all synaptic operations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("input", nargs="?")
    given = parser.parse_args()
    if given.input is None:
        print("| rate | of it common | rows per spike | shared ms | unshared ms | ratio |\n|---|---|---|---|---|---|")
        for rate in (0.02, 0.05, 0.13, 0.2, 0.33, 0.5):
            for common in (0.0, 0.3, 0.6):
                share, best = layer_times(rate, common)
                shared, apart = best["flat quads"], best["tiles"]
                print(f"| {rate} | {common} | {share:.2f} | {shared:.2f} | {apart:.2f} | {apart / shared:.2f} |")
        return
    network = api.load(given.model)
    sample = api.read(given.input, network).values
    rows, counter = Rows(), Counter(network, network.spec.timesteps)
    Simulator(network).run(sample, [rows, counter])
    counts = counter.counts()
    done = total = 0.0
    for name, spikes in rows.spikes.items():
        sops = int(counts.layer(name).sops.sum())
        share = rows.rows[name] / spikes if spikes else 1.0
        done, total = done + share * sops, total + sops
        print(f"{name:32s} {sops / 1e6:10.2f} M SOPs, rows added per spike {share:.2f}")
    print(f"all: {done / total:.2f} additions per synaptic operation")


if __name__ == "__main__":
    main()
