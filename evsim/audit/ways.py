"""What each way around computation on other values than spikes costs, measured on synthetic models of published sizes.

A residual network has to join what a block computes with what it read. Adding spikes to spikes makes integers, which
the next layers multiply; the families differ in what they do instead. Each `Way` sets models of one size and one T
side by side that fire at the same rates, and differ in that alone as far as they can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evsim.api import Sample, check_run, run_on
from evsim.counters import AttentionCounts, Counts, LayerCounts, SynapseCounts
from evsim.energy import Profile, load_profile
from evsim.energy.paper import energy_mj
from evsim.engine import Simulator
from evsim.synthesis import synthesize
from evsim.workload import rows


@dataclass(frozen=True)
class Case:
    """One model of a way.

    Attributes
    ----------
    what
        How it goes around, in a few words.
    preset
        Its name.
    facts
        What is told otherwise than the preset has it, as `evsim.synthesis.synthesize` takes it.
    """

    what: str
    preset: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """Models side by side; the first is the one that the others are held against."""

    name: str
    cases: tuple[Case, ...]


FOUR: Mapping[str, object] = {"timesteps": 4}

WAYS = (
    Way(
        "vision transformer 8-512",
        (
            Case("spikes are added to spikes", "spikformer-8-512-imagenet"),
            Case("neurons before each branch", "spikingformer-8-512-imagenet"),
            Case("membrane shortcut, masks for attention", "sdt-8-512"),
        ),
    ),
    Way(
        "ResNet-34, T = 4",
        (
            Case("spikes are added to spikes (SEW, ADD)", "sew-resnet-34-imagenet"),
            Case("spikes stop spikes (SEW, IAND)", "sew-resnet-34-imagenet", {"connect": "iand"}),
            Case("spikes gate spikes (SEW, AND)", "sew-resnet-34-imagenet", {"connect": "and"}),
            Case("real sums before the last neurons", "spiking-resnet-34-imagenet"),
            Case("membrane shortcut (MS-ResNet)", "ms-resnet-34-imagenet", FOUR),
        ),
    ),
    Way(
        "Spike-driven Transformer V2, 8-384",
        (
            Case("convolutions apart", "sdt-v2-8-384-imagenet", {"fold": False}),
            Case("folded into one each", "sdt-v2-8-384-imagenet"),
        ),
    ),
    Way(
        "Spike-driven Transformer V3, m",
        (Case("integers in place of timesteps", "sdt-v3-m-imagenet"),),
    ),
)
"""The ways, by the size on which they are compared; rates are assumed but for Spikingformer's."""


@dataclass(frozen=True)
class Cost:
    """What one model of a way did on the input that it was calibrated on.

    Attributes
    ----------
    way, what, preset, facts
        As `Way` and `Case` have them.
    timesteps
        T.
    sops
        Accumulates on spikes.
    macs_first, macs_inside
        Multiply-accumulates of the first layer and of the head, on real values; those of all layers between.
    integers
        Of those inside, the ones on integers.
    unrolled
        Accumulates that these are where each integer counts as so many spikes.
    exact_mj, unrolled_mj
        Energy of the counts: integers multiplied once, or accumulated as often as they say.
    worst_rate_error
        Greatest relative distance of a firing rate from its target.
    """

    way: str
    what: str
    preset: str
    facts: Mapping[str, object]
    timesteps: int
    sops: int
    macs_first: int
    macs_inside: int
    integers: int
    unrolled: int
    exact_mj: float
    unrolled_mj: float
    worst_rate_error: float


def costs(ways: Sequence[Way] = WAYS, seed: int = 0, threads: int | None = None) -> Iterator[Cost]:
    """Yield what every model of every way costs, at its published or assumed rates.

    Parameters
    ----------
    ways
        Which.
    seed
        As `evsim.synthesis.synthesize` takes it.
    threads
        As `evsim.api.simulate` takes it.

    Raises
    ------
    OptionError, NetworkError
        If a preset or fact makes no sense.
    """
    check_run(threads)
    profile = load_profile()
    return (_cost(way.name, case, seed, threads, profile) for way in ways for case in way.cases)


def _cost(way: str, case: Case, seed: int, threads: int | None, profile: Profile) -> Cost:
    model = synthesize(case.preset, seed=seed, facts=case.facts)
    run = run_on(Simulator(model.network, threads=threads), Sample(model.sample, "synthetic", "npy"))
    hidden = {work.name for work, row in rows(model.network) if row.synaptic and work.role == "hidden"}
    inside, integers, unrolled = _inside(run.counts, hidden)
    sops, macs = run.counts.sops, run.counts.macs
    pairs = sum(_more_pairs(layer) for layer in run.counts.layers)
    return Cost(
        way, case.what, case.preset, dict(case.facts), model.network.spec.timesteps, sops, macs - inside, inside,
        integers, unrolled, energy_mj(sops, macs, profile),
        energy_mj(sops + pairs + unrolled, macs - integers, profile),
        max(abs(rate.error) for rate in model.rates_float32),
    )  # fmt: skip


def _inside(counts: Counts, hidden: set[str]) -> tuple[int, int, int]:
    """Return the MACs of hidden layers, those of them on integers, and the accumulates that these stand for."""
    inside = integers = unrolled = 0
    for layer in counts.layers:
        if isinstance(layer, SynapseCounts) and layer.name in hidden:
            macs = int(layer.macs.sum())
            inside += macs
            if macs and layer.acs_unrolled is not None:
                integers += macs
                unrolled += int(layer.acs_unrolled.sum())
    return inside, integers, unrolled


def _more_pairs(layer: LayerCounts) -> int:
    """Return by how much attention on integers counts more where each is as many spikes as it says."""
    if isinstance(layer, AttentionCounts) and layer.acs_unrolled is not None:
        return int(layer.acs_unrolled.sum()) - int(layer.sops.sum())
    return 0
