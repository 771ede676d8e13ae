"""DVS128 Gesture: recordings with a label csv of trials (class, start us, end us); each trial is a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from evsim import api
from evsim.datasets.listing import files_in
from evsim.datasets.parts import chosen
from evsim.datasets.types import MOST_SAMPLES, Choice, Listing
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions
from evsim.events.reading import read_trials
from evsim.files import check_input
from evsim.network import Network

NAME = "trials"
ABOUT = (
    "DVS128 Gesture: the folder of `.aedat` recordings with their `_labels.csv`, or one of them; each trial is a "
    "sample, its class counts from 1 there"
)
SUFFIX = ".aedat"
TABLE = "_labels.csv"
LISTS = {"test": "trials_to_test.txt", "train": "trials_to_train.txt"}
"""The data set's own lists of recordings, by part."""

MAPPING = "gesture_mapping.csv"
NUMBER = re.compile(r"[0-9]{1,6}")
LONGEST = 1 << 20
"""Bytes of a list of recordings."""


@dataclass(frozen=True)
class TrialReader:
    """Reads trials.

    Attributes
    ----------
    root
        The folder of the recordings.
    trials
        Recording and number, from 1, of each trial.
    """

    root: Path
    trials: tuple[tuple[str, int], ...]

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return the events of a trial as the network takes them; errors as `evsim.api.read`.

        Raises
        ------
        OptionError
            If the options choose another trial or range too.
        """
        name, trial = self.trials[index]
        if options.chooses or options.trials is not None:
            raise OptionError(
                f"{self.root} is a data set of trials, each a sample; leave out `start`, `stop`, `trial` and `trials`"
            )
        return api.read(self.root / name, network, timesteps, replace(options, trial=trial))


def recognises(path: Path) -> bool:
    """Whether this is a recording with a label csv beside it, or a folder of such."""
    if path.is_dir():
        return bool(_recordings(path))
    return path.suffix.lower() == SUFFIX and _table(path).is_file()


def listing(path: Path, choice: Choice) -> Listing:
    """List the trials of all recordings, or of those of a part.

    Raises
    ------
    RecordingError
        If a list is damaged, or names no recording that is there.
    OptionError
        If a label csv is damaged, or there is no such part.
    """
    choice.refuse(path, "a data set of trials", "pattern", "tables", "outside")
    notes: tuple[str, ...] = ()
    if path.is_dir():
        root, (recordings, notes) = path, _part(path, choice.part)
    else:
        choice.refuse(path, "one recording of trials", "part")
        root, recordings = path.parent, [path.name]
    trials: list[tuple[str, int]] = []
    labels: list[int] = []
    sizes: list[int] = []
    for name in recordings:
        rows = read_trials(_table(root / name)).rows
        if len(trials) + len(rows) > MOST_SAMPLES:
            raise RecordingError(f"{path} holds over {MOST_SAMPLES} trials; give a part of it")
        trials += [(name, number) for number in range(1, len(rows) + 1)]
        labels += [row[0] - 1 for row in rows]
        sizes += [(root / name).stat().st_size] * len(rows)
    names = [f"{name}[trial {number}]" for name, number in trials]
    told = f"{path}: classes count from 1 in the label csv: class 1 there is class 0 here"
    return Listing(NAME, names, sizes, labels, TrialReader(root, tuple(trials)), (*notes, told), known=_known(root))


def _table(recording: Path) -> Path:
    return recording.with_name(f"{recording.stem}{TABLE}")


def _recordings(path: Path) -> list[str]:
    """Return the recordings of a folder that have a label csv."""
    names = set(files_in(path))
    return sorted(name for name in names if name.lower().endswith(SUFFIX) and f"{name[: -len(SUFFIX)]}{TABLE}" in names)


def _part(path: Path, part: str | None) -> tuple[list[str], tuple[str, ...]]:
    """Return the recordings of a part, by the data set's own lists; all of them where there is none."""
    held = _recordings(path)
    lists = [name for name, file in LISTS.items() if (path / file).is_file()]
    if not lists:
        if part is not None:
            chosen(path, [], part)
        return held, ()
    one, notes = chosen(path, lists, part)
    file = path / LISTS[one]
    check_input(file, RecordingError, "a list of recordings")
    if file.stat().st_size > LONGEST:
        raise RecordingError(f"{file} is too long for a list of recordings; give another")
    lines = (line.strip() for line in file.read_text("utf-8", "replace").splitlines())
    wanted, recordings = list(dict.fromkeys(line for line in lines if line)), set(held)
    there = [name for name in wanted if name in recordings]
    if not there:
        raise RecordingError(f"{file} names no recording that is in {path}; check the folder")
    if len(there) < len(wanted):
        notes = (*notes, f"{path}: {len(wanted) - len(there)} of the {len(wanted)} recordings of {one} are not there")
    return there, notes


def _known(root: Path) -> tuple[str, ...]:
    """Return the names of the gestures by the data set's own csv, where it is there and whole."""
    file = root / MAPPING
    if not file.is_file() or file.stat().st_size > LONGEST:
        return ()
    rows = [line.split(",") for line in file.read_text("utf-8", "replace").splitlines()[1:] if line.strip()]
    names = {int(row[1]): row[0].strip() for row in rows if len(row) == 2 and NUMBER.fullmatch(row[1].strip())}
    return tuple(names[i] for i in range(1, len(names) + 1)) if set(names) == set(range(1, len(names) + 1)) else ()
