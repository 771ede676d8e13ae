"""What a label means: a name among the model's, else a class index, else the position among all names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from evsim.datasets.types import MOST_CLASSES
from evsim.errors import OptionError, RecordingError
from evsim.schema import shown

WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
MOST_NAMED = 4
"""Names that a note lists at each end."""


class Labels(NamedTuple):
    """Class index of each sample, None where nothing tells; names of the classes; and what to say."""

    indices: list[int | None]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def resolve(
    path: Path,
    labels: Sequence[str | int | None],
    names: Sequence[str],
    every: Iterable[str] = (),
    known: Sequence[str] = (),
    number: int | None = None,
) -> Labels:
    """Return the class index of each label.

    Parameters
    ----------
    path
        Of the data set, for messages.
    labels
        A text is, in this order, a name among `names`, a class index, or the position among all names sorted; a number
        is a class index.
    names
        The model's names of the classes; may be empty.
    every
        Names that count among all although no label may be one of them.
    known
        The data set's own names of the classes in their order.
    number
        How many classes the model has, None where it is not known.

    Raises
    ------
    RecordingError
        If an index is no class, or there are more classes than any data set has.
    OptionError
        If the model has a name twice that is a label.
    """
    if len(known) > MOST_CLASSES:
        raise RecordingError(f"{path} names {len(known)} classes; evsim takes {MOST_CLASSES}")
    texts = ({label.strip() for label in labels if isinstance(label, str)} | {name.strip() for name in every}) - {""}
    positions = {name: place for place, name in enumerate(sorted(texts))}
    own = {name: place for place, name in reversed([*enumerate(names)])}
    twice = {name for name, count in Counter(names).items() if count > 1}
    meaning: dict[str, int] = {}
    placed: list[str] = []
    for text, position in positions.items():
        if text in twice:
            raise OptionError(f"{path}: the model has several classes named {shown(text)}; label by class index")
        if text in own:
            meaning[text] = own[text]
        elif WHOLE.fullmatch(text):
            meaning[text] = int(text)
        else:
            meaning[text] = position
            placed.append(text)
    indices: list[int | None] = [
        (meaning[label.strip()] if label.strip() else None) if isinstance(label, str) else label for label in labels
    ]
    greatest = _checked(path, {*meaning.values(), *(index for index in indices if index is not None)}, number)
    named = {index: text for text, index in meaning.items() if not WHOLE.fullmatch(text)} | dict(enumerate(known))
    size = max(len(names), len(known), greatest + 1, number or 0)
    classes = tuple(names[i] if i < len(names) else named.get(i, str(i)) for i in range(size))
    notes = []
    if placed:
        notes.append(_said(path, sorted(placed), meaning, len(names)))
        if number is not None and len(positions) != number:
            notes.append(
                f"{path} has {len(positions)} names of classes, the model {number} classes: positions "
                "are its classes only if these are all the names that it was trained on; else label by class index"
            )
    notes += _shared(path, placed, meaning)
    if missing := sum(index is None for index in indices):
        notes.append(f"{path}: {missing} of {len(indices)} samples have no label")
    return Labels(indices, classes, tuple(notes))


def _shared(path: Path, placed: Sequence[str], meaning: dict[str, int]) -> list[str]:
    """Tell which names are one class although by their position: a person may have meant two."""
    sharing: dict[int, list[str]] = {}
    for text, index in meaning.items():
        sharing.setdefault(index, []).append(text)
    told = []
    for text in placed:
        others = [other for other in sharing[meaning[text]] if other != text]
        if others:
            told.append(
                f"{path}: the labels {shown(text)}, by its position, and {', '.join(map(shown, others))} are both "
                f"class {meaning[text]}; if they are two, rename one, or label by class index"
            )
    return told


def _checked(path: Path, indices: set[int], number: int | None) -> int:
    """Return the greatest class index, -1 if there is none; refuse what is no index."""
    least, greatest = min(indices, default=0), max(indices, default=-1)
    if least < 0:
        raise RecordingError(f"{path}: the label {least} is no class; class indices count from 0")
    if number is not None and greatest >= number:
        raise RecordingError(
            f"{path}: the label {greatest} is none of the model's {number} classes, which count from 0 to "
            f"{number - 1}; give the data set of this model"
        )
    if greatest >= MOST_CLASSES:
        raise RecordingError(f"{path}: the label {greatest} is no class index; evsim takes {MOST_CLASSES} classes")
    return greatest


def _said(path: Path, placed: Sequence[str], meaning: dict[str, int], names: int) -> str:
    """Tell which class each name was taken for."""
    shows = [f"{shown(text).strip(chr(39))} = {meaning[text]}" for text in placed]
    if len(shows) > 2 * MOST_NAMED:
        shows = [*shows[:MOST_NAMED], "...", *shows[-MOST_NAMED:]]
    which = "none of the model's names" if names else "not numbers, and the model names no classes"
    return (
        f"{path}: {len(placed)} labels are {which}; each is taken for its position among all names sorted: "
        f"{', '.join(shows)}"
    )
