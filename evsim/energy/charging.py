"""The way in to all energy methods: `charge` counts by the name of a method, and read options from texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from evsim.counters import Counts
from evsim.energy.fit import refusal
from evsim.energy.method import Charge, Method
from evsim.energy.methods import BASELINES, METHODS
from evsim.energy.options import Options, Value, choices, option_names
from evsim.energy.profile import MissingPriceError, Profile
from evsim.energy.profilefile import load_profile
from evsim.energy.result import Energy
from evsim.errors import OptionError


def charge(
    counts: Counts, method: str = "exact", profile: str | Profile | None = None, options: Options | None = None
) -> Energy:
    """Charge counts by a method.

    Parameters
    ----------
    counts
        Of one sample or several; the energy is the mean per sample.
    method
        A name of `METHODS`.
    profile
        Bundled name, TOML file or `Profile`; by default one that the method can use.
    options
        What the method leaves open.

    Raises
    ------
    OptionError
        If there is no such method, it does not declare an option that is given, or it cannot answer for these counts.
    ProfileError
        If the profile cannot be read or lacks a price; it names the methods that can use it.
    """
    chosen, options = known(method), options or Options()
    return _charged(chosen.energy, chosen, counts, _loaded(profile, chosen), options)


def charge_baseline(
    counts: Counts, against: str, method: str, profile: str | Profile | None = None, options: Options | None = None
) -> Energy:
    """Charge what the network is held against, "ann" or "qnn", as `charge` does; errors likewise."""
    chosen, options = known(method), options or Options()
    if against not in BASELINES:
        raise OptionError(f"`against` takes {' or '.join(BASELINES)}, got {against}")
    if against not in chosen.baselines:
        able = ", ".join(BASELINES[against])
        raise OptionError(f"method {method} has no price for `against={against}`; the methods that have: {able}")
    return _charged(chosen.baselines[against], chosen, counts, _loaded(profile, chosen), options)


def known(method: str) -> Method:
    """Return the method of that name.

    Raises
    ------
    OptionError
        If there is none.
    """
    if method not in METHODS:
        raise OptionError(f"no energy method is named {method}; known are {', '.join(METHODS)}")
    return METHODS[method]


def own_options(method: Method, options: Options) -> Any:
    """Return options in the form that a method declares; errors as `check_options` with that method alone."""
    check_options(options, (method.name,))
    return method.options(**options.values)


def check_options(options: Options, methods: Sequence[str]) -> None:
    """Refuse options that none of the chosen methods declares, and values that no declaration allows.

    Raises
    ------
    OptionError
        If there is one; the message names the methods that take it.
    """
    for key, value in options.values.items():
        able = takers(key)
        if not able:
            raise OptionError(f"no energy method takes an option {key}; there are {', '.join(every_option())}")
        for name in able:
            METHODS[name].options(**{key: value})
        if not set(able) & set(methods):
            chosen = f"method {methods[0]} does" if len(methods) == 1 else f"methods {', '.join(methods)} do"
            whose = f"method {able[0]} does" if len(able) == 1 else f"methods {', '.join(able)} do"
            raise OptionError(f"{chosen} not take the option `{key}`, {whose}; leave it out or choose another `method`")


def takers(option: str) -> tuple[str, ...]:
    """Return the names of the methods that declare an option."""
    return tuple(name for name, method in METHODS.items() if option in option_names(method.options))


def every_option() -> tuple[str, ...]:
    """Return the names of all options of all methods, `leave_out` first."""
    return tuple(
        dict.fromkeys(["leave_out", *(key for method in METHODS.values() for key in option_names(method.options))])
    )


def parsed(texts: Iterable[str], start: Options | None = None) -> Options:
    """Return options from texts such as ``sram=fit``.

    Raises
    ------
    OptionError
        If one is no such text, names no option, or has no usable value.
    """
    options = start or Options()
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in every_option():
            raise OptionError(f"`set` takes NAME=VALUE, got {text}; names are {', '.join(every_option())}")
        if key == "leave_out":
            options = Options([part for part in value.split(",") if part], **options.values)
        else:
            options = options.changed(**{key: _value(key, value)})
    return options


def _value(key: str, text: str) -> Value:
    if any(choices(METHODS[name].options, key) for name in takers(key)):
        return text
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"`set` {key} takes a number, got {text}") from None


def _charged(charge: Charge, method: Method, counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge by a method or one of its baselines; say of a profile without its prices who can use it."""
    import numpy as np

    own = own_options(method, options)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the ledger refuses what is no number
            return charge(_kept(counts, options), profile, own)
    except MissingPriceError as error:
        raise refusal(error, method, profile) from error


def _loaded(profile: str | Profile | None, method: Method) -> Profile:
    return profile if isinstance(profile, Profile) else load_profile(profile or method.profile)


def _kept(counts: Counts, options: Options) -> Counts:
    if not options.leave_out:
        return counts
    return replace(counts, layers=tuple(layer for layer in counts.layers if layer.kind not in options.leave_out))
