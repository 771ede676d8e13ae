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
from evsim.report.tables import Column, Report, Table, Value, significant
from evsim.report.tables import energy as joules
from evsim.report.traffic import traffic_document, traffic_table

SCHEMA = 1


def energy_report(account: Account, key: Key = "stage") -> Report:
    """Return the energies, a table with a row per label and a column per method, and what stands beside it.

    Raises
    ------
    OptionError
        If no method breaks down by that key.
    """
    shown, left_out = _broken_down(account.energies, key)
    lines = [f"{energy.method:<14}: {_joules(energy.total)}  ({_whose(energy)})" for energy in account.energies]
    for method, other in account.baselines.items():
        lines.append(_saving(_charged(account, method), other))
    parts: list[str | Table] = [_table(account, shown, key)]
    for method, bounds in account.bounds.items():
        rows = tuple((name, _ends(energy.total)) for name, energy in bounds.items())
        parts.append(Table((Column(f"{method}, if"), Column("energy", "energy")), rows))
    if account.traffic:
        parts.append(traffic_table(*account.traffic))
    notes = [f"note: {note}" for note in (*left_out, *_notes(account))]
    return Report((account.title, *lines), (*parts, "\n".join(notes)))


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


def profiles_report(profiles: Sequence[Profile], sources: bool = False) -> Report:
    """Return the profiles with the methods that can use them as a table, or every figure with its source."""
    if sources:
        return Report((), tuple("\n".join(_figures(profile)) for profile in profiles))
    words = (Column("profile"), Column("what"), Column("methods that can use it"))
    table = Table(words, tuple((profile.path, profile.name, ", ".join(able(profile))) for profile in profiles))
    words = (Column("method"), Column("charges"), Column("needs"))
    methods = Table(words, tuple((name, method.says, method.needs) for name, method in METHODS.items()))
    return Report((), (table, methods, "`sources=True` lists every figure with its source"))


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


def _table(account: Account, shown: Mapping[str, Breakdown], key: Key) -> Table:
    """Return a row per label: each method's energy, and its share of the first method's."""
    labels = tuple(dict.fromkeys(label for breakdown in shown.values() for label in breakdown.labels))
    labels = tuple(label for label in labels if any(breakdown.get(label, 0.0) for breakdown in shown.values()))
    first = next(iter(shown.values()))
    whole = sum(first.values())
    rows = []
    for label in labels:
        energies: list[Value] = []
        for breakdown in shown.values():
            at = breakdown.labels.index(label) if label in breakdown.labels else None
            energies.append(None if at is None else _ends((float(breakdown.low[at]), float(breakdown.high[at]))))
        rows.append((label, *energies, first.get(label, 0.0) / whole if whole else 0.0))
    most = len(shown) + 2
    names = [Column(method, "energy", drop=most - i if i else 0) for i, method in enumerate(shown)]
    columns = (Column(key), *names, Column(f"of {next(iter(shown))}", "share", drop=1))
    total = ("total", *(_ends(_charged(account, method).total) for method in shown), 1.0 if whole else 0.0)
    return Table(columns, tuple(rows), "", total, bar=next(iter(shown)), bar_drop=2)


def _ends(total: tuple[float, float]) -> Value:
    """Return picojoules as millijoules, as a range where they are one."""
    low, high = (value * PICO_TO_MILLI for value in total)
    return low if total[0] == total[1] else (low, high)


def _joules(total: tuple[float, float]) -> str:
    low, high = (value * PICO_TO_MILLI for value in total)
    return joules(high) if total[0] == total[1] else f"{joules(low)} to {joules(high)}"


def _whose(energy: Energy) -> str:
    return f"{METHODS[energy.method].says}; {energy.profile}" if energy.method in METHODS else energy.profile


def _saving(energy: Energy, other: Energy | str) -> str:
    if isinstance(other, str):
        return f"{energy.method}: {other}"
    ratio, low, high = quotient(energy, other)
    ratios, savings = significant(ratio), _percent(1 - ratio)
    if low != high and not math.isnan(ratio):
        ratios = f"{ratios} ({significant(low)} to {significant(high)})"
        savings = f"{savings} ({_percent(1 - high)} to {_percent(1 - low)})"
    return f"{energy.method} against {other.method}: {_joules(other.total)}, ratio {ratios}, saving {savings}"


def _percent(share: float) -> str:
    return f"{significant(100 * share)} %"


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
