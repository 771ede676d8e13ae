"""CIFAR-10 and CIFAR-100 as their authors publish them: batches for Python (pickles, which are not run) and binary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.converters.pickles import read_pickle
from evsim.converters.rebuild import arrays_as_tensors
from evsim.converters.tensors import Tensor
from evsim.datasets.items import as_input
from evsim.datasets.listing import begins, files_in
from evsim.datasets.parts import chosen
from evsim.datasets.types import Choice, Listing
from evsim.errors import CheckpointError, OptionError, RecordingError
from evsim.events import ReadOptions
from evsim.files import check_input
from evsim.network import Network

NAME = "cifar"
ABOUT = (
    "CIFAR-10 and CIFAR-100: the folder or one of its batches, for Python (`data_batch_1`, `test`) or binary (`.bin`)"
)
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
LARGEST = 512 << 20
"""Bytes of a batch; the largest, CIFAR-100's for training, has 155 MB."""

TEN, HUNDRED = "cifar-10", "cifar-100"
BATCH = re.compile(r"(?:data_batch_[1-9]|test_batch)(?:\.bin)?|(?:train|test)(?:\.bin)?")
META = {TEN: ("batches.meta", "batches.meta.txt"), HUNDRED: ("meta", "fine_label_names.txt")}
"""Files that tell the names of the classes, for Python and binary."""

MARKS: tuple[set[str], ...] = (
    {"test_batch"}, {"test_batch.bin"}, {"data_batch_1"}, {"data_batch_1.bin"},
    {"train", "test", "meta"}, {"train.bin", "test.bin"},
)  # fmt: skip
"""Files that together tell a folder of batches."""

NAMES = ("label_names", "fine_label_names")
LABELS = ("labels", "fine_labels")
PICKLE = b"\x80"


