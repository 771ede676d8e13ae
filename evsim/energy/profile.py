"""Hardware profiles: what an operation costs, and who says so. The schema is documented in docs/profiles.md."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from evsim.errors import ProfileError
from evsim.files import check_input

PRICES = {
    "e_ac_pj": "one accumulate",
    "e_mac_pj": "one multiply-accumulate",
    "e_add_pj": "one integer addition of `operand_bits`",
    "e_mul_pj": "one integer multiplication of `operand_bits`",
    "e_byte_pj": "one byte read or written, whatever the memory",
    "e_dram_bit_pj": "one bit read from or written to DRAM",
    "e_synop_pj": "one synaptic operation, by the chip tables",
    "e_neuron_pj": "one neuron update, by the chip tables",
    "e_sop_pj": "one synaptic operation",
    "e_neuron_active_pj": "update of a neuron that spikes",
    "e_neuron_inactive_pj": "update of a neuron that does not spike",
    "e_packet_pj": "one spike packet, within its tile",
    "e_hop_x_pj": "one hop of a packet, east or west",
    "e_hop_y_pj": "one hop of a packet, north or south",
    "p_static_uw": "static power",
    "p_idle_uw_per_mhz": "power of the idling clock, per MHz",
    "e_compare_pj": "one comparison with the threshold",
    "e_reset_pj": "one reset by subtraction",
    "e_event_bit_hop_pj": "one spike over one hop, sparse, address folded in",
    "e_dense_bit_hop_pj": "one bit of a dense map over one hop",
    "e_htree_pj": "in-memory tile: H-tree, per cycle",
    "e_fetch_pj": "in-memory tile: input fetch, per cycle",
    "e_tile_buffer_pj": "in-memory tile: buffer, per cycle",
    "e_temporary_pj": "in-memory tile: temporary buffer, per access",
    "e_digital_pj": "in-memory tile: shift and add, per column group",
    "e_adc_pj": "in-memory tile: one analogue-digital conversion",
    "e_mux_pj": "in-memory tile: one multiplexer switch",
    "e_crossbar_pj": "in-memory tile: crossbar, per column group and tap",
    "e_lif_pj": "in-memory tile: LIF unit, per cycle",
}
"""Every price that a profile may give, and what it is the price of; its unit ends its name."""

WIDTHS = ("operand_bits", "weight_bits", "potential_bits", "activation_bits")
CHOICES = {"number": ("float", "int"), "device": ("spiking", "dense")}
ENTRY = {"value", "source", "includes", "verified"}
SRAM_ENTRY = {"capacity_bytes", "word_bits", "access_pj", "source", "includes", "verified"}
VERIFIED = ("first hand", "second hand")
UNITS = ("_uw_per_mhz", "_pj", "_uw")
GREATEST_BYTES = 2**60
MOST_DIGITS = 4300
"""Digits of an integer beyond which Python does not read it."""

SHOWN = 60
"""Characters of a faulty value that a message repeats."""


@dataclass(frozen=True)
class Price:
    """What one operation costs: `low` to `high`, equal where one figure is given; who says so, and what is in it."""

    low: float
    high: float
    source: str
    includes: str = ""
    verified: str = ""

    @property
    def value(self) -> float:
        """The figure, or the middle of the range."""
        return self.low if self.low == self.high else (self.low + self.high) / 2

    @property
    def average(self) -> bool:
        """Whether it is, or may be, power / rate at an operating point, which misprices every other rate."""
        return _may_be_average(self.includes)


@dataclass(frozen=True)
class Sram:
    """Energy `access_pj`, (low, high), of one access of `word_bits` to memories of `capacity_bytes`, which ascend."""

    capacity_bytes: tuple[int, ...]
    word_bits: int
    access_pj: tuple[tuple[float, float], ...]
    source: str
    includes: str = ""
    verified: str = ""

    @property
    def average(self) -> bool:
        """Whether it is, or may be, power / rate at an operating point, as `Price.average`."""
        return _may_be_average(self.includes)

    @property
    def greatest_bytes(self) -> int:
        """The greatest memory whose price is given."""
        return self.capacity_bytes[-1]

    def access(self, capacity_bytes: float, origin: bool = False) -> Price:
        """Return the price of one access to a memory of that size.

        Linear between the sizes given, flat above the last, and below the least flat too, or down to 0 pJ at 0 bytes
        if `origin`.
        """
        import numpy as np

        sizes, start = (0,) * origin + self.capacity_bytes, (0.0,) * origin
        low, high = (
            float(np.interp(capacity_bytes, sizes, start + ends)) for ends in zip(*self.access_pj, strict=True)
        )
        return Price(low, high, self.source, self.includes, self.verified)


@dataclass(frozen=True)
class Profile:
    """Prices of one technology or chip.

    Attributes
    ----------
    name
        For reports.
    path
        The bundled profile's name or the file, for messages.
    prices
        Key of `PRICES` to price; only what is published.
    sram
        Energy of a memory access by the memory's size, where known.
    number
        "float" or "int": only integers get cheaper with fewer bits.
    device
        "spiking", or "dense": a device that computes every connection once.
    operand_bits, weight_bits, potential_bits, activation_bits
        Widths that the prices stand for, and of what is stored.
    note
        What a person should know.
    bundled
        Whether it comes with evsim, as it stands.
    """

    name: str
    path: str = ""
    prices: Mapping[str, Price] = field(default_factory=dict)
    sram: Sram | None = None
    number: str = "float"
    device: str = "spiking"
    operand_bits: int = 32
    weight_bits: int = 32
    potential_bits: int = 32
    activation_bits: int = 32
    note: str = ""
    bundled: bool = False

    @property
    def label(self) -> str:
        """What tells it from every other: a bundled profile's file name; else `name`, and its file if any."""
        if self.bundled:
            return self.path
        return f"{self.name} ({self.path})" if self.path.endswith(".toml") else self.name

    def price(self, key: str) -> Price:
        """Return a price.

        Raises
        ------
        ProfileError
            If the profile does not give it.
        """
        if key not in self.prices:
            raise ProfileError(f"{self.path}: the profile gives no {key} ({PRICES[key]}); choose another `profile`")
        return self.prices[key]

    def gives(self, *keys: str) -> bool:
        """Whether all these prices are there."""
        return all(key in self.prices for key in keys)

    def priced(self, **values: float | Sequence[float]) -> Profile:
        """Return a copy with prices of one's own, in the unit of their key.

        Raises
        ------
        ProfileError
            If there is no such price, or one is negative or no number.
        """
        for key in values:
            if key not in PRICES:
                raise ProfileError(_unknown(key))
        plain = {key: list(value) if isinstance(value, Sequence) else value for key, value in values.items()}
        own = {
            key: Price(*_range(key, value), "given by the user", "whatever the user means by it")
            for key, value in plain.items()
        }
        return replace(self, prices={**self.prices, **own}, name=f"{self.name}, {_spelled(own)}", bundled=False)

    @property
    def e_ac_pj(self) -> float:
        """Energy of one accumulate."""
        return self.price("e_ac_pj").value

    @property
    def e_mac_pj(self) -> float:
        """Energy of one multiply-accumulate."""
        return self.price("e_mac_pj").value

    @property
    def sources(self) -> Mapping[str, str]:
        """Price to where it was published."""
        return {key: price.source for key, price in self.prices.items()}


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
        check_input(path, ProfileError, "a TOML file", "check the path of the profile")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{name} cannot be read ({error}); check the path of the profile") from error
    else:
        known = profile_names()
        if name not in known:
            raise ProfileError(f"no profile is named {name}; known are {', '.join(known)}, or give a .toml file")
        text = (bundled / f"{name}.toml").read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{name} is no valid TOML: {error}") from error
    except ValueError as error:
        raise ProfileError(f"{name}: {_endless(text)} is a number of too many digits; write it shorter") from error
    except RecursionError as error:
        raise ProfileError(f"{name}: lists or tables are nested too deep; docs/profiles.md shows the form") from error
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
            raise ProfileError(_unknown(key))
    for key in ("name", "note"):
        if not isinstance(content.get(key, "" if key == "note" else None), str):
            raise ProfileError(f"{key} must be a text" + (" and is missing" if key not in content else ""))
    prices = {key: _price(key, content[key]) for key in PRICES if key in content}
    sram = _sram(content["sram"]) if "sram" in content else None
    if not prices and sram is None:
        raise ProfileError("not one price is given; write tables such as [e_ac_pj] with value and source")
    chosen = {}
    for key, values in CHOICES.items():
        chosen[key] = content.get(key, values[0])
        if chosen[key] not in values:
            raise ProfileError(f"{key} must be {' or '.join(values)}, got {_shown(chosen[key])}")
    widths = {key: _width(key, content[key]) for key in WIDTHS if key in content}
    return Profile(str(content["name"]), path, prices, sram, **chosen, **widths, note=str(content.get("note", "")))  # type: ignore[arg-type]


