"""The life of a neuron as JSON: all of its additions, see docs/explain.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evsim.document import SCHEMA
from evsim.explain.life import Additions, Feed, Life, Step
from evsim.explain.reach import Reach, Wave
from evsim.explain.text import of_integers
from evsim.explain.why import Cause, Place
from evsim.quantized import chosen_precision
from evsim.workload import workload


def document(
    life: Life, root: Cause | None = None, way: Sequence[Cause] = (), waves: Sequence[Wave] = ()
) -> dict[str, Any]:
    """Return the life of a neuron, and what was asked besides: the tree of its causes, and its reach.

    Parameters
    ----------
    life
        From `evsim.explain.life.explain`.
    root, way
        From `evsim.explain.why`.
    waves
        From `evsim.explain.reach.waves`.
    """
    seen, address = life.watched, life.address
    network, sample = seen.network, seen.run.sample
    assert address.position is not None
    width = seen.shape(address.layer).width
    return {
        "schema": SCHEMA,
        "model": {
            "name": network.name,
            "family": network.family,
            "timesteps": seen.timesteps,
            "precision": seen.simulator.dtype.name,
            "own_precision": chosen_precision(network.quantization, None),
        },
        "note": of_integers(life) or None,
        "input": {"path": sample.path, "kind": sample.kind, "shape": list(sample.values.shape)},
        "neuron": {
            "layer": address.layer,
            "kind": _kind(life, address.layer),
            "channel": address.channel,
            "position": address.position,
            "y": address.position // width,
            "x": address.position % width,
            "rule": life.cell.rule,
            "threshold": None if life.steps[0].emitted is None else _finite(life.cell.threshold),
            "spikes": list(life.spikes),
        },
        "profile": {"name": life.profile.name},
        "exact": all(step.exact for step in life.steps),
        "steps": [_step(life, step) for step in life.steps],
        "reaches": [_reach(each) for each in life.reach],
        "why": None if root is None else {"tree": _cause(root), "way": [_named(each) for each in way]},
        "waves": [
            {"layer": w.layer, "layers_on": w.depth, "t": w.t, "neurons": w.neurons, "fired": w.fired} for w in waves
        ],
    }


def _kind(life: Life, name: str) -> str:
    row = workload(life.watched.network)[name].row
    return (row.geometry.neuron or "lif") if row else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _step(life: Life, step: Step) -> dict[str, Any]:
    return {
        "t": step.t,
        "current": step.current,
        "v_before": step.before,
        "v": step.charged,
        "v_kept": step.kept,
        "v_replayed": step.replayed,
        "emitted": step.emitted,
        "acs": step.acs,
        "macs": step.macs,
        "pj": step.pj,
        "out_acs": step.out_acs,
        "out_macs": step.out_macs,
        "out_pj": step.out_pj,
        "exact": step.exact,
        "sums": [_feed(life, feed) for feed in step.feeds],
    }


def _feed(life: Life, feed: Feed) -> dict[str, Any]:
    return {
        "layer": feed.layer,
        "kind": feed.kind,
        "channel": feed.channel,
        "position": feed.position,
        "factor": feed.factor,
        "value": feed.value,
        "replayed": feed.replayed,
        "constant": feed.constant,
        "acs": feed.acs,
        "macs": feed.macs,
        "additions": [_additions(life, added) for added in feed.additions],
    }


def _additions(life: Life, added: Additions) -> dict[str, Any]:
    width = life.watched.shape(added.source).width
    return {
        "source": added.source,
        "t": added.t,
        "offered": added.offered,
        "channels": added.channels.tolist(),
        "y": (added.positions // width).tolist(),
        "x": (added.positions % width).tolist(),
        "values": added.values.tolist(),
        "weights": added.weights.tolist(),
        "products": added.products.tolist(),
    }


def _reach(each: Reach) -> dict[str, Any]:
    return {
        "layer": each.layer,
        "kind": each.kind,
        "fan_out": each.fan_out,
        "operation": "mac" if each.multiplies else "ac",
        "positions": each.positions,
        "channels": each.channels,
        "strongest": [{"weight": w, "position": place, "channel": channel} for w, place, channel in each.strongest],
    }


def _place(place: Place) -> dict[str, Any]:
    return {"layer": place.layer, "t": place.t, "position": place.position, "channel": place.channel}


def _named(cause: Cause) -> dict[str, Any]:
    return {**_place(cause.place), "value": cause.value, "push": cause.push, "by": cause.via}


def _cause(cause: Cause) -> dict[str, Any]:
    """Return a cause with those below it; trees are a few layers deep."""
    return {
        **_named(cause),
        "causes": [_cause(each) for each in cause.causes],
        "left_out": cause.left_out,
        "left_push": cause.left_push,
        "lowered": cause.against,
        "lowered_push": cause.against_push,
        "constant": cause.constant,
        "again": cause.again,
    }
