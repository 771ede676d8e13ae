"""How the recordings in this folder were made: one short recording, written by independent public software.

Run: ``.venv/bin/python tests/data/events/make.py``. The events are random, so no licence but the project's applies.
`golden.json` holds what every one of them must read as; it comes from the events, not from reading a file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import evio
import faery
import h5py
import numpy as np

FOLDER = Path(__file__).parent
COUNT, WIDTH, HEIGHT = 500, 120, 90


def main() -> None:
    """Write every file, and what it holds."""
    rng = np.random.default_rng(5)
    events = np.zeros(COUNT, faery.EVENTS_DTYPE)
    events["t"] = np.sort(rng.integers(1000, 90_000, COUNT))
    events["x"], events["y"] = rng.integers(0, WIDTH, COUNT), rng.integers(0, HEIGHT, COUNT)
    events["on"] = rng.random(COUNT) < 0.4
    for name, compression in (("none", None), ("lz4", ("lz4", 1)), ("zstd", ("zstd", 3))):
        faery_write(events, f"faery_{name}.aedat4", compression=compression)
    for name, version in (("faery_evt2.raw", "evt2"), ("faery_evt3.raw", "evt3"), ("faery_dat2.dat", "dat2")):
        faery_write(events, name, version=version, zero_t0=False)
    columns = evio.from_arrays(t=events["t"], x=events["x"], y=events["y"], p=events["on"])
    evio.write(FOLDER / "evio.bin", columns)
    evio.write(FOLDER / "evio.dat", columns)
    t, x, y, p = (np.asarray(events[key], np.int64) for key in ("t", "x", "y", "on"))
    np.savez_compressed(FOLDER / "numpy.npz", t=t, x=x, y=y, p=p)
    with h5py.File(FOLDER / "dsec.h5", "w") as file:
        file["t_offset"] = 500
        for key, values in (("t", (t - 500).astype("u4")), ("x", x.astype("u2")), ("y", y.astype("u2")), ("p", p > 0)):
            file.create_dataset(f"events/{key}", data=values, compression="gzip")
    digest = hashlib.sha256(
        t.astype("<i8").tobytes() + x.astype("<u2").tobytes() + y.astype("<u2").tobytes() + p.astype("u1").tobytes()
    )
    first, last = ([int(column[i]) for column in (t, x, y, p)] for i in (0, -1))
    facts = {
        "count": COUNT, "first": first, "last": last, "on": int(p.sum()), "off": int(COUNT - p.sum()),
        "t_min": int(t.min()), "t_max": int(t.max()), "sum_x": int(x.sum()), "sum_y": int(y.sum()),
        "backward_steps": 0, "sha256_tx_y_p": digest.hexdigest(),
    }  # fmt: skip
    (FOLDER / "golden.json").write_text(json.dumps(facts, indent=1) + "\n")


def faery_write(events: np.ndarray, name: str, **options: object) -> None:
    """Write a file by faery."""
    stream = faery.events_stream_from_array(events, dimensions=(WIDTH, HEIGHT))
    stream.to_file(FOLDER / name, **options)


if __name__ == "__main__":
    main()
