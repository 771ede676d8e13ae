"""The two small data sets of docs/experiments.md, as arrays that a model takes, and as files that `evsim eval` reads.

Handwritten digits of scikit-learn's copy of the UCI set, enlarged four times to 32 x 32 (held out: the 360 of
digits.py), and the 1,000 + 100 recordings of N-MNIST beside the checkout, in 8 frames of equally many events.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from digits import split
from sklearn.datasets import load_digits

from evsim import events
from evsim.events.frames import to_frames

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""CIFAR-10's, which the CIFAR tokenizer's models assume."""

TIMESTEPS, SIDE = 8, 34
NMNIST = Path(__file__).resolve().parents[3] / "shared" / "nmnist-small"


@dataclass(frozen=True, eq=False)
class Small:
    """Samples as a model takes them: images [n, 3, 32, 32], or counts [n, T, 2, 34, 34], float32; and their labels."""

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    epochs: int
    shift: int


def pixels(indices: np.ndarray) -> np.ndarray:
    """Return digits as pictures [n, 32, 32, 3] uint8, each pixel four times as wide and high."""
    images = np.rint(load_digits().images[indices] * (255 / 16)).astype(np.uint8)
    return np.repeat(images.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=3)


def digits() -> Small:
    """Return the digits, normalised."""
    labels, (train, held_out) = load_digits().target, split()

    def normal(indices: np.ndarray) -> np.ndarray:
        scaled = pixels(indices).astype(np.float32) / np.float32(255.0)
        return ((scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(0, 3, 1, 2).copy()

    return Small(normal(train), labels[train], normal(held_out), labels[held_out], epochs=4, shift=2)


def nmnist() -> Small:
    """Return the recordings' frames."""
    parts = []
    for table in ("train1K.txt", "test100.txt"):
        numbers, labels = np.loadtxt(NMNIST / table, np.int64, skiprows=1, ndmin=2).T
        paths = [NMNIST / f"{number}.bs2" for number in numbers]
        counts = [to_frames(events.read(path), TIMESTEPS, "number", SIDE, SIDE).counts for path in paths]
        parts += [np.stack(counts).astype(np.float32), labels]
    return Small(*parts, epochs=4, shift=2)


def write_held_out(folder: Path) -> Path:
    """Write the held-out digits as one file of pictures and labels, and return it."""
    _, held_out = split()
    path = folder / "digits.npz"
    np.savez(path, x=pixels(held_out), y=load_digits().target[held_out])
    return path


DATA = {"digits": digits, "nmnist": nmnist}
