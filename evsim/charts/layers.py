"""Charts of layers: energy, firing rates, operations; and energy by kind of cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evsim.charts.chart import Chart
from evsim.charts.theme import BLUE, BLUE_STRIPES, GRID, INK, MUTED, ORANGE, ORANGE_STRIPES, SERIES, Look
from evsim.energy.result import place
from evsim.errors import OptionError

Layer = Mapping[str, Any]

MOST_ROWS = 80
"""Layers that are drawn each; of more, blocks are drawn."""

PREFIXED = "replace(format({}, '{}'), regexp('([a-zA-Zµ]?)$'), ' $1J')"
"""A number with the unit's prefix behind a space."""

JOULES = PREFIXED.format("datum.value", "~s")
TOLD = "datum.energy_mj == 0 ? '0 J' : " + PREFIXED.format("datum.energy_mj / 1000", ".3~s")
COUNTS = "replace(format(datum.value, '~s'), 'G', ' G')"

MOST_DECADES, MOST_DECADES_NARROW = 8, 4
"""Powers of ten between ticks of a logarithmic axis that are labelled each."""

KINDS = ("exact", "exact, not spike-driven", "paper", "paper, not spike-driven")
"""Whose energy, and whether the layer reads spikes."""

EXACT, PAPER = "exact", "paper"


def energy(layers: Sequence[Layer], title: str) -> Chart:
    """Return energy per layer, as counted and by the paper; layers that read other values than spikes are striped.

    Parameters
    ----------
    layers
        As the JSON of a run holds them.
    title
        Whose.

    Raises
    ------
    OptionError
        If there are none.
    """
    drawn = [layer for layer in layers if layer["kind"] != "lif"]
    _some(drawn, "layers that cost energy")
    folded = len(drawn) > MOST_ROWS
    rows = []
    for name, group in _groups(drawn, folded).items():
        spikes = all(layer["input_kind"] == "spikes" for layer in group)
        for view in (EXACT, PAPER):
            mj = sum(layer["energy_mj"] if view == EXACT else layer["paper"]["energy_mj"] for layer in group)
            kind = view if spikes else f"{view}, not spike-driven"
            rows.append({"layer": name, "view": view, "kind": kind, "energy_mj": mj})
    mine, theirs = (sum(row["energy_mj"] for row in rows if row["view"] == view) for view in (EXACT, PAPER))
    top = max(rows, key=lambda row: row["energy_mj"])
    unit = "block" if folded else "layer"
    summary = (
        f"Energy per {unit} of {title}: {joules(mine)} as counted, {joules(theirs)} by the paper's estimate. "
        f"The greatest is {top['layer']} ({top['view']}), {joules(top['energy_mj'])}."
    )
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    return Chart(
        "energy", f"Energy per {unit}", summary, tuple(rows),
        lambda look: _energy(look, kinds, top["energy_mj"]),
    )  # fmt: skip


def _energy(look: Look, kinds: Sequence[str], greatest: float) -> Mapping[str, Any]:
    room = 1 + 6 * look.letters / look.width  # for the number at the end of the longest bar
    top = room * greatest or 1.0
    side = {"field": "layer", "type": "nominal", "sort": None, "title": None}
    across = {
        "field": "joules", "type": "quantitative", "title": "energy per inference",
        "scale": {"domain": [0, top / 1000], "nice": False},
        "axis": {"labelExpr": JOULES, "labelBound": True, "tickCount": 4 if look.narrow else 6},
    }  # fmt: skip
    colours = {"domain": list(KINDS), "range": [BLUE, BLUE_STRIPES, ORANGE, ORANGE_STRIPES]}
    offset = {"field": "view", "sort": [EXACT, PAPER]}
    return {
        "width": look.width,
        "height": {"step": round(look.letters * 1.15, 1),
                   "for": "offset"},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.energy_mj / 1000", "as": "joules"},
            {"calculate": TOLD, "as": "told"},
        ],
        "encoding": {
            "y": {**side, "axis": {"grid": False, "ticks": False, "domain": False, "labelPadding": 6,
                                   "labelExpr": broken(look)},
                  "scale": {"paddingInner": 0.28}},
            "x": across,
            "yOffset": offset,
        },
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 1},
                "encoding": {
                    "color": {"field": "kind", "scale": colours, "legend": {"values": list(kinds)}},
                    "description": {"field": "described"},
                },
                "transform": [
                    {"calculate": "datum.layer + ', ' + datum.kind + ': ' + datum.told", "as": "described"}
                ],
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 3, "aria": False, "baseline": "middle"},
                "encoding": {"text": {"field": "told"}},
            },
        ],
    }  # fmt: skip


