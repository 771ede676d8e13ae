"""A model as a report: its layers, its facts, and how a synthetic one was calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from evsim.energy import place
from evsim.network import Network
from evsim.quantized import Quantization
from evsim.report.tables import Column, Report, Table, count
from evsim.synthesis import Rate
from evsim.workload import workload

PER_TIMESTEP = "dense MACs / timestep"

MOST_SECTIONS = 20
"""Sections up to which each block is one; beyond, blocks of a stage are."""

NODES = (
    Column("layer"), Column("kind", drop=2), Column("kernel/stride", drop=4), Column("output", drop=3),
    Column("parameters", "count", drop=5), Column(PER_TIMESTEP, "count"),
)  # fmt: skip

SECTIONS = (
    Column("section"), Column("nodes", "whole", drop=1), Column("output", drop=3), Column("parameters", "count"),
    Column(PER_TIMESTEP, "count"),
)  # fmt: skip

RATES = (
    Column("neurons"), Column("target", "share"), Column("reached", "share"),
    Column("error", "share", drop=2, signed=True), Column("in float32", "share", drop=1),
    Column("error in float32", "share", drop=1, signed=True),
)  # fmt: skip


def network_report(network: Network, *, layers: bool = False) -> Report:
    """Return size and input of a model, a table by section or layer, and where its facts came from.

    Parameters
    ----------
    network
        The model.
    layers
        Whether the table has a row for each node instead of each section.
    """
    rows: list[tuple[str, str, str, int, int]] = []
    for node, work in zip(network.nodes, workload(network).values(), strict=True):
        dense = work.row.dense_macs if work.row and work.row.synaptic else 0
        shape = str(network.shapes[node.name])
        rows.append((node.name, type(node).__name__, shape, work.parameters, dense))
    parameters, macs = sum(row[3] for row in rows), sum(row[4] for row in rows)
    if layers:
        table = Table(
            NODES,
            tuple(
                (*row[:2], node.window_told or None, row[2], row[3] or None, row[4] or None)
                for node, row in zip(network.nodes, rows, strict=True)
            ),
            "",
            ("total", "", None, "", parameters, macs),
            bar=PER_TIMESTEP,
            bar_drop=1,
        )
    else:
        names = dict.fromkeys(place(row[0], "block") for row in rows)
        key = "block" if len(names) <= MOST_SECTIONS else "stage"
        parts: dict[str, list[tuple[str, str, str, int, int]]] = {}
        for row in rows:
            parts.setdefault(place(row[0], key), []).append(row)
        sections = tuple(
            (name, len(part), part[-1][2], sum(row[3] for row in part) or None, sum(row[4] for row in part) or None)
            for name, part in parts.items()
        )
        table = Table(SECTIONS, sections, "", ("total", len(rows), "", parameters, macs), bar=PER_TIMESTEP, bar_drop=2)
    spec = network.spec
    size = f"{count(parameters)} parameters, {count(macs)} dense MACs per timestep{_attention(network)}"
    headline = (
        f"{network.name} ({network.family}, {network.variant}): {network.classes} classes, {size}",
        f"input: {spec.kind} [{spec.channels}, {spec.height}, {spec.width}], {spec.timesteps} timesteps, "
        + (
            f"split by {spec.frames}, orientation {spec.orientation}"
            if spec.kind != "image"
            else f"mean {', '.join(map(str, spec.mean))}, std {', '.join(map(str, spec.std))}"
        ),
        *([f"labels: {', '.join(network.labels)}"] if network.labels else []),
        *([_integers(network.quantization)] if network.quantization else []),
    )
    return Report(headline, (table, "\n".join(facts(network))))


def _attention(network: Network) -> str:
    """Return what attention adds to the dense MACs of the table, whose layers have weights."""
    rows = (work.row for work in workload(network).values())
    macs = sum(row.dense_macs for row in rows if row and not row.synaptic)
    return f" (and {count(macs)} of attention)" if macs else ""


def _integers(quantization: Quantization) -> str:
    return (
        f"quantized: {quantization.weights} weights, values in units of 2^-{quantization.fraction}; runs in integers "
        "unless `precision` says float32 or float64"
    )


def rates_report(rates: Sequence[Rate], single: Sequence[Rate]) -> Report:
    """Return target and reached firing rate of every LIF of a synthetic model, in float64 and float32."""
    rows = tuple((a.name, a.target, a.reached, a.error, b.reached, b.error) for a, b in zip(rates, single, strict=True))
    worst = max(abs(rate.error) for rate in (*rates, *single))
    note = f"rates after the max-pool that reads the neurons; worst error {worst:.2%}"
    return Report((), (Table(RATES, rows), note))


def rates_warning(missed: Sequence[Rate]) -> str:
    """Return a line that names the worst of the neurons that miss their target rates."""
    worst = [f"{r.name} wanted {r.target:.4%}, reached {r.reached:.4%} ({r.error:+.1%})" for r in missed[:3]]
    more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
    where = "1 layer" if len(missed) == 1 else f"{len(missed)} layers"
    text = f"the calibration missed its target at {where} of neurons: {'; '.join(worst)}{more}"
    if any(rate.name.endswith("attn_lif") for rate in missed):
        text += "; attention cannot fire as asked where q, k and v are so rare that too few coincide: give higher rates"
    return text


def facts(network: Network) -> list[str]:
    """Return one line per fact about the model: its value and where it came from."""
    width = max(map(len, network.provenance), default=0)
    return [f"{fact:<{width}}  {source}" for fact, source in network.provenance.items()]
