"""Comparisons, energies and evaluations as pages of HTML."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evsim.audit.accounts import Account
from evsim.audit.compare import Comparison, letter
from evsim.charts import comparisons, evaluations, layers, time
from evsim.charts.layers import joules
from evsim.countsfile import Stored
from evsim.document import counted
from evsim.energy import METHODS, Energy
from evsim.errors import OptionError
from evsim.evaluation.outcome import Evaluation
from evsim.report.breakdown import energy_document
from evsim.report.compare import compare_document
from evsim.report.page import Page, Section, Tile, facts, html, items, table
from evsim.report.runpage import differences

VIEWS = {"sops": "SOPs", "macs": "MACs", "exact_mj": "exact mJ", "paper_mj": "paper mJ", "paper_events_mj": "as events"}


def compare_page(comparison: Comparison, notes: Sequence[str] = (), command: str = "") -> str:
    """Return a comparison as one page of HTML that needs nothing else.

    Parameters
    ----------
    comparison
        Of two models or more.
    notes
        What was said of models and inputs.
    command
        The line that was typed.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    told, networks = compare_document(comparison), comparison.networks
    names = [letter(i).upper() for i in range(len(networks))]
    rows = [
        {
            "model": f"{name}: {network.name}",
            **{title: told["totals"][name.lower()][key] for key, title in VIEWS.items()},
        }
        for name, network in zip(names, networks, strict=True)
    ]
    least = int(np.argmin([total.exact_mj for total in comparison.totals]))
    greatest = max(total.exact_mj for total in comparison.totals)
    best = comparison.totals[least]
    inputs = f"{len(comparison.paths):,} inputs" if len(comparison.paths) > 1 else comparison.paths[0]
    tiles = [
        Tile(names[least], "Least energy, exact", networks[least].name),
        Tile(joules(best.exact_mj), f"Energy of {names[least]}", f"{best.sops:,.0f} SOPs, {best.macs:,.0f} MACs"),
        Tile(f"{best.exact_mj / greatest:.1%}" if greatest else "", "Of the greatest", joules(greatest)),
        Tile(f"{comparison.agreement:.1%}", "Predictions agree", inputs),
    ]
    sections = [
        Section("Energy of models", "Means over the inputs.", comparisons.compare(told)),
        Section("Energy by stage", "As counted, stage by stage in order of execution.", comparisons.stages(told)),
        Section("Totals", html=table(rows, "Operations and energies of each model, means over the inputs")),
        Section("Assumptions", html=items([*([comparison.note] if comparison.note else []), PAPER, *notes])),
    ]
    title = " against ".join(network.name for network in networks[:2])
    title += f" and {len(networks) - 2} more" if len(networks) > 2 else ""
    return html(Page(title, f"{len(networks)} models on {inputs}", tiles, sections, command, versions()))


PAPER = (
    "The paper's estimate charges integers as dense MACs (paper, binary-only), or an integer k as k accumulates "
    "(as events, integer-as-events)."
)


def energy_page(stored: Sequence[Stored], accounts: Sequence[Account], command: str = "") -> str:
    """Return energies of counts as one page of HTML that needs nothing else.

    Parameters
    ----------
    stored, accounts
        The counts of each file, and what they cost.
    command
        The line that was typed.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    sections: list[Section] = []
    for counts, account in zip(stored, accounts, strict=True):
        sections += _charged(counts, account, f" of {account.title}" if len(accounts) > 1 else "")
    first = accounts[0]
    tiles = [
        Tile(joules(energy.energy_mj), f"Energy, {energy.method}", METHODS[energy.method].says)
        for energy in first.energies[:4]
    ]
    title = f"Energy of {first.title}" if len(accounts) == 1 else f"Energy of {len(accounts)} files of counts"
    methods = ", ".join(energy.method for energy in first.energies)
    return html(Page(title, f"by {methods}", tiles, sections, command, versions()))


def _charged(stored: Stored, account: Account, whose: str) -> list[Section]:
    """Return what one file's counts cost, by kind of cost and by layer."""
    told, document = energy_document(account), counted(stored.counts)
    samples = stored.counts.samples
    origin = stored.origin
    notes = [f"{energy.method}: {note}" for energy in account.energies for note in energy.notes]
    silent = [f"{method} cannot answer: {why}" for method, why in account.silent.items()]
    rows = [
        {
            "method": energy.method,
            "mJ": energy.energy_mj,
            "profile": energy.profile,
            "charges": METHODS[energy.method].says,
        }
        for energy in account.energies
    ]
    inputs = ", ".join(path or "an array" for path, _ in origin.inputs[:3])
    more = f" and {len(origin.inputs) - 3:,} more" if len(origin.inputs) > 3 else ""
    return [
        Section(f"Energy by kind of cost{whose}", chart=layers.costs(told["models"], account.title)),
        Section(f"Methods{whose}", html=table(rows, "Energy by each method") + _against(account)),
        Section(
            f"Energy per layer{whose}",
            "Exact and the paper's estimate at 45 nm; striped layers read other values than spikes.",
            layers.energy(document["layers"], account.title),
        ),
        Section(f"Firing rate against depth{whose}", chart=layers.rates(document["layers"], account.title)),
        Section(
            f"Operations against a dense network{whose}",
            chart=layers.operations(document["layers"], account.title, samples),
        ),
        Section(f"Exact against paper{whose}", html=differences(document["layers"])),
        Section(f"Assumptions{whose}", html=items([*notes, *silent])),
        Section(
            f"Sources{whose}",
            html=facts(
                {
                    "model": origin.model,
                    "SHA-256 of graph and weights": origin.model_digest,
                    "inputs": f"{inputs}{more}",
                    "counted by": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
                }
            ),
        ),
    ]


