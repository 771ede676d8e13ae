"""Energies as text, JSON and CSV: broken down, and against a baseline; the profiles and methods as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evsim.audit.accounts import Account
from evsim.energy import COSTS, KEYS, METHODS, Breakdown, Energy, Profile, place
from evsim.energy.fit import able
from evsim.energy.result import PICO_TO_MILLI, Key, quotient
from evsim.errors import OptionError
from evsim.report.text import aligned, listed
from evsim.report.traffic import traffic_document, traffic_report

SCHEMA = 1
BAR = 24
"""Characters of the longest bar."""

SMALL_MJ = 0.01
"""Below it, six decimals say too little."""


def energy_report(account: Account, key: Key = "layer", bars: bool = False) -> str:
    """Return a table with a row per label and a column per method, in mJ, and what stands beside it.

    Raises
    ------
    OptionError
        If no method breaks down by that key.
    """
    shown, left_out = _broken_down(account.energies, key)
    digits = 6 if max(energy.energy_mj for energy in account.energies) >= SMALL_MJ else 9
    lines = [account.title, "", *_table(shown, key, bars, digits), ""]
    lines += [f"{energy.method:<14}: {mj(energy.total, digits)} mJ  ({_whose(energy)})" for energy in account.energies]
    for method, other in account.baselines.items():
        lines.append(_saving(_charged(account, method), other, digits))
    for method, bounds in account.bounds.items():
        rows = [(name, mj(energy.total, digits)) for name, energy in bounds.items()]
        lines += ["", *aligned([(f"{method}, if", "mJ"), *rows], 1)]
    if account.traffic:
        lines += ["", "what moves per inference", "", traffic_report(*account.traffic), ""]
    lines += [f"note: {note}" for note in (*left_out, *_notes(account))]
    return "\n".join(lines)


def energy_document(account: Account) -> dict[str, Any]:
    """Return an account as plain lists, dicts, numbers and texts."""
    return {
        "title": account.title,
        "models": [_document(energy) for energy in account.energies],
        "against": {
            method: other if isinstance(other, str) else {**_document(other), **_held(_charged(account, method), other)}
            for method, other in account.baselines.items()
        },
        "bounds": {name: _total(energy) for bounds in account.bounds.values() for name, energy in bounds.items()},
        "traffic": traffic_document(*account.traffic) if account.traffic else [],
    }


def energy_csv(accounts: Sequence[Account]) -> str:
    """Return one line per nonzero entry; all lines of a method and title add up to its total.

    Columns: counts, model (the method), profile, layer, stage, block, head, timestep, cost, pj_low, pj_high; `head` is
    empty where a row has none, `timestep` where the method is not defined per timestep.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("counts", "model", "profile", "layer", "stage", "block", "head", "timestep", "cost", "pj_low", "pj_high")
    )
    for account in accounts:
        for energy in account.energies:
            for entry in _entries(energy):
                writer.writerow((account.title, energy.method, energy.profile, *entry))
    return out.getvalue()


def profiles_report(profiles: Sequence[Profile], sources: bool = False) -> str:
    """Return the profiles with the methods that can use them as a table, or every figure with its source."""
    if sources:
        return "\n\n".join("\n".join(_figures(profile)) for profile in profiles)
    rows = [("profile", "what", "methods that can use it")]
    rows += [(profile.path, profile.name, ", ".join(able(profile))) for profile in profiles]
    methods = [("method", "charges", "needs"), *((name, m.says, m.needs) for name, m in METHODS.items())]
    return "\n".join([*listed(rows), "", *listed(methods), "", "`sources=True` lists every figure with its source"])


def _figures(profile: Profile) -> Iterator[str]:
    """Yield lines of a profile: what it is, who can use it, every figure with its source."""
    yield f"{profile.path}: {profile.name}" + (f"; {profile.note}" if profile.note else "")
    yield f"  methods that can use it: {', '.join(able(profile)) or 'none'}"
    for key, price in profile.prices.items():
        remarks = "; ".join(text for text in (price.includes, price.verified) if text)
        yield f"  {key} = {ends(price.low, price.high)}  {price.source}" + (f" ({remarks})" if remarks else "")
    if profile.sram:
        table = zip(profile.sram.capacity_bytes, profile.sram.access_pj, strict=True)
        points = ", ".join(f"{size} B {ends(*access)} pJ" for size, access in table)
        yield f"  sram, {profile.sram.word_bits}-bit words: {points}  {profile.sram.source}"


def mj(total: tuple[float, float], digits: int = 6) -> str:
    """Return picojoules as millijoules, as a range where it is one."""
    low, high = (f"{value * PICO_TO_MILLI:.{digits}f}" for value in total)
    return low if total[0] == total[1] else f"{low}-{high}"


def ends(low: float, high: float) -> str:
    """Return a price, as a range where it is one."""
    return f"{low:g}" if low == high else f"[{low:g}, {high:g}]"


def _broken_down(energies: Sequence[Energy], key: Key) -> tuple[dict[str, Breakdown], list[str]]:
    """Return method to breakdown, and why some methods have none."""
    shown, left_out = {}, []
    for energy in energies:
        try:
            shown[energy.method] = energy.by(key)
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
    rows = [(key, *(f"{method} mJ" for method in shown), "share")]
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
    return f"{METHODS[energy.method].says}; {energy.profile}" if energy.method in METHODS else energy.profile


def _saving(energy: Energy, other: Energy | str, digits: int) -> str:
    if isinstance(other, str):
        return f"{energy.method}: {other}"
    ratio, low, high = quotient(energy, other)
    ratios, savings = f"{ratio:.4f}", f"{1 - ratio:.2%}"
    if low != high and not math.isnan(ratio):
        ratios, savings = f"{ratios} ({low:.4f} to {high:.4f})", f"{savings} ({1 - high:.2%} to {1 - low:.2%})"
    return f"{energy.method} against {other.method}: {mj(other.total, digits)} mJ, ratio {ratios}, saving {savings}"


def _held(energy: Energy, other: Energy) -> dict[str, Any]:
    """Return ratio and saving with their ranges; null where the other is, or may be, nothing."""
    ratio, low, high = quotient(energy, other)
    return {
        "ratio": finite(ratio),
        "ratio_range": [finite(low), finite(high)],
        "saving": finite(1 - ratio),
        "saving_range": [finite(1 - high), finite(1 - low)],
    }


def _charged(account: Account, method: str) -> Energy:
    return next(energy for energy in account.energies if energy.method == method)


def _notes(account: Account) -> Iterator[str]:
    """Yield what methods leave out or assume, then what their baselines do beyond that."""
    for energy in account.energies:
        yield from (f"{energy.method}: {note}" for note in energy.notes)
    for method, other in account.baselines.items():
        if isinstance(other, Energy):
            known = _charged(account, method).notes
            yield from (f"{method} against {other.method}: {note}" for note in other.notes if note not in known)


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it: None for infinities and what is no number."""
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
        "model": energy.method,
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
