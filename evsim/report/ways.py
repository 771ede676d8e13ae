"""What each way around computation on other values than spikes costs, as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evsim.audit.ways import Cost
from evsim.report.tables import Column, Report, Table
from evsim.synthesis import TOLERANCE

SCHEMA = 1


COLUMNS = (
    Column("what"), Column("model", drop=6), Column("SOPs", "count"), Column("MACs first", "count", drop=5),
    Column("inside", "count"), Column("exact", "energy"), Column("ratio", "number"),
    Column("unrolled", "energy", drop=4), Column("ratio unrolled", "number", drop=3),
)  # fmt: skip


def ways_report(costs: Sequence[Cost]) -> Report:
    """Return a table for every way: operations and energy of an inference, ratios to its first model."""
    parts: list[str | Table] = []
    for way in dict.fromkeys(cost.way for cost in costs):
        own = [cost for cost in costs if cost.way == way]
        rows = tuple(
            (
                cost.what, _model(cost), cost.sops, cost.macs_first, cost.macs_inside, cost.exact_mj,
                cost.exact_mj / own[0].exact_mj, cost.unrolled_mj, cost.unrolled_mj / own[0].unrolled_mj,
            )
            for cost in own
        )  # fmt: skip
        parts.append(Table(COLUMNS, rows, way))
    parts.append(
        "MACs first: of the first layer and the head; inside: on integers or real values, of all layers between. "
        "exact: 0.9 pJ for each accumulate, 4.6 pJ for each multiply-accumulate, integers multiplied once; unrolled: "
        "integers accumulated as often as they say. Ratios are to the first of each table."
    )
    missed = [_model(cost) for cost in costs if cost.worst_rate_error > TOLERANCE]
    if missed:
        parts.append(f"rates missed by more than {TOLERANCE:.0%}: {', '.join(missed)}")
    return Report((), tuple(parts))


def ways_document(costs: Sequence[Cost]) -> dict[str, Any]:
    """Return the costs as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, "costs": [{**asdict(cost), "facts": dict(cost.facts)} for cost in costs]}


def _model(cost: Cost) -> str:
    """Return a model with the facts that were told, but for T, which the title says."""
    told = [f"{name}={value}" for name, value in cost.facts.items() if name != "timesteps"]
    return " ".join([cost.preset, *told])
