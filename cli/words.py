"""How the command line spells the options that the library's messages name.

Each option is typed as the command that runs declares it. Where that command has none of the name, a table tells how
Python's names differ, and settings of energy methods go by ``--set``.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ALIASES = {
    "depths": "--depth",
    "detail": "--counts",
    "dims": "--dim",
    "e_ac_pj": "--e-ac",
    "e_mac_pj": "--e-mac",
    "bin_us": "--bin",
    "duration_us": "--duration",
    "folder": "--save",
    "method": "--method",
    "path": "--input",
    "sample": "--input",
    "save_counts": "--counts",
    "source": "--input",
}
"""Python's names that are other words on the command line; a command's own option of the name goes before."""

FILES = frozenset({"counts", "detail", "record_spikes", "save_counts", "save_frames"})
"""What is a switch or a method in Python and takes a file on the command line."""

OPTIONS = frozenset({"time_ms", "frequency_mhz"})
"""What energy methods leave open and `evsim energy` has an option of its own for; the rest goes by ``--set``."""

_own: dict[str, str] = {}


def typed(*words: object) -> str:
    """Return a command of evsim as it is typed: by the name it was called, so that it works where a person reads it."""
    called, on_path = Path(sys.argv[0]), shutil.which("evsim")
    by_name = called.stem != "evsim" or (on_path and Path(on_path).absolute() == called.absolute())
    return shlex.join(["evsim" if by_name else sys.argv[0], *map(str, words)])


def speak_for(parameters: Iterable[Any]) -> None:
    """Spell from here on as the command with these parameters does; there is one command in a process."""
    _own.clear()
    for parameter in parameters:
        option = parameter.param_type_name == "option"
        words = [word for word in parameter.opts if word.startswith("--")] if option else []
        typed = words[0] if words else parameter.metavar or parameter.name.upper()
        _own[parameter.name] = typed
        for word in words:
            _own.setdefault(word.removeprefix("--").replace("-", "_"), word)


def spell(name: str, value: str) -> str:
    """Return ``--name value`` for an option as Python spells it; ``True`` stands for a flag, which has no value."""
    if name not in _own and name not in ALIASES and name in _settings():
        return f"--set {name}={value or 'VALUE'}"
    option = _own.get(name) or ALIASES.get(name) or f"--{name.replace('_', '-')}"
    if value == "True" and name in FILES:
        return f"{option} FILE"
    return option if value in ("", "True") else f"{option} {value}"


def _settings() -> set[str]:
    """Return the names of what energy methods leave open, but for those with an option of their own."""
    from evsim.energy.charging import every_option

    return set(every_option()) - OPTIONS
