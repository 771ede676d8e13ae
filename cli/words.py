"""How the command line spells the options that the library's messages name.

Each option is typed as the command that runs declares it; where that command has none of the name, a table tells how
Python's names differ, and `_typed` the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ALIASES = {
    "depths": "--depth",
    "detail": "--counts",
    "dims": "--dim",
    "duration_us": "--duration",
    "folder": "--save",
    "method": "--method",
    "path": "--input",
    "sample": "--input",
    "source": "--input",
}
"""Python's names that are other words on the command line; a command's own option of the name goes before."""

FILES = frozenset({"counts", "detail", "record_spikes", "save_counts", "save_frames"})
"""What is a switch or a method in Python and takes a file on the command line."""

SETTINGS = frozenset(
    {
        "activation_bits", "attention_kib", "hops", "hops_x", "hops_y", "leave_out", "on_chip_kib", "order",
        "packets_per_spike", "potential_bits", "potentials", "potentials_kib", "qnn_zeros", "spikes_kib", "sram",
        "weight_bits", "weights", "weights_kib",
    }
)  # fmt: skip
"""Fields of `evsim.energy.Options` that have no option of their own: they are given by ``--set NAME=VALUE``."""

SHARED = frozenset({"nonspike"})
"""Fields of `evsim.energy.Options` that some commands have an option for, and the others set."""

_own: dict[str, str] = {}


def speak_for(parameters: Iterable[Any]) -> None:
    """Spell from here on as the command with these parameters does; there is one command in a process."""
    _own.clear()
    for parameter in parameters:
        option = parameter.param_type_name == "option"
        words = [word for word in parameter.opts if word.startswith("--")] if option else []
        typed = words[0] if words else parameter.metavar or parameter.name.upper()
        _own[parameter.name] = typed
        for word in words:
            _own[word.removeprefix("--").replace("-", "_")] = word


def spell(name: str, value: str) -> str:
    """Return ``--name value`` for an option as Python spells it; ``True`` stands for a flag, which has no value."""
    if name not in _own and (name in SETTINGS or (name in SHARED and "settings" in _own)):
        return f"--set {name}={value}" if value else f"--set {name}=VALUE"
    option = _own.get(name) or ALIASES.get(name) or f"--{name.replace('_', '-')}"
    if value == "True" and name in FILES:
        return f"{option} FILE"
    return option if value in ("", "True") else f"{option} {value}"