@dataclass
class CifarReader:
    """Reads pictures of batches.

    Attributes
    ----------
    batches
        Files and how many pictures each holds, one behind the other.
    head
        Bytes before the pixels of a binary record; 0 for pickles.
    """

    batches: tuple[tuple[Path, int], ...]
    head: int
    _held: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {"batches": self.batches, "head": self.head, "_held": {}}

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a picture as the network takes it; errors as `evsim.datasets.items.as_input`."""
        place = 0
        while index >= self.batches[place][1]:
            index -= self.batches[place][1]
            place += 1
        path = self.batches[place][0]
        pixels = self._pixels(place, index)
        return as_input(path, f"{path}[{index}]", NAME, pixels.reshape(SHAPE), network, timesteps, options)

    def _pixels(self, place: int, index: int) -> NDArray[np.uint8]:
        path, _ = self.batches[place]
        if self.head:
            with path.open("rb") as file:
                file.seek(index * (self.head + PIXELS) + self.head)
                return np.frombuffer(_whole(path, file.read(PIXELS), PIXELS), np.uint8)
        if place not in self._held:
            self._held = {place: _unpickled(path)[0]}  # one batch at a time
        pixels: NDArray[np.uint8] = self._held[place][index]
        return pixels


def recognises(path: Path) -> bool:
    """Whether this is a folder of batches, or a batch by its name and content."""
    if path.is_dir():
        held = set(files_in(path))
        return any(marks <= held for marks in MARKS)
    if not BATCH.fullmatch(path.name):
        return False
    if path.suffix == ".bin":
        return path.stat().st_size % (PIXELS + _head(path)) == 0
    return begins(path).startswith(PICKLE)


def listing(path: Path, choice: Choice) -> Listing:
    """List the pictures of a batch, or of the held-out batch of a folder.

    Raises
    ------
    RecordingError
        If a batch is damaged or holds something else.
    OptionError
        If there is no such part.
    """
    choice.refuse(path, "a folder of CIFAR" if path.is_dir() else "a batch of CIFAR", "pattern", "tables", "outside")
    notes: tuple[str, ...] = ()
    if not path.is_dir():
        choice.refuse(path, "a batch of CIFAR", "part")
        files = [path]
    else:
        files, notes = _part(path, choice.part)
    binary = files[0].suffix == ".bin"
    names: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    batches: list[tuple[Path, int]] = []
    for file in files:
        found = _binary_labels(file) if binary else _unpickled(file)[1]
        batches.append((file, len(found)))
        labels += found
        names += [f"{file.name}[{i}]" for i in range(len(found))]
        sizes += [file.stat().st_size] * len(found)
    known = _names(files[0].parent, HUNDRED if files[0].stem in ("train", "test") else TEN)
    reader = CifarReader(tuple(batches), _head(files[0]) if binary else 0)
    return Listing(NAME, names, sizes, labels, reader, notes, known=known)


def _head(path: Path) -> int:
    """Bytes of the labels in a binary record: CIFAR-100 has two, the coarse one first."""
    return 2 if path.stem in ("train", "test") else 1


def _part(path: Path, part: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """Return the batches of a part."""
    held: dict[str, list[Path]] = {}
    for name in sorted(entry.name for entry in path.iterdir() if BATCH.fullmatch(entry.name) and entry.is_file()):
        held.setdefault("test" if name.startswith("test") else "train", []).append(path / name)
    if not held:
        raise RecordingError(f"{path} holds no batch of CIFAR that is a regular file; copy it again")
    one, notes = chosen(path, list(held), part)
    files = held[one]
    if len({file.suffix for file in files}) > 1:
        raise OptionError(f"{path} holds batches for Python and binary ones; give one batch, e.g. {files[0].name}")
    return files, notes


def _binary_labels(path: Path) -> list[int]:
    check_input(path, RecordingError, "a batch of CIFAR")
    size, head = path.stat().st_size, _head(path)
    if not size or size % (head + PIXELS) or size > LARGEST:
        raise RecordingError(f"{path} of {size} bytes is no batch of records of {head + PIXELS} bytes; copy it again")
    records = np.memmap(path, np.uint8, "r", shape=(size // (head + PIXELS), head + PIXELS))
    return [int(label) for label in records[:, head - 1]]


def _unpickled(path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the pixels [n, 3072] and labels of a batch, which is read as data and never run."""
    content = _pickle(path)
    data = arrays_as_tensors(content.get("data"))
    labels = next((content[key] for key in LABELS if key in content), None)
    if not isinstance(data, Tensor) or data.dtype != "uint8" or data.shape[1:] != (PIXELS,):
        raise RecordingError(
            f"{path} is no batch of CIFAR: it has no `data` of {PIXELS} bytes a picture; copy it again"
        )
    if not isinstance(labels, list) or len(labels) != data.shape[0] or not all(type(i) is int for i in labels):
        raise RecordingError(f"{path} is no batch of CIFAR: it has no label for each picture; copy it again")
    try:
        pixels = data.read("data")
    except CheckpointError as error:
        raise RecordingError(f"{path} is a damaged batch of CIFAR; copy it again") from error
    return pixels.astype(np.uint8, copy=False), labels


def _pickle(path: Path) -> dict[str, Any]:
    """Return what a pickle holds, its keys as texts."""
    check_input(path, RecordingError, "a batch of CIFAR")
    if path.stat().st_size > LARGEST:
        raise RecordingError(f"{path} is too large for a batch of CIFAR; give another")
    try:
        content = read_pickle(path)
    except CheckpointError as error:
        raise RecordingError(f"{error} (read as a batch of CIFAR)") from error
    if not isinstance(content, dict):
        raise RecordingError(f"{path} is no batch of CIFAR: it holds no dict; copy it again")
    return {key.decode("ascii", "replace") if isinstance(key, bytes) else str(key): content[key] for key in content}


def _names(folder: Path, which: str) -> tuple[str, ...]:
    """Return the names of the classes, where the file of them is there."""
    pickled, text = (folder / name for name in META[which])
    names: Sequence[object] = ()
    if pickled.is_file():
        found = _pickle(pickled)
        names = next((found[key] for key in NAMES if isinstance(found.get(key), list)), ())
    elif text.is_file() and text.stat().st_size < 1 << 16:
        names = text.read_text("utf-8", "replace").split()
    texts = (name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)
    return tuple(name for name in texts if isinstance(name, str) and name)


def _whole(path: Path, content: bytes, size: int) -> bytes:
    if len(content) < size:
        raise RecordingError(f"{path} is cut short; copy it again")
    return content
