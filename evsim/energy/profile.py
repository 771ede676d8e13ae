"""Hardware profiles: what an operation costs, and who says so."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from evsim.errors import ProfileError

PRICES = ("e_ac_pj", "e_mac_pj")
"""Prices that a profile gives, in picojoules per operation."""

ENTRY = {"value", "source", "includes", "verified"}


@dataclass(frozen=True)
class Profile:
    """Prices in picojoules.

    Attributes
    ----------
    name
        For reports.
    e_ac_pj, e_mac_pj
        Energy of one accumulate and of one multiply-accumulate.
    sources
        Price to where it was published.
    """

    name: str
    e_ac_pj: float
    e_mac_pj: float
    sources: Mapping[str, str]


def load_profile(name: str = "45nm") -> Profile:
    """Load a profile by its name, or from a TOML file of one's own.

    Raises
    ------
    ProfileError
        If there is no such profile, or an entry is missing, unknown, negative or no number.
    """
    bundled = resources.files("evsim.energy.profiles")
    path = Path(name)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{name} cannot be read ({error}); check the path of the profile") from error
    else:
        known = sorted(f.name.removesuffix(".toml") for f in bundled.iterdir() if f.name.endswith(".toml"))
        if name not in known:
            raise ProfileError(f"no profile is named {name}; known are {', '.join(known)}, or give a .toml file")
        text = (bundled / f"{name}.toml").read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{name} is no valid TOML: {error}") from error
    return _validated(name, content)


def _validated(path: str, content: Mapping[str, object]) -> Profile:
    unknown = sorted(content.keys() - {"name", *PRICES})
    if unknown:
        raise ProfileError(f"{path}: unknown key {unknown[0]}; known are name, {', '.join(PRICES)}")
    title = content.get("name")
    if not isinstance(title, str):
        raise ProfileError(f"{path}: name must be a text")
    values, sources = {}, {}
    for key in PRICES:
        entry = content.get(key)
        if not isinstance(entry, dict):
            raise ProfileError(f"{path}: the table [{key}] with value and source is missing")
        if extra := sorted(entry.keys() - ENTRY):
            raise ProfileError(f"{path}: unknown key {key}.{extra[0]}; known are {', '.join(sorted(ENTRY))}")
        value = entry.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ProfileError(f"{path}: {key}.value must be a number of picojoules, not negative, got {value!r}")
        if not isinstance(entry.get("source"), str) or not entry["source"]:
            raise ProfileError(f"{path}: {key}.source is missing; say who published the figure")
        values[key], sources[key] = float(value), entry["source"]
    return Profile(title, values["e_ac_pj"], values["e_mac_pj"], sources)
