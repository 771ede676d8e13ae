"""Charts of one neuron's life: its potential against its threshold, what reached it, what that cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evsim.charts.chart import Chart
from evsim.charts.theme import BLUE, GREEN, GRID, INK, MUTED, ORANGE, Look
from evsim.errors import OptionError

Step = Mapping[str, Any]

RAISED, LOWERED, CONSTANT = "inputs that raised it", "inputs that lowered it", "bias and BatchNorm"
READ, SENT = "sums that it read", "what its spikes set off"
COLOURS = {RAISED: BLUE, LOWERED: ORANGE, CONSTANT: MUTED, READ: BLUE, SENT: GREEN}


def potential(told: Mapping[str, Any]) -> Chart:
    """Return v(t) against the threshold: from what was kept, by the current, to what is compared; then what is kept.

    Parameters
    ----------
    told
        The JSON of `evsim explain`.

    Raises
    ------
    OptionError
        If it has no timesteps.
    """
    _check(told)
    threshold = told["neuron"]["threshold"]
    rows = tuple(
        {key: step[key] for key in ("t", "v_before", "v", "v_kept", "current", "emitted")} | {"threshold": threshold}
        for step in told["steps"]
    )
    highest = max(rows, key=lambda row: row["v"])
    fired = [str(row["t"]) for row in rows if row["emitted"]]
    against = "" if threshold is None else f", threshold {threshold:.6g}"
    spikes = f"it fired at t = {', '.join(fired)}" if fired else "it did not fire"
    summary = (
        f"Potential of {name_of(told)}: highest {highest['v']:.6g} at t = {highest['t']}{against}"
        f"{'' if threshold is None else f'; {spikes}'}."
    )
    return Chart("potential", "Potential against threshold", summary, rows, lambda look: _potential(look, threshold))


def _potential(look: Look, threshold: float | None) -> Mapping[str, Any]:
    def rule(x: str, y: str, x2: str, y2: str, **style: Any) -> Mapping[str, Any]:
        ends = {"x": x, "y": y, "x2": x2, "y2": y2}
        mark = {"type": "rule", "aria": False, **style}
        return {"mark": mark, "encoding": {key: {"field": field} for key, field in ends.items()}}

    described = (
        "'t = ' + datum.t + ': v = ' + format(datum.v, '.5~g') + (datum.emitted ? ', fired' : '') + "
        "', kept ' + format(datum.v_kept, '.5~g')"
    )
    line = {"color": BLUE, "strokeWidth": 1.8}
    fires = {"condition": {"test": "datum.emitted > 0", "value": ORANGE}, "value": BLUE}
    held = [] if threshold is None else [
        {"mark": {"type": "rule", "color": ORANGE, "strokeDash": [5, 4], "strokeWidth": 1.2, "aria": False},
         "encoding": {"x": {"value": 0}, "x2": {"value": "width"}, "y": {"datum": threshold}}},
    ]  # fmt: skip
    return {
        "width": look.width,
        "height": round(look.letters * 16),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.t - 0.4", "as": "begin"},
            {"calculate": "datum.t + 0.6", "as": "end"},
            {"calculate": described, "as": "described"},
        ],
        "encoding": {
            "x": {"field": "t", "type": "quantitative", "title": "timestep t", "scale": {"nice": False, "zero": False},
                  "axis": {"tickMinStep": 1, "format": "d", "grid": False, "tickCount": 6 if look.narrow else 12}},
            "y": {"field": "v", "type": "quantitative", "title": "membrane potential v", "axis": {"tickCount": 6}},
        },
        "layer": [
            *held,
            rule("begin", "v_before", "t", "v", **line),
            rule("t", "v", "t", "v_kept", **line, strokeDash=[2, 2]),
            rule("t", "v_kept", "end", "v_kept", **line),
            {
                "mark": {"type": "point", "filled": True, "size": 5 * look.letters},
                "encoding": {"color": fires, "description": {"field": "described"}},
            },
        ],
    }  # fmt: skip


def arrivals(told: Mapping[str, Any]) -> Chart:
    """Return what reached it at each timestep: the weights of inputs that raised and that lowered it, and constants.

    Parameters
    ----------
    told
        The JSON of `evsim explain`.

    Raises
    ------
    OptionError
        If it has no timesteps.
    """
    _check(told)
    rows = tuple(row for step in told["steps"] for row in _arrived(step))
    inputs = [sum(row["inputs"] for row in rows if row["t"] == step["t"]) for step in told["steps"]]
    strongest = max(told["steps"], key=lambda step: step["current"])
    summary = (
        f"What reached {name_of(told)}: {sum(inputs):,} inputs in all, {min(inputs):,} to {max(inputs):,} at a "
        f"timestep; the greatest current is {strongest['current']:.6g}, at t = {strongest['t']}."
    )
    return Chart("arrivals", "What reached it", summary, rows, _arrivals)


def _arrived(step: Step) -> Iterator[Mapping[str, Any]]:
    """Yield what a timestep added, by kind; all kinds together are the current, but for rounding."""
    pushes = [
        feed["factor"] * product
        for feed in step["sums"]
        for added in feed["additions"]
        for product in added["products"]
    ]
    constant = sum(feed["factor"] * feed["constant"] for feed in step["sums"])
    up, down = [push for push in pushes if push > 0], [push for push in pushes if push <= 0]
    kinds = ((RAISED, len(up), sum(up)), (LOWERED, len(down), sum(down)), (CONSTANT, 0, constant))
    for kind, count, total in kinds:
        yield {"t": step["t"], "kind": kind, "inputs": count, "sum": float(total), "current": step["current"]}


def _arrivals(look: Look) -> Mapping[str, Any]:
    described = (
        "'t = ' + datum.t + ': ' + (datum.inputs ? datum.inputs + ' ' : '') + datum.kind + ', ' + "
        "format(datum.sum, '+.5~g')"
    )
    return {
        "width": look.width,
        "height": round(look.letters * 14),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": described, "as": "described"}],
        "encoding": {"x": _timesteps()},
        "layer": [
            {
                "mark": {"type": "bar"},
                "encoding": {
                    "y": {"field": "sum", "type": "quantitative", "title": "added to the current"},
                    "color": _kinds((RAISED, LOWERED, CONSTANT), look),
                    "description": {"field": "described"},
                },
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "color": INK,
                    "stroke": GRID,
                    "strokeWidth": 1,
                    "size": 6 * look.letters,
                    "aria": False,
                },
                "encoding": {"y": {"field": "current", "type": "quantitative", "aggregate": "max"}},
            },
        ],
    }


def costs(told: Mapping[str, Any]) -> Chart:
    """Return the energy of each timestep: of the sums that it read, and of what its spikes set off.

    Parameters
    ----------
    told
        The JSON of `evsim explain`.
    """
    rows = tuple(
        {"t": step["t"], "kind": kind, "acs": step[f"{at}acs"], "macs": step[f"{at}macs"], "pj": step[f"{at}pj"]}
        for step in told["steps"]
        for kind, at in ((READ, ""), (SENT, "out_"))
    )
    read, sent = (sum(row["pj"] for row in rows if row["kind"] == kind) for kind in (READ, SENT))
    summary = f"Energy of {name_of(told)}: {read:,.2f} pJ for {READ}, {sent:,.2f} pJ for {SENT}."
    return Chart("costs", "Energy by timestep", summary, rows, _costs)


def _costs(look: Look) -> Mapping[str, Any]:
    described = (
        "'t = ' + datum.t + ': ' + datum.kind + ', ' + format(datum.pj, ',.5~g') + ' pJ (' + "
        "format(datum.acs, ',.5~g') + ' ACs, ' + format(datum.macs, ',.5~g') + ' MACs)'"
    )
    return {
        "width": look.width,
        "height": round(look.letters * 12),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": described, "as": "described"}],
        "mark": {"type": "bar"},
        "encoding": {
            "x": _timesteps(),
            "y": {"field": "pj", "type": "quantitative", "title": "energy (pJ)", "axis": {"tickCount": 5}},
            "color": _kinds((READ, SENT), look),
            "description": {"field": "described"},
        },
    }


def name_of(told: Mapping[str, Any]) -> str:
    """Return the neuron's name without its timestep."""
    neuron = told["neuron"]
    return f"{neuron['layer']}:{neuron['channel']}@{neuron['y']},{neuron['x']}"


def _check(told: Mapping[str, Any]) -> None:
    if not told["steps"]:
        raise OptionError("there are no timesteps to draw; give what `evsim explain` writes of a neuron that ran")


def _timesteps() -> Mapping[str, Any]:
    overlap = {"labelOverlap": True, "labelAngle": 0, "ticks": False}
    return {"field": "t", "type": "ordinal", "title": "timestep t", "axis": overlap, "scale": {"paddingInner": 0.25}}


def _kinds(names: Sequence[str], look: Look) -> Mapping[str, Any]:
    legend = {"columns": 1 if look.narrow else 3}
    scale = {"domain": list(names), "range": [COLOURS[name] for name in names]}
    return {"field": "kind", "type": "nominal", "scale": scale, "legend": legend}