def _against(account: Account) -> str:
    lines = []
    for method, other in account.baselines.items():
        energy = next(each for each in account.energies if each.method == method)
        if isinstance(other, Energy):
            ratio = f", {energy.energy_mj / other.energy_mj:.1%} of it" if other.energy_mj else ""
            lines.append(f"{method} against {other.method}: {joules(other.energy_mj)}{ratio}")
        else:
            lines.append(f"{method}: {other}")
    return items(lines) if lines else ""


def evaluation_page(outcome: Evaluation, notes: Sequence[str] = (), command: str = "") -> str:
    """Return an evaluation as one page of HTML that needs nothing else.

    Parameters
    ----------
    outcome
        Of a data set.
    notes
        What was said of model and samples.
    command
        The line that was typed.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    told, header = outcome.to_dict(), outcome.audit.header
    exact, theirs = told["totals"]["energy_mj"], told["totals"]["paper_energy_mj"]
    sections = [
        *_accurate(told, header.model),
        Section("Energy per layer", "Means over the samples.", layers.energy(_layers(outcome), header.model)),
        Section(
            "Firing rate against depth", "Over all samples.", layers.rates(_layers(outcome), header.model)
        ),
        *_classes(told, header.model),
        Section("Cheapest and dearest samples", html=_extremes(told)),
        Section("Assumptions", html=items([*_stated(told), *dict.fromkeys((*notes, *outcome.notes))])),
        Section(
            "Sources",
            html=facts(
                {
                    "model": f"{header.model} ({header.family})",
                    "SHA-256 of graph and weights": header.model_digest,
                    "data": header.data,
                    "SHA-256 of the list of samples": header.data_digest,
                    "precision": header.precision,
                }
            ),
        ),
    ]  # fmt: skip
    top1, interval = told["accuracy"]["top1"], told["accuracy"]["interval"]
    within = f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else "no sample has a label"
    tiles = [
        Tile("unknown" if top1 is None else f"{top1:.2%}", "Top-1 accuracy", within),
        Tile(joules(exact["mean"]), "Energy, exact", _interval(exact)),
        Tile(joules(theirs["mean"]), "Energy, paper", _interval(theirs)),
        Tile(f"{len(outcome.names):,}", "Samples", f"{len(outcome.failed):,} more failed" if outcome.failed else ""),
    ]
    title = f"{header.model} on {header.data}"
    lead = f"{len(outcome.names):,} samples, {header.timesteps} timesteps, {header.precision}"
    return html(Page(title, lead, tiles, sections, command, versions()))


def _layers(outcome: Evaluation) -> list[Mapping[str, Any]]:
    """Return the rows of the summed counts, whose energies are means over the samples."""
    rows: list[Mapping[str, Any]] = counted(outcome.counts, outcome.profile, outcome.nonspike)["layers"]
    return rows


def _accurate(told: Mapping[str, Any], title: str) -> list[Section]:
    text = "Top-1 accuracy after each timestep with its 95 % interval, against the mean energy until then."
    try:
        return [Section("Accuracy over time", text, time.accuracy(told["anytime"], title))]
    except OptionError:
        return []


def _classes(told: Mapping[str, Any], title: str) -> list[Section]:
    if not any(row["samples"] for row in told["classes"]):
        return []
    text = "Top-1 accuracy with its 95 % interval, and the mean exact energy of the class's samples."
    return [Section("Classes", text, evaluations.classes(told["classes"], title))]


def _extremes(told: Mapping[str, Any]) -> str:
    rows = [
        {"which": which, "sample": row["path"], "label": row["label"], "prediction": row["prediction"],
         "mJ": row["energy_mj"], "SOPs": row["sops"]}
        for which in ("cheapest", "dearest")
        for row in told[which]
    ]  # fmt: skip
    return table(rows, "Samples of the least and of the greatest exact energy")


def _stated(told: Mapping[str, Any]) -> list[str]:
    profile, drawn = told["profile"], told["bootstrap"]
    prices = f"{profile['e_ac_pj']} pJ per accumulate, {profile['e_mac_pj']} pJ per multiply-accumulate"
    return [
        f"Prices: {profile['name']}, {prices}; integers in the paper's estimate: {profile['nonspike']}.",
        f"Intervals of means: bootstrap of {drawn['resamples']:,} resamples, seed {drawn['seed']}.",
        "Intervals of accuracy: Wilson's.",
    ]


def _interval(summary: Mapping[str, Any]) -> str:
    if not summary["interval"]:
        return ""
    low, high = summary["interval"]
    return f"{joules(low)} to {joules(high)}"


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    from evsim import __version__

    return {"evsim": __version__, "numpy": np.__version__, "python": platform.python_version()}
