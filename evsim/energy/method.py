"""What an energy method is: one file that declares all of this at its end, and a line in `evsim.energy.methods`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evsim.counters import Counts
from evsim.energy.options import NoOptions
from evsim.energy.profile import Profile
from evsim.energy.result import Energy

Charge = Callable[[Counts, Profile, Any], Energy]
"""Counts, prices and the method's own options become an energy."""


@dataclass(frozen=True)
class Method:
    """One way to charge counts.

    Attributes
    ----------
    name, says
        Its name, and what it charges in a line.
    needs
        Prices and whatever else it cannot do without, in words.
    prices
        The same prices by their keys ("sram" for a table of memories): one of these groups must be there whole.
    profile
        A bundled profile that has these prices.
    energy
        Charges counts.
    options
        Dataclass of what it leaves open, with defaults and checks.
    baselines
        What it can hold a network against: name to what charges that.
    variant
        The option that moves it most, all of whose values `evsim.energy.sensitivity` compares; "" for none.
    bounds
        Yields the energy under every choice that it leaves open, one changed at a time; None where it leaves none.
    integer_prices
        The groups in place of `prices` where a profile's numbers are integers; empty if they are the same.
    linear
        Whether it charges accumulates and multiply-accumulates alone, so that one ratio of prices turns a conclusion.
    """

    name: str
    says: str
    needs: str
    prices: tuple[tuple[str, ...], ...]
    profile: str
    energy: Charge
    options: type = NoOptions
    baselines: Mapping[str, Charge] = field(default_factory=dict)
    variant: str = ""
    bounds: Callable[[Counts, Profile, Any], Iterator[tuple[str, Energy]]] | None = None
    integer_prices: tuple[tuple[str, ...], ...] = ()
    linear: bool = False

    def lacks(self, profile: Profile) -> tuple[str, ...]:
        """Return the prices that a profile would have to give besides its own; of several groups those of the nearest.

        A network may ask less: one that reads spikes alone needs no price of a multiply-accumulate.
        """
        groups = self.integer_prices if profile.number == "int" and self.integer_prices else self.prices
        missing = (tuple(key for key in group if not profile.gives(key)) for group in groups)
        return min(missing, key=len)
