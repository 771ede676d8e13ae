"""Measure the bundled model on all held-out digits, with evsim alone: each is recorded, written, read and run.

Run as ``make accuracy``, or ``python tests/reference/measure_demo.py [--model FILE] [--precision float64]``; no
PyTorch is needed. The digits are those that train_demo.py held out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from digits import split
from sklearn.datasets import load_digits

from evsim import api, demo
from evsim.engine import Simulator
from evsim.events import aedat2, recorder
from evsim.events.recorder import RecorderSettings


def measure(model: Path, precision: str, motion: str, limit: int) -> tuple[list[tuple[int, int, int]], int]:
    """Run the held-out digits; return (index, class, prediction) of each, and the synaptic operations of all."""
    network = api.load(model)
    simulator = Simulator(network, precision=precision)
    digits, (_, held_out) = load_digits(), split()
    chosen = np.random.default_rng(0).permutation(held_out)[:limit] if limit else held_out
    outcomes, sops = [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digit.aedat"
        for index in chosen:
            aedat2.write(recorder.record(digits.images[index], RecorderSettings(motion=motion)), path)
            run = api.run_on(simulator, api.read(path, network))
            outcomes.append((int(index), int(digits.target[index]), run.prediction))
            sops += run.counts.sops
    return outcomes, sops


def main() -> None:
    """Measure and print accuracy, the digits taken for others, and the mean count of operations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--motion", default="saccade", choices=("saccade", "loop"))
    parser.add_argument("--limit", type=int, default=0, help="measure so many digits only, drawn with a fixed seed")
    options = parser.parse_args()
    start = time.time()
    outcomes, sops = measure(options.model or demo.model_path(), options.precision, options.motion, options.limit)
    wrong = [(index, digit, taken) for index, digit, taken in outcomes if digit != taken]
    for index, digit, taken in wrong:
        print(f"digit {index} of the data set is a {digit}, taken for a {taken}")
    right = len(outcomes) - len(wrong)
    print(
        f"held out: {right} of {len(outcomes)} right = {right / len(outcomes):.2%} "
        f"({options.motion}, {options.precision}); {sops / len(outcomes):,.0f} SOPs per recording; "
        f"{time.time() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
