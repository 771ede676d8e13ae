"""One folder for each class, as ImageNet, N-MNIST, CIFAR10-DVS and SpikingJelly's cached frames lie; or files alone."""

from __future__ import annotations

from pathlib import Path

from evsim.datasets.listing import Files, files_below, files_in, folders_in, passed_over, readable, sizes_of
from evsim.datasets.parts import chosen
from evsim.datasets.types import PARTS, Choice, Listing
from evsim.errors import RecordingError

NAME = "folders"
ABOUT = "one folder for each class, whatever lies below it; or a folder of files, which have no labels"


def recognises(path: Path) -> bool:
    """Whether this is a folder."""
    return path.is_dir()


def listing(path: Path, choice: Choice) -> Listing:
    """List the files of each class; the folder's name is the label.

    Raises
    ------
    RecordingError
        If there is no file that evsim reads.
    OptionError
        If there is no such part.
    """
    choice.refuse(path, "a folder of classes", "pattern", "tables", "outside")
    root, notes = _part(path, choice.part)
    classes = folders_in(root)
    held: list[tuple[str, str]] = []
    others: list[str] = []
    for name in classes:
        for below in files_below(root / name):
            (held.append((f"{name}/{below}", name)) if readable(root / name / below) else others.append(below))
    alone = files_in(root)
    if not classes:
        names = [name for name in alone if readable(root / name)]
        if not names:
            raise RecordingError(f"{path} holds no file of a format that evsim reads; give a folder for each class")
        others = [name for name in alone if name not in set(names)]
        told = (f"{path} has no folders, which would be the classes, and no table of labels",)
        notes = (*notes, *told, *passed_over(path, others))
        return Listing(NAME, names, sizes_of(root, names), [None] * len(names), Files(root, names), notes)
    if not held:
        raise RecordingError(f"{path}: its folders hold no file of a format that evsim reads; give a data set")
    names, labels = [name for name, _ in held], [label for _, label in held]
    beside = [name for name in alone if readable(root / name)]
    if beside:
        notes = (*notes, f"{path}: {len(beside)} files beside the folders of classes are passed over: {beside[0]}")
    empty = sorted(set(classes) - set(labels))
    if empty:
        notes = (*notes, f"{path}: {len(empty)} classes have no sample: {', '.join(empty[:3])}")
    return Listing(
        NAME, names, sizes_of(root, names), labels, Files(root, names), (*notes, *passed_over(path, others)),
        every=tuple(classes),
    )  # fmt: skip


def _part(path: Path, part: str | None) -> tuple[Path, tuple[str, ...]]:
    """Return the folder whose folders are the classes: where there are parts of a data set, the one asked for.

    Two parts tell it, or one that is alone: a class may be called train, the vehicle.
    """
    names = folders_in(path)
    parts = [name for name in names if name.lower() in PARTS]
    if (len(parts) < 2 and parts != names) or not parts:
        if part is not None:
            chosen(path, [], part)
        return path, ()
    name, notes = chosen(path, parts, part)
    if others := [folder for folder in names if folder not in parts]:
        notes = (*notes, f"{path}: {len(others)} folders beside its parts are passed over: {', '.join(others[:3])}")
    return path / name, notes
