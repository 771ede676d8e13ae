"""Turn the trained demo into what travels in the wheel: evsim/data/model.h5 and three recordings of held-out digits.

Run as ``python tests/reference/bundle_demo.py CHECKPOINT`` after train_demo.py; no PyTorch is needed. The recordings
are of the first held-out image of each class in `SHOWN`, whatever the model makes of them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from digits import split
from sklearn.datasets import load_digits

from evsim import modelfile
from evsim.converters import convert
from evsim.events import aedat2, recorder

DATA = Path(__file__).resolve().parents[2] / "evsim" / "data"
LABELS = tuple("0123456789")
SHOWN = (3, 5, 8)
LARGEST = 3_000_000
"""Bytes that the bundle may take in the wheel."""


def bundle(checkpoint: Path, folder: Path = DATA) -> list[Path]:
    """Write the model and the recordings into a folder; return their paths."""
    network = replace(convert(checkpoint).network, name="spikingformer-digits", labels=LABELS)
    paths = [folder / "model.h5"]
    modelfile.save(network, paths[0])
    digits, (_, held_out) = load_digits(), split()
    for digit in SHOWN:
        first = next(i for i in held_out if digits.target[i] == digit)
        paths.append(folder / f"digit_{digit}.aedat")
        aedat2.write(recorder.record(digits.images[first]), paths[-1])
    return paths


def main() -> None:
    """Bundle, print sizes, refuse a bundle that is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args()
    paths = bundle(options.checkpoint, options.out)
    for path in paths:
        print(f"{path}: {path.stat().st_size:,} bytes")
    total = sum(path.stat().st_size for path in paths)
    print(f"together {total:,} bytes")
    if total > LARGEST:
        raise SystemExit(f"over {LARGEST:,} bytes: make the model smaller or the recordings shorter")


if __name__ == "__main__":
    main()
