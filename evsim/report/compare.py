"""Models side by side, as tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evsim.audit.compare import Comparison, Totals, letter, ratios
from evsim.report.text import WIDTH, aligned

SCHEMA = 1

COLUMNS = 4
"""Models that stand beside each other in a table of stages; more follow in a table of their own."""

MEASURES = {
    "sops": "SOPs",
    "macs": "MACs",
    "exact_mj": "exact mJ",
    "paper_mj": "paper mJ",
    "paper_events_mj": "as events",
}
"""What is shown of each model, and what it is called."""

ENERGIES = {
    "exact_mj": "exact",
    "paper_mj": "paper, binary-only",
    "paper_events_mj": "paper, integer-as-events",
}


def compare_report(comparison: Comparison) -> str:
    """Return totals and ratios, folded stages side by side, who needs least, and how far predictions agree."""
    names = [letter(which).upper() for which in range(len(comparison.networks))]
    inputs = f"{len(comparison.paths)} inputs, means" if len(comparison.paths) > 1 else comparison.paths[0]
    lines = [
        *(
            f"{name}: {network.name} ({network.family}, {network.variant})"
            for name, network in zip(names, comparison.networks, strict=True)
        ),
        f"on {inputs}",
        "",
        *aligned(_totals(names, comparison.totals), 1),
        "",
    ]
    folded = _folded(comparison.stages)
    for measure, title in MEASURES.items():
        if any(getattr(total, measure) for total in comparison.totals):
            lines += _stages(measure, title, names, folded)
    return "\n".join(
        [
            *lines,
            "paper: the paper's estimate, integers charged as dense MACs (binary-only); as",
            "events: the same, an integer k charged as k accumulates (integer-as-events). The",
            "two are equal where no layer reads integers. Stages are summed over blocks; JSON",
            "has each.",
            *(
                _saving(name, names, [getattr(total, measure) for total in comparison.totals])
                for measure, name in ENERGIES.items()
            ),
            f"predictions agree on {comparison.agreement:.1%} of {len(comparison.predictions)} inputs",
            *([comparison.note] if comparison.note else []),
        ]
    )


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


def _totals(names: Sequence[str], totals: Sequence[Totals]) -> list[tuple[str, ...]]:
    """Return a row for each model, and behind all but the first its ratios to that."""
    table = [("total", *MEASURES.values())]
    for name, total in zip(names, totals, strict=True):
        table.append((name, *(_shown(total, measure) for measure in MEASURES)))
        if name != names[0]:
            against = ratios(totals[0], total)
            shares = [against[measure] for measure in MEASURES]
            table.append((f"{name}/{names[0]}", *("" if share is None else f"{share:.3f}" for share in shares)))
    return table


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
    measure: str, title: str, names: Sequence[str], stages: Mapping[str, tuple[Totals | None, ...]]
) -> list[str]:
    """Return tables of one measure, a few models beside each other; stages that none of them has are left out."""
    lines: list[str] = []
    for begin in range(0, len(names), COLUMNS):
        part = slice(begin, begin + COLUMNS)
        table = [(title, *names[part])]
        for name, values in stages.items():
            if any(value and getattr(value, measure) for value in values[part]):
                table.append((_cut(name), *(_shown(value, measure) for value in values[part])))
        lines += [*aligned(table, 1), ""]
    return lines


def _cut(name: str) -> str:
    longest = WIDTH - COLUMNS * 15
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def _shown(total: Totals | None, measure: str) -> str:
    if total is None:
        return ""
    return format(getattr(total, measure), ",.0f" if measure in ("sops", "macs") else ".6f")


def _saving(name: str, names: Sequence[str], energies: Sequence[float]) -> str:
    if len(energies) > 2:
        least = min(energies)
        sides = [side for side, energy in zip(names, energies, strict=True) if energy == least]
        verdict = f"{' and '.join(sides)} need{'' if sides[1:] else 's'} least"
        return f"energy, {name}: {verdict}"
    (a, b) = energies
    less, more, side = (a, b, names[0]) if a <= b else (b, a, names[1])
    share = f"{1.0 - less / more:.2%}" if more else "0.00%"
    verdict = f"{side} needs {share} less"
    if share == "0.00%":
        verdict = "both need the same" if a == b else f"{side} needs less, by under 0.01%"
    return f"energy, {name}: {names[0]} {a:.6f} mJ, {names[1]} {b:.6f} mJ; {verdict}"
