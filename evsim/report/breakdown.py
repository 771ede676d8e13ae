"""Energies as text, JSON and CSV: broken down, against a baseline, and over all models and profiles."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.energy import COSTS, KEYS, MODELS, Breakdown, Energy, Profile, Sensitivity, place
from evsim.energy.result import PICO_TO_MILLI, Key, quotient
from evsim.energy.sensitivity import Ratio
from evsim.errors import OptionError
from evsim.report.text import aligned

SCHEMA = 1
BAR = 24
"""Characters of the longest bar."""

SMALL_MJ = 0.01
"""Below it, six decimals say too little."""


@dataclass(frozen=True, eq=False)
class Account:
    """One network's energies: by model, and what it is held against where asked for.

    Attributes
    ----------
    title
        Whose counts.
    energies
        One per model.
    baselines
        Model to the energy of what it is held against, or to the reason why there is none.
    bounds
        What `counted-memory` leaves open: choice to energy.
    traffic_table, traffic
        What moved, as `evsim.report.traffic` tells it, where asked for.
    """

    title: str
    energies: Sequence[Energy]
    baselines: Mapping[str, Energy | str] = field(default_factory=dict)
    bounds: Mapping[str, Energy] = field(default_factory=dict)
    traffic_table: str = ""
    traffic: Sequence[Mapping[str, Any]] = ()


def energy_report(account: Account, key: Key = "layer", bars: bool = False) -> str:
    """Return a table with a row per label and a column per model, in mJ, and what stands beside it.

    Raises
    ------
    OptionError
        If no model breaks down by that key.
    """
    shown, left_out = _broken_down(account.energies, key)
    digits = 6 if max(energy.energy_mj for energy in account.energies) >= SMALL_MJ else 9
    lines = [account.title, "", *_table(shown, key, bars, digits), ""]
    lines += [f"{energy.model:<14}: {mj(energy.total, digits)} mJ  ({_whose(energy)})" for energy in account.energies]
    for model, other in account.baselines.items():
        lines.append(_saving(_charged(account, model), other, digits))
    if account.bounds:
        rows = [(name, mj(energy.total, digits)) for name, energy in account.bounds.items()]
        lines += ["", *aligned([("counted-memory, if", "mJ"), *rows], 1)]
    if account.traffic_table:
        lines += ["", "what moves per inference", "", account.traffic_table, ""]
    lines += [f"note: {note}" for note in (*left_out, *_notes(account))]
    return "\n".join(lines)


def energy_document(account: Account) -> dict[str, Any]:
    """Return an account as plain lists, dicts, numbers and texts."""
    return {
        "title": account.title,
        "models": [_document(energy) for energy in account.energies],
        "against": {
            model: other if isinstance(other, str) else {**_document(other), **_held(_charged(account, model), other)}
            for model, other in account.baselines.items()
        },
        "bounds": {name: _total(energy) for name, energy in account.bounds.items()},
        "traffic": list(account.traffic),
    }


def energy_csv(accounts: Sequence[Account]) -> str:
    """Return one line per nonzero entry; all lines of a model and title add up to its total.

    Columns: counts, model, profile, layer, stage, block, head, timestep, cost, pj_low, pj_high; `head` is empty where
    a row has none, `timestep` where the model is not defined per timestep.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("counts", "model", "profile", "layer", "stage", "block", "head", "timestep", "cost", "pj_low", "pj_high")
    )
    for account in accounts:
        for energy in account.energies:
            for entry in _entries(energy):
                writer.writerow((account.title, energy.model, energy.profile, *entry))
    return out.getvalue()


def sensitivity_report(found: Sensitivity, names: tuple[str, str]) -> str:
    """Return the ratios as a table, the least and the greatest, and where the conclusion turns."""
    rows = [("model", "variant", "profile", "A mJ", "B mJ", "A / B", "range", "memory prices x")]
    for ratio in found.ratios:
        spread = "" if ratio.low == ratio.high else f"{ratio.low:.4f}-{ratio.high:.4f}"
        turn = "" if ratio.scale is None else f"{ratio.scale:.4g} ({ratio.cheaper_below} cheaper below)"
        rows.append(
            (
                ratio.model,
                ratio.variant,
                ratio.profile,
                f"{ratio.a_mj:.6g}",
                f"{ratio.b_mj:.6g}",
                f"{ratio.value:.4f}",
                spread,
                turn,
            )
        )
    least, greatest = found.least, found.greatest
    return "\n".join(
        [
            f"A = {names[0]}",
            f"B = {names[1]}",
            "",
            *aligned(rows, 3),
            "",
            f"A / B is least in {_named(least)}: {least.low:.4f}",
            f"A / B is greatest in {_named(greatest)}: {greatest.high:.4f}",
            *(turn.sentence for turn in found.turns),
            "memory prices x: the factor on all prices of memory, movement and power at which A and B cost the same",
            f"{len(found.refused)} pairs of model and profile cannot answer; --json says why",
        ]
    )


