"""What each way around computation on other values than spikes costs, as text and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evsim.audit.ways import Cost
from evsim.report.text import WIDTH, aligned
from evsim.synthesis import TOLERANCE

SCHEMA = 1


def ways_report(costs: Sequence[Cost]) -> str:
    """Return a table for every way in 80 columns, operations and energy of an inference, ratios to its first model."""
    blocks = []
    for way in dict.fromkeys(cost.way for cost in costs):
        own = [cost for cost in costs if cost.way == way]
        table = [("  G SOPs", "G MACs first", "inside", "exact mJ", "ratio", "unrolled mJ", "ratio")]
        table += [
            (
                f"{cost.sops / 1e9:.3f}", f"{cost.macs_first / 1e9:.3f}", f"{cost.macs_inside / 1e9:.3f}",
                f"{cost.exact_mj:.3f}", f"{cost.exact_mj / own[0].exact_mj:.2f}",
                f"{cost.unrolled_mj:.3f}", f"{cost.unrolled_mj / own[0].unrolled_mj:.2f}",
            )
            for cost in own
        ]  # fmt: skip
        head, rule, *numbers = aligned(table, 0)
        # words and numbers side by side would be more than 80 columns
        body = [line for cost, row in zip(own, numbers, strict=True) for line in (f"{cost.what}: {_model(cost)}", row)]
        blocks.append("\n".join([way, head, rule, *body]))
    notes = (
        "G MACs first: of the first layer and the head; inside: on integers or real values, of all layers between. "
        "exact: 0.9 pJ for each "
        "accumulate, 4.6 pJ for each multiply-accumulate, integers multiplied once; unrolled: integers accumulated as "
        "often as they say. Ratios are to the first of each table."
    )
    missed = [_model(cost) for cost in costs if cost.worst_rate_error > TOLERANCE]
    lines = textwrap.wrap(notes, WIDTH, break_on_hyphens=False)
    if missed:
        lines += textwrap.wrap(f"rates missed by more than {TOLERANCE:.0%}: {', '.join(missed)}", WIDTH)
    return "\n\n".join([*blocks, "\n".join(lines)])


def ways_document(costs: Sequence[Cost]) -> dict[str, Any]:
    """Return the costs as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, "costs": [{**asdict(cost), "facts": dict(cost.facts)} for cost in costs]}


def _model(cost: Cost) -> str:
    """Return a model with the facts that were told, but for T, which the title says."""
    told = [f"{name}={value}" for name, value in cost.facts.items() if name != "timesteps"]
    return " ".join([cost.preset, *told])
