"""The errors that a person meets: one line that says what is wrong, where, and what to do.

An option is named in backticks, as Python spells it: ``give `timesteps=4` to run as many``. So a message carries the
names of its options as data, and whoever shows it spells them in its own way: the command line writes ``--timesteps
4``, Python shows the message as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

OPTION = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")
"""An option in a message: its name, and its value where there is one."""


class EvsimError(ValueError):
    """Base of every error that evsim raises about its input; the command line prints it and exits with 2.

    What a message quotes of a stranger's file, or of a library's error, may hold anything: line breaks become blanks,
    other control characters and lone surrogates escapes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(" ".join(message.splitlines()) if "\n" in message else message))

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that the message speaks of, in order."""
        return tuple(name for name, _ in OPTION.findall(str(self)))


def spelled(text: str, spell: Callable[[str, str], str]) -> str:
    """Return a message or note with every option spelled by ``spell(name, value)``; no value is ""."""
    return OPTION.sub(lambda match: spell(match[1], match[2] or ""), text)


def printable(text: str) -> str:
    """Return a text with lone surrogates and control characters, which terminals obey, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class OptionError(EvsimError):
    """An option or argument is unusable, missing, or contradicts what a file says."""


class CheckpointError(EvsimError):
    """A PyTorch checkpoint cannot be read or does not fit any known model family."""


class GraphError(EvsimError):
    """A NIR graph cannot be read, or holds what evsim cannot run."""


class ModelFileError(EvsimError):
    """A ``model.h5`` is damaged, newer than this evsim, or no model at all."""


class NetworkError(EvsimError):
    """A network does not fit together: a bad edge, shape, name or weight."""


class RecordingError(EvsimError):
    """A recording or image is missing, damaged, empty or does not fit the model."""


class ProfileError(EvsimError):
    """A hardware profile (TOML) is invalid."""


class PluginError(EvsimError):
    """A package that extends evsim cannot be loaded."""