def sensitivity_document(found: Sensitivity, names: tuple[str, str]) -> dict[str, Any]:
    """Return the ratios as plain lists, dicts, numbers and texts."""
    return {
        "schema": SCHEMA,
        "a": names[0],
        "b": names[1],
        "ratios": [
            {
                "model": ratio.model,
                "variant": ratio.variant,
                "profile": ratio.profile,
                "a_mj": ratio.a_mj,
                "b_mj": ratio.b_mj,
                "ratio": _finite(ratio.value),
                "range": [_finite(ratio.low), _finite(ratio.high)],
                "memory_scale": ratio.scale,
                "cheaper_below": ratio.cheaper_below,
            }
            for ratio in found.ratios
        ],
        "least": _end(found.least, found.least.low),
        "greatest": _end(found.greatest, found.greatest.high),
        "break_even": [
            {
                "model": turn.model,
                "variant": turn.variant,
                "e_mac_over_e_ac": turn.ratio,
                "cheaper_below": turn.cheaper_below,
            }
            for turn in found.turns
        ],
        "refused": [
            {"model": model, "variant": variant, "profile": profile, "reason": reason}
            for model, variant, profile, reason in found.refused
        ],
    }


def _end(ratio: Ratio, value: float) -> dict[str, Any]:
    return {"model": ratio.model, "variant": ratio.variant, "profile": ratio.profile, "ratio": _finite(value)}


def _named(ratio: Ratio) -> str:
    return f"{ratio.model}{f' ({ratio.variant})' if ratio.variant else ''} with {ratio.profile}"


def profiles_report(profiles: Sequence[Profile], sources: bool = False) -> str:
    """Return the profiles as a table, or every figure with its source."""
    lines: list[str] = []
    if sources:
        for profile in profiles:
            lines += ["", f"{profile.path}: {profile.name}" + (f"; {profile.note}" if profile.note else "")]
            for key, price in profile.prices.items():
                told = "; ".join(text for text in (price.includes, price.verified) if text)
                lines.append(f"  {key} = {ends(price.low, price.high)}  {price.source} ({told})")
            if profile.sram:
                table = zip(profile.sram.capacity_bytes, profile.sram.access_pj, strict=True)
                points = ", ".join(f"{size} B {ends(*access)} pJ" for size, access in table)
                lines.append(f"  sram, {profile.sram.word_bits}-bit words: {points}  {profile.sram.source}")
        return "\n".join(lines[1:])
    rows = [("profile", "what", "figures")]
    for profile in profiles:
        figures = [f"{key} {ends(price.low, price.high)}" for key, price in profile.prices.items()]
        shown = figures[:4] + ([f"and {len(figures) - 4} more"] if len(figures) > 4 else [])
        rows.append((profile.path, profile.name, ", ".join(shown) + (", sram" if profile.sram else "")))
    models = [("model", "charges", "needs"), *((name, m.says, m.needs) for name, m in MODELS.items())]
    return "\n".join([*aligned(rows, 3), "", *aligned(models, 3)])


def mj(total: tuple[float, float], digits: int = 6) -> str:
    """Return picojoules as millijoules, as a range where it is one."""
    low, high = (f"{value * PICO_TO_MILLI:.{digits}f}" for value in total)
    return low if total[0] == total[1] else f"{low}-{high}"


def ends(low: float, high: float) -> str:
    """Return a price, as a range where it is one."""
    return f"{low:g}" if low == high else f"[{low:g}, {high:g}]"


def _broken_down(energies: Sequence[Energy], key: Key) -> tuple[dict[str, Breakdown], list[str]]:
    """Return model to breakdown, and why some models have none."""
    shown, left_out = {}, []
    for energy in energies:
        try:
            shown[energy.model] = energy.by(key)
        except OptionError as error:
            left_out.append(str(error))
    if not shown:
        raise OptionError(left_out[0])
    return shown, left_out