def _unknown(key: str) -> str:
    stem = _stem(key)
    for known in PRICES:
        if _stem(known) == stem or key.startswith(f"{_stem(known)}_"):
            return f"{key} has another unit than evsim takes, or none; give it as {known}"
    near = difflib.get_close_matches(key, [*PRICES, *WIDTHS, *CHOICES, "sram", "name", "note"], 1)
    return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "; docs/profiles.md lists what is known")


def _stem(key: str) -> str:
    for unit in UNITS:
        if key.endswith(unit):
            return key.removesuffix(unit)
    return key


def _price(key: str, entry: object) -> Price:
    source, includes, verified = _provenance(key, entry, ENTRY)
    assert isinstance(entry, dict)
    return Price(*_range(f"{key}.value", entry.get("value")), source, includes, verified)


def _provenance(key: str, entry: object, known: set[str]) -> tuple[str, str, str]:
    """Return source, includes and verified of an entry; its other keys must be `known`."""
    if not isinstance(entry, dict):
        raise ProfileError(f"{key} must be a table [{key}] with value and source, got {_shown(entry)}")
    if extra := sorted(entry.keys() - known):
        raise ProfileError(f"unknown key {key}.{extra[0]}; known are {', '.join(sorted(known))}")
    texts = {word: entry.get(word, "") for word in ("source", "includes", "verified")}
    for word, text in texts.items():
        if not isinstance(text, str):
            raise ProfileError(f"{key}.{word} must be a text, got {_shown(text)}")
    if not texts["source"].strip():
        raise ProfileError(f"{key}.source is missing; say who published the figure")
    if texts["verified"] not in ("", *VERIFIED):
        raise ProfileError(f"{key}.verified must be {' or '.join(VERIFIED)}, got {_shown(texts['verified'])}")
    return texts["source"], texts["includes"], texts["verified"]