def rates(layers: Sequence[Layer], title: str) -> Chart:
    """Return the firing rate of every layer of neurons against depth, and the density of what each layer reads.

    Parameters
    ----------
    layers, title
        As `energy` takes them.

    Raises
    ------
    OptionError
        If there are no neurons.
    """
    rows: list[dict[str, Any]] = []
    for layer in layers:
        if layer["kind"] == "lif":
            neurons = max(1, layer["input_size"] * (layer["levels"] or 1))
            block = place(layer["name"], "block")
            rows.append(
                {"depth": len(rows) + 1, "layer": layer["name"], "block": block, "rate": layer["spikes"] / neurons}
            )
    _some(rows, "layers of neurons")
    least, greatest = (pick(rows, key=lambda row: row["rate"]) for pick in (min, max))
    summary = (
        f"Firing rate against depth of {title}: from {least['rate']:.2%} ({least['layer']}) "
        f"to {greatest['rate']:.2%} ({greatest['layer']}), over {len(rows)} layers of neurons."
    )
    return Chart("rates", "Firing rate against depth", summary, tuple(rows), _rates)


def _rates(look: Look) -> Mapping[str, Any]:
    return {
        "width": look.width,
        "height": round(look.letters * 15),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": "datum.layer + ': ' + format(datum.rate, '.2%')", "as": "described"}],
        "encoding": {
            "x": {
                "field": "depth", "type": "quantitative", "title": "layer of neurons, from the input",
                "axis": {"grid": False, "tickMinStep": 1, "format": "d"}, "scale": {"nice": False, "zero": False,
                "padding": 8},
            },
            "y": {"field": "rate", "type": "quantitative", "title": "spikes per neuron and timestep",
                  "axis": {"format": "~%", "tickCount": 5}},
        },
        "layer": [
            {"mark": {"type": "line", "color": BLUE, "strokeWidth": 1.5, "strokeOpacity": 0.5, "aria": False}},
            {
                "mark": {"type": "point", "color": BLUE, "filled": True},
                "encoding": {"description": {"field": "described"}},
            },
        ],
    }  # fmt: skip


def operations(layers: Sequence[Layer], title: str, samples: int = 1) -> Chart:
    """Return the operations of every layer beside those of a dense network of the same shape.

    Parameters
    ----------
    layers, title
        As `energy` takes them.
    samples
        Samples that are summed in the counts, but not in the dense operations.

    Raises
    ------
    OptionError
        If there are no layers.
    """
    drawn = [layer for layer in layers if layer["kind"] != "lif"]
    _some(drawn, "layers with operations")
    rows = []
    for name, group in _groups(drawn, len(drawn) > MOST_ROWS).items():
        done = sum(layer["sops"] + layer["macs"] for layer in group) / samples
        dense = sum(layer["dense_macs"] for layer in group)
        done = int(done) if done == int(done) else done
        rows.append({"layer": name, "operations": done, "dense_macs": dense, "share": done / dense if dense else None})
    done, dense = (sum(row[key] for row in rows) for key in ("operations", "dense_macs"))
    times = f", {dense / done:.1f} times fewer" if done and dense else ""
    summary = (
        f"Operations of {title} against those of a dense network: {done:,.0f} SOPs and MACs for {dense:,} dense "
        f"multiply-accumulates{times}."
    )
    longest = max(len(row["layer"]) for row in rows)
    drawn_values = [value for row in rows if row["operations"] and row["dense_macs"]
                    for value in (row["operations"], row["dense_macs"])]  # fmt: skip
    ends = (min(drawn_values, default=1), max(drawn_values, default=10))
    return Chart(
        "operations", "Operations against a dense network", summary, tuple(rows),
        lambda look: _operations(look, ends, longest),
    )  # fmt: skip


