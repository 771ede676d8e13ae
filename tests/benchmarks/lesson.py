"""Where the dense form wins: one layer of Spikingformer-8-512 at rates from 1 to 100 %, evsim against NumPy's matmul.

Run as ``python tests/benchmarks/lesson.py [--write]``; one thread, times of its CPU, the best of several rounds, both
in turn. The layer is fc1 of the MLP (512 -> 2048, 196 tokens, T = 4) with its neurons, spikes fall independently. The
dense form multiplies the same spikes as float32 by the same weights (BLAS) and drives the same neurons; making its dense
input is not timed. ``--write`` stores the figures in evsim/lesson/rates.json, for the page of `evsim lesson`.
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")

import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np

from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, Shape
from evsim.spikes import SpikeMap

FILE = Path(__file__).resolve().parents[2] / "evsim" / "lesson" / "rates.json"
STEPS, SIDE, INPUTS, OUTPUTS = 4, 14, 512, 2048
RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TAU = 2.0
ROUNDS = 15


def dense(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the spikes [T, P, C] of the layer computed densely: a product, then the neurons."""
    currents = x.reshape(-1, INPUTS) @ weights
    v = np.zeros((SIDE * SIDE, OUTPUTS), np.float32)
    out = np.empty((STEPS, *v.shape), bool)
    for t, current in enumerate(currents.reshape(out.shape)):
        np.subtract(current, v, out=current)
        current *= np.float32(1 / TAU)
        v += current
        np.greater_equal(v, 1.0, out=out[t])
        v[out[t]] = 0.0
    return out


def measured(rate: float, layer: Synapses, weights: np.ndarray) -> dict[str, float]:
    """Return best times in milliseconds of both forms at a rate, which give the same spikes but for rounding."""
    spikes = np.random.default_rng(0).random((STEPS, SIDE * SIDE, INPUTS)) < rate
    x, times = spikes.astype(np.float32), {"event": [], "dense": []}
    for _ in range(ROUNDS):
        packet = SpikeMap.from_dense(spikes, SIDE, SIDE)
        layer.reset()
        begin = time.thread_time()
        fired = layer.step(packet)
        between = time.thread_time()
        wanted = dense(x, weights)
        times["event"].append(between - begin)
        times["dense"].append(time.thread_time() - between)
    differing = np.count_nonzero(fired.dense() != wanted)
    assert differing <= 1e-4 * wanted.size, f"{differing} spikes differ"
    return {"rate": rate} | {name: round(1e3 * min(spent), 3) for name, spent in times.items()}


def main() -> None:
    """Print a line per rate; write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    weights = np.random.default_rng(1).standard_normal((INPUTS, OUTPUTS)).astype(np.float32) / np.float32(8.0)
    node = Conv2d("fc1", ("x",), INPUTS, OUTPUTS, batch_norm=False)
    source, target = Shape("spikes", INPUTS, SIDE, SIDE), Shape("real", OUTPUTS, SIDE, SIDE)
    context = Context(np.dtype(np.float32), Workers(1), False)
    layer = Synapses(
        node, source, target, {"weight": weights.reshape(1, 1, INPUTS, OUTPUTS)}, context, LIF("lif", ("fc1",), tau=TAU)
    )
    points = []
    for rate in RATES:
        points.append(measured(rate, layer, weights))
        print("rate {rate:5.0%}: evsim {event:8.2f} ms, dense {dense:8.2f} ms".format(**points[-1]), flush=True)
    if options.write:
        document = {
            "layer": f"fc1 of Spikingformer-8-512 with its neurons, {INPUTS} -> {OUTPUTS}, {SIDE**2} tokens, T = {STEPS}",
            "machine": f"{_processor()}, one thread; NumPy {np.__version__} (BLAS) for the dense form, float32 both",
            "command": "python tests/benchmarks/lesson.py --write",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "macs": STEPS * SIDE * SIDE * INPUTS * OUTPUTS,
            "points": points,
        }
        FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(part.split(":", 1) for part in lines if ":" in part)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    return f"{facts['model name']} (family/model {facts['cpu family']}/{facts['model']})"


if __name__ == "__main__":
    main()
