"""Published energies of other families, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from evsim.audit.published import Published
from evsim.report.families import MARK
from evsim.report.tables import Table, plain


def published_parts(entries: Sequence[Published]) -> tuple[str | Table, ...]:
    """Return a table of each energy and what it implies by its rule, then sources and what is left out."""
    rows = [("model", "mJ", "first", "its mJ", "rest G", "G AC", "input")]
    for entry in entries:
        energy = f"{entry.energy_mj:.2f}{MARK if 'energy_mj' in entry.unread else ' '}"
        for number, reading in enumerate(entry.readings):
            implied = ("-", "-") if reading.gacs is None else (f"{reading.gacs:.3f}", f"{reading.mean_rate:.3f}")
            same = ("", "") if number else (entry.model.replace("-imagenet", ""), energy)
            rest = "" if number else f"{entry.dense_gops:.3f}"
            rows.append((*same, reading.first, f"{reading.first_mj:.3f}", rest, *implied))
    title = "published of other families, and what follows by their own rules"
    legend = (
        "first: how often the first convolution is charged, which the papers print without a T. rest: dense operations "
        "of all that is charged as accumulates, bias left out, of folded convolutions those of the one that they "
        "become. G AC: what the energy leaves for them. input: mean value of what they read, G AC / rest. "
        f"{MARK}: from memory or second hand, not read at its source."
    )
    lines = []
    for entry in entries:
        if entry.sops_g is not None:
            lines.append(
                f"{entry.model}: {entry.sops_g} G synaptic operations are published too; from the energy follow "
                f"{entry.readings[0].gacs:.3f} G."
            )
        if entry.left_out_mj:
            lines.append(f"{entry.model}: the first convolution, charged nothing, is {entry.left_out_mj:.2f} mJ.")
    for family in dict.fromkeys(entry.family for entry in entries):
        own = [entry for entry in entries if entry.family == family]
        rule = f"method {own[0].rule}; leaves out" if own[0].rule else "no method;"
        sources = "; ".join(dict.fromkeys(entry.source for entry in own))
        lines.append(f"{family}: {rule} {own[0].leaves_out}. Source: {sources}.")
    return (plain(rows, title=title), legend, "\n".join(lines))
