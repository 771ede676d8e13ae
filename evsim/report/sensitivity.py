"""What a conclusion depends on, as text and JSON: ratios over all methods and profiles, and where it turns."""

from __future__ import annotations

from typing import Any

from evsim.energy import Sensitivity
from evsim.energy.sensitivity import Ratio
from evsim.report.breakdown import SCHEMA, finite
from evsim.report.tables import Column, Report, Table, significant

COLUMNS = (
    Column("method"), Column("variant", drop=4), Column("profile"), Column("A", "energy", drop=1),
    Column("B", "energy", drop=1), Column("A / B", "number"), Column("range", "number", drop=2),
    Column("memory prices x", "text", drop=3),
)  # fmt: skip


def sensitivity_report(outcome: Sensitivity, names: tuple[str, str]) -> Report:
    """Return the least and greatest ratio, all ratios as a table, and where the conclusion turns."""
    rows = []
    for ratio in outcome.ratios:
        spread = None if ratio.low == ratio.high else (ratio.low, ratio.high)
        turn = "" if ratio.scale is None else f"{significant(ratio.scale)} ({ratio.cheaper_below} below)"
        rows.append(
            (ratio.method, ratio.variant, ratio.profile, ratio.a_mj, ratio.b_mj, ratio.value, spread, turn)
        )  # fmt: skip
    least, greatest = outcome.least, outcome.greatest
    headline = (
        f"A = {names[0]}",
        f"B = {names[1]}",
        f"A / B is least in {_named(least)}: {significant(least.low)}",
        f"A / B is greatest in {_named(greatest)}: {significant(greatest.high)}",
    )
    lines = [
        *(turn.sentence for turn in outcome.turns),
        "memory prices x: the factor on all prices of memory, movement and power at which A and B cost the same",
        f"{len(outcome.refused)} pairs of method and profile cannot answer; the JSON says why",
    ]
    return Report(headline, (Table(COLUMNS, tuple(rows)), "\n".join(lines)))


def sensitivity_document(outcome: Sensitivity, names: tuple[str, str]) -> dict[str, Any]:
    """Return the ratios as plain lists, dicts, numbers and texts."""
    return {
        "schema": SCHEMA,
        "a": names[0],
        "b": names[1],
        "ratios": [
            {
                "model": ratio.method,
                "variant": ratio.variant,
                "profile": ratio.profile,
                "a_mj": ratio.a_mj,
                "b_mj": ratio.b_mj,
                "ratio": finite(ratio.value),
                "range": [finite(ratio.low), finite(ratio.high)],
                "memory_scale": ratio.scale,
                "cheaper_below": ratio.cheaper_below,
            }
            for ratio in outcome.ratios
        ],
        "least": _end(outcome.least, outcome.least.low),
        "greatest": _end(outcome.greatest, outcome.greatest.high),
        "break_even": [
            {
                "model": turn.method,
                "variant": turn.variant,
                "e_mac_over_e_ac": turn.ratio,
                "cheaper_below": turn.cheaper_below,
            }
            for turn in outcome.turns
        ],
        "refused": [
            {"model": method, "variant": variant, "profile": profile, "reason": reason}
            for method, variant, profile, reason in outcome.refused
        ],
    }


def _end(ratio: Ratio, value: float) -> dict[str, Any]:
    return {"model": ratio.method, "variant": ratio.variant, "profile": ratio.profile, "ratio": finite(value)}


def _named(ratio: Ratio) -> str:
    return f"{ratio.method}{f' ({ratio.variant})' if ratio.variant else ''} with {ratio.profile}"