def _operations(look: Look, ends: tuple[float, float], longest: int) -> Mapping[str, Any]:
    first = math.floor(math.log10(ends[0]))
    last = max(first + 1, math.ceil(math.log10(ends[1])))
    scale = {"type": "log", "nice": False, "domain": [10.0**first, 10.0**last]}
    told = "format(datum.operations, ',.0f') + ' of ' + format(datum.dense_macs, ',') + ' dense'"
    colours = {"domain": ["SOPs and MACs", "dense MACs"], "range": [BLUE, MUTED]}
    legend = {"symbolType": "circle"}
    step = -(-(last - first) // (MOST_DECADES_NARROW if look.narrow else MOST_DECADES))
    across = {"type": "quantitative", "scale": scale, "title": "operations per inference (logarithmic)",
              "axis": {"labelExpr": COUNTS, "values": [10.0**i for i in range(first, last + 1, step)]}}  # fmt: skip
    side = {"field": "layer", "type": "nominal", "sort": None, "title": None,
            "axis": {"grid": True, "ticks": False, "domain": False, "labelPadding": 6,
                     "labelExpr": broken(look)}}  # fmt: skip
    return {
        "width": look.width,
        "height": {"step": round(look.row * (1 if longest <= look.letters_of_label else 1.7), 1)},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"filter": "datum.operations > 0 && datum.dense_macs > 0"},
            {"calculate": f"datum.layer + ': ' + {told}", "as": "described"},
        ],
        "encoding": {"y": side},
        "layer": [
            {
                "mark": {"type": "rule", "color": GRID, "strokeWidth": 3, "aria": False},
                "encoding": {"x": {**across, "field": "operations"}, "x2": {"field": "dense_macs"}},
            },
            {
                "mark": {"type": "point", "filled": True},
                "encoding": {
                    "x": {**across, "field": "dense_macs"},
                    "color": {"datum": "dense MACs", "scale": colours, "legend": legend},
                    "description": {"field": "described"},
                },
            },
            {
                "mark": {"type": "point", "filled": True},
                "encoding": {
                    "x": {**across, "field": "operations"},
                    "color": {"datum": "SOPs and MACs", "scale": colours, "legend": legend},
                    "description": {"field": "described"},
                },
            },
        ],
    }


def costs(models: Sequence[Mapping[str, Any]], title: str) -> Chart:
    """Return the energy of every method by kind of cost.

    Parameters
    ----------
    models
        As the JSON of ``evsim energy`` holds them: `model` and `by`.
    title
        Whose.

    Raises
    ------
    OptionError
        If no method tells kinds of cost.
    """
    rows = [
        {"method": model["model"], "cost": cost, "energy_mj": value["energy_mj"]}
        for model in models
        for cost, value in model["by"].get("cost", {}).items()
        if value["energy_mj"]
    ]
    _some(rows, "kinds of cost")
    totals = "; ".join(f"{model['model']} {joules(model['energy_mj'])}" for model in models)
    names = list(dict.fromkeys(row["cost"] for row in rows))
    summary = f"Energy of {title} by kind of cost: {totals}."
    return Chart("costs", "Energy by kind of cost", summary, tuple(rows), lambda look: _costs(look, names))


def _costs(look: Look, names: Sequence[str]) -> Mapping[str, Any]:
    palette = (*SERIES, INK, MUTED, "#8c6d31")
    return {
        "width": look.width,
        "height": {"step": round(1.9 * look.letters, 1)},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.energy_mj / 1000", "as": "joules"},
            {"calculate": f"datum.method + ', ' + datum.cost + ': ' + ({TOLD})", "as": "described"},
        ],
        "mark": {"type": "bar"},
        "encoding": {
            "y": {"field": "method", "type": "nominal", "sort": None, "title": None,
                  "axis": {"ticks": False, "domain": False, "labelPadding": 6}},
            "x": {"field": "joules", "type": "quantitative", "title": "energy per inference",
                  "axis": {"labelExpr": JOULES, "tickCount": 4 if look.narrow else 6}},
            "color": {"field": "cost", "sort": list(names),
                      "scale": {"domain": list(names), "range": list(palette[: len(names)])},
                      "legend": {"columns": 2 if look.narrow else 4}},
            "order": {"field": "cost", "sort": list(names)},
            "description": {"field": "described"},
        },
    }  # fmt: skip


def broken(look: Look) -> str:
    """Return the expression of a label: a name too long for a line goes on in a second one, behind a dot if it can."""
    room = look.letters_of_label
    return (
        f"length(datum.label) <= {room} ? datum.label : "
        f"split(replace(datum.label, regexp('^(.{{1,{room - 1}}}[._]|.{{{room}}})(.+)$'), '$1\\n$2'), '\\n')"
    )


def joules(mj: float) -> str:
    """Return an energy in millijoules with three digits and a unit of its size."""
    value = abs(mj)
    for unit, size in (("mJ", 1.0), ("µJ", 1e-3), ("nJ", 1e-6), ("pJ", 1e-9)):
        if value >= size or unit == "pJ":
            if value >= 1000 * size:
                return f"{mj:,.0f} mJ"
            return f"{f'{mj / size:#.3g}'.rstrip('.')} {unit}" if value else "0 mJ"
    raise AssertionError


def _groups(layers: Sequence[Layer], folded: bool) -> dict[str, list[Layer]]:
    """Return the layers by name, or by block."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(place(layer["name"], "block") if folded else layer["name"], []).append(layer)
    return groups


def _some(rows: Sequence[object], what: str) -> None:
    if not rows:
        raise OptionError(f"there are no {what} to draw; give counts of another network")
