"""Models side by side, as tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from evsim.audit.compare import Comparison, Totals, letter, ratios
from evsim.report.tables import Column, Report, Table, energy, significant

SCHEMA = 1

MEASURES = {
    "sops": Column("SOPs", "count"),
    "macs": Column("MACs", "count", drop=1),
    "exact_mj": Column("exact", "energy"),
    "paper_mj": Column("paper", "energy"),
    "paper_events_mj": Column("as events", "energy", drop=2),
}
"""What is shown of each model, and what it is called."""

LEAST_SHARE = 1e-4
"""Below it a saving is none to speak of."""

ENERGIES = {
    "exact_mj": "exact",
    "paper_mj": "paper, binary-only",
    "paper_events_mj": "paper, integer-as-events",
}


def compare_report(comparison: Comparison) -> Report:
    """Return who needs least, totals and ratios, folded stages side by side, and how far predictions agree."""
    names = [letter(which).upper() for which in range(len(comparison.networks))]
    inputs = f"{len(comparison.paths)} inputs, means" if len(comparison.paths) > 1 else comparison.paths[0]
    headline = (
        *(
            _saving(name, names, [getattr(total, measure) for total in comparison.totals])
            for measure, name in ENERGIES.items()
        ),
        f"predictions agree on {comparison.agreement:.1%} of {len(comparison.predictions)} inputs",
        *([comparison.note] if comparison.note else []),
    )
    models = [
        f"{name}: {network.name} ({network.family}, {network.variant})"
        for name, network in zip(names, comparison.networks, strict=True)
    ]
    folded = _folded(comparison.stages)
    stages = [
        _stages(measure, column, names, folded)
        for measure, column in MEASURES.items()
        if any(getattr(total, measure) for total in comparison.totals)
    ]
    legend = (
        "paper: the paper's estimate, integers charged as dense MACs (binary-only); as events: the same, an integer k "
        "charged as k accumulates (integer-as-events). The two are equal where no layer reads integers. Stages are "
        "summed over blocks; JSON has each."
    )
    parts: tuple[str | Table, ...] = (
        "\n".join([*models, f"on {inputs}"]),
        *_totals(names, comparison.totals),
        *stages,
        legend,
    )
    return Report(headline, parts)


def compare_document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain lists, dicts, numbers and texts.

    Of two models ``ratio`` is B / A; of more, ``ratios`` holds that of every other one against A beside it.
    """
    return {
        "schema": SCHEMA,
        "models": [network.name for network in comparison.networks],
        "inputs": list(comparison.paths),
        "skipped": list(comparison.skipped),
        "predictions": [list(classes) for classes in comparison.predictions],
        "agreement": comparison.agreement,
        "stages": {name: _sides(values) for name, values in comparison.stages.items()},
        "totals": _sides(comparison.totals),
        "note": comparison.note,
    }


def _sides(values: Sequence[Totals | None]) -> dict[str, Any]:
    sides = {letter(which): asdict(value) if value else None for which, value in enumerate(values)}
    against = {letter(which): ratios(values[0], value) for which, value in enumerate(values) if which}
    return {**sides, "ratio": against["b"], **({"ratios": against} if len(values) > 2 else {})}


def _totals(names: Sequence[str], totals: Sequence[Totals]) -> list[Table]:
    """Return a row for each model, and of all but the first its ratios to that."""
    columns = (Column("total"), *MEASURES.values())
    rows = tuple(
        (name, *(getattr(total, measure) for measure in MEASURES)) for name, total in zip(names, totals, strict=True)
    )
    plain = (Column("ratio"), *(replace(column, quantity="number") for column in MEASURES.values()))
    against = [ratios(totals[0], total) for total in totals[1:]]
    shares = tuple(
        (f"{name}/{names[0]}", *(share[measure] for measure in MEASURES))
        for name, share in zip(names[1:], against, strict=True)
    )
    return [Table(columns, rows, bar="exact", bar_drop=3), Table(plain, shares)]


def _folded(stages: Mapping[str, tuple[Totals | None, ...]]) -> dict[str, tuple[Totals | None, ...]]:
    """Return the stages with those of all blocks summed: numbers are left out of a name, and what stands deep in it."""
    folded: dict[str, tuple[Totals | None, ...]] = {}
    for name, values in stages.items():
        short = ".".join([part for part in name.split(".") if not part.isdecimal()][:2]) or name
        sums = folded.get(short, (None,) * len(values))
        folded[short] = tuple(_sum(a, b) for a, b in zip(sums, values, strict=True))
    return folded


def _sum(a: Totals | None, b: Totals | None) -> Totals | None:
    return a.plus(b) if a and b else a or b


def _stages(
    measure: str, column: Column, names: Sequence[str], stages: Mapping[str, tuple[Totals | None, ...]]
) -> Table:
    """Return one measure of all models side by side; stages that none of them has are left out."""
    kept = {
        name: values for name, values in stages.items() if any(value and getattr(value, measure) for value in values)
    }
    rows = tuple(
        (name, *(None if value is None else getattr(value, measure) for value in values))
        for name, values in kept.items()
    )
    last = len(names)
    models = (replace(column, name=name, drop=last - i if i > 1 else 0) for i, name in enumerate(names))
    return Table((Column(column.name), *models), rows)


def _saving(name: str, names: Sequence[str], energies: Sequence[float]) -> str:
    if len(energies) > 2:
        least = min(energies)
        sides = [side for side, energy in zip(names, energies, strict=True) if energy == least]
        verdict = f"{' and '.join(sides)} need{'' if sides[1:] else 's'} least"
        return f"energy, {name}: {verdict}"
    (a, b) = energies
    less, more, side = (a, b, names[0]) if a <= b else (b, a, names[1])
    share = 1.0 - less / more if more else 0.0
    verdict = f"{side} needs {significant(100 * share)} % less"
    if share < LEAST_SHARE:
        verdict = "both need the same" if a == b else f"{side} needs less, by under {LEAST_SHARE:.2%}"
    return f"energy, {name}: {names[0]} {energy(a)}, {names[1]} {energy(b)}; {verdict}"
