"""Hardware profiles as TOML files: the bundled ones and those of a person. docs/profiles.md documents the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from evsim.energy.profile import CHOICES, GREATEST_WIDTH, PRICES, WIDTHS, Price, Profile, Sram, price_range, unknown
from evsim.errors import ProfileError
from evsim.manual import page
from evsim.toml import parse_toml, read_toml, shown, shown_key

ENTRY = {"value", "source", "includes", "verified"}
SRAM_ENTRY = {"capacity_bytes", "word_bits", "access_pj", "source", "includes", "verified"}
VERIFIED = ("first hand", "second hand")
GREATEST_BYTES = 2**60
LONGEST_NAME = 100
FORM = f"for the form of a profile see {page('profiles')}"


def load_profile(name: str = "45nm") -> Profile:
    """Load a profile by its name, or from a TOML file of one's own.

    Raises
    ------
    ProfileError
        If there is no such profile, or an entry is missing, unknown, negative or no number.
    """
    path = Path(name)
    if path.suffix == ".toml":
        content = read_toml(path, ProfileError, FORM)
    else:
        known = profile_names()
        if name not in known:
            raise ProfileError(f"no profile is named {name}; known are {', '.join(known)}, or give a .toml file")
        text = (resources.files("evsim.energy.profiles") / f"{name}.toml").read_text(encoding="utf-8")
        content = parse_toml(text, name, ProfileError, FORM)
    try:
        return replace(_validated(name, content), bundled=path.suffix != ".toml")
    except ProfileError as error:
        raise ProfileError(f"{name}: {error}") from error


def profile_names() -> list[str]:
    """Return the names of the bundled profiles, sorted."""
    bundled = resources.files("evsim.energy.profiles")
    return sorted(f.name.removesuffix(".toml") for f in bundled.iterdir() if f.name.endswith(".toml"))


def _validated(path: str, content: Mapping[str, object]) -> Profile:
    for key in content:
        if key not in {"name", "note", "sram", *PRICES, *WIDTHS, *CHOICES}:
            raise ProfileError(unknown(key))
    if "name" not in content:
        raise ProfileError("name must be a text and is missing")
    name, note = (_text(key, content.get(key, "")) for key in ("name", "note"))
    if not 0 < len(name) <= LONGEST_NAME:
        raise ProfileError(f"name must be a text of 1 to {LONGEST_NAME} characters, got {len(name)}")
    prices = {key: _price(key, content[key]) for key in PRICES if key in content}
    sram = _sram(content["sram"]) if "sram" in content else None
    if not prices and sram is None:
        raise ProfileError("not one price is given; write tables such as [e_ac_pj] with value and source")
    chosen = {}
    for key, values in CHOICES.items():
        chosen[key] = content.get(key, values[0])
        if chosen[key] not in values:
            raise ProfileError(f"{key} must be {' or '.join(values)}, got {shown(chosen[key])}")
    widths = {key: _width(key, content[key]) for key in WIDTHS if key in content}
    return Profile(name, path, prices, sram, **chosen, **widths, note=note)  # type: ignore[arg-type]


def _price(key: str, entry: object) -> Price:
    source, includes, verified = _provenance(key, entry, ENTRY)
    assert isinstance(entry, dict)
    return Price(*price_range(f"{key}.value", entry.get("value")), source, includes, verified)


def _provenance(key: str, entry: object, known: set[str]) -> tuple[str, str, str]:
    """Return source, includes and verified of an entry; its other keys must be `known`."""
    if not isinstance(entry, dict):
        raise ProfileError(f"{key} must be a table [{key}] with value and source, got {shown(entry)}")
    if extra := sorted(entry.keys() - known):
        raise ProfileError(f"unknown key {key}.{shown_key(extra[0])}; known are {', '.join(sorted(known))}")
    texts = {word: _text(f"{key}.{word}", entry.get(word, "")) for word in ("source", "includes", "verified")}
    if not texts["source"].strip():
        raise ProfileError(f"{key}.source is missing; say who published the figure")
    if texts["verified"] not in ("", *VERIFIED):
        raise ProfileError(f"{key}.verified must be {' or '.join(VERIFIED)}, got {shown(texts['verified'])}")
    return texts["source"], texts["includes"], texts["verified"]


def _text(key: str, value: object) -> str:
    """Return a text in one line; what would move a terminal's cursor is refused."""
    if not isinstance(value, str):
        raise ProfileError(f"{key} must be a text, got {shown(value)}")
    line = " ".join(value.split())
    if not line.isprintable():
        raise ProfileError(f"{key} must be a text that can be printed, got {shown(value)}")
    return line


def _sram(entry: object) -> Sram:
    source, includes, verified = _provenance("sram", entry, SRAM_ENTRY)
    assert isinstance(entry, dict)
    for key in ("capacity_bytes", "access_pj"):
        if not isinstance(entry.get(key), list) or not entry[key]:
            raise ProfileError(f"sram.{key} must be a list of numbers, got {shown(entry.get(key))}")
    capacities, energies = entry["capacity_bytes"], [price_range("sram.access_pj", end) for end in entry["access_pj"]]
    for size in capacities:
        if isinstance(size, bool) or not isinstance(size, int) or size > GREATEST_BYTES:
            raise ProfileError(f"sram.capacity_bytes must be whole numbers of bytes, got {shown(size)}")
    if len(capacities) != len(energies):
        raise ProfileError(f"sram.access_pj has {len(energies)} numbers for {len(capacities)} of sram.capacity_bytes")
    if capacities != sorted(set(capacities)) or capacities[0] <= 0:
        raise ProfileError(f"sram.capacity_bytes must rise from above 0, got {shown(capacities)}")
    word = _width("sram.word_bits", entry.get("word_bits"))
    return Sram(tuple(capacities), word, tuple(energies), source, includes, verified)


def _width(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= GREATEST_WIDTH:
        raise ProfileError(f"{key} must be a number of bits, 1 to {GREATEST_WIDTH}, got {shown(value)}")
    return value
