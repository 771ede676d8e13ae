"""A run as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evsim.api import Run
from evsim.counters import AttentionCounts, LayerCounts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy import Profile, exact, load_profile, paper
from evsim.energy.paper import NonSpike
from evsim.network import Network
from evsim.report.text import aligned
from evsim.synthesis import Rate
from evsim.workload import workload

WHY = (
    "exact and paper differ: the paper charges padding taps and the zeros of a real or counted input, scales biases\n"
    "by the firing rate, estimates attention from rates, and takes 0/1 frames for spikes; see docs/counting.md"
)


def run_report(run: Run, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> str:
    """Return prediction, per-layer table and totals; `nonspike` chooses how the paper's columns charge integers."""
    profile = profile or load_profile()
    counts, mine, theirs = run.counts, run.exact(profile).energy_mj, run.paper(profile, nonspike).energy_mj
    estimates = paper.estimate(counts, nonspike)
    energies = (exact.layers_mj(counts, profile), paper.layers_mj(counts, profile, nonspike))
    acs, macs = paper.totals(counts, nonspike)
    rows = [
        ("layer", "kind", "density", "dense MACs", "SOPs", "MACs", "paper SOPs", "mJ", "paper mJ"),
        *(_row(layer, estimates[layer.name].acs, *(each[layer.name] for each in energies)) for layer in counts.layers),
        (
            "total (dense: conv, linear)", "", "", f"{counts.dense_macs:,}", f"{counts.sops:,}", f"{counts.macs:,}",
            f"{acs:,.0f}", f"{mine:.6f}", f"{theirs:.6f}",
        ),
    ]  # fmt: skip
    prices = f"{counts.sops:,} SOPs x {profile.e_ac_pj} pJ + {counts.macs:,} MACs x {profile.e_mac_pj} pJ"
    estimate = f"{acs / 1e9:.6f} G AC, {macs / 1e9:.6f} G MAC, estimated from firing rates"
    return "\n".join(
        [
            _input_line(run),
            "",
            *_prediction(run),
            "",
            *aligned(rows),
            "",
            f"energy, exact : {mine:.6f} mJ  ({prices})",
            f"energy, paper : {theirs:.6f} mJ  ({estimate})",
            f"exact / paper : {mine / theirs if theirs else float('nan'):.4f}",
            *_both_settings(run, profile),
            WHY,
        ]
    )


def _row(layer: LayerCounts, paper_acs: float, exact_mj: float, paper_mj: float) -> tuple[str, ...]:
    match layer:
        case NeuronCounts():
            virtual = layer.geometry.levels if layer.virtual else 1
            rate = int(layer.spikes.sum()) / (int(layer.input_size.sum()) * virtual)
            fires = "potentials" if layer.silent else f"fires {rate:.2%}"
            return (layer.name, layer.neuron, fires, "", "", "", "", "", "")
        case SynapseCounts() | AttentionCounts():
            kind = layer.kind if isinstance(layer, SynapseCounts) or layer.attention == "ssa" else layer.attention
            return (
                layer.name,
                kind,
                f"{layer.input_nonzeros.sum() / max(1, layer.input_size.sum()):.2%}",
                f"{layer.dense_macs:,}",
                f"{int(layer.sops.sum()):,}",
                f"{int(layer.macs.sum()):,}",
                f"{paper_acs:,.0f}",
                f"{exact_mj:.6f}",
                f"{paper_mj:.6f}",
            )
    raise unknown_row(layer, "the table of a run", "it has no columns for it")


def _both_settings(run: Run, profile: Profile) -> list[str]:
    """Return the paper's estimate in both settings where they differ: where layers read sums of spikes."""
    binary, events = run.paper(profile), run.paper(profile, "integer-as-events")
    if binary.energy_mj == events.energy_mj:
        return []
    return [
        "paper, by how integers (spikes added to spikes) are charged:",
        f"  binary-only      : {binary.energy_mj:.6f} mJ  (as dense MACs; the shipped setting of the authors' tool)",
        f"  integer-as-events: {events.energy_mj:.6f} mJ  (k as k accumulates; implied by Spikformer's figures)",
    ]


def network_report(network: Network) -> str:
    """Return the layer table of a model, its input and where its facts came from."""
    rows = [("layer", "kind", "output", "parameters", "dense MACs / timestep")]
    parameters = macs = 0
    for node, work in zip(network.nodes, workload(network).values(), strict=True):
        own = work.parameters
        dense = work.row.dense_macs if work.row and work.row.synaptic else 0
        parameters, macs = parameters + own, macs + dense
        parts, products = (f"{count:,}" if count else "" for count in (own, dense))
        rows.append((node.name, type(node).__name__, str(network.shapes[node.name]), parts, products))
    rows.append(("total", "", "", f"{parameters:,}", f"{macs:,}"))
    spec = network.spec
    lines = [
        f"{network.name} ({network.family}, {network.variant}), {network.classes} classes",
        f"input: {spec.kind} [{spec.channels}, {spec.height}, {spec.width}], {spec.timesteps} timesteps, "
        + (
            f"split by {spec.frames}, orientation {spec.orientation}"
            if spec.kind != "image"
            else f"mean {', '.join(map(str, spec.mean))}, std {', '.join(map(str, spec.std))}"
        ),
        *([f"labels: {', '.join(network.labels)}"] if network.labels else []),
        "",
        *aligned(rows),
        "",
        *facts(network),
    ]
    return "\n".join(lines)


def rates_report(rates: Sequence[Rate], single: Sequence[Rate]) -> str:
    """Return target and reached firing rate of every LIF of a synthetic model, in float64 and float32."""
    rows = [("neurons", "", "target", "reached", "error", "in float32", "error")]
    rows += [
        (a.name, "", f"{a.target:.4%}", f"{a.reached:.4%}", f"{a.error:+.2%}", f"{b.reached:.4%}", f"{b.error:+.2%}")
        for a, b in zip(rates, single, strict=True)
    ]
    worst = max(abs(rate.error) for rate in (*rates, *single))
    return "\n".join([*aligned(rows), "", f"rates after the max-pool that reads the neurons; worst error {worst:.2%}"])


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


def _input_line(run: Run) -> str:
    sample = run.sample
    events = f", {sample.events:,} events" if sample.events is not None else ""
    shape = list(sample.values.shape)
    return (
        f"{run.network.name} on {sample.path or 'an array'} ({sample.kind}{events}, input {shape}), T = {run.timesteps}"
    )


def _prediction(run: Run) -> list[str]:
    order = np.argsort(-run.logits, kind="stable")[:5]
    names = [run.label(int(i)) for i in order]
    best = f"prediction: class {run.prediction}" + (f" ({names[0]})" if names[0] else "")
    top = "  ".join(f"{name or int(i)} {run.logits[i]:.3f}" for i, name in zip(order, names, strict=True))
    return [best, f"top {len(order)} (logits): {top}"]
