"""Which methods can use a profile, and what to do about one that lacks a price."""

from __future__ import annotations

from collections.abc import Sequence

from evsim.energy.method import Method
from evsim.energy.methods import METHODS
from evsim.energy.profile import PRICES, MissingPriceError, Profile

OPERATIONS = ("e_ac_pj", "e_mac_pj")
"""Prices that may be given without a profile, by `Profile.priced` or on the command line."""

MOST_NAMED = 3
"""Prices that a message explains."""


def able(profile: Profile) -> tuple[str, ...]:
    """Return the names of the methods whose prices a profile gives, in the order of `METHODS`."""
    return tuple(name for name, method in METHODS.items() if not method.lacks(profile))


def choose(profile: Profile, usual: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the methods to charge by where a person names a profile alone, and a note if they are not the usual.

    Parameters
    ----------
    profile
        Whose prices.
    usual
        Names of the methods that are charged where the profile gives their prices; else it is the first that can.

    Raises
    ------
    MissingPriceError
        If no method can use the profile.
    """
    if not any(METHODS[name].lacks(profile) for name in usual):
        return tuple(usual), ""
    names = able(profile)
    if not names:
        nearest = min(METHODS.values(), key=lambda method: len(method.lacks(profile)))
        lacks = nearest.lacks(profile)
        raise MissingPriceError(
            f"{_named(profile)}: no energy method can use the profile as it is; nearest is method {nearest.name}, "
            f"for which it gives {_none_of(lacks)}",
            lacks[0],
            _addition(lacks, profile),
        )
    note = f"{_named(profile)} has no prices for {' and '.join(usual)}; charged by `method={names[0]}`"
    return names[:1], note + (f", which can use it, as can {', '.join(names[1:])}" if names[1:] else "")


def refusal(error: MissingPriceError, method: Method, profile: Profile) -> MissingPriceError:
    """Return the error of a price that a method misses: all that it lacks, who lacks nothing, what to add."""
    lacks = method.lacks(profile)
    if error.key not in lacks:  # what a baseline or a setting needs besides
        return MissingPriceError(
            f"{error.fact}, for method {method.name}", error.key, _with(error, (error.key,), profile)
        )
    others = able(profile)
    fact = f"{_named(profile)}: the profile gives {_none_of(lacks)}, which method {method.name} needs"
    take = f"take `method={others[0]}`, which can use it" if others else ""
    if others[1:]:
        take += f", as can {', '.join(others[1:])}"
    rest = _with(error, lacks, profile)
    return MissingPriceError(fact, error.key, f"{take}; or {rest}" if take else rest)


def _named(profile: Profile) -> str:
    return profile.path or profile.name


def _with(error: MissingPriceError, lacks: Sequence[str], profile: Profile) -> str:
    """Return how to get prices that are missing, and what else the method itself advised."""
    return f"{_addition(lacks, profile)}, or {error.advice}"


def _none_of(keys: Sequence[str]) -> str:
    named = ["no [sram]" if key == "sram" else f"no {key} ({PRICES[key]})" for key in keys[:MOST_NAMED]]
    more = [f"{len(keys) - MOST_NAMED} more"] if len(keys) > MOST_NAMED else []
    *first, last = [*named, *more]
    return f"{', '.join(first)} and {last}" if first else last


def _addition(keys: Sequence[str], profile: Profile) -> str:
    tables = [f"[{key}]" for key in keys[:MOST_NAMED]] + ["..."] * (len(keys) > MOST_NAMED)
    own = profile.path.endswith(".toml")
    ways = [f"add {', '.join(tables)} to {'it' if own else 'a .toml file of your own'}"]
    if set(keys) <= set(OPERATIONS):
        option = f"give {' and '.join(f'`{key}`' for key in keys)}"
        ways = [*ways, option] if own else [option]
    return ", or ".join(ways)
