"""Charts that hold networks against each other: compare, sweep, sensitivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evsim.charts.chart import Chart
from evsim.charts.layers import JOULES, TOLD, broken, joules
from evsim.charts.theme import BLUE, GREEN, MUTED, ORANGE, SERIES, Look
from evsim.errors import OptionError

VIEWS = {"exact_mj": "exact", "paper_mj": "paper", "paper_events_mj": "paper, integer-as-events"}
MOST_MODELS = len(SERIES)


def compare(document: Mapping[str, Any]) -> Chart:
    """Return the energy of models side by side, as counted and by the paper.

    Parameters
    ----------
    document
        The JSON of ``evsim compare``.

    Raises
    ------
    OptionError
        If it holds no models.
    """
    names, totals = document["models"], document["totals"]
    sides = [key for key in totals if key not in ("ratio", "ratios")]
    twice = len(set(names)) < len(names)
    rows = [
        {"model": f"{side.upper()}: {name}" if twice else name, "view": view, "energy_mj": totals[side][key],
         "sops": totals[side]["sops"], "macs": totals[side]["macs"]}
        for side, name in zip(sides, names, strict=True)
        for key, view in VIEWS.items()
    ]  # fmt: skip
    if not rows:
        raise OptionError("the comparison holds no models; compare two or more")
    mine = [row for row in rows if row["view"] == "exact"]
    least = min(mine, key=lambda row: row["energy_mj"])
    greatest = max(row["energy_mj"] for row in rows)
    summary = (
        f"Energy of {len(names)} models: "
        + "; ".join(f"{row['model']} {joules(row['energy_mj'])}" for row in mine)
        + f" as counted. {least['model']} needs least."
    )
    return Chart("compare", "Energy of models", summary, tuple(rows), lambda look: _compare(look, greatest))


def _compare(look: Look, greatest: float) -> Mapping[str, Any]:
    top = greatest * (1 + 6 * look.letters / look.width) or 1.0
    views = list(VIEWS.values())
    return {
        "width": look.width,
        "height": {"step": round(look.letters * 1.15, 1), "for": "offset"},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": "datum.energy_mj / 1000", "as": "joules"}, {"calculate": TOLD, "as": "told"}],
        "encoding": {
            "y": {"field": "model", "type": "nominal", "sort": None, "title": None,
                  "scale": {"paddingInner": 0.3},
                  "axis": {"grid": False, "ticks": False, "domain": False, "labelPadding": 6,
                           "labelExpr": broken(look)}},
            "x": {"field": "joules", "type": "quantitative", "title": "energy per inference",
                  "scale": {"domain": [0, top / 1000], "nice": False},
                  "axis": {"labelExpr": JOULES, "labelBound": True, "tickCount": 4 if look.narrow else 6}},
            "yOffset": {"field": "view", "sort": views},
        },
        "layer": [
            {
                "transform": [{"calculate": "datum.model + ', ' + datum.view + ': ' + datum.told", "as": "described"}],
                "mark": {"type": "bar", "cornerRadiusEnd": 1},
                "encoding": {
                    "color": {"field": "view", "scale": {"domain": views, "range": [BLUE, ORANGE, GREEN]}},
                    "description": {"field": "described"},
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 3, "aria": False, "baseline": "middle"},
                "encoding": {"text": {"field": "told"}},
            },
        ],
    }  # fmt: skip


def stages(document: Mapping[str, Any]) -> Chart:
    """Return the exact energy of models stage by stage; `document` and errors as `compare`."""
    names = document["models"]
    twice = len(set(names)) < len(names)
    shown = names[:MOST_MODELS]
    sides = [key for key in document["totals"] if key not in ("ratio", "ratios")]
    titles = [f"{side.upper()}: {name}" if twice else name for side, name in zip(sides, shown, strict=False)]
    rows = [
        {"stage": stage, "model": title, "energy_mj": values[side]["exact_mj"]}
        for stage, values in document["stages"].items()
        for side, title in zip(sides, titles, strict=False)
        if values.get(side)
    ]
    if not rows:
        raise OptionError("the comparison holds no stages; compare two or more models")
    top = max(rows, key=lambda row: row["energy_mj"])
    more = f" The first {MOST_MODELS} of {len(names)} models are drawn." if len(names) > MOST_MODELS else ""
    summary = (
        f"Exact energy by stage; the greatest is {top['stage']} of {top['model']}, {joules(top['energy_mj'])}.{more}"
    )
    return Chart("stages", "Energy by stage", summary, tuple(rows), lambda look: _stages(look, titles))


def _stages(look: Look, titles: Sequence[str]) -> Mapping[str, Any]:
    return {
        "width": look.width,
        "height": {"step": round(look.letters * 0.85, 1), "for": "offset"},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.energy_mj / 1000", "as": "joules"},
            {"calculate": TOLD, "as": "told"},
            {"calculate": "datum.stage + ', ' + datum.model + ': ' + datum.told", "as": "described"},
        ],
        "mark": {"type": "bar", "cornerRadiusEnd": 1},
        "encoding": {
            "y": {"field": "stage", "type": "nominal", "sort": None, "title": None,
                  "scale": {"paddingInner": 0.28},
                  "axis": {"grid": False, "ticks": False, "domain": False, "labelPadding": 6}},
            "x": {"field": "joules", "type": "quantitative", "title": "energy per inference",
                  "axis": {"labelExpr": JOULES, "tickCount": 4 if look.narrow else 6}},
            "yOffset": {"field": "model", "sort": list(titles)},
            "color": {"field": "model", "scale": {"domain": list(titles), "range": list(SERIES[: len(titles)])},
                      "legend": {"columns": 1 if look.narrow else 2}},
            "description": {"field": "described"},
        },
    }  # fmt: skip


def sweep(document: Mapping[str, Any]) -> Chart:
    """Return energy against width, a line for each depth.

    Parameters
    ----------
    document
        The JSON of ``evsim sweep``.

    Raises
    ------
    OptionError
        If it holds no sizes.
    """
    rows = tuple(
        {"depth": row["depth"], "dim": row["dim"], "view": VIEWS[key], "energy_mj": row[key]}
        for row in document["rows"]
        for key in ("exact_mj", "paper_mj")
    )
    if not rows:
        raise OptionError("the sweep holds no sizes; give numbers of blocks and widths")
    mine = [row for row in rows if row["view"] == "exact"]
    least, greatest = (pick(mine, key=lambda row: row["energy_mj"]) for pick in (min, max))
    summary = (
        f"Energy over {len(mine)} sizes, as counted: from {joules(least['energy_mj'])} ({least['depth']} blocks of "
        f"{least['dim']}) to {joules(greatest['energy_mj'])} ({greatest['depth']} blocks of {greatest['dim']})."
    )
    return Chart("sweep", "Energy over depth and width", summary, rows, _sweep)


def _sweep(look: Look) -> Mapping[str, Any]:
    described = f"datum.depth + ' blocks of ' + datum.dim + ', ' + datum.view + ': ' + ({TOLD})"
    return {
        "width": look.width,
        "height": round(look.letters * 18),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.energy_mj / 1000", "as": "joules"},
            {"calculate": described, "as": "described"},
            {"calculate": "datum.depth + ' blocks'", "as": "blocks"},
        ],
        "encoding": {
            "x": {"field": "dim", "type": "quantitative", "title": "embedding dimension",
                  "scale": {"zero": False, "padding": 10}, "axis": {"grid": False, "tickCount": 6}},
            "y": {"field": "joules", "type": "quantitative", "title": "energy per inference",
                  "axis": {"labelExpr": JOULES, "tickCount": 5}},
            "color": {"field": "blocks", "type": "nominal", "sort": None,
                      "scale": {"range": [*SERIES, MUTED]}},
            "strokeDash": {"field": "view", "sort": ["exact", "paper"],
                           "legend": {"symbolType": "stroke", "symbolStrokeWidth": 2}},
            "detail": {"field": "view"},
        },
        "layer": [
            {"mark": {"type": "line", "aria": False}},
            {"mark": {"type": "point", "filled": True},
             "encoding": {"description": {"field": "described"}, "strokeDash": {"value": [1, 0]}}},
        ],
    }  # fmt: skip


def sensitivity(document: Mapping[str, Any]) -> Chart:
    """Return A / B of two networks under all methods and profiles.

    Parameters
    ----------
    document
        The JSON of ``evsim energy --sensitivity``.

    Raises
    ------
    OptionError
        If no method could answer.
    """
    rows = [
        {"method": f"{row['model']} ({row['variant']})" if row["variant"] else row["model"],
         "profile": row["profile"], "ratio": row["ratio"], "low": row["range"][0], "high": row["range"][1]}
        for row in document["ratios"]
        if row["ratio"] is not None and row["ratio"] > 0
    ]  # fmt: skip
    if not rows:
        raise OptionError("the sensitivity holds no ratios to draw; no method could charge both files")
    below = sum(row["ratio"] < 1 for row in rows)
    summary = (
        f"Energy of A ({document['a']}) over B ({document['b']}) under {len(rows)} pairs of method and profile: "
        f"A needs less in {below}, B in {sum(row['ratio'] > 1 for row in rows)}."
    )
    return Chart("sensitivity", "What the conclusion depends on", summary, tuple(rows), _sensitivity)


def _sensitivity(look: Look) -> Mapping[str, Any]:
    described = "datum.method + ', ' + datum.profile + ': A / B = ' + format(datum.ratio, '.4g')"
    across = {"type": "quantitative", "scale": {"type": "log"}}
    side = {"field": "method", "type": "nominal", "sort": None, "title": None,
            "axis": {"grid": True, "ticks": False, "domain": False, "labelPadding": 6}}  # fmt: skip
    return {
        "width": look.width,
        "height": {"step": round(look.letters * 1.8, 1)},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": described, "as": "described"}],
        "layer": [
            {"data": {"values": [{"one": 1}]},
             "mark": {"type": "rule", "color": MUTED, "strokeDash": [4, 3], "aria": False},
             "encoding": {"x": {**across, "field": "one"}}},
            {"mark": {"type": "rule", "color": BLUE, "strokeWidth": 2, "strokeOpacity": 0.4, "aria": False},
             "encoding": {"y": side, "x": {**across, "field": "low"}, "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "color": BLUE, "opacity": 0.8},
             "encoding": {
                 "y": side,
                 "x": {**across, "field": "ratio", "title": "energy of A / energy of B (logarithmic)",
                       "axis": {"format": "~g", "tickCount": 5}},
                 "description": {"field": "described"}}},
        ],
    }  # fmt: skip
