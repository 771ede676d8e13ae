"""Energies that are published of other families, and what they imply by the rule that each was charged by."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.converters.family import Family
from evsim.converters.registry import BUILT_IN
from evsim.energy import Profile
from evsim.energy.paper import energy_mj
from evsim.synthesis import skeleton
from evsim.workload import rows

UNCHARGED = "resformer"
"""The rule that charges the first convolution and the classifier nothing."""


@dataclass(frozen=True)
class Reading:
    """What a published energy implies if the first convolution is charged so often.

    Attributes
    ----------
    first
        "once", "every-step" or, where the rule charges it nothing, "never".
    first_mj
        What it is charged.
    gacs
        Accumulates that the energy leaves for the rest; None where the first convolution alone needs more.
    mean_rate
        `gacs` / dense operations of the rest: the mean value of what its layers read.
    """

    first: str
    first_mj: float
    gacs: float | None
    mean_rate: float | None


@dataclass(frozen=True)
class Published:
    """A model whose energy is published.

    Attributes
    ----------
    model, family
        Which.
    energy_mj, sops_g
        As published; the second where operations were counted and published, in 10^9.
    source, unread
        Where they stand, and which of the figures were not read there.
    rule, leaves_out
        The energy method that charges by the same rule, "" if nobody says which; what the rule leaves out.
    dense_gops
        Dense operations of what the rule charges as accumulates, over all timesteps, bias left out.
    readings
        What follows, by how often the first convolution is charged: the papers print it without a T.
    left_out_mj
        What the first convolution would add at every timestep, where the rule charges it nothing; else 0.
    """

    model: str
    family: str
    energy_mj: float
    sops_g: float | None
    source: str
    unread: tuple[str, ...]
    rule: str
    leaves_out: str
    dense_gops: float
    readings: tuple[Reading, ...]
    left_out_mj: float


def published_energies(profile: Profile, leave_out: tuple[str, ...] = ()) -> tuple[Published, ...]:
    """Return every published energy with what it implies at these prices.

    Parameters
    ----------
    profile
        Prices.
    leave_out
        Models that another table has.
    """
    return tuple(
        _published(model, family, profile)
        for family in BUILT_IN.values()
        for model, figures in family.literature.figures.items()
        if figures.energy_mj is not None and model not in leave_out
    )


def _published(model: str, family: Family, profile: Profile) -> Published:
    told = family.literature
    figures, network = told.figures[model], skeleton(model)
    assert figures.energy_mj is not None
    steps = network.spec.timesteps
    charged = rows(network)
    if told.rule == UNCHARGED:
        last = next(work.name for work, row in reversed(charged) if row.synaptic)
        charged = tuple((work, row) for work, row in charged if work.name != last)
    rest = sum((1 if work.runs_once else steps) * row.dense_macs for work, row in charged if not work.reads_input)
    firsts = [(row.dense_macs, 1 if work.runs_once else steps) for work, row in charged if work.reads_input]
    once = energy_mj(0.0, sum(macs for macs, _ in firsts), profile)
    every = energy_mj(0.0, sum(macs * times for macs, times in firsts), profile)
    if told.rule == UNCHARGED:
        readings: dict[str, float] = {"never": 0.0}
    else:
        readings = {"once": once} if every == once else {"once": once, "every-step": every}
    return Published(
        model, family.name, figures.energy_mj, figures.sops_g, figures.source, figures.unread, told.rule,
        told.leaves_out, rest / 1e9,
        tuple(_reading(first, mj, figures.energy_mj, rest, profile) for first, mj in readings.items()),
        every if told.rule == UNCHARGED else 0.0,
    )  # fmt: skip


def _reading(first: str, first_mj: float, total_mj: float, rest: int, profile: Profile) -> Reading:
    acs = (total_mj - first_mj) / energy_mj(1.0, 0.0, profile)
    if acs < 0:
        return Reading(first, first_mj, None, None)
    return Reading(first, first_mj, acs / 1e9, acs / rest)