def _sram(entry: object) -> Sram:
    source, includes, verified = _provenance("sram", entry, SRAM_ENTRY)
    assert isinstance(entry, dict)
    for key in ("capacity_bytes", "access_pj"):
        if not isinstance(entry.get(key), list) or not entry[key]:
            raise ProfileError(f"sram.{key} must be a list of numbers, got {_shown(entry.get(key))}")
    capacities, energies = entry["capacity_bytes"], [_range("sram.access_pj", end) for end in entry["access_pj"]]
    for size in capacities:
        if isinstance(size, bool) or not isinstance(size, int) or size > GREATEST_BYTES:
            raise ProfileError(f"sram.capacity_bytes must be whole numbers of bytes, got {_shown(size)}")
    if len(capacities) != len(energies):
        raise ProfileError(f"sram.access_pj has {len(energies)} numbers for {len(capacities)} of sram.capacity_bytes")
    if capacities != sorted(set(capacities)) or capacities[0] <= 0:
        raise ProfileError(f"sram.capacity_bytes must rise from above 0, got {_shown(capacities)}")
    word = _width("sram.word_bits", entry.get("word_bits"))
    return Sram(tuple(capacities), word, tuple(energies), source, includes, verified)


def _width(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise ProfileError(f"{key} must be a number of bits, at least 1, got {_shown(value)}")
    return value


def _range(key: str, value: object) -> tuple[float, float]:
    """Return the two ends of a number or of a range [low, high]."""
    if not isinstance(value, list):
        number = _number(key, value)
        return number, number
    if len(value) != 2:
        raise ProfileError(f"{key} must be a number or a range [low, high], got {_shown(value)}")
    low, high = (_number(key, end) for end in value)
    if low > high:
        raise ProfileError(f"{key} must be a range from low to high, got {_shown(value)}")
    return low, high


def _number(key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise ProfileError(f"{key} must be a number, not negative, got {_shown(value)}")
    return number


def _may_be_average(includes: str) -> bool:
    text = includes.strip().lower()
    return not text or text.startswith(("average", "not stated"))


def _endless(text: str) -> str:
    """Return where in a TOML text an integer has more digits than Python reads."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"[0-9_]{{{MOST_DIGITS}}}", line):
            key, equals, _ = line.partition("=")
            return f"line {number}, {key.strip()}," if equals else f"line {number}"
    return "a value"


def _shown(value: object) -> str:
    """Return a faulty value for a message: in short, for it may be of any length or depth."""
    if isinstance(value, int) and value.bit_length() > SHOWN:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer within has too many digits, or lists are nested too deep
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _spelled(prices: Mapping[str, Price]) -> str:
    return ", ".join(
        f"{key} {price.low:g}" if price.low == price.high else f"{key} {price.low:g}-{price.high:g}"
        for key, price in prices.items()
    )
