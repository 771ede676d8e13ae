"""A run as a report: the headline, where operations and energy go by section or layer, and how the energies come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evsim.api import Run, Sample
from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy import Profile, exact, load_profile, paper, place
from evsim.energy.paper import NonSpike
from evsim.manual import page
from evsim.report.sharing import sharing_lines, with_sharing
from evsim.report.tables import Column, Report, Table, Tone, count, energy, significant
from evsim.workload import workload

WHY = f"exact: counted; paper: estimated from firing rates ({page('counting')})"
"""The difference in one line."""

MOST_SECTIONS = 20
"""Sections up to which each block is one; beyond, blocks of a stage are."""

FITTING = {"int8": "45nm-int8-sum32", "int16": "45nm-int16"}
"""Precision of an integer network to the profile whose prices are those of its additions, of 32 bit."""

LAYERS = (
    Column("layer"), Column("kind", drop=4), Column("input", "share", drop=3), Column("fires", "share", drop=5),
    Column("dense MACs", "count", drop=1), Column("SOPs", "count"), Column("MACs", "count", drop=6),
    Column("paper SOPs", "count", drop=1), Column("exact", "energy"), Column("paper", "energy"),
)  # fmt: skip

DIGITS = (
    Column("digit"), Column("predicted"), Column("SOPs", "count"), Column("MACs", "count", drop=1),
    Column("of dense MACs", "share", drop=2), Column("exact", "energy"), Column("paper", "energy"),
)  # fmt: skip

SECTIONS = (
    Column("section"), Column("fires", "share", drop=3), Column("dense MACs", "count", drop=2),
    Column("SOPs", "count"), Column("MACs", "count"), Column("paper SOPs", "count", drop=1),
    Column("exact", "energy"), Column("paper", "energy"),
)  # fmt: skip


def run_report(
    run: Run, profile: Profile | None = None, nonspike: NonSpike = "binary-only", *, layers: bool = False
) -> Report:
    """Return headline, table and derivation of the energies.

    Parameters
    ----------
    run
        What ran.
    profile
        Prices of the energies.
    nonspike
        How the paper's columns charge integers.
    layers
        Whether the table has a row for each layer instead of each section.
    """
    profile = profile or load_profile()
    counts, mine, theirs = run.counts, run.exact(profile).energy_mj, run.paper(profile, nonspike).energy_mj
    acs, macs = paper.totals(counts, nonspike)
    table = _layers(run, profile, nonspike) if layers else _sections(run, profile, nonspike)
    prices = f"{counts.sops:,} SOPs x {profile.e_ac_pj} pJ + {counts.macs:,} MACs x {profile.e_mac_pj} pJ"
    estimate = f"{significant(acs / 1e9)} G AC, {significant(macs / 1e9)} G MAC, estimated from firing rates"
    energies = [
        f"energy, exact: {energy(mine)}  ({prices})",
        f"energy, paper: {energy(theirs)}  ({estimate})",
        f"exact / paper: {significant(mine / theirs) if theirs else 'not defined, the paper charges nothing'}",
        *_both_settings(run, profile),
        *sharing_lines(counts),
        *_of_integers(run, profile),
        WHY,
    ]
    return Report(headline(run, mine), (table, "\n".join(energies)))


def demo_report(runs: Mapping[str, Run], *, layers: bool = False) -> Report:
    """Return what the runs of several digits predict and cost, and where it goes in the first of them.

    Parameters
    ----------
    runs
        Digit to run.
    layers
        As `run_report` takes it.
    """
    rows = tuple(
        (digit, run.label(run.prediction) or str(run.prediction), run.counts.sops, run.counts.macs,
         (run.counts.sops + run.counts.macs) / run.counts.dense_macs_with_attention,
         run.exact().energy_mj, run.paper().energy_mj)
        for digit, run in runs.items()
    )  # fmt: skip
    tones: tuple[Tone, ...] = tuple("good" if row[0] == row[1] else "bad" for row in rows)
    right = sum(row[0] == row[1] for row in rows)
    first = next(iter(runs.values()))
    told = run_report(first, layers=layers)
    table = replace(told.tables[0], title=f"digit {next(iter(runs))}, by {'layer' if layers else 'section'}")
    return Report(
        (f"{right} of {len(rows)} digits recognised; {told.headline[1]}", told.headline[-1]),
        (Table(DIGITS, rows, tones=tones), table, WHY),
    )


def _of_integers(run: Run, profile: Profile) -> list[str]:
    """Say which profile fits an integer network, where it is charged by prices of floats."""
    fitting = FITTING.get(run.precision)
    if fitting is None or profile.number == "int":
        return []
    return [
        f"{profile.name} prices floats, but this ran in {run.precision}: `profile={fitting}` prices such additions",
    ]


def headline(run: Run, exact_mj: float) -> tuple[str, ...]:
    """Return the prediction, what it took, and on what it ran."""
    order = np.argsort(-run.logits, kind="stable")[:5]
    names = [run.label(int(i)) for i in order]
    best = f"prediction: class {run.prediction}" + (f" ({names[0]})" if names[0] else "")
    top = "  ".join(f"{name or int(i)} {run.logits[i]:.3f}" for i, name in zip(order, names, strict=True))
    cost = f"{count(run.counts.sops)} SOPs, {energy(exact_mj)}, {fewer(run.counts)}"
    return best, cost, f"top {len(order)} (logits): {top}", _input_line(run), *_left_out(run)


def fewer(counts: Counts) -> str:
    """Return how many times fewer operations there were than a dense implementation has, attention included."""
    dense = counts.dense_macs_with_attention * counts.samples
    mine = counts.sops + counts.macs
    if not mine:
        return "no operations at all"
    if not dense:
        return "no dense layer to hold it against"
    if mine <= dense:
        return f"{significant(dense / mine)} times fewer operations than dense"
    return f"{significant(mine / dense)} times more operations than dense"


def sections(counts: Counts) -> dict[str, str]:
    """Return the section of every layer by its name: its block, or its stage where there are many blocks."""
    names = [layer.name for layer in counts.layers]
    key = "block" if len({place(name, "block") for name in names}) <= MOST_SECTIONS else "stage"
    return {name: place(name, key) for name in names}


@dataclass
class _Section:
    """Sums over the layers of a section."""

    dense: int = 0
    sops: int = 0
    macs: int = 0
    paper_acs: float = 0.0
    exact_mj: float = 0.0
    paper_mj: float = 0.0
    spikes: int = 0
    neurons: int = 0

    def add(self, layer: LayerCounts, paper_acs: float, exact_mj: float, paper_mj: float) -> None:
        """Add a layer."""
        match layer:
            case NeuronCounts():
                if not layer.silent:
                    self.spikes += int(layer.spikes.sum())
                    self.neurons += _chances(layer)
            case SynapseCounts() | AttentionCounts():
                pass
            case _:
                raise unknown_row(layer, "the table of a run", "it has no columns for it")
        self.dense += layer.dense_macs
        self.sops += int(layer.sops.sum())
        self.macs += int(layer.macs.sum())
        self.paper_acs += paper_acs
        self.exact_mj += exact_mj
        self.paper_mj += paper_mj

    def row(self, name: str) -> tuple[str | int | float | None, ...]:
        """Return a row of `SECTIONS`."""
        rate = self.spikes / self.neurons if self.neurons else None
        return (
            name, rate, self.dense or None, self.sops, self.macs, self.paper_acs, self.exact_mj, self.paper_mj,
        )  # fmt: skip


def _sections(run: Run, profile: Profile, nonspike: NonSpike) -> Table:
    counts = run.counts
    estimates = paper.estimate(counts, nonspike)
    mine, theirs = exact.layers_mj(counts, profile), paper.layers_mj(counts, profile, nonspike)
    parts: dict[str, _Section] = {}
    whole, graded, where = _Section(), set(), sections(counts)
    hidden = not_spikes(run)
    for layer in counts.layers:
        part = parts.setdefault(where[layer.name], _Section())
        for each in (part, whole):
            each.add(layer, estimates[layer.name].acs, mine[layer.name], theirs[layer.name])
        if layer.name in hidden:
            graded.add(where[layer.name])
    rows = tuple(part.row(name) for name, part in parts.items())
    tones: tuple[Tone, ...] = tuple("bad" if name in graded else "" for name in parts)
    table = Table(SECTIONS, rows, "", whole.row("total"), tones, bar="exact", bar_drop=5)
    return with_sharing(table, counts, where)


def _layers(run: Run, profile: Profile, nonspike: NonSpike) -> Table:
    counts = run.counts
    estimates = paper.estimate(counts, nonspike)
    mine, theirs = exact.layers_mj(counts, profile), paper.layers_mj(counts, profile, nonspike)
    rows = tuple(
        _layer(layer, estimates[layer.name].acs, mine[layer.name], theirs[layer.name]) for layer in counts.layers
    )
    hidden = not_spikes(run)
    tones: tuple[Tone, ...] = tuple(
        "bad" if layer.name in hidden else "quiet" if isinstance(layer, NeuronCounts) else "" for layer in counts.layers
    )
    acs, _ = paper.totals(counts, nonspike)
    dense = counts.dense_macs_with_attention
    total = (
        "total", None, None, None, dense, counts.sops, counts.macs, acs, run.exact(profile).energy_mj,
        run.paper(profile, nonspike).energy_mj,
    )  # fmt: skip
    table = Table(LAYERS, rows, "", total, tones, bar="exact", bar_drop=2)
    return with_sharing(table, counts, {layer.name: layer.name for layer in counts.layers})


def _layer(
    layer: LayerCounts, paper_acs: float, exact_mj: float, paper_mj: float
) -> tuple[str | int | float | None, ...]:
    match layer:
        case NeuronCounts():
            rate = None if layer.silent else int(layer.spikes.sum()) / _chances(layer)
            return (layer.name, layer.neuron, None, rate, None, None, None, None, None, None)
        case SynapseCounts() | AttentionCounts():
            kind = layer.kind if isinstance(layer, SynapseCounts) or layer.attention == "ssa" else layer.attention
            density = int(layer.input_nonzeros.sum()) / max(1, int(layer.input_size.sum()))
            return (
                layer.name, kind, density, None, layer.dense_macs, int(layer.sops.sum()), int(layer.macs.sum()),
                paper_acs, exact_mj, paper_mj,
            )  # fmt: skip
    raise unknown_row(layer, "the table of a run", "it has no columns for it")


def _chances(layer: NeuronCounts) -> int:
    """Return how many spikes its neurons could have emitted."""
    return int(layer.input_size.sum()) * (layer.geometry.levels if layer.virtual else 1)


def not_spikes(run: Run) -> set[str]:
    """Return the hidden layers that read other values than spikes, by declaration."""
    works = workload(run.network)
    return {
        layer.name
        for layer in run.counts.layers
        if not isinstance(layer, NeuronCounts) and layer.input_kind != "spikes" and works[layer.name].role == "hidden"
    }


def _both_settings(run: Run, profile: Profile) -> list[str]:
    """Return the paper's estimate in both settings where they differ: where layers read sums of spikes."""
    binary, events = run.paper(profile), run.paper(profile, "integer-as-events")
    if binary.energy_mj == events.energy_mj:
        return []
    return [
        "paper, by how integers (spikes added to spikes) are charged:",
        f"  binary-only      : {energy(binary.energy_mj)}  (as dense MACs; shipped setting of the authors' tool)",
        f"  integer-as-events: {energy(events.energy_mj)}  (k as k accumulates; implied by Spikformer's figures)",
    ]


def _input_line(run: Run) -> str:
    sample = run.sample
    events = f", {fed_of(sample)}" if sample.events is not None else ""
    shape = list(sample.values.shape)
    return (
        f"{run.network.name} on {sample.path or 'an array'} ({sample.kind}{events}, input {shape}), T = {run.timesteps}"
    )


def fed_of(sample: Sample) -> str:
    """Return how many events the network was fed, and of how many of the file where these are more."""
    fed = sample.events if sample.fed is None else sample.fed
    whole = sample.events if sample.in_file is None else sample.in_file
    return f"{fed:,} events" if fed == whole else f"{fed:,} of {whole:,} events"


def left_out_of(sample: Sample) -> str:
    """Return why events of the file were not fed to the network, and how many; "" where all were."""
    reasons = [f"{number:,} {reason}" for reason, number in sample.left_out.items()]
    if sample.fed is not None and sample.in_file is None:
        reasons.append("the rest of the file, which was not read")
    return ", ".join(reasons)


def _left_out(run: Run) -> list[str]:
    reasons = left_out_of(run.sample)
    return [f"events left out: {reasons}"] if reasons else []
