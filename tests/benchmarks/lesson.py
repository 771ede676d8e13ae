"""Where the dense form wins: one layer of Spikingformer-8-512 at rates from 1 to 100 %, evsim against NumPy's matmul.

Run as ``python tests/benchmarks/lesson.py [--write]``; one thread, times of its CPU, the best of several rounds, all
in turn. The layer is fc1 of the MLP (512 -> 2048, 196 tokens, T = 4) with its neurons; spikes fall independently.

- event: evsim with one addition per spike and output, lists of spikes included;
- shared: evsim as it runs, which adds up once what four neighbours have in common;
- dense: the spikes as float32 times the weights (BLAS), then evsim's own kernel of neurons. Making its input from
  spikes is not timed.
- dense16: the same with weights rounded to bfloat16, where PyTorch is installed (extra `torch`): many processors
  multiply matrices of 16 bits several times as fast, and have no such units for additions named by lists.

``--write`` stores the figures in evsim/lesson/rates.json, for the page of `evsim lesson`.
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")

import argparse
import datetime as dt
import json
import time
from pathlib import Path

import numpy as np

try:
    import torch
except ImportError:
    torch = None

from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.neurons import NeuronLayer
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, Shape
from evsim.spikes import RealMap, SpikeMap

FILE = Path(__file__).resolve().parents[2] / "evsim" / "lesson" / "rates.json"
STEPS, SIDE, INPUTS, OUTPUTS = 4, 14, 512, 2048
RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TAU = 2.0
ROUNDS = 15


def measured(rate: float, layer: Synapses, neurons: NeuronLayer, weights: np.ndarray) -> dict[str, float]:
    """Return best times in milliseconds of all forms at a rate; but for rounding they give the same spikes."""
    spikes = np.random.default_rng(0).random((STEPS, SIDE * SIDE, INPUTS)) < rate
    x, out = spikes.reshape(-1, INPUTS).astype(np.float32), np.empty((STEPS * SIDE * SIDE, OUTPUTS), np.float32)

    def event(layout: str) -> SpikeMap:
        layer.layout = layout
        return layer.step(SpikeMap.from_dense(spikes, SIDE, SIDE))

    def dense() -> SpikeMap:
        np.matmul(x, weights, out=out)
        return neurons.step(RealMap(0, STEPS, out.reshape(STEPS, -1, OUTPUTS), OUTPUTS, SIDE, SIDE))

    def dense16() -> SpikeMap:
        values = (x16 @ weights16).float().numpy()
        return neurons.step(RealMap(0, STEPS, values.reshape(STEPS, -1, OUTPUTS), OUTPUTS, SIDE, SIDE))

    forms = {"shared": lambda: event("flat quads"), "event": lambda: event("tiles"), "dense": dense}
    if torch:
        x16, weights16 = (torch.from_numpy(each).to(torch.bfloat16) for each in (x, weights))
        forms["dense16"] = dense16
    times: dict[str, list[float]] = {name: [] for name in forms}
    fired = {}
    for _ in range(ROUNDS):
        for name, form in forms.items():
            layer.reset()
            neurons.reset()
            begin = time.thread_time()
            fired[name] = form()
            times[name].append(time.thread_time() - begin)
    wanted = fired["dense"].dense()
    for name, each in fired.items():
        differing, allowed = np.count_nonzero(each.dense() != wanted), 0.03 if name == "dense16" else 1e-3
        assert differing <= allowed * wanted.size, f"{name}: {differing} of {wanted.size} neurons differ"
    return {"rate": rate} | {name: round(1e3 * min(spent), 3) for name, spent in times.items()}


def main() -> None:
    """Print a line per rate; write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write and torch is None:
        parser.error("the page shows bfloat16 too: install the extra 'torch'")
    weights = np.random.default_rng(1).standard_normal((INPUTS, OUTPUTS)).astype(np.float32) / np.float32(8.0)
    node = Conv2d("fc1", ("x",), INPUTS, OUTPUTS, batch_norm=False)
    source, target = Shape("spikes", INPUTS, SIDE, SIDE), Shape("real", OUTPUTS, SIDE, SIDE)
    context = Context(np.dtype(np.float32), Workers(1), False)
    layer = Synapses(
        node, source, target, {"weight": weights.reshape(1, 1, INPUTS, OUTPUTS)}, context, LIF("lif", ("fc1",), tau=TAU)
    )
    neurons = NeuronLayer(LIF("lif", ("fc1",), tau=TAU), target, context)
    if torch:
        torch.set_num_threads(1)
    points = []
    for rate in RATES:
        points.append(measured(rate, layer, neurons, weights))
        print(", ".join(f"{name} {value:.2f}" for name, value in points[-1].items()), "ms", flush=True)
    if options.write:
        document = {
            "layer": "fc1 of Spikingformer-8-512 with its neurons, "
            f"{INPUTS} to {OUTPUTS}, {SIDE**2} tokens, T = {STEPS}",
            "machine": f"{_processor()}, one thread; NumPy {np.__version__} for dense float32, "
            f"PyTorch {torch.__version__} for bfloat16",
            "command": "python tests/benchmarks/lesson.py --write",
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
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
