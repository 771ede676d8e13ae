"""An evaluation as JSON: schema 1, documented in docs/evaluation.md. Nothing but `throughput` tells how it ran."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from evsim.counters import NeuronCounts
from evsim.document import sharing_totals
from evsim.evaluation.outcome import Evaluation
from evsim.evaluation.statistics import CONFIDENCE, RESAMPLES, Share

SCHEMA = 1

EXTREMES = 5
"""Samples that are named as the cheapest and the dearest."""

FIGURES = ("sops", "macs", "energy_mj", "paper_energy_mj")


def document(outcome: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain lists, dicts, numbers and texts."""
    header, accuracy = outcome.audit.header, outcome.accuracy
    return {
        "schema": SCHEMA,
        "model": {
            "name": header.model,
            "family": header.family,
            "digest": header.model_digest,
            "timesteps": header.timesteps,
            "precision": header.precision,
        },
        "data": {
            "path": header.data,
            "digest": header.data_digest,
            "samples": len(outcome.names),
            "labelled": accuracy.top1.total,
            "classes": len(header.classes),
            "reading": dict(header.reading),
        },
        "accuracy": {
            "top1": accuracy.top1.value,
            "top5": accuracy.top5.value,
            "correct": accuracy.top1.count,
            "total": accuracy.top1.total,
            "interval": _interval(accuracy.top1),
            "top5_interval": _interval(accuracy.top5),
        },
        "totals": {name: outcome.summaries[name][-1].told() for name in FIGURES},
        **({"sharing": sharing_totals(outcome.counts)} if outcome.audit.header.sharing else {}),
        "layers": _layers(outcome),
        "anytime": [
            {
                "timestep": moment.timestep,
                "top1": moment.top1.value,
                "interval": _interval(moment.top1),
                "sops": moment.sops,
                "macs": moment.macs,
                "energy_mj": moment.energy_mj,
            }
            for moment in outcome.anytime
        ],
        "classes": [
            {
                "class": row.index,
                "label": row.label,
                "samples": row.accuracy.total,
                "correct": row.accuracy.count,
                "top1": row.accuracy.value,
                "interval": _interval(row.accuracy),
                "predicted": row.predicted,
                "sops": row.sops if row.accuracy.total else None,
                "energy_mj": row.energy_mj if row.accuracy.total else None,
            }
            for row in outcome.classes
        ],
        "confusion": [{"label": a, "prediction": b, "samples": n} for a, b, n in outcome.confusion],
        "calibration": _calibration(outcome),
        **dict(zip(("cheapest", "dearest"), extremes(outcome), strict=True)),
        "failed": [asdict(each) for each in outcome.failed],
        "profile": {
            "name": outcome.profile.name,
            "e_ac_pj": outcome.profile.e_ac_pj,
            "e_mac_pj": outcome.profile.e_mac_pj,
            "nonspike": outcome.nonspike,
        },
        "bootstrap": {"seed": outcome.seed, "resamples": RESAMPLES, "confidence": CONFIDENCE},
        "throughput": _throughput(outcome),
    }


def extremes(outcome: Evaluation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the samples of the least energy, and of the greatest; of equals the first in the list goes first."""
    energy = outcome.energy_mj
    cheapest = np.argsort(energy, kind="stable")[:EXTREMES]
    dearest = np.argsort(-energy, kind="stable")[:EXTREMES]

    def told(i: int) -> dict[str, Any]:
        label = int(outcome.labels[i])
        return {
            "path": outcome.names[i],
            "label": label if label >= 0 else None,
            "prediction": int(outcome.predictions[i]),
            "sops": int(outcome.sops[i]),
            "macs": int(outcome.macs[i]),
            "energy_mj": float(energy[i]),
        }

    return [told(int(i)) for i in cheapest], [told(int(i)) for i in dearest]


def _layers(outcome: Evaluation) -> list[dict[str, Any]]:
    layers = []
    for i, layer in enumerate(outcome.audit.layout.first.layers):
        rate = outcome.summaries["rate"][i].told()
        neurons = isinstance(layer, NeuronCounts)
        layers.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "input_kind": layer.input_kind,
                **{name: outcome.summaries[name][i].told() for name in FIGURES},
                "firing_rate": rate if neurons else None,
                "density": None if neurons else rate,
            }
        )
    return layers


def _calibration(outcome: Evaluation) -> dict[str, Any]:
    calibration = outcome.calibration
    return {
        "paper_over_exact": calibration.ratio.told() if calibration.ratio else None,
        "correlation": calibration.correlation,
        "slope": calibration.slope,
        "intercept_mj": calibration.intercept_mj,
    }


def _throughput(outcome: Evaluation) -> dict[str, Any]:
    speed = outcome.throughput
    rate = speed.samples / speed.seconds if speed.seconds else None
    return {**asdict(speed), "samples_per_second": rate}


def _interval(share: Share) -> list[float] | None:
    return list(share.interval) if share.interval else None
