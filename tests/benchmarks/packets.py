"""What several samples in one packet could save: ``python tests/benchmarks/packets.py MODEL INPUT ...``.

A run costs something for each stage, whatever it carries, and something for each timestep. Two samples as one packet
would share the first and the loading of weights, as twice the timesteps do: so the frames of the inputs run behind each
other, and the time is laid along a line over the number of timesteps. What the line says of no timesteps is the most
that packets of any number of samples can save. Seconds are those of the thread, so that other programs count little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

import evsim
from evsim import api
from evsim.anytime import Anytime
from evsim.engine import Simulator

TIMES = (1, 2, 4)
"""Samples behind each other."""

ROUNDS = 7


def main() -> None:
    """Run, print a table and what follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("inputs", nargs="+", help="recordings, or preset models' random image by the word random")
    chosen = parser.parse_args()
    network = evsim.load(chosen.model)
    samples = [values_of(network, name) for name in chosen.inputs]
    runs = {times: measured(network, samples, times) for times in TIMES}
    seconds = {times: lasted for times, (lasted, _) in runs.items()}
    steps = np.array([network.spec.timesteps * times for times in TIMES])
    slope, fixed = np.polyfit(steps, list(seconds.values()), 1)
    print("| samples in a packet | CPU ms | each | SOPs each |\n|---|---|---|---|")
    for times, (lasted, sops) in runs.items():
        print(f"| {times} | {1e3 * lasted:.1f} | {1e3 * lasted / times:.1f} | {sops // times:,} |")
    one = seconds[1]
    most = f"at most {one / (one - fixed):.2f} x"
    print(f"fixed {1e3 * fixed:.1f} ms of {1e3 * one:.1f} ms: {most} ({slope * 1e3:.2f} ms a timestep)")


def values_of(network: evsim.Network, name: str) -> NDArray[np.generic]:
    """Return the frames [T, C, H, W] of an input."""
    spec = network.spec
    if name == "random":
        size = (spec.timesteps, spec.channels, spec.height, spec.width)
        return np.random.default_rng(0).standard_normal(size).astype(np.float32)
    values = np.asarray(evsim.read(name, network).values)
    return values if values.ndim == 4 else np.broadcast_to(values, (spec.timesteps, *values.shape))


def measured(network: evsim.Network, samples: list[NDArray[np.generic]], times: int) -> tuple[float, int]:
    """Return the least seconds of CPU of a run of as many samples behind each other, and its SOPs."""
    simulator = Simulator(network, network.spec.timesteps * times, threads=1)
    frames = np.concatenate([samples[i % len(samples)] for i in range(times)])
    sample = api.Sample(frames)
    least, sops = float("inf"), 0
    for _ in range(ROUNDS):
        begun = time.thread_time()
        observer = Anytime(simulator)
        sops = api.run_on(simulator, sample, observers=[observer]).counts.sops
        least = min(least, time.thread_time() - begun)
    return least, sops


if __name__ == "__main__":
    main()