def _table(shown: Mapping[str, Breakdown], key: Key, bars: bool, digits: int) -> list[str]:
    labels = tuple(dict.fromkeys(label for breakdown in shown.values() for label in breakdown.labels))
    labels = tuple(label for label in labels if any(breakdown.get(label, 0.0) for breakdown in shown.values()))
    first = next(iter(shown.values()))
    greatest = max((first.get(label, 0.0) for label in labels), default=0.0)
    whole = sum(first.values())
    rows = [(key, *(f"{model} mJ" for model in shown), "share")]
    for label in labels:
        cells = []
        for breakdown in shown.values():
            at = breakdown.labels.index(label) if label in breakdown.labels else None
            cells.append("" if at is None else mj((float(breakdown.low[at]), float(breakdown.high[at])), digits))
        share = first.get(label, 0.0)
        rows.append((label, *cells, f"{share / whole if whole else 0.0:.1%}"))
    lines = aligned(rows, 1)
    if bars and greatest > 0:
        for i, label in enumerate(labels):
            lines[i + 2] += "  " + "█" * round(BAR * first.get(label, 0.0) / greatest)
    return lines


def _whose(energy: Energy) -> str:
    return f"{MODELS[energy.model].says}; {energy.profile}" if energy.model in MODELS else energy.profile


def _saving(energy: Energy, other: Energy | str, digits: int) -> str:
    if isinstance(other, str):
        return f"{energy.model}: {other}"
    ratio, low, high = quotient(energy, other)
    ratios, savings = f"{ratio:.4f}", f"{1 - ratio:.2%}"
    if low != high and not math.isnan(ratio):
        ratios, savings = f"{ratios} ({low:.4f} to {high:.4f})", f"{savings} ({1 - high:.2%} to {1 - low:.2%})"
    return f"{energy.model} against {other.model}: {mj(other.total, digits)} mJ, ratio {ratios}, saving {savings}"


def _held(energy: Energy, other: Energy) -> dict[str, Any]:
    """Return ratio and saving with their ranges; null where the other is, or may be, nothing."""
    ratio, low, high = quotient(energy, other)
    return {
        "ratio": _finite(ratio),
        "ratio_range": [_finite(low), _finite(high)],
        "saving": _finite(1 - ratio),
        "saving_range": [_finite(1 - high), _finite(1 - low)],
    }


def _charged(account: Account, model: str) -> Energy:
    return next(energy for energy in account.energies if energy.model == model)


def _notes(account: Account) -> Iterator[str]:
    """Yield what models leave out or assume, then what their baselines do beyond that."""
    for energy in account.energies:
        yield from (f"{energy.model}: {note}" for note in energy.notes)
    for model, other in account.baselines.items():
        if isinstance(other, Energy):
            told = _charged(account, model).notes
            yield from (f"{model} against {other.model}: {note}" for note in other.notes if note not in told)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _total(energy: Energy) -> dict[str, Any]:
    return {"energy_mj": energy.energy_mj, "range_mj": list(energy.range_mj)}


def _document(energy: Energy) -> dict[str, Any]:
    by: dict[str, Any] = {}
    for key in KEYS:
        try:
            breakdown = energy.by(key)
        except OptionError:
            continue
        by[key] = {
            label: {"energy_mj": value, "range_mj": [float(low) * PICO_TO_MILLI, float(high) * PICO_TO_MILLI]}
            for (label, value), low, high in zip(breakdown.items(), breakdown.low, breakdown.high, strict=True)
        }
    return {
        "model": energy.model,
        "profile": energy.profile,
        **_total(energy),
        "per_timestep": energy.per_timestep,
        "by": by,
        "notes": list(energy.notes),
    }


def _entries(energy: Energy) -> Iterator[tuple[Any, ...]]:
    """Yield layer, stage, block, head, timestep, cost, low and high of every nonzero entry."""
    for i, layer in enumerate(energy.layers):
        where = (layer, place(layer, "stage"), place(layer, "block"))
        if layer in energy.heads:
            low, high = energy.heads[layer]
            for c, t, h in np.argwhere(high):
                yield (*where, h, t if energy.per_timestep else "", COSTS[c], float(low[c, t, h]), float(high[c, t, h]))
            continue
        for c, t in np.argwhere(energy.high[i]):
            ends_ = (float(energy.low[i, c, t]), float(energy.high[i, c, t]))
            yield (*where, "", t if energy.per_timestep else "", COSTS[c], *ends_)
