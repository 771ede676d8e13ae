"""The demo's data: scikit-learn's handwritten digits, split once and for all, played before the simulated camera.

Recordings are made by evsim's own recorder and cut into frames by evsim's own framing, so that what the model is
trained on is what a user's recording becomes.
"""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from evsim.events import recorder
from evsim.events.frames import to_frames
from evsim.events.recorder import RecorderSettings

TIMESTEPS = 8
HELD_OUT = 360
SENSOR = 128
CACHE = Path(tempfile.gettempdir()) / "evsim-digits"


def split() -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of training and held-out digits: stratified, the same on every machine."""
    labels = load_digits().target
    train, held_out = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=2304)
    return np.sort(train), np.sort(held_out)


def varied(index: int) -> RecorderSettings:
    """Return settings drawn for one training digit: another motion, size, threshold, and noise."""
    rng = np.random.default_rng(index)
    return RecorderSettings(
        motion="loop" if rng.random() < 0.5 else "saccade",
        threshold=rng.uniform(0.15, 0.25),
        noise=rng.uniform(0.0, 0.15),
        seed=index,
        amplitude=rng.uniform(6.0, 10.0),
        extent=int(rng.integers(80, 113)),
    )


def make_frames(image: np.ndarray, settings: RecorderSettings) -> np.ndarray:
    """Record one image and return its frames [T, 2, 128, 128], uint8 event counts."""
    counts = to_frames(recorder.record(image, settings), TIMESTEPS, "number", SENSOR, SENSOR).counts
    return np.minimum(counts, 255).astype(np.uint8)


def frames(indices: np.ndarray, kind: str) -> np.ndarray:
    """Return frames [n, T, 2, 128, 128] of the digits `indices`, from the cache where they were made before.

    Parameters
    ----------
    indices
        Positions in scikit-learn's data set.
    kind
        "default": the recorder's own settings; "loop": these with the other motion; "varied": `varied` ones.
    """
    settings = {
        "default": lambda _: RecorderSettings(),
        "loop": lambda _: RecorderSettings(motion="loop"),
        "varied": varied,
    }[kind]
    made_by = inspect.getsource(recorder) + repr(asdict(RecorderSettings())) + inspect.getsource(varied)
    key = hashlib.sha256(made_by.encode() + indices.tobytes()).hexdigest()[:12]
    path = CACHE / f"frames-{kind}-{len(indices)}-{key}.npy"
    if not path.exists():
        images = load_digits().images[indices]
        with ProcessPoolExecutor(2) as workers:
            made = list(workers.map(make_frames, images, [settings(int(i)) for i in indices], chunksize=16))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack(made))
    return np.load(path)
