"""Measure the bundled model in integers on all held-out digits: how many are right, how often it answers as in float64.

Run as ``make accuracy-integers``, or ``python tests/reference/measure_integers.py [--limit N]``. Each digit is
recorded, written and read once, and then run in float64 and by each integer network. Scales are calibrated on digits
that the model was trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from digits import split
from sklearn.datasets import load_digits

from evsim import api, demo
from evsim.engine import Simulator
from evsim.evaluation.statistics import mcnemar
from evsim.events import aedat2, recorder
from evsim.events.recorder import RecorderSettings
from evsim.quantizing import calibrate, quantize

CALIBRATION = 32
"""Digits by which scales are chosen."""


def samples(network, indices):
    """Yield the recordings of those digits, as the network takes them."""
    digits = load_digits()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digit.aedat"
        for index in indices:
            aedat2.write(recorder.record(digits.images[index], RecorderSettings(motion="saccade")), path)
            yield api.read(path, network)


def main() -> None:
    """Measure and print, a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=0, help="measure so many digits only, drawn with a fixed seed")
    options = parser.parse_args()
    network = api.load(demo.model_path())
    training, held_out = split()
    if options.limit:
        held_out = np.random.default_rng(0).permutation(held_out)[: options.limit]
    looked_at = np.random.default_rng(0).permutation(training)[:CALIBRATION]
    seen = calibrate(network, samples(network, looked_at), CALIBRATION)
    runners = {
        "float64": Simulator(network, precision="float64"),
        "int8": Simulator(quantize(network).network),
        "int8, calibrated": Simulator(quantize(network, "int8", seen).network),
        "int16": Simulator(quantize(network, "int16").network),
    }
    answers: dict[str, list[int]] = {name: [] for name in runners}
    sops = dict.fromkeys(runners, 0)
    for sample in samples(network, held_out):
        for name, simulator in runners.items():
            run = api.run_on(simulator, sample)
            answers[name].append(run.prediction)
            sops[name] += run.counts.sops
    truth = load_digits().target[held_out]
    right = {name: np.array(each) == truth for name, each in answers.items()}
    first = right["float64"]
    for name, own in right.items():
        lost, won = int((first & ~own).sum()), int((own & ~first).sum())
        agree = float((np.array(answers[name]) == np.array(answers["float64"])).mean())
        print(
            f"{name}: {own.sum()} of {len(own)} right = {own.mean():.2%}; answers as float64 on {agree:.2%}; "
            f"lost {lost}, won {won} (McNemar's exact p = {mcnemar(lost, won):.2g}); "
            f"{sops[name] / len(own):,.0f} SOPs per recording"
        )


if __name__ == "__main__":
    main()
