"""Hardware profiles: what an operation costs, and who says so. `evsim.energy.profilefile` reads them from files."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from evsim.errors import ProfileError
from evsim.manual import page
from evsim.toml import shown, shown_key

PRICES = {
    "e_ac_pj": "one accumulate",
    "e_mac_pj": "one multiply-accumulate",
    "e_add_pj": "one integer addition of operand_bits",
    "e_mul_pj": "one integer multiplication of operand_bits",
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
UNITS = ("_uw_per_mhz", "_pj", "_uw")
GREATEST_WIDTH = 4096
"""Bits, beyond any operand."""

GREATEST_PRICE = 1e15
"""Beyond any price: a kilojoule for one operation. Sums of counts times prices stay numbers below it."""


class MissingPriceError(ProfileError):
    """A profile lacks a price that is asked for.

    Parameters
    ----------
    fact
        What is missing, in words.
    key
        Of `PRICES`, or "sram".
    advice
        What to do.
    """

    def __init__(self, fact: str, key: str, advice: str = "choose another `profile`") -> None:
        super().__init__(f"{fact}; {advice}")
        self.fact, self.key, self.advice = fact, key, advice


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
        MissingPriceError
            If the profile does not give it.
        """
        if key not in self.prices:
            raise MissingPriceError(f"{self.path}: the profile gives no {key} ({PRICES[key]})", key)
        return self.prices[key]

    def gives(self, *keys: str) -> bool:
        """Whether all these prices are there; "sram" stands for the energies of memories."""
        return all(self.sram is not None if key == "sram" else key in self.prices for key in keys)

    def priced(self, **values: float | Sequence[float]) -> Profile:
        """Return a copy with prices of one's own, in the unit of their key.

        Raises
        ------
        ProfileError
            If there is no such price, or one is negative or no number.
        """
        for key in values:
            if key not in PRICES:
                raise ProfileError(unknown(key))
        plain = {key: list(value) if isinstance(value, Sequence) else value for key, value in values.items()}
        own = {
            key: Price(*price_range(key, value), "given by the user", "whatever the user means by it")
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


def unknown(key: str) -> str:
    """Return what is wrong with a key that no profile has."""
    stem = _stem(key)
    for known in PRICES:
        if _stem(known) == stem or key.startswith(f"{_stem(known)}_"):
            return f"{shown_key(key)} has another unit than evsim takes, or none; give it as {known}"
    near = difflib.get_close_matches(key, [*PRICES, *WIDTHS, *CHOICES, "sram", "name", "note"], 1)
    what = f"unknown key {shown_key(key)}"
    return what + (f"; did you mean {near[0]}?" if near else f"; for those that are known see {page('profiles')}")


def _stem(key: str) -> str:
    for unit in UNITS:
        if key.endswith(unit):
            return key.removesuffix(unit)
    return key


def price_range(key: str, value: object) -> tuple[float, float]:
    """Return the two ends of a number or of a range [low, high].

    Raises
    ------
    ProfileError
        If it is neither, negative, or beyond any price.
    """
    if not isinstance(value, list):
        number = _number(key, value)
        return number, number
    if len(value) != 2:
        raise ProfileError(f"{key} must be a number or a range [low, high], got {shown(value)}")
    low, high = (_number(key, end) for end in value)
    if low > high:
        raise ProfileError(f"{key} must be a range from low to high, got {shown(value)}")
    return low, high


def _number(key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise ProfileError(f"{key} must be a number, not negative, got {shown(value)}")
    if number > GREATEST_PRICE:
        raise ProfileError(f"{key} is beyond any price ({GREATEST_PRICE:g}), got {shown(value)}; check its unit")
    return number


def _may_be_average(includes: str) -> bool:
    text = includes.strip().lower()
    return not text or text.startswith(("average", "not stated"))


def _spelled(prices: Mapping[str, Price]) -> str:
    return ", ".join(
        f"{key} {price.low:g}" if price.low == price.high else f"{key} {price.low:g}-{price.high:g}"
        for key, price in prices.items()
    )
