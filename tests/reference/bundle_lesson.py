"""What the page of `evsim lesson` carries of 100 held-out digits, ten of each class: evsim/lesson/digits.json.

Run as ``python tests/reference/bundle_lesson.py``. For each digit: its picture, and what evsim counts in float64 of its
recording, so that the page can hold its own counts against these.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evsim import api, demo
from evsim.engine import Simulator
from evsim.events import recorder
from evsim.events.frames import to_frames
from evsim.observers import Counter
from evsim.spikes import SpikeMap

FILE = Path(__file__).resolve().parents[2] / "evsim" / "lesson" / "digits.json"
EACH = 10
GREYS = "0123456789abcdefg"
"""The greys 0 to 16 of a picture, one letter each."""


class Prints:
    """Observer that sums up a hash of each spike's number, by layer: the same number means the same spikes.

    It is what `print` of evsim/lesson/engine.js computes.
    """

    def __init__(self) -> None:
        self.sums: dict[str, int] = {}

    def observe(self, stage, inputs, output) -> None:  # noqa: ARG002
        """Add a packet's spikes."""
        if not isinstance(output, SpikeMap) or stage.name.endswith("_pool"):
            return
        dense = output.dense()
        number = (np.flatnonzero(dense) + output.start * dense[0].size + 1).astype(np.uint32)
        number = number * np.uint32(0x9E3779B1)
        number ^= number >> np.uint32(15)
        total = int((number * np.uint32(0x85EBCA6B)).sum(dtype=np.uint64))
        self.sums[stage.name] = (self.sums.get(stage.name, 0) + total) % 2**32


def counted(simulator: Simulator, picture: str) -> dict:
    """Return what evsim counts of one picture."""
    greys = np.array([GREYS.index(letter) for letter in picture], np.float64).reshape(8, 8)
    recording = recorder.record(greys)
    frames = to_frames(recording, 8, "number", recorder.SENSOR, recorder.SENSOR).counts
    counter, prints = Counter(simulator.network, 8), Prints()
    logits = simulator.run(frames, [counter, prints])
    layers = counter.counts().layers
    return {
        "picture": picture,
        "events": len(recording),
        "prediction": int(np.argmax(logits)),
        "logits": [float(value) for value in np.ravel(logits)],
        "spikes": [int(row.spikes.sum()) for row in layers if row.kind == "lif"],
        "prints": [prints.sums[row.name] for row in layers if row.kind == "lif"],
        "operations": [int(row.sops.sum() + row.macs.sum()) for row in layers if row.kind != "lif"],
    }


def pictures() -> list[tuple[int, str]]:
    """Return class and picture of the first held-out digits of each class, in turn."""
    from digits import split
    from sklearn.datasets import load_digits

    digits, (_, held_out) = load_digits(), split()
    groups = [[i for i in held_out if digits.target[i] == label][:EACH] for label in range(10)]
    chosen = [group[k] for k in range(EACH) for group in groups]
    return [(int(digits.target[i]), "".join(GREYS[int(grey)] for grey in digits.images[i].reshape(-1))) for i in chosen]


def main() -> None:
    """Write the file."""
    network = api.load(demo.model_path())
    simulator = Simulator(network, precision="float64")
    entries = [{"label": label, **counted(simulator, picture)} for label, picture in pictures()]
    counter = Counter(network, 8)
    rows = counter.counts().layers
    document = {
        "source": "scikit-learn's handwritten digits (UCI ML hand-written digits, CC BY 4.0); counts: "
        "python tests/reference/bundle_lesson.py, float64",
        "neurons": [row.name for row in rows if row.kind == "lif"],
        "layers": [row.name for row in rows if row.kind != "lif"],
        "digits": entries,
    }
    lines = json.dumps(document, separators=(",", ":")).replace('{"label"', '\n{"label"')
    FILE.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
