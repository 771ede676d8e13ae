"""What shared sums cost a layer, and what they save: ``python tests/benchmarks/sharing.py``.

One layer (512 inputs, 1536 outputs, 196 tokens, T = 4) with shared sums and without, at several rates, of which a share
comes from channels that fire everywhere; the rest fires independently. How many additions they take in a network is
counted by ``evsim run MODEL --input FILE --sharing``.
"""

from __future__ import annotations

import time

import numpy as np

from evsim.kernels.quads import ANY, ROOM
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, Shape
from evsim.spikes import SpikeMap

STEPS, SIDE, INPUTS, OUTPUTS = 4, 14, 512, 1536
ROUNDS = 25


def layer_times(rate: float, common: float) -> tuple[float, dict[str, float]]:
    """Time a layer by quads and by single positions, in turn; return rows per spike, and milliseconds."""
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
    times: dict[str, list[float]] = {"flat quads": [], "words": []}
    for _ in range(ROUNDS):
        for layout, spent in reversed(times.items()):
            packet = SpikeMap.from_dense(spikes, SIDE, SIDE)
            layer.layout = layout
            layer.reset()
            begin = time.thread_time()
            layer.step(packet)
            spent.append(time.thread_time() - begin)
    (shared,) = packet.lists.values()
    rows = int(np.bitwise_count(shared.parts.reshape(-1, ROOM)[:, :ANY]).sum())
    best = {layout: 1e3 * min(spent) for layout, spent in times.items()}
    return rows / int(spikes.sum()), best


def main() -> None:
    """Print the table."""
    print("| rate | of it common | rows per spike | shared ms | unshared ms | ratio |\n|---|---|---|---|---|---|")
    for rate in (0.02, 0.05, 0.13, 0.2, 0.33, 0.5):
        for common in (0.0, 0.3, 0.6):
            share, best = layer_times(rate, common)
            shared, apart = best["flat quads"], best["words"]
            print(f"| {rate} | {common} | {share:.2f} | {shared:.2f} | {apart:.2f} | {apart / shared:.2f} |")


if __name__ == "__main__":
    main()
