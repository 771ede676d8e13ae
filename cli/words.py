"""How the command line spells the options that the library's messages name."""

from __future__ import annotations


def spell(name: str, value: str) -> str:
    """Return ``--name value`` for an option as Python spells it; ``True`` stands for a flag, which has no value."""
    option = f"--{name.replace('_', '-')}"
    return option if value in ("", "True") else f"{option} {value}"
