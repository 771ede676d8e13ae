"""One network's energies side by side: by several methods, and against what the network is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evsim.counters import Counts
from evsim.energy import METHODS, Energy, Options, Profile, charge, charge_baseline, check_options, load_profile
from evsim.energy.charging import known, own_options
from evsim.energy.fit import choose
from evsim.energy.profile import MissingPriceError
from evsim.errors import EvsimError, OptionError

USUAL = ("paper", "exact")
"""Methods that are charged where none is named."""

DEFAULT = "45nm"


@dataclass(frozen=True)
class Pricing:
    """Whose prices: a profile by name or file (by default each method's own), and prices of one's own in its place."""

    profile: str | None = None
    own: Mapping[str, float | Sequence[float]] = field(default_factory=dict)

    def of(self, default: str) -> Profile:
        """Return the profile, the bundled one of that name where none is chosen; ProfileError if it cannot be read."""
        profile = load_profile(self.profile or default)
        return profile.priced(**self.own) if self.own else profile

    def methods(self) -> tuple[tuple[str, ...], str]:
        """Return the methods to charge by where none is named, and a note if the profile has no prices for `USUAL`.

        Raises
        ------
        ProfileError
            If no method can use the profile, or it cannot be read.
        """
        return choose(self.of(DEFAULT), USUAL) if self.profile else (USUAL, "")

    def of_method(self, method: str) -> Profile:
        """Return the profile for a method; errors as `of`."""
        return self.of(known(method).profile)


@dataclass(frozen=True, eq=False)
class Account:
    """One network's energies: by method, and what it is held against where asked for.

    Attributes
    ----------
    title
        Whose counts.
    energies
        One per method.
    baselines
        Method to the energy of what it is held against, or to the reason why there is none.
    bounds
        Method to what it leaves open: choice to energy.
    silent
        Method to the reason why it cannot charge these counts.
    traffic
        Counts and prices of what moved, where asked for.
    """

    title: str
    energies: Sequence[Energy]
    baselines: Mapping[str, Energy | str] = field(default_factory=dict)
    bounds: Mapping[str, Mapping[str, Energy]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    traffic: tuple[Counts, Profile] | None = None


def account(
    title: str,
    counts: Counts,
    methods: Sequence[str] | None = USUAL,
    pricing: Pricing | None = None,
    options: Options | None = None,
    against: str | None = None,
    traffic: bool = False,
) -> Account:
    """Charge counts by several methods.

    Parameters
    ----------
    title
        Whose counts.
    counts
        Of one sample or several.
    methods
        Names; None for all of them, but those that cannot charge these counts.
    pricing
        Whose prices.
    options
        Each must be declared by one of the methods.
    against
        What the network is held against, "ann" or "qnn".
    traffic
        Whether to tell what moved.

    Raises
    ------
    OptionError, ProfileError
        If there is no such method, option or profile, one that is named cannot charge these counts, none of all can,
        or none has a price for `against`.
    """
    names = tuple(METHODS) if methods is None else tuple(dict.fromkeys(methods))
    options, pricing = options or Options(), pricing or Pricing()
    for name in names:
        known(name)
    check_options(options, names)
    energies: list[Energy] = []
    silent: dict[str, str] = {}
    for name in names:
        try:
            energies.append(charge(counts, name, pricing.of_method(name), _own(options, name)))
        except EvsimError as error:
            if methods is not None:
                raise
            silent[name] = error.fact if isinstance(error, MissingPriceError) else str(error)
    if not energies:
        raise OptionError(f"no method can charge {title}: {'; '.join(f'{k}: {why}' for k, why in silent.items())}")
    able = [energy.method for energy in energies]
    baselines = {name: _baseline(counts, against, name, pricing, options) for name in able} if against else {}
    if baselines and all(isinstance(reason, str) for reason in baselines.values()):
        raise OptionError(str(next(iter(baselines.values()))))
    bounds = {name: each for name in able if (each := _bounds(counts, name, pricing, options))}
    samples = "" if counts.samples == 1 else f", mean of {counts.samples} samples"
    moved = (counts, pricing.of_method("counted-memory")) if traffic else None
    return Account(f"{title}{samples}", energies, baselines, bounds, silent, moved)


def _own(options: Options, method: str) -> Options:
    return options.only(METHODS[method].options)


def _baseline(counts: Counts, against: str, method: str, pricing: Pricing, options: Options) -> Energy | str:
    """Return the energy of what the network is held against, or why this method has none."""
    try:
        return charge_baseline(counts, against, method, pricing.of_method(method), _own(options, method))
    except EvsimError as error:
        return str(error)


def _bounds(counts: Counts, method: str, pricing: Pricing, options: Options) -> dict[str, Energy]:
    """Return the energy under every choice that a method leaves open, if it tells them."""
    chosen = METHODS[method]
    if chosen.bounds is None:
        return {}
    own = own_options(chosen, _own(options, method))
    return dict(chosen.bounds(counts, pricing.of_method(method), own))
