"""Charts of recorded spikes: rasters, and who looks at whom in an attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.charts.chart import Chart
from evsim.charts.theme import BLUE, GRID, MUTED, Look
from evsim.errors import OptionError
from evsim.spikesfile import Attention

MOST_LAYERS, MOST_NEURONS, MOST_STEPS = 12, 32, 64
"""Of a raster: layers, neurons of each, evenly spaced among all, and timesteps."""

LEAST_LINES = 4
"""Lines of a panel at least: fewer neurons lie in its middle, or one would fill it."""

MOST_CELLS = 4096
"""Cells of all maps of attention of a chart."""

MOST_PRODUCT = 1 << 28
"""Products of q and k that are worked out at once: those of 16,384 tokens."""


def raster(spikes: Mapping[str, NDArray[np.bool_]], title: str, layers: Sequence[str] = ()) -> Chart:
    """Return which neurons fired when: some neurons of each layer, evenly spaced.

    Parameters
    ----------
    spikes
        Layer to its spikes, [T, ...]; timesteps are numbered from 0.
    title
        Whose.
    layers
        Which layers; by default up to twelve, evenly spaced.

    Raises
    ------
    OptionError
        If no spikes were recorded, or there is no such layer.
    """
    names = _chosen(list(spikes), layers, MOST_LAYERS)
    rows: list[dict[str, Any]] = []
    number = 0
    for name in names:
        train = spikes[name]
        flat = train.reshape(len(train), -1)[:MOST_STEPS]
        picked = np.unique(np.linspace(0, flat.shape[1] - 1, min(MOST_NEURONS, flat.shape[1])).round().astype(np.int64))
        number += len(picked)
        for place, neuron in enumerate(picked):
            steps = np.flatnonzero(flat[:, neuron]).tolist()
            rows += [{"layer": name, "row": place + 1, "neuron": int(neuron), "timestep": t, "drawn": len(picked)}
                     for t in steps]  # fmt: skip
    total = min(max(len(spikes[name]) for name in names), MOST_STEPS)
    fired = len(rows)
    rows += [{"layer": name, "row": None, "neuron": None, "timestep": None, "drawn": None} for name in names
             if name not in {row["layer"] for row in rows}]  # fmt: skip
    every = sum(len(spikes[name].reshape(len(spikes[name]), -1)[0]) for name in names)
    shown = f"all {number:,} neurons" if number == every else f"{number:,} of {every:,} neurons, evenly spaced,"
    which = f"all {len(spikes)} layers" if len(names) == len(spikes) else f"{len(names)} of {len(spikes)} layers"
    which = "1 layer" if len(spikes) == 1 else which
    longest = max(len(spikes[name]) for name in names)
    during = f"{total} timesteps" if total == longest else f"the first {total} of {longest} timesteps"
    summary = f"Spikes of {title} over {during}: {shown} of {which} fired {fired:,} times."
    return Chart("raster", "Spikes", summary, tuple(rows), lambda look: _raster(look, names, total))


def _raster(look: Look, names: Sequence[str], total: int) -> Mapping[str, Any]:
    columns = _columns(look, 150)
    width = (look.width - 12 * columns) // columns
    lines = f"max(datum.drawn, {LEAST_LINES})"
    below = f"(datum.row - 1 + max(0, {LEAST_LINES} - datum.drawn) / 2)"
    return {
        "transform": [
            {"calculate": f"({below} + 0.1) / {lines}", "as": "bottom"},
            {"calculate": f"({below} + 0.9) / {lines}", "as": "top"},
        ],
        "facet": {
            "field": "layer", "type": "nominal", "sort": list(names),
            "header": {"title": None, "labelFontSize": round(look.letters * 0.85, 2), "labelLimit": width,
                       "labelPadding": 3, "labelAnchor": "start"},
        },
        "columns": columns,
        "spacing": {"column": 12, "row": 14},
        "spec": {
            "width": width,
            "height": round(look.letters * 9),
            "view": {"stroke": GRID},
            "mark": {"type": "rect", "color": BLUE, "aria": False, "width": max(1.0, 0.82 * width / total)},
            "encoding": {
                "x": {"field": "timestep", "type": "quantitative", "title": None,
                      "scale": {"domain": [-0.5, total - 0.5], "nice": False},
                      "axis": {"grid": False, "tickMinStep": 1, "format": "d", "tickCount": min(total, 4)}},
                "y": {"field": "bottom", "type": "quantitative", "title": None, "axis": None,
                      "scale": {"domain": [0, 1], "nice": False}},
                "y2": {"field": "top"},
            },
        },
        "resolve": {"axis": {"x": "independent"}},
    }  # fmt: skip


def looks(spikes: Mapping[str, NDArray[np.bool_]], attention: Attention) -> NDArray[np.float64]:
    """Return who looks at whom: spikes that q of one token and k of another share, [heads, tokens, tokens].

    They are summed over all timesteps and the head's channels: before the scale, what q k^T adds up to.

    Parameters
    ----------
    spikes
        Layer to its spikes, [T, ...].
    attention
        Where q and k are.

    Raises
    ------
    OptionError
        If there are too many tokens to hold all pairs.
    """
    tokens = attention.height * attention.width
    if tokens * tokens > MOST_PRODUCT:
        raise OptionError(f"{attention.name} has {tokens:,} tokens, whose pairs are too many to draw")
    both = []
    for name in (attention.q, attention.k):
        train = spikes[name]
        train = train.reshape(len(train), -1, tokens) if attention.axis == "last" else train.transpose(0, 2, 1)
        channels = train.shape[1] // attention.heads
        both.append(train.reshape(len(train), attention.heads, channels, tokens).astype(np.float32))
    q, k = both
    shared: NDArray[np.float64] = np.einsum("thcn,thcm->hnm", q, k, optimize=True).astype(np.float64)
    return shared


def attention(
    spikes: Mapping[str, NDArray[np.bool_]], where: Sequence[Attention], title: str, picture: str = ""
) -> Chart:
    """Return how much each token is looked at, over the map of tokens: a map for each attention and head.

    Parameters
    ----------
    spikes
        Layer to its spikes, [T, ...].
    where
        The attentions; of many, those that fit are drawn, evenly spaced.
    title
        Whose.
    picture
        The input as a ``data:`` address of a picture, to lie under each map.

    Raises
    ------
    OptionError
        If there are none, or they have too many tokens.
    """
    if not where:
        raise OptionError("no attention between tokens was recorded; run a transformer with `record_spikes`")
    cells = max(each.heads * each.height * each.width for each in where)
    room = max(1, MOST_CELLS // cells)
    chosen = [where[i] for i in np.unique(np.linspace(0, len(where) - 1, min(room, len(where))).round().astype(int))]
    rows = []
    for each in chosen:
        seen = looks(spikes, each).sum(axis=1).reshape(each.heads, each.height, each.width)
        for h, y, x in np.ndindex(*seen.shape):
            rows.append({"attention": each.name, "head": h, "panel": f"head {h}", "y": y, "x": x,
                         "looks": int(seen[h, y, x])})  # fmt: skip
    top = max(rows, key=lambda row: row["looks"])
    where_most = f"{top['attention'].removesuffix('.ssa')}, head {top['head']}"
    summary = (
        f"Where attention of {title} looks: for each head, how many spikes each token's key shares with all queries, "
        f"summed over timesteps. Most looked at is row {top['y']}, column {top['x']} by {where_most}: {top['looks']}."
    )
    return Chart(
        "attention", "Where attention looks", summary, tuple(rows), lambda look: _attentions(look, chosen, picture)
    )


def _attentions(look: Look, chosen: Sequence[Attention], picture: str) -> Mapping[str, Any]:
    """Return the maps of each attention under its name."""
    return {
        "vconcat": [_heads(look, each, picture) for each in chosen],
        "spacing": 16,
        "resolve": {"scale": {"opacity": "independent"}},
    }


def _heads(look: Look, where: Attention, picture: str) -> Mapping[str, Any]:
    shape, across = where.height / where.width, where.width
    columns = _columns(look, 90)
    columns = max(2, -(-where.heads // -(-where.heads // columns)))  # lines of one length
    width = (look.width - 10 * columns) // columns
    described = "'row ' + datum.y + ', column ' + datum.x + ': ' + datum.looks"
    height = round(width * shape)
    under = {
        "data": {"values": [{}]},
        "mark": {"type": "image", "width": width, "height": height, "aspect": False, "aria": False, "opacity": 0.45},
        "encoding": {"url": {"value": picture}, "x": {"value": width / 2}, "y": {"value": height / 2}},
    }
    cells = {
        "mark": {"type": "rect", "color": BLUE, "aria": across <= 16},
        "encoding": {
            "x": {"field": "x", "type": "ordinal", "axis": None, "scale": {"padding": 0}},
            "y": {"field": "y", "type": "ordinal", "axis": None, "scale": {"padding": 0}},
            "opacity": {"field": "looks", "type": "quantitative", "scale": {"range": [0, 0.9]}, "legend": None},
            "description": {"field": "described"},
        },
    }
    name = where.name.removesuffix(".ssa")
    return {
        "title": {"text": name, "fontSize": round(look.letters * 0.95, 2), "offset": 4, "limit": look.width},
        "transform": [{"filter": {"field": "attention", "equal": where.name}},
                      {"calculate": described, "as": "described"}],
        "facet": {
            "field": "panel", "type": "nominal", "sort": [f"head {h}" for h in range(where.heads)],
            "header": {"title": None, "labelFontSize": round(look.letters * 0.8, 2), "labelLimit": width,
                       "labelFontWeight": "normal", "labelColor": MUTED, "labelPadding": 2, "labelAnchor": "start"},
        },
        "columns": columns,
        "spacing": {"column": 10, "row": 10},
        "spec": {
            "width": width,
            "height": height,
            "view": {"stroke": GRID},
            "layer": [under, cells] if picture else [cells],
        },
        "resolve": {"scale": {"opacity": "independent"}},
    }  # fmt: skip


def _columns(look: Look, least: int) -> int:
    """Return how many panels find room beside each other."""
    return max(2, int(look.width / (least * look.letters / 12)))


def _chosen(names: Sequence[str], wanted: Sequence[str], most: int) -> list[str]:
    if not names:
        raise OptionError("no spikes were recorded; run with `record_spikes`")
    if unknown := [name for name in wanted if name not in names]:
        raise OptionError(f"no spikes of {unknown[0]} were recorded; there are {', '.join(names[:6])} and so on")
    if wanted:
        return list(wanted)
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))]
