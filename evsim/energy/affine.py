"""M6, an affine chip: ``E = P_static time + P_idle frequency time + E_sop SOP``.

The time of an inference and the clock come from the user, never from the clock of the simulation. A profile without
powers (a published average at an operating point holds them already) needs neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.method import Method
from evsim.energy.operations import charge_events
from evsim.energy.options import checked
from evsim.energy.profile import Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError

MICROWATT_MS_TO_PICO = 1e3
"""1 uW for 1 ms is 1 nJ."""


@dataclass(frozen=True)
class Options:
    """Duration of one inference and clock, for the powers that a profile gives; never taken from the simulation."""

    time_ms: float | None = None
    frequency_mhz: float | None = None

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge synaptic operations, and the powers that the profile gives over the time of an inference."""
    ledger, e_sop = Ledger(counts, METHOD.name, profile), profile.price("e_sop_pj")
    for layer in counts.layers:
        match layer:
            case SynapseCounts() | AttentionCounts():
                charge_events(ledger, layer, e_sop)
            case NeuronCounts():
                pass  # such a chip's energy per operation holds its neurons
            case _:
                raise ledger.refusal(layer)
    for power in _powers(profile, options):
        assert options.time_ms is not None
        charge_power(ledger, counts, power, options.time_ms)
    return ledger.energy()


def charge_power(ledger: Ledger, counts: Counts, power_uw: Price, time_ms: float) -> None:
    """Charge a power over the time of an inference, in equal parts to all timesteps."""
    steps = counts.timesteps
    each = np.full(steps, time_ms * MICROWATT_MS_TO_PICO * max(1, counts.samples) / steps)
    ledger.charge(None, "static power", each, power_uw)


def _powers(profile: Profile, options: Options) -> Iterator[Price]:
    """Yield the powers that a profile gives, in microwatts."""
    asked = {
        "time_ms": profile.gives("p_static_uw") or profile.gives("p_idle_uw_per_mhz"),
        "frequency_mhz": profile.gives("p_idle_uw_per_mhz"),
    }
    if missing := [f"`{key}`" for key, needed in asked.items() if needed and getattr(options, key) is None]:
        raise OptionError(
            f"method affine with profile {profile.label} needs {' and '.join(missing)}: it gives power, not energy"
        )
    if profile.gives("p_static_uw"):
        yield profile.price("p_static_uw")
    if profile.gives("p_idle_uw_per_mhz"):
        idle, frequency = profile.price("p_idle_uw_per_mhz"), options.frequency_mhz
        assert frequency is not None
        yield Price(idle.low * frequency, idle.high * frequency, idle.source)


METHOD = Method(
    "affine",
    "power times time, and operations",
    needs="e_sop_pj; with powers time_ms",
    prices=(("e_sop_pj",),),
    profile="truenorth",
    energy=energy,
    options=Options,
)
