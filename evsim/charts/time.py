"""The anytime curve: what an answer after fewer timesteps costs, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evsim.charts.chart import Chart
from evsim.charts.layers import JOULES, joules
from evsim.charts.theme import BLUE, MUTED, SERIES, Look
from evsim.errors import OptionError

MOST_LOGITS = 8
MOST_CLASSES = 5
"""Classes whose logits are drawn: those that lead at the end."""

STEPS_TOLD = "datum.timestep + (datum.timestep == 1 ? ' timestep' : ' timesteps')"
"""How many timesteps had run: a number of them, not the name of one, which counts from 0."""


def logits(prediction: Mapping[str, Any], labels: Sequence[str], title: str) -> Chart:
    """Return the greatest logits of a run.

    Parameters
    ----------
    prediction
        Of the JSON of a run.
    labels
        Names of the classes; may be empty.
    title
        Whose.
    """
    values = prediction["logits"]
    leading = sorted(range(len(values)), key=lambda i: -values[i])[:MOST_LOGITS]
    rows = [{"class": labels[i] if labels else f"class {i}", "index": i, "logit": values[i]} for i in leading]
    second = f", ahead of {rows[1]['class']} ({rows[1]['logit']:.3f})" if len(rows) > 1 else ""
    left = f" The {len(rows)} greatest of {len(values):,} are drawn." if len(rows) < len(values) else ""
    summary = f"Greatest logits of {title}: {rows[0]['class']} ({rows[0]['logit']:.3f}){second}.{left}"
    return Chart("logits", "Logits", summary, tuple(rows), _logits)


def _logits(look: Look) -> Mapping[str, Any]:
    return {
        "width": look.width,
        "height": {"step": round(look.row, 1)},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum['class'] + ': ' + format(datum.logit, '.4f')", "as": "described"},
            {"window": [{"op": "row_number", "as": "rank"}]},
        ],
        "mark": {"type": "bar", "cornerRadiusEnd": 1},
        "encoding": {
            "y": {"field": "class", "type": "nominal", "sort": None, "title": None,
                  "scale": {"paddingInner": 0.35},
                  "axis": {"ticks": False, "domain": False, "labelPadding": 6}},
            "x": {"field": "logit", "type": "quantitative", "title": "logit", "axis": {"tickCount": 6}},
            "color": {"condition": {"test": "datum.rank == 1", "value": BLUE}, "value": MUTED},
            "description": {"field": "described"},
        },
    }  # fmt: skip


def answers(moments: Sequence[Mapping[str, Any]], labels: Sequence[str], title: str) -> Chart:
    """Return the logits of the leading classes after each timestep, against the energy until then.

    Parameters
    ----------
    moments
        `anytime` of the JSON of a run.
    labels
        Names of the classes; may be empty.
    title
        Whose.

    Raises
    ------
    OptionError
        If there are none.
    """
    known = [moment for moment in moments if moment["logits"] is not None]
    if not known:
        raise OptionError("there are no answers over time to draw; run with `anytime=True`")
    last = known[-1]["logits"]
    leading = sorted(range(len(last)), key=lambda i: -last[i])[:MOST_CLASSES]
    names = [labels[i] if labels else f"class {i}" for i in leading]
    rows = tuple(
        {
            "timestep": moment["timestep"],
            "class": name,
            "logit": moment["logits"][i],
            "answer": moment["class"] == i,
            "sops": moment["sops"],
            "macs": moment["macs"],
            "energy_mj": moment["energy_mj"],
        }
        for moment in known
        for i, name in zip(leading, names, strict=True)
    )
    final = known[-1]["class"]
    settled = known[-1]["timestep"]
    for moment in reversed(known):
        if moment["class"] != final:
            break
        settled = moment["timestep"]
    at = next(moment for moment in known if moment["timestep"] == settled)
    share = f", {at['energy_mj'] / known[-1]['energy_mj']:.0%} of the whole energy" if known[-1]["energy_mj"] else ""
    summary = (
        f"Answers over time of {title}: after {steps_told(settled)} the answer stays {names[0]}, "
        f"at {joules(at['energy_mj'])}{share}."
    )
    return Chart("anytime", "Answers over time", summary, rows, lambda look: _answers(look, names))


def steps_told(number: int) -> str:
    """Return a number of timesteps in words."""
    return f"{number} timestep{'s' * (number != 1)}"


def _answers(look: Look, names: Sequence[str]) -> Mapping[str, Any]:
    described = (
        f"datum.class + ' after ' + {STEPS_TOLD} + ': ' + format(datum.logit, '.3f') + "
        "(datum.answer ? ', the answer' : '')"
    )
    above = {"calculate": "datum.energy_mj / 1000", "as": "joules"}
    across = {"field": "joules", "type": "quantitative", "title": "energy spent by the end of each timestep",
        "scale": {"padding": look.letters, "zero": False, "nice": False},
              "axis": {"labelExpr": JOULES, "grid": False, "tickCount": 4 if look.narrow else 6}}  # fmt: skip
    colour = {"field": "class", "scale": {"domain": list(names), "range": list(SERIES[: len(names)])},
              "legend": {"symbolType": "circle"}}  # fmt: skip
    return {
        "width": look.width,
        "height": round(look.letters * 16),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [above, {"calculate": described, "as": "described"}],
        "encoding": {
            "x": across,
            "y": {"field": "logit", "type": "quantitative", "title": "logit", "axis": {"tickCount": 5}},
            "color": colour,
        },
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1.5, "strokeOpacity": 0.6, "aria": False}},
            {
                "mark": {"type": "point", "filled": True},
                "encoding": {
                    "description": {"field": "described"},
                    "size": {
                        "condition": {"test": "datum.answer", "value": 7 * look.letters},
                        "value": 2.5 * look.letters,
                    },
                },
            },
        ],
    }


def accuracy(moments: Sequence[Mapping[str, Any]], title: str) -> Chart:
    """Return top-1 accuracy with its interval against the mean energy, after each timestep.

    Parameters
    ----------
    moments
        `anytime` of the JSON of an evaluation.
    title
        Whose.

    Raises
    ------
    OptionError
        If no accuracy is known.
    """
    rows = tuple(
        {
            "timestep": moment["timestep"],
            "top1": moment["top1"],
            "low": moment["interval"][0],
            "high": moment["interval"][1],
            "sops": moment["sops"],
            "macs": moment["macs"],
            "energy_mj": moment["energy_mj"],
        }
        for moment in moments
        if moment["top1"] is not None and moment["interval"]
    )
    if not rows:
        raise OptionError("there is no accuracy over time to draw: samples lack labels, or earlier answers are unknown")
    first, last = rows[0], rows[-1]
    summary = (
        f"Accuracy over time of {title}: {first['top1']:.2%} after {steps_told(first['timestep'])} at "
        f"{joules(first['energy_mj'])}, {last['top1']:.2%} after {last['timestep']} at {joules(last['energy_mj'])}."
    )
    return Chart("anytime", "Accuracy over time", summary, rows, _accuracy)


def _accuracy(look: Look) -> Mapping[str, Any]:
    described = (
        f"'after ' + {STEPS_TOLD} + ': ' + format(datum.top1, '.2%') + ' (' + format(datum.low, '.2%') + "
        "' to ' + format(datum.high, '.2%') + '), ' + format(datum.joules, '.3~s') + 'J'"
    )
    scale = {"zero": False, "nice": True}
    return {
        "width": look.width,
        "height": round(look.letters * 16),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [
            {"calculate": "datum.energy_mj / 1000", "as": "joules"},
            {"calculate": described, "as": "described"},
            {"calculate": "'T = ' + datum.timestep", "as": "step"},
        ],
        "encoding": {
            "x": {"field": "joules", "type": "quantitative", "title": "mean energy by the end of each timestep",
                "scale": {"padding": 3 * look.letters, "zero": False, "nice": False},
                  "axis": {"labelExpr": JOULES, "grid": False, "tickCount": 4 if look.narrow else 6}},
        },
        "layer": [
            {
                "mark": {"type": "rule", "color": BLUE, "strokeOpacity": 0.5, "strokeWidth": 2, "aria": False},
                "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "color": BLUE, "strokeOpacity": 0.5, "strokeWidth": 1.5, "aria": False},
                "encoding": {"y": {"field": "top1", "type": "quantitative"}},
            },
            {
                "mark": {"type": "point", "filled": True, "color": BLUE},
                "encoding": {
                    "y": {"field": "top1", "type": "quantitative", "title": "top-1 accuracy", "scale": scale,
                          "axis": {"format": "~%", "tickCount": 5}},
                    "description": {"field": "described"},
                },
            },
            {
                "mark": {"type": "text", "dy": -8, "dx": 6, "align": "left", "aria": False},
                "encoding": {"y": {"field": "top1", "type": "quantitative"}, "text": {"field": "step"}},
            },
        ],
    }  # fmt: skip
