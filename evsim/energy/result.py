"""What every energy method returns: picojoules by layer, kind of cost, timestep and attention head, which add up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evsim.counters import AttentionCounts, Counts, RowCounts, unknown_row
from evsim.energy.profile import Price, Profile
from evsim.errors import OptionError

Floats = NDArray[np.float64]
Key = Literal["layer", "stage", "block", "head", "timestep", "cost"]
KEYS: tuple[Key, ...] = ("layer", "stage", "block", "head", "timestep", "cost")
COSTS = (
    "AC",
    "MAC",
    "neuron updates",
    "weights read",
    "potentials read and written",
    "spikes moved",
    "attention buffer",
    "addresses",
    "static power",
    "kept sums",
)
"""Kinds of cost, in the order of tables."""

NO_LAYER = "(no layer)"
"""The row of what belongs to no layer: residual additions, static power times time."""

PICO_TO_MILLI = 1e-9


@dataclass(frozen=True, eq=False)
class Breakdown(Mapping[str, float]):
    """Energy along one key; a mapping from label to millijoules (middle of the range, where prices are ranges).

    Attributes
    ----------
    key
        What the labels are: layer, stage, block, head, timestep or cost.
    labels
        One per entry.
    low, high
        float64 [labels], picojoules; equal unless prices are ranges.
    """

    key: str
    labels: tuple[str, ...]
    low: Floats
    high: Floats

    @property
    def pj(self) -> Floats:
        """Picojoules, [labels]."""
        return middle(self.low, self.high)

    @property
    def mj(self) -> Floats:
        """Millijoules, [labels]."""
        return self.pj * PICO_TO_MILLI

    def __getitem__(self, label: str) -> float:
        try:
            return float(self.mj[self.labels.index(label)])
        except ValueError:
            raise KeyError(label) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Energy:
    """Energy of one inference, the mean over the samples counted.

    Attributes
    ----------
    method, profile
        Who charges, and at whose prices.
    layers
        Names of the rows; the last is `NO_LAYER`.
    low, high
        float64 [layers, costs, timesteps] in picojoules, equal unless prices are ranges. One timestep stands for all
        where the method is not defined per timestep.
    heads
        Attention row to float64 [2, costs, timesteps, heads]: low and high, which add up to the row.
    per_timestep
        Whether the method is defined per timestep.
    notes
        What the method leaves out or assumes on these counts, one line each.
    total
        (low, high) in picojoules.
    total_mj
        The total in millijoules to its last digit, where a method adds operations up before it prices them.
    """

    method: str
    profile: str
    layers: tuple[str, ...]
    low: Floats
    high: Floats
    heads: Mapping[str, Floats]
    per_timestep: bool
    notes: tuple[str, ...]
    total: tuple[float, float]
    total_mj: float | None = None

    @property
    def pj(self) -> float:
        """Total in picojoules."""
        return float(middle(*self.total))

    @property
    def energy_mj(self) -> float:
        """Total in millijoules."""
        return self.pj * PICO_TO_MILLI if self.total_mj is None else self.total_mj

    @property
    def range_mj(self) -> tuple[float, float]:
        """Total in millijoules, least and greatest."""
        low, high = self.total
        return low * PICO_TO_MILLI, high * PICO_TO_MILLI

    def by(self, key: Key) -> Breakdown:
        """Break the energy down.

        Parameters
        ----------
        key
            "layer", "stage" and "block" (by the layers' names), "head" (of attention rows alone), "timestep", "cost".

        Raises
        ------
        OptionError
            If there is no such key, or the method is not defined per timestep or head.
        """
        match key:
            case "layer":
                return self._gathered(key, self.layers, 0)
            case "stage" | "block":
                return self._gathered(key, tuple(place(name, key) for name in self.layers), 0)
            case "cost":
                return self._gathered(key, COSTS, 1)
            case "timestep":
                if not self.per_timestep:
                    raise OptionError(f"method {self.method} is not defined per timestep; take another key")
                return self._gathered(key, tuple(f"t{t}" for t in range(self.low.shape[2])), 2)
            case "head":
                return self._by_head()
        raise OptionError(f"energy breaks down by {', '.join(KEYS)}; got {key}")

    def _gathered(self, key: str, names: tuple[str, ...], axis: int) -> Breakdown:
        """Sum over all axes but one, and over entries of the same name."""
        others = tuple(i for i in range(3) if i != axis)
        labels = tuple(dict.fromkeys(names))
        where = np.array([labels.index(name) for name in names])
        low, high = np.zeros(len(labels)), np.zeros(len(labels))
        np.add.at(low, where, self.low.sum(axis=others))
        np.add.at(high, where, self.high.sum(axis=others))
        return Breakdown(key, labels, low, high)

    def _by_head(self) -> Breakdown:
        if not self.heads:
            raise OptionError(f"method {self.method} has nothing per attention head here; take another key")
        labels = [f"{name} head {h}" for name, values in self.heads.items() for h in range(values.shape[3])]
        sums = np.concatenate([values.sum(axis=(1, 2)) for values in self.heads.values()], axis=1)
        return Breakdown("head", tuple(labels), sums[0], sums[1])


def quotient(a: Energy, b: Energy) -> tuple[float, float, float]:
    """Return a / b: of the middles, the least and the greatest that the ranges of both allow.

    A price that both share may stand at one end for a and at the other for b: the ends are bounds. Infinite where b may
    be nothing, not a number where both are.
    """
    pairs = ((a.pj, b.pj), (a.total[0], b.total[1]), (a.total[1], b.total[0]))
    value, low, high = (divided(x, y) for x, y in pairs)
    return value, low, high


def divided(a: float, b: float) -> float:
    """Return a / b for energies: infinite where b alone is 0, not a number where both are."""
    if b:
        return a / b
    return math.inf if a else math.nan


class Ledger:
    """Where a method writes its charges, layer by layer; `energy` closes it.

    Parameters
    ----------
    counts
        What is charged.
    method
        Name of the method.
    profile
        Whose prices.
    per_timestep
        Whether charges come as arrays [T]; else each is one number.
    per_head
        Whether charges of attention rows divide into heads.
    """

    def __init__(
        self, counts: Counts, method: str, profile: Profile, *, per_timestep: bool = True, per_head: bool = True
    ) -> None:
        self.method, self.profile, self.per_timestep = method, profile, per_timestep
        self.samples = max(1, counts.samples)
        if any(layer.name == NO_LAYER for layer in counts.layers):
            raise OptionError(f"a layer is named {NO_LAYER}, which stands for what belongs to none; rename it")
        self._rows = {layer.name: i for i, layer in enumerate(counts.layers)} | {NO_LAYER: len(counts.layers)}
        steps = counts.timesteps if per_timestep else 1
        self._values = np.zeros((2, len(self._rows), len(COSTS), steps))
        heads = [layer for layer in counts.layers if isinstance(layer, AttentionCounts)] if per_head else []
        self._heads = {layer.name: np.zeros((2, len(COSTS), steps, layer.geometry.heads)) for layer in heads}
        self._notes: dict[str, None] = {}
        self._greatest_bytes = 0.0

    def charge(
        self, layer: RowCounts | None, cost: str, amount: ArrayLike, price: Price | float, heads: bool = False
    ) -> None:
        """Charge operations of one layer, or of none, at a price.

        Parameters
        ----------
        layer
            The row; None for what belongs to no layer.
        cost
            One of `COSTS`.
        amount
            Operations over all samples, [T] (or a number: per timestep, or in all); [T, heads] where `heads`.
        price
            In picojoules per operation.
        heads
            Whether `amount` tells heads apart. Where it does not, an attention row's heads share alike.
        """
        low, high = (price.low, price.high) if isinstance(price, Price) else (price, price)
        samples = self.samples if layer is None else max(1, layer.samples)
        each = np.asarray(amount, np.float64) / samples
        column, name = COSTS.index(cost), NO_LAYER if layer is None else layer.name
        row = each.sum(axis=-1) if heads else each
        for i, value in enumerate((low, high)):
            self._values[i, self._rows[name], column] += row * value
            if name in self._heads:
                shares = self._heads[name][i, column]
                shares += (each if heads else each[..., np.newaxis] / shares.shape[-1]) * value

    def note(self, text: str) -> None:
        """Say what the method leaves out or assumes; the same text counts once."""
        self._notes[text] = None

    def refusal(self, layer: Never) -> OptionError:
        """Return the error of a row of a kind that the method has no rule for; it names both."""
        return unknown_row(layer, f"method {self.method}", "choose another `method`")

    def memory(self, capacity_bytes: float) -> None:
        """Take note of a memory that is charged by the profile's `[sram]`, which it may exceed."""
        self._greatest_bytes = max(self._greatest_bytes, capacity_bytes)

    def energy(self, total_mj: float | None = None) -> Energy:
        """Close the ledger; `total_mj` in millijoules where it is known to its last digit.

        Raises
        ------
        OptionError
            If the energy is greater than any number.
        """
        low, high = self._values
        sums = (float(low.sum()), float(high.sum()))
        if not math.isfinite(sums[1]):
            raise OptionError(
                f"method {self.method}: the energy is greater than any number; give its options smaller values"
            )
        if total_mj is not None and sums[0] == sums[1]:
            sums = (total_mj / PICO_TO_MILLI,) * 2
        heads = {name: values for name, values in self._heads.items() if values.any()}
        notes = (*self._notes, *_beyond(self.profile, self._greatest_bytes), *_caveat(self.profile))
        rows = tuple(self._rows)
        return Energy(self.method, self.profile.name, rows, low, high, heads, self.per_timestep, notes, sums, total_mj)


def middle(low: ArrayLike, high: ArrayLike) -> Floats:
    """Return the middle of ranges; where both ends are one figure, that figure to its last digit."""
    first, last = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return np.where(first == last, first, (first + last) / 2)


def place(name: str, key: str) -> str:
    """Return the stage ("block") or the block ("block.0") that a layer belongs to, by its name."""
    parts = name.split(".")
    if key == "block" and len(parts) > 1 and re.fullmatch(r"\d+", parts[1]):
        return ".".join(parts[:2])
    return parts[0]


def _beyond(profile: Profile, capacity_bytes: float) -> Iterator[str]:
    if profile.sram and capacity_bytes > profile.sram.greatest_bytes:
        yield (
            f"a memory of {capacity_bytes / 1024:g} KiB is above the greatest of {profile.name}'s [sram], "
            f"{profile.sram.greatest_bytes / 1024:g} KiB, and charged like it, which is too little"
        )


def _caveat(profile: Profile) -> Iterator[str]:
    averages = [key for key, price in profile.prices.items() if price.average and key.endswith("_pj")]
    if profile.sram and profile.sram.average:
        averages.append("sram")
    if averages:
        yield (
            f"{', '.join(averages)} of {profile.name} is, or may be, an average at an operating point (power / rate): "
            "it misprices every other rate"
        )
