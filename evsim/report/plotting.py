"""A file becomes a chart: counts, audits, spikes, and the JSON that evsim writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from evsim import countsfile, hdf5, spikesfile
from evsim.audit.accounts import account
from evsim.charts import comparisons, layers, neurons, spikes, time
from evsim.charts.chart import Chart
from evsim.document import counted
from evsim.energy import Profile
from evsim.energy.paper import NonSpike
from evsim.errors import EvsimError, OptionError, printable
from evsim.evaluation.outcome import load_evaluation
from evsim.files import check_input
from evsim.ownfiles import is_audit
from evsim.report.breakdown import energy_document
from evsim.schema import LARGEST, LONGEST_NAME, SchemaError, parsed

LARGEST_JSON = 1 << 28
"""Bytes of a JSON that is read: a run of 10,000 layers takes some 20 MB."""

OF_COUNTS = ("energy", "rates", "operations", "costs")
OF_SPIKES = ("raster", "attention")
KINDS = (*OF_COUNTS, "anytime", *OF_SPIKES, "compare", "sweep", "sensitivity", "potential", "arrivals")

NEEDS = {
    "energy": "counts.h5, audit.h5, or the JSON of a run",
    "rates": "counts.h5, audit.h5, or the JSON of a run",
    "operations": "counts.h5, audit.h5, or the JSON of a run",
    "costs": "counts.h5, audit.h5, or the JSON of an energy",
    "anytime": "audit.h5, or the JSON of a run or an evaluation",
    "raster": "spikes.h5",
    "attention": "spikes.h5",
    "compare": "the JSON of a comparison",
    "sweep": "the JSON of a sweep",
    "sensitivity": "the JSON of an energy's sensitivity",
    "potential": "the JSON of a neuron's life",
    "arrivals": "the JSON of a neuron's life",
}
"""What each kind is drawn from."""

Form = Mapping[str, Any]

NUMBER, TEXT = (int, float), (str,)
LAYER: Form = {
    "name": TEXT, "kind": TEXT, "input_kind": TEXT, "input_size": NUMBER, "sops": NUMBER, "macs": NUMBER,
    "dense_macs": NUMBER, "energy_mj": NUMBER, "spikes": (*NUMBER, type(None)), "levels": (*NUMBER, type(None)),
    "paper": {"energy_mj": NUMBER},
}  # fmt: skip
TOTAL: Form = dict.fromkeys(("sops", "macs", "exact_mj", "paper_mj", "paper_events_mj"), NUMBER)
RATIO: Form = {
    "model": TEXT, "variant": TEXT, "profile": TEXT, "ratio": (*NUMBER, type(None)),
    "range": [(*NUMBER, type(None))],
}  # fmt: skip
COST: Form = {"model": TEXT, "energy_mj": NUMBER, "by": (dict,)}
SIZE: Form = {"depth": NUMBER, "dim": NUMBER, "exact_mj": NUMBER, "paper_mj": NUMBER}
ANSWER: Form = {
    "timestep": NUMBER, "class": (int, type(None)), "logits": (list, type(None)), "sops": NUMBER, "macs": NUMBER,
    "energy_mj": NUMBER,
}  # fmt: skip
SHARE: Form = {
    "timestep": NUMBER, "top1": (*NUMBER, type(None)), "interval": (list, type(None)), "sops": NUMBER, "macs": NUMBER,
    "energy_mj": NUMBER,
}  # fmt: skip
CELL: Form = {"layer": TEXT, "channel": NUMBER, "y": NUMBER, "x": NUMBER, "threshold": (*NUMBER, type(None))}
MOMENT: Form = {
    **dict.fromkeys(("t", "v_before", "v", "v_kept", "current"), NUMBER), "emitted": (*NUMBER, type(None)),
}  # fmt: skip
SUM: Form = {"factor": NUMBER, "constant": NUMBER, "additions": [{"products": [NUMBER]}]}


class PlotError(EvsimError):
    """A file cannot be drawn as asked."""


def chart_of(
    path: str | Path,
    kind: str,
    names: Sequence[str] = (),
    profile: Profile | None = None,
    nonspike: str = "binary-only",
) -> Chart:
    """Return a chart of what a file holds.

    Parameters
    ----------
    path
        counts.h5, audit.h5, spikes.h5, or JSON that evsim wrote.
    kind
        One of `KINDS`.
    names
        Of rasters and attentions: which layers; by default all that fit.
    profile, nonspike
        Prices, and how the paper's estimate charges integers, where the file holds counts.

    Raises
    ------
    OptionError
        If there is no such kind, or the file holds nothing of it.
    EvsimError
        If the file cannot be read.
    """
    if kind not in KINDS:
        raise OptionError(f"`kind` takes {', '.join(KINDS)}; got {kind}")
    if nonspike not in get_args(NonSpike):
        raise OptionError(f"`nonspike` must be {' or '.join(get_args(NonSpike))}, got {nonspike}")
    if names and kind not in OF_SPIKES:
        raise OptionError(f"`layer` goes with {' and '.join(OF_SPIKES)}, not with `kind={kind}`")
    check_input(path, PlotError, NEEDS[kind])
    if not hdf5.is_hdf5(path):
        return _of_json(path, kind, _json(path))
    if kind in OF_SPIKES:
        return _of_spikes(path, kind, names)
    if kind in OF_COUNTS:
        return _of_counts(path, kind, profile, nonspike)  # type: ignore[arg-type]
    if kind == "anytime" and is_audit(path):
        outcome = load_evaluation(path, profile)
        return time.accuracy(outcome.to_dict()["anytime"], outcome.audit.header.model)
    raise _unfit(path, kind)


def _of_spikes(path: str | Path, kind: str, names: Sequence[str]) -> Chart:
    recorded = spikesfile.load(path)
    title = Path(path).name
    if kind == "raster":
        return spikes.raster(recorded.spikes, title, names)
    chosen = [each for each in recorded.attentions if not names or each.name in names]
    if names and len(chosen) < len(set(names)):
        there = ", ".join(each.name for each in recorded.attentions) or "none"
        raise OptionError(f"{path} has no such attention between tokens; `layer` takes {there}")
    return spikes.attention(recorded.spikes, chosen, title)


def _of_counts(path: str | Path, kind: str, profile: Profile | None, nonspike: NonSpike) -> Chart:
    if is_audit(path):
        outcome = load_evaluation(path, profile, nonspike)
        counts, title = outcome.counts, outcome.audit.header.model
    else:
        stored = countsfile.load(path)
        counts, title = stored.counts, stored.origin.model or Path(path).name
    if kind == "costs":
        detailed = all(layer.traffic is not None for layer in counts.layers)
        methods = ("paper", "exact", *(("counted-memory",) if detailed else ()))
        return layers.costs(energy_document(account(title, counts, methods))["models"], title)
    document = counted(counts, profile, nonspike)
    if counts.samples > 1:
        title = f"{title}, mean of {counts.samples:,} samples"
    if kind == "operations":
        return layers.operations(document["layers"], title, counts.samples)
    draw = layers.energy if kind == "energy" else layers.rates
    return draw(document["layers"], title)


def _of_json(path: str | Path, kind: str, told: Any) -> Chart:
    """Return the chart of a JSON; PlotError if it is none of what this kind is drawn from."""
    if not isinstance(told, dict):
        raise _unfit(path, kind)
    name = told.get("model", {}).get("name", "") if isinstance(told.get("model"), dict) else ""
    title = name if isinstance(name, str) and name else Path(path).name
    of: dict[str, tuple[Form, Callable[[], Chart]]] = {
        "energy": ({"layers": [LAYER]}, lambda: layers.energy(told["layers"], title)),
        "rates": ({"layers": [LAYER]}, lambda: layers.rates(told["layers"], title)),
        "operations": ({"layers": [LAYER]}, lambda: layers.operations(told["layers"], title)),
        "costs": ({"counts": [{"title": TEXT, "models": [COST]}]}, lambda: _costs(path, told["counts"])),
        "compare": ({"models": [TEXT], "totals": (dict,)}, lambda: _compare(path, told)),
        "sweep": ({"rows": [SIZE]}, lambda: comparisons.sweep(told)),
        "sensitivity": ({"a": TEXT, "b": TEXT, "ratios": [RATIO]}, lambda: comparisons.sensitivity(told)),
        "potential": ({"neuron": CELL, "steps": [MOMENT]}, lambda: neurons.potential(told)),
        "arrivals": ({"neuron": CELL, "steps": [{**MOMENT, "sums": [SUM]}]}, lambda: neurons.arrivals(told)),
    }
    if kind == "anytime":
        return _anytime(path, told, title)
    if kind not in of:
        raise _unfit(path, kind)
    form, draw = of[kind]
    _check(path, kind, told, form)
    return draw()


def _anytime(path: str | Path, told: Mapping[str, Any], title: str) -> Chart:
    if "accuracy" in told:
        _check(path, "anytime", told, {"anytime": [SHARE]})
        for moment in told["anytime"]:
            _check(path, "anytime", moment, {"interval": [NUMBER]} if moment["interval"] is not None else {})
        return time.accuracy(told["anytime"], title)
    _check(path, "anytime", told, {"anytime": [ANSWER]})
    sizes = set()
    for moment in told["anytime"]:
        if moment["logits"] is not None:
            _check(path, "anytime", moment, {"logits": [NUMBER]})
            sizes.add(len(moment["logits"]))
    if len(sizes) > 1 or 0 in sizes:
        raise _unfit(path, "anytime")
    return time.answers(told["anytime"], (), title)


def _costs(path: str | Path, told: Sequence[Mapping[str, Any]]) -> Chart:
    if not told:
        raise _unfit(path, "costs")
    for model in told[0]["models"]:
        costs = model["by"].get("cost", {})
        for cost in costs.values() if isinstance(costs, dict) else [costs]:
            _check(path, "costs", cost, {"energy_mj": NUMBER})
    return layers.costs(told[0]["models"], told[0]["title"])


def _compare(path: str | Path, told: Mapping[str, Any]) -> Chart:
    sides = [key for key in told["totals"] if key not in ("ratio", "ratios")]
    if len(sides) != len(told["models"]):
        raise _unfit(path, "compare")
    for side in sides:
        _check(path, "compare", told["totals"][side], TOTAL)
    return comparisons.compare(told)


def _json(path: str | Path) -> Any:
    size = Path(path).stat().st_size
    if size > LARGEST_JSON:
        raise PlotError(f"{path} has {size:,} bytes, more than any JSON of evsim; give what `json` wrote")
    try:
        return parsed(Path(path).read_bytes())
    except SchemaError as error:
        raise PlotError(f"{path} is neither HDF5 nor JSON ({error}); give counts.h5, spikes.h5 or JSON") from error


def _check(path: str | Path, kind: str, value: Any, form: Any) -> None:
    """Refuse a JSON that lacks what a chart is drawn from; numbers must be finite, texts short enough to draw."""
    if isinstance(form, tuple):
        right = isinstance(value, form) and not isinstance(value, bool)
        if isinstance(value, int | float):
            right = right and math.isfinite(value) and abs(value) <= LARGEST
        if isinstance(value, str):
            right = right and len(value) <= LONGEST_NAME and printable(value) == value
    elif isinstance(form, list):
        right = isinstance(value, list)
        for item in value if right else []:
            _check(path, kind, item, form[0])
    else:
        right = isinstance(value, dict) and form.keys() <= value.keys()
        for key, each in form.items() if right else []:
            _check(path, kind, value[key], each)
    if not right:
        raise _unfit(path, kind)


def _unfit(path: str | Path, kind: str) -> PlotError:
    return PlotError(f"{path} holds nothing to draw as {kind}; give {NEEDS[kind]}, as evsim writes it")
