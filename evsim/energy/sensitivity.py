"""What a conclusion depends on: two networks' ratio of energies over all methods and profiles, and where it turns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from evsim.counters import Counts
from evsim.energy.charging import charge, check_options, known
from evsim.energy.methods import METHODS
from evsim.energy.options import Options, choices
from evsim.energy.profile import Profile
from evsim.energy.profilefile import load_profile, profile_names
from evsim.energy.result import COSTS, Energy, divided
from evsim.errors import EvsimError, OptionError

COMPUTE = ("AC", "MAC", "neuron updates")
"""Kinds of cost that are operations; the others are movement and power."""

MOST_RANGES = 8


@dataclass(frozen=True)
class Ratio:
    """Energy of A over energy of B under one method, one `variant` of what it leaves open, and one profile.

    `low` to `high` where prices are ranges. `scale` is the factor on all prices of memory and movement at which both
    cost the same, None where no factor does; `cheaper_below` is who is cheaper below it.
    """

    method: str
    variant: str
    profile: str
    a_mj: float
    b_mj: float
    low: float
    high: float
    scale: float | None
    cheaper_below: str = ""

    @property
    def value(self) -> float:
        """A / B."""
        return divided(self.a_mj, self.b_mj)


@dataclass(frozen=True)
class Turn:
    """The price ratio E_MAC / E_AC at which A and B cost the same, under one method; None where no ratio does."""

    method: str
    variant: str
    ratio: float | None
    cheaper_below: str

    @property
    def sentence(self) -> str:
        """The finding in words."""
        name = f"{self.method}, {self.variant}" if self.variant else self.method
        if not self.cheaper_below:
            return f"{name}: A and B cost the same at every E_MAC / E_AC"
        if self.ratio is None:
            return f"{name}: {self.cheaper_below} is cheaper at every E_MAC / E_AC"
        other = "B" if self.cheaper_below == "A" else "A"
        return f"{name}: {self.cheaper_below} is cheaper below E_MAC / E_AC = {self.ratio:.6g}, {other} above"


@dataclass(frozen=True)
class Sensitivity:
    """Ratios in all methods and profiles that can answer, turning points, and why others cannot."""

    ratios: tuple[Ratio, ...]
    turns: tuple[Turn, ...]
    refused: tuple[tuple[str, str, str, str], ...]

    @property
    def least(self) -> Ratio:
        """Where A fares best: the least `low` of all."""
        return min(self.ratios, key=lambda ratio: (math.isnan(ratio.low), ratio.low))

    @property
    def greatest(self) -> Ratio:
        """Where A fares worst: the greatest `high` of all."""
        return max(self.ratios, key=lambda ratio: (not math.isnan(ratio.high), ratio.high))


def sensitivity(
    a: Counts,
    b: Counts,
    options: Options | None = None,
    profiles: Sequence[Profile] | None = None,
    methods: Sequence[str] | None = None,
) -> Sensitivity:
    """Compare two networks under methods and profiles.

    Parameters
    ----------
    a, b
        What is compared.
    options
        Of the methods; each must be declared by one that is compared.
    profiles
        All bundled ones by default.
    methods
        Names of methods, all by default.

    Raises
    ------
    OptionError
        If there is no such method, none of them declares an option, or nothing can answer for both.
    """
    names = tuple(dict.fromkeys(METHODS if methods is None else methods))
    for name in names:
        known(name)
    options = options or Options()
    check_options(options, names)
    priced = [load_profile(name) for name in profile_names()] if profiles is None else profiles
    ratios, refused = [], []
    for method, variant, chosen in _variants(names, options):
        for profile in priced:
            try:
                ratios.append(_ratio(method, variant, profile, a, b, chosen))
            except EvsimError as error:
                refused.append((method, variant, profile.label, str(error)))
    if not ratios:
        raise OptionError(f"no method and profile can charge both; the first says: {refused[0][3]}")
    turns = []
    for method, variant, chosen in _variants(names, options):
        if METHODS[method].linear:
            with suppress(OptionError):  # of rows that the method has no rule for: told among the refusals
                turns.append(_turn(method, variant, *(_operations(counts, method, chosen) for counts in (a, b))))
    return Sensitivity(tuple(ratios), tuple(turns), tuple(refused))


def _variants(methods: Sequence[str], options: Options) -> Iterator[tuple[str, str, Options]]:
    """Yield method, variant and options of everything that is compared."""
    for name in methods:
        method = METHODS[name]
        own = options.only(method.options)
        if not method.variant:
            yield name, "", own
        for value in choices(method.options, method.variant) if method.variant else ():
            yield name, f"{method.variant}={value}", own.changed(**{method.variant: value})


def _ratio(method: str, variant: str, profile: Profile, a: Counts, b: Counts, options: Options) -> Ratio:
    left, right = (charge(counts, method, profile, options) for counts in (a, b))
    ends = [divided(left.energy_mj, right.energy_mj)]
    # a price is the same for both, and the ratio of sums that are linear in prices is extreme where each is at an end
    for corner in _corners(profile):
        x, y = (charge(counts, method, corner, options).energy_mj for counts in (a, b))
        ends.append(divided(x, y))
    ends = [end for end in ends if not math.isnan(end)] or [math.nan]
    scale, below = _scale(left, right)
    return Ratio(method, variant, profile.label, left.energy_mj, right.energy_mj, min(ends), max(ends), scale, below)


def _corners(profile: Profile) -> Iterator[Profile]:
    """Yield the profile with every price that is a range at one of its ends, in all combinations."""
    prices = {key: price for key, price in profile.prices.items() if price.low != price.high}
    accesses = profile.sram.access_pj if profile.sram else ()
    points = [sorted(set(ends)) for ends in accesses]
    ranges = len(prices) + sum(len(ends) > 1 for ends in points)
    if not ranges:
        return
    if ranges > MOST_RANGES:
        raise OptionError(f"{profile.label} has {ranges} prices as ranges, `sensitivity` takes up to {MOST_RANGES}")
    for chosen in itertools.product(*((price.low, price.high) for price in prices.values()), *points):
        fixed = {key: replace(prices[key], low=end, high=end) for key, end in zip(prices, chosen, strict=False)}
        access = tuple((end, end) for end in chosen[len(prices) :])
        sram = profile.sram and replace(profile.sram, access_pj=access)
        yield replace(profile, prices={**profile.prices, **fixed}, sram=sram)


def _scale(a: Energy, b: Energy) -> tuple[float | None, str]:
    """Return the factor on memory and movement at which A and B cost the same, and who is cheaper below it."""
    (compute_a, moved_a), (compute_b, moved_b) = (_split(energy) for energy in (a, b))
    factor = _crossing(compute_a - compute_b, moved_b - moved_a)
    return factor, "" if factor is None else "A" if compute_a < compute_b else "B"


def _split(energy: Energy) -> tuple[float, float]:
    by = energy.by("cost")
    compute = sum(float(by.pj[COSTS.index(cost)]) for cost in COMPUTE)
    return compute, float(by.pj.sum()) - compute


def _operations(counts: Counts, method: str, options: Options) -> tuple[float, float]:
    """Return a method's accumulates and multiply-accumulates: its energy at prices of 1."""
    unit = Profile("unit prices", "unit prices").priced(e_ac_pj=1.0, e_mac_pj=1.0)
    by = charge(counts, method, unit, options).by("cost")
    return float(by.pj[COSTS.index("AC")]), float(by.pj[COSTS.index("MAC")])


def _turn(method: str, variant: str, a: tuple[float, float], b: tuple[float, float]) -> Turn:
    ratio = _crossing(a[0] - b[0], b[1] - a[1])
    if ratio is None:
        return Turn(method, variant, None, "A" if a[0] + a[1] < b[0] + b[1] else "B" if a != b else "")
    return Turn(method, variant, ratio, "A" if a[0] < b[0] else "B")


def _crossing(rise: float, run: float) -> float | None:
    """Return the positive factor f at which ``rise = f run``, if there is one."""
    if not run or rise / run <= 0:
        return None
    return rise / run
