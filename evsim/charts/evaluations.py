"""Charts of evaluations: accuracy and energy by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evsim.charts.chart import Chart
from evsim.charts.layers import TOLD, joules
from evsim.charts.theme import BLUE, Look
from evsim.errors import OptionError

MOST_CLASSES = 40
"""Classes that are drawn, the least accurate; the JSON has all."""


def classes(rows: Sequence[Mapping[str, Any]], title: str) -> Chart:
    """Return the accuracy of each class, the least accurate first.

    Parameters
    ----------
    rows
        `classes` of the JSON of an evaluation.
    title
        Whose.

    Raises
    ------
    OptionError
        If no class has a sample.
    """
    known = [row for row in rows if row["samples"]]
    if not known:
        raise OptionError("no class has a sample, so there is no accuracy by class to draw")
    known.sort(key=lambda row: row["top1"])
    shown = [
        {"class": row["label"] or str(row["class"]), "index": row["class"], "samples": row["samples"],
         "top1": row["top1"], "low": row["interval"][0], "high": row["interval"][1], "energy_mj": row["energy_mj"]}
        for row in known[:MOST_CLASSES]
    ]  # fmt: skip
    first, last = shown[0], known[-1]
    least, greatest = (pick(row["energy_mj"] for row in known) for pick in (min, max))
    more = f" The {MOST_CLASSES} least accurate of {len(known)} are drawn." if len(known) > MOST_CLASSES else ""
    summary = (
        f"Accuracy of {title} by class: from {first['top1']:.1%} ({first['class']}) to {last['top1']:.1%} "
        f"({last['label'] or last['class']}); mean energy from {joules(least)} to {joules(greatest)}.{more}"
    )
    return Chart("classes", "Accuracy by class", summary, tuple(shown), _classes)


def _classes(look: Look) -> Mapping[str, Any]:
    told = "datum['class'] + ': ' + format(datum.top1, '.1%') + ' of ' + datum.samples + ' samples, '"
    side = {"field": "class", "type": "nominal", "sort": None, "title": None,
            "axis": {"grid": True, "ticks": False, "domain": False, "labelPadding": 6}}  # fmt: skip
    return {
        "width": look.width,
        "height": {"step": round(look.row, 1)},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"calculate": f"{told} + ({TOLD})", "as": "described"}],
        "encoding": {"y": side},
        "layer": [
            {
                "mark": {"type": "rule", "color": BLUE, "strokeOpacity": 0.4, "strokeWidth": 2, "aria": False},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "color": BLUE, "filled": True},
                "encoding": {
                    "x": {"field": "top1", "type": "quantitative", "title": "top-1 accuracy",
                          "scale": {"domain": [0, 1]}, "axis": {"format": "~%", "tickCount": 5}},
                    "description": {"field": "described"},
                },
            },
        ],
    }  # fmt: skip
