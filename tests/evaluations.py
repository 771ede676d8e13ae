"""What tests of evaluations share: a small model, and a folder of frames by class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs" / "checkpoint.pth.tar"
SIZE = (3, 2, 48, 48)


def frames(seed):
    """Return frames of event counts, more of them the greater the seed."""
    rng = np.random.default_rng(seed)
    return rng.poisson(0.02 + 0.01 * (seed % 7), SIZE).astype(np.uint8)


def folder(path, number=12, classes=3):
    """Write frames into one folder per class, and return the data set's place."""
    for seed in range(number):
        place = path / f"{seed % classes}"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{seed:03}.npy", frames(seed))
    return path


def told(document):
    """Return a document, or a file of one, as text without what tells how it ran."""
    document = json.loads(Path(document).read_text()) if isinstance(document, str | Path) else dict(document)
    document.pop("throughput")
    return json.dumps(document)
