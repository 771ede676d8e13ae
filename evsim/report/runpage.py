"""A run as a page of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evsim.api import Run
from evsim.audit.accounts import account
from evsim.charts import layers, spikes, time
from evsim.charts.layers import joules
from evsim.energy import METHODS, Profile
from evsim.energy.paper import NonSpike
from evsim.report.breakdown import energy_document
from evsim.report.page import Page, Section, Tile, facts, html, items, pictures, table
from evsim.report.pictures import strip, whole
from evsim.report.reasons import reason
from evsim.report.run import fed_of, left_out_of
from evsim.spikesfile import attentions

METHODS_SHOWN = ("paper", "exact", "counted-memory")

WHY = (
    "Exact charges every operation that was counted; the paper's estimate multiplies dense operations by firing rates. "
    "Striped layers read other values than spikes, so they multiply."
)


def run_page(
    run: Run,
    profile: Profile | None = None,
    nonspike: NonSpike = "binary-only",
    notes: Sequence[str] = (),
    command: str = "",
) -> str:
    """Return a run as one page of HTML that needs nothing else.

    Parameters
    ----------
    run
        With recorded spikes, answers over time and detail its page shows those too.
    profile, nonspike
        Prices, and how the paper's estimate charges integers.
    notes
        What was said of the model and its input.
    command
        The line that was typed.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    document, title = run.to_dict(profile, nonspike), run.network.name
    origin = run.origin()
    frames = strip(run)
    kind = "image" if len(frames) == 1 and run.network.spec.kind == "image" else "frames"
    sections = [
        Section("Input", _fed(run, kind), html=pictures(frames)),
        Section("Prediction", chart=time.logits(document["prediction"], run.network.labels, title)),
        Section("Energy per layer", WHY, layers.energy(document["layers"], title)),
        *_costs(run, title),
        *_rates(document, title),
        Section(
            "Operations against a dense network",
            "What was computed, and what a dense network of the same shape would compute.",
            layers.operations(document["layers"], title),
        ),
        *_anytime(document, run),
        *_spikes(run, title),
        Section("Exact against paper", html=differences(document["layers"])),
        Section("Assumptions", html=items(_assumptions(run, document, notes))),
        Section(
            "Sources",
            html=facts(
                {
                    "model": f"{title} ({run.network.family})",
                    "SHA-256 of graph and weights": origin.model_digest,
                    "input": origin.inputs[0][0] or run.sample.kind,
                    "SHA-256 of what the network was fed": origin.inputs[0][1],
                    "precision": run.precision,
                }
            ),
        ),
    ]
    source = run.sample.path or run.sample.kind
    lead = f"{title} on {source}, {run.timesteps} timesteps, {run.precision}"
    return html(Page(f"{title}: {_answer(run)}", lead, _tiles(run, document), sections, command, origin.versions))


def differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of both energies of each layer and why they differ."""
    lines = [
        {
            "layer": layer["name"],
            "reads": layer["input_kind"],
            "exact": _unbroken(layer["energy_mj"]),
            "paper": _unbroken(layer["paper"]["energy_mj"]),
            "ratio": f"{layer['energy_mj'] / layer['paper']['energy_mj']:.3f}" if layer["paper"]["energy_mj"] else "",
            "why": reason(layer),
        }
        for layer in rows
        if layer["kind"] != "lif"
    ]
    return table(
        lines, "Exact energy and the paper's estimate of each layer", {"ratio": "exact / paper"}, sentences=True
    )


def _unbroken(mj: float) -> str:
    return joules(mj).replace(" ", "\N{NO-BREAK SPACE}")


def _answer(run: Run) -> str:
    name = run.label(run.prediction)
    return f"class {run.prediction}" if name is None else name


def _class(run: Run) -> str:
    """Return which class the answer is, as its name may be a number too."""
    every = f"0 to {len(run.logits) - 1:,}"
    return f"of the classes {every}" if run.label(run.prediction) is None else f"class {run.prediction} (of {every})"


def _tiles(run: Run, document: Mapping[str, Any]) -> list[Tile]:
    counts, totals = run.counts, document["totals"]
    done = totals["sops"] + totals["macs"]
    dense = totals["dense_macs_with_attention"]
    mine, theirs = totals["energy_mj"], totals["paper"]["energy_mj"]
    return [
        Tile(_answer(run), "Prediction", _class(run)),
        Tile(joules(mine), "Energy, exact", f"{counts.sops:,} SOPs, {counts.macs:,} MACs"),
        Tile(joules(theirs), "Energy, paper", f"the exact energy is {mine / theirs:.1%} of this" if theirs else ""),
        Tile(
            f"{dense / done:.1f} ×" if done else "none",
            "Fewer operations than dense",
            f"{dense:,} dense MACs, attention included",
        ),
    ]


def _fed(run: Run, kind: str) -> str:
    reasons = left_out_of(run.sample)
    events = "" if run.sample.events is None else f", made of {fed_of(run.sample)}"
    events += f" (left out: {reasons})" if reasons else ""
    size = " x ".join(map(str, run.sample.values.shape))
    if kind == "image":
        return f"The image as the network takes it, {size}, shown before it is normalised."
    return f"The {kind} that the network was fed, {size}{events}. ON events are red, OFF events blue."


def _costs(run: Run, title: str) -> list[Section]:
    """Return energy by kind of cost, by the methods that can charge this run."""
    able = [name for name in METHODS_SHOWN if name != "counted-memory" or _detailed(run)]
    told = energy_document(account(title, run.counts, able))
    says = "; ".join(f"{name}: {METHODS[name].says}" for name in able)
    return [Section("Energy by kind of cost", f"{says}.", layers.costs(told["models"], title))]


def _detailed(run: Run) -> bool:
    return all(layer.traffic is not None for layer in run.counts.layers)


def _rates(document: Mapping[str, Any], title: str) -> list[Section]:
    if not any(layer["kind"] == "lif" for layer in document["layers"]):
        return []
    return [
        Section(
            "Firing rate against depth", "Spikes per neuron and timestep, layer by layer from the input.",
            layers.rates(document["layers"], title),
        )
    ]  # fmt: skip


def _anytime(document: Mapping[str, Any], run: Run) -> list[Section]:
    moments = document.get("anytime", [])
    if sum(moment["logits"] is not None for moment in moments) < 2:
        return []
    text = "What would have been answered after each timestep, and the energy until then; large dots are the answer."
    return [Section("Answers over time", text, time.answers(moments, run.network.labels, run.network.name))]


def _spikes(run: Run, title: str) -> list[Section]:
    if not run.spikes:
        return []
    rasters = Section(
        "Spikes",
        _panels(run),
        spikes.raster(run.spikes, title),
    )
    heads = [each for each in attentions(run.network) if {each.q, each.k} <= run.spikes.keys()]
    if not heads or max(each.height * each.width for each in heads) > spikes.MOST_CELLS:
        return [rasters]
    text = (
        "A map for each head, over the input: the darker a place (a token), the more spikes its key has in common "
        "with the queries of all tokens, so the more the head looks at it. Each map has its own scale."
    )
    chart = spikes.attention(run.spikes, heads, title, whole(run.sample, run.network.spec))
    return [rasters, Section("Where attention looks", text, chart)]


def _panels(run: Run) -> str:
    """Return what the panels of the raster are; the summary below it counts them."""
    layers, most = len(run.spikes), spikes.MOST_LAYERS
    left = f" {most} of the {layers} layers are shown, evenly spaced." if layers > most else ""
    return (
        f"Each panel is a layer: a row for a neuron, at most {spikes.MOST_NEURONS} of a layer, evenly spaced; a column "
        f"for a timestep t, from 0.{left}"
    )


def _assumptions(run: Run, document: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    profile, paper = document["profile"], document["totals"]["paper"]
    prices = f"{profile['e_ac_pj']} pJ per accumulate, {profile['e_mac_pj']} pJ per multiply-accumulate"
    stated = [
        f"Prices: {profile['name']}, {prices}; memory, communication and control are left out of exact and paper.",
        f"The paper's estimate charges integers as {paper['nonspike']}.",
        f"Sums are in {run.precision}; counts are exact to the integer.",
    ]
    return [*stated, *dict.fromkeys(notes)]
