"""What a conclusion depends on, as text and JSON: ratios over all methods and profiles, and where it turns."""

from __future__ import annotations

from typing import Any

from evsim.energy import Sensitivity
from evsim.energy.sensitivity import Ratio
from evsim.report.breakdown import SCHEMA, finite
from evsim.report.text import aligned


def sensitivity_report(outcome: Sensitivity, names: tuple[str, str]) -> str:
    """Return the ratios as a table, the least and the greatest, and where the conclusion turns."""
    rows = [("method", "variant", "profile", "A mJ", "B mJ", "A / B", "range", "memory prices x")]
    for ratio in outcome.ratios:
        spread = "" if ratio.low == ratio.high else f"{ratio.low:.4f}-{ratio.high:.4f}"
        turn = "" if ratio.scale is None else f"{ratio.scale:.4g} ({ratio.cheaper_below} cheaper below)"
        rows.append(
            (
                ratio.method,
                ratio.variant,
                ratio.profile,
                f"{ratio.a_mj:.6g}",
                f"{ratio.b_mj:.6g}",
                f"{ratio.value:.4f}",
                spread,
                turn,
            )
        )
    least, greatest = outcome.least, outcome.greatest
    return "\n".join(
        [
            f"A = {names[0]}",
            f"B = {names[1]}",
            "",
            *aligned(rows, 3),
            "",
            f"A / B is least in {_named(least)}: {least.low:.4f}",
            f"A / B is greatest in {_named(greatest)}: {greatest.high:.4f}",
            *(turn.sentence for turn in outcome.turns),
            "memory prices x: the factor on all prices of memory, movement and power at which A and B cost the same",
            f"{len(outcome.refused)} pairs of method and profile cannot answer; the JSON says why",
        ]
    )


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
