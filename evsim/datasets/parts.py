"""Which part of a data set is taken: the one that a person names, else the one that is held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evsim.datasets.types import TEST
from evsim.errors import OptionError


def chosen(path: Path, parts: Sequence[str], part: str | None) -> tuple[str, tuple[str, ...]]:
    """Return a part of a data set, and what to say if nobody named it.

    Parameters
    ----------
    path
        Of the data set, for messages.
    parts
        Those that there are, as they are spelled there.
    part
        The one that is asked for.

    Raises
    ------
    OptionError
        If there is no such part, or there are none.
    """
    lower = {name.lower(): name for name in parts}
    if part is not None and not parts:
        raise OptionError(f"{path} has no parts such as train and test, which `part` chooses; leave it out")
    if part is not None and part.lower() not in lower:
        raise OptionError(f"{path} has the parts {', '.join(parts)}; `part={part}` is none of them")
    if part is not None:
        return lower[part.lower()], ()
    held_out = [lower[name] for name in TEST if name in lower]
    if not held_out:
        return parts[0], (f"{path}: its one part, {parts[0]}, is taken; the model may have been trained on it",)
    if len(parts) == 1:
        return held_out[0], ()
    return held_out[0], (f"{path} has the parts {', '.join(parts)}; {held_out[0]} is taken, see `part`",)
