"""The event queue of a run as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing show.

A row per layer, a slice per event; counters hold the spikes and synaptic operations of the event that runs. The format
is Chrome's "Trace Event Format": times in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evsim.api import Run
from evsim.files import write_whole
from evsim.timeline import Slice, Timeline

MICROSECONDS = 1e6
PROCESS = 1


def trace_document(run: Run, timeline: Timeline) -> dict[str, Any]:
    """Return the trace as plain lists, dicts, numbers and texts.

    Parameters
    ----------
    run
        What was counted: the operations of each event are those of its layers and timesteps.
    timeline
        When its events ran.
    """
    return {
        "displayTimeUnit": "ms",
        "otherData": {"model": run.network.name, "input": run.sample.path or "an array", "timesteps": run.timesteps},
        "traceEvents": list(_events(run, timeline)),
    }


def save_trace(run: Run, timeline: Timeline, path: str | Path) -> None:
    """Write the trace as JSON; OutputError if that place cannot be written to."""
    write_whole(path, json.dumps(trace_document(run, timeline), separators=(",", ":")).encode())


def _events(run: Run, timeline: Timeline) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": PROCESS, "tid": 0, "name": "process_name", "args": {"name": run.network.name}}
    rows = {name: i for i, name in enumerate(dict.fromkeys(each.stage for each in timeline.slices), 1)}
    for name, row in rows.items():
        yield {"ph": "M", "pid": PROCESS, "tid": row, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": PROCESS, "tid": row, "name": "thread_sort_index", "args": {"sort_index": row}}
    counted = {layer.name: (layer.sops, layer.macs) for layer in run.counts.layers}
    for each in timeline.slices:
        when = slice(each.start, each.start + each.steps)
        sops, macs = (sum(int(counted[node][i][when].sum()) for node in each.nodes if node in counted) for i in (0, 1))
        yield _slice(each, rows[each.stage], sops, macs)
        for name, value in (("SOPs", sops), ("spikes", each.spikes or 0)):
            for at, shown in ((each.begin, value), (each.end, 0)):
                yield {
                    "ph": "C", "pid": PROCESS, "tid": 0, "name": name, "ts": at * MICROSECONDS, "args": {name: shown},
                }  # fmt: skip


def _slice(each: Slice, row: int, sops: int, macs: int) -> dict[str, Any]:
    last = each.start + each.steps - 1
    return {
        "ph": "X",
        "pid": PROCESS,
        "tid": row,
        "name": f"t {each.start}" if each.steps == 1 else f"t {each.start} to {last}",
        "ts": each.begin * MICROSECONDS,
        "dur": (each.end - each.begin) * MICROSECONDS,
        "args": {
            "layer": each.stage,
            "nodes": list(each.nodes),
            "first timestep": each.start,
            "timesteps": each.steps,
            "spikes": each.spikes,
            "SOPs": sops,
            "MACs": macs,
        },
    }
