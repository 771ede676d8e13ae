"""The families that evsim knows, and the figures of their models, as text and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evsim.audit.families import NOT_RUN, FormKeys, Row, form_keys
from evsim.converters.family import Family
from evsim.report.tables import Report, Table, plain, significant
from evsim.report.terminal import WIDTH
from evsim.synthesis import TOLERANCE

SCHEMA = 1

MARK = "?"
"""Stands behind a figure that was not read at its source."""

FOLDED = 0.01
"""Share of its parameters by which a model with folded layers differs from the trained one; unused ones are fewer."""

SHOWN_LAYERS = 6
"""Names of layers that a note lists."""


def families_report(families: Sequence[Family]) -> Report:
    """Return each family with paper, code, residual, telling keys and presets, in 80 columns."""
    blocks = []
    for family in families:
        told = family.literature
        lines = [f"{family.name}: {family.title}"]
        for label, text in (
            ("paper", told.paper),
            ("code", told.code),
            ("residual", told.residual),
            ("energy rule", f"method {told.rule}; leaves out {told.leaves_out}" if told.rule else ""),
        ):
            lines += _hung(label, text)
        for keys, forms in _grouped((_telling(form), form.name) for form in form_keys(family)).items():
            lines += _hung(f"keys of {', '.join(forms)}", keys)
        lines += _hung("presets", ", ".join(family.presets))
        blocks.append("\n".join(lines))
    return Report((), tuple(blocks))


def families_document(families: Sequence[Family]) -> dict[str, Any]:
    """Return the families as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, "families": [_family(family) for family in families]}


def figures_report(rows: Sequence[Row]) -> Report:
    """Return the figures of models side by side: what follows from sizes, what is published, what ran."""
    sizes = [("model", "T", "M param", "G dense", "top-1 %", "mJ")]
    sizes += [
        (
            row.preset, str(row.timesteps), significant(row.trained / 1e6), significant(row.dense_operations / 1e9),
            _figure(row, "accuracy"), _figure(row, "energy_mj"),
        )
        for row in rows
    ]  # fmt: skip
    parts: list[str | Table] = [plain(sizes, title="sizes, and what is published")]
    if any(row.activity for row in rows):
        parts.append(plain(_operations(rows), title="synthetic models: operations of an inference"))
        parts.append(plain(_energies(rows), title="synthetic models: energy of an inference, mJ"))
    return Report((), (*parts, "\n".join(_notes(rows))))


def figures_document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, "rows": [{**asdict(row), "not_spike_driven": dict(row.not_spike_driven)} for row in rows]}


def _family(family: Family) -> dict[str, Any]:
    told = family.literature
    return {
        "name": family.name,
        "title": family.title,
        "paper": told.paper,
        "code": told.code,
        "residual": told.residual,
        "rule": told.rule or None,
        "leaves_out": told.leaves_out,
        "forms": [asdict(form) for form in form_keys(family)],
        "models": sorted(family.models),
        "choices": {name: list(values) for name, values in family.choices.items()},
        "presets": {
            name: {**asdict(preset), "published": asdict(told.figures[name]) if name in told.figures else None}
            for name, preset in family.presets.items()
        },
    }


def _telling(form: FormKeys) -> str:
    if form.shared:
        return f"{form.keys[0]}, as in {form.shared}; `family` must say"
    return ", ".join(form.telling) or f"{form.keys[0]} (no key of its own: all keys together)"


def _hung(label: str, text: str) -> list[str]:
    """Return a labelled text that breaks between words, its lines under each other; nothing for no text."""
    if not text:
        return []
    return textwrap.wrap(
        f"{label}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _figure(row: Row, name: str) -> str:
    value = getattr(row.published, name)
    if value is None:
        return "-"
    return f"{value:.2f}{MARK if name in row.published.unread else ' '}"


def _operations(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("model", "G SOPs", "G MACs", "inside")]
    for row in rows:
        done = row.activity
        counts = (done.sops, done.macs, done.macs_inside) if done else ()
        table.append((row.preset, *([significant(count / 1e9) for count in counts] or ["missing"] * 3)))
    return table


def _energies(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("model", "exact", "paper", "events", "own rule", "published")]
    for row in rows:
        done = row.activity
        energies = (done.exact_mj, done.paper_mj, done.paper_events_mj, done.rule_mj) if done else ()
        cells = ["-" if energy is None else significant(energy) for energy in energies] or ["missing"] * 4
        table.append((row.preset, *cells, _figure(row, "energy_mj")))
    return table


def _notes(rows: Sequence[Row]) -> list[str]:
    ran = [row for row in rows if row.activity]
    lines: list[str] = []
    for title, notes in (
        ("residual of", _grouped((row.residual, row.family) for row in rows)),
        (
            "what reads other values than spikes in",
            _grouped((_where(row.not_spike_driven), row.preset) for row in rows),
        ),
        ("missing are", _grouped((row.missing, row.preset) for row in rows) if ran or _refused(rows) else {}),
        ("rates of", _grouped((row.activity.rates, row.preset) for row in ran if row.activity)),
        ("published of", _grouped((row.published.source, row.preset) for row in rows)),
    ):
        for text, names in notes.items():
            lines += _hung(f"{title} {', '.join(names)}", text)
    other = [row for row in rows if abs(row.parameters / row.trained - 1.0) > FOLDED]
    lines += _hung(
        "folded layers are one, of other size", ", ".join(f"{r.preset} {r.parameters / 1e6:.2f} M" for r in other)
    )
    missed = [row.preset for row in ran if row.activity and row.activity.worst_rate_error > TOLERANCE]
    lines += _hung(f"rates missed by more than {TOLERANCE:.0%}", ", ".join(missed))
    if not ran and not _refused(rows):
        lines += _wrapped("No model ran; `run` counts synthetic ones.")
    legend = (
        "M param: parameters of the authors' model. G dense: "
        "multiply-accumulates of a dense implementation over all timesteps, attention included. "
    )
    if ran:
        legend += (
            "inside: MACs behind the first layer and before the head. paper, events: Spikingformer's estimate by "
            "binary-only and integer-as-events; own rule: the energy method of the family's paper. "
        )
    return [*lines, *_wrapped(f"{legend}{MARK}: not read at its source.")]


def _refused(rows: Sequence[Row]) -> bool:
    return any(row.missing not in ("", NOT_RUN) for row in rows)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)


def _where(layers: Mapping[str, int]) -> str:
    """Return the layers that read other values than spikes, those of the most blocks first."""
    most = sorted(layers.items(), key=lambda entry: -entry[1])
    shown = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in most[:SHOWN_LAYERS])
    rest = sum(count for _, count in most[SHOWN_LAYERS:])
    return shown + (f" and {rest} more" if rest else "")


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return text to the names that it is true of, each once, in order; empty texts are left out."""
    groups: dict[str, dict[str, None]] = {}
    for text, name in pairs:
        if text:
            groups.setdefault(text, {})[name] = None
    return {text: list(names) for text, names in groups.items()}
