"""A run as a short card of HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evsim.charts.layers import joules

if TYPE_CHECKING:
    from evsim.api import Run

STYLE = (
    "display:inline-block;border:1px solid currentColor;border-radius:6px;padding:.6em .9em;"
    "font-family:sans-serif;line-height:1.5"
)


def card(run: Run) -> str:
    """Return what ran, what it answered, and what that took."""
    counts, name = run.counts, run.label(run.prediction)
    operations = counts.sops + counts.macs
    dense = counts.dense_macs_with_attention * counts.samples
    less = f" ({dense / operations:.1f} × fewer than dense)" if operations else ""
    source = run.sample.path or f"{run.sample.kind} {list(run.sample.values.shape)}"
    answer = f"class {run.prediction}" + ("" if name is None else f" ({name})")
    lines = [
        f"<b>{escape(run.network.name)}</b> on {escape(source)}, T = {run.timesteps}",
        f"prediction: <b>{escape(answer)}</b>",
        f"{counts.sops:,} SOPs, {counts.macs:,} MACs{less}",
        f"energy: <b>{joules(run.exact().energy_mj)}</b> exact, {joules(run.paper().energy_mj)} by the paper",
    ]
    return f'<div style="{STYLE}">{"<br>".join(lines)}</div>'
