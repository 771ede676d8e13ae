"""How many additions shared sums save: for each layer, rows that are listed against spikes.

Run as ``python tests/benchmarks/sharing.py MODEL INPUT``; INPUT is an array of the model's own shape (.npy) or a
recording. Layers whose neighbours share no sums (see docs/performance.md) add one row per spike.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from evsim import api
from evsim.engine import Simulator
from evsim.network import Conv2d, Linear
from evsim.observers import Counter
from evsim.spikes import SpikeList


class Rows:
    """Observer that keeps how many rows are listed, and how many spikes there are, for each layer."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = defaultdict(int)
        self.spikes: dict[str, int] = defaultdict(int)

    def observe(self, stage, inputs, output) -> None:  # noqa: ARG002
        """Look at the lists that the layer has just read."""
        node, packet = stage.nodes[0], inputs[0]
        if isinstance(node, Conv2d | Linear) and isinstance(packet, SpikeList):
            layout = stage.layer.layout
            made = next(lists for key, lists in packet.lists.items() if layout in key)
            self.rows[node.name] += len(made.index)
            self.spikes[node.name] += int(np.bitwise_count(packet.words).sum())


def main() -> None:
    """Print one line per layer, and the share of all synaptic operations of conv and linear layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("input")
    given = parser.parse_args()
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
