"""How the command line spells the options that the library's messages name."""

from __future__ import annotations

OWN = ("time_ms", "frequency_mhz", "nonspike")
"""Options of energy methods that have an option of their own on some command; all others are given by ``--set``."""


def spell(name: str, value: str) -> str:
    """Return ``--name value`` for an option as Python spells it; ``True`` stands for a flag, which has no value."""
    from evsim.energy.charging import every_option

    if name in every_option() and (name not in OWN or (name == "nonspike" and value)):
        return f"--set {name}={value}" if value else f"--set {name}"
    option = f"--{name.replace('_', '-')}"
    return option if value in ("", "True") else f"{option} {value}"
