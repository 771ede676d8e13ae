"""A run as JSON: schema 1, documented in docs/json.md. Other tools rely on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from evsim.anytime import Answers
from evsim.counters import AttentionCounts, Counts, Ints, LayerCounts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy import Profile, charge, exact, load_profile, paper
from evsim.energy.paper import NonSpike

if TYPE_CHECKING:
    from evsim.api import Run

SCHEMA = 1


def document(run: Run, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> dict[str, Any]:
    """Return the run as plain lists, dicts, numbers and texts; `nonspike` as in `evsim.energy.paper.Options`."""
    profile = profile or load_profile()
    return {
        "schema": SCHEMA,
        "model": {
            "name": run.network.name,
            "family": run.network.family,
            "timesteps": run.timesteps,
            "precision": run.precision,
        },
        "input": {
            "path": run.sample.path,
            "kind": run.sample.kind,
            "events": run.sample.events,
            "events_fed": run.sample.fed,
            "events_in_file": run.sample.in_file,
            "events_left_out": dict(run.sample.left_out),
            "shape": list(run.sample.values.shape),
        },
        "prediction": {
            "class": run.prediction,
            "label": run.label(run.prediction),
            "logits": [float(v) for v in run.logits],
        },
        "run": {"threads": run.threads},
        **counted(run.counts, profile, nonspike),
        **({} if run.answers is None else {"anytime": _moments(run.answers, profile)}),
    }


def counted(counts: Counts, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> dict[str, Any]:
    """Return the part of a run's document that its counts alone decide: `layers`, `totals`, `profile`."""
    profile = profile or load_profile()
    mine = exact.layers_mj(counts, profile)
    rows, theirs = paper.estimate(counts, nonspike), paper.layers_mj(counts, profile, nonspike)
    return {
        "layers": [
            {
                **_row(layer),
                **({"sharing": sharing_of(layer)} if counts.shares else {}),
                "paper": {**asdict(rows[layer.name]), "energy_mj": theirs[layer.name]},
                "energy_mj": mine[layer.name],
            }
            for layer in counts.layers
        ],
        "totals": {
            "sops": counts.sops,
            "macs": counts.macs,
            "dense_macs": counts.dense_macs,
            "dense_macs_with_attention": counts.dense_macs_with_attention,
            "energy_mj": charge(counts, "exact", profile).energy_mj,
            "paper": {**_paper_totals(counts, profile, nonspike), "nonspike": nonspike},
            "paper_by_nonspike": {setting: _paper_totals(counts, profile, setting) for setting in get_args(NonSpike)},
            "other": {
                **{key: int(values.sum()) for key, values in counts.other.items()},
                "bias_adds": int(sum(layer.bias_adds.sum() for layer in counts.layers)),
                "neuron_updates": int(sum(layer.neuron_updates.sum() for layer in counts.layers)),
            },
            **({"sharing": sharing_totals(counts)} if counts.shares else {}),
        },
        "profile": {"name": profile.name, "e_ac_pj": profile.e_ac_pj, "e_mac_pj": profile.e_mac_pj},
    }


def _moments(answers: Answers, profile: Profile) -> list[dict[str, Any]]:
    """Return what would have been answered after each timestep; class and logits are null where that is not known."""
    moments = []
    for t, logits in enumerate(answers.logits):
        known = not np.isnan(logits[0])
        sops, macs = int(answers.sops[t]), int(answers.macs[t])
        moments.append(
            {
                "timestep": t + 1,
                "class": int(logits.argmax()) if known else None,
                "logits": [float(v) for v in logits] if known else None,
                "sops": sops,
                "macs": macs,
                "energy_mj": paper.energy_mj(sops, macs, profile),
            }
        )
    return moments


def _paper_totals(counts: Counts, profile: Profile, nonspike: NonSpike) -> dict[str, float]:
    acs, macs = paper.totals(counts, nonspike)
    return {"gacs": acs / 1e9, "gmacs": macs / 1e9, "energy_mj": paper.energy_mj(acs, macs, profile)}


def _row(layer: LayerCounts) -> dict[str, Any]:
    """Return what was counted of a layer; what has no meaning for its kind is None."""
    own: dict[str, Any] = dict.fromkeys(
        ("sops_other_order", "acs_unrolled", "spikes", "per_head", "neuron", "levels", "attention", "operations")
    )
    match layer:
        case SynapseCounts():
            own["acs_unrolled"] = None if layer.acs_unrolled is None else _total(layer.acs_unrolled)
        case AttentionCounts():
            own["sops_other_order"] = None if layer.sops_other_order is None else _total(layer.sops_other_order)
            own["acs_unrolled"] = None if layer.acs_unrolled is None else _total(layer.acs_unrolled)
            own["per_head"] = {"sops": layer.sops_per_head.tolist()}
            own["attention"] = layer.attention
            own["operations"] = {
                name: _total(values) if values.ndim == 1 else values.tolist()
                for name, values in layer.named_operations.items()
            }
        case NeuronCounts():
            own["spikes"] = _total(layer.spikes)
            own["neuron"], own["levels"] = layer.neuron, layer.geometry.levels or None
        case _:
            raise unknown_row(layer, "the JSON of a run", "its schema cannot hold it")
    return {
        "name": layer.name,
        "kind": layer.kind,
        "input_kind": layer.input_kind,
        "input_nonzeros": _total(layer.input_nonzeros),
        "input_size": _total(layer.input_size),
        "sops": _total(layer.sops),
        "sops_other_order": own["sops_other_order"],
        "macs": _total(layer.macs),
        "acs_unrolled": own["acs_unrolled"],
        "dense_macs": layer.dense_macs,
        "spikes": own["spikes"],
        "per_timestep": {"sops": layer.sops.tolist(), "macs": layer.macs.tolist()},
        "per_head": own["per_head"],
        "neuron": own["neuron"],
        "levels": own["levels"],
        "attention": own["attention"],
        "operations": own["operations"],
    }


def sharing_of(layer: LayerCounts) -> dict[str, Any] | None:
    """Return what was counted of a layer's shared sums and nonzero weights; None of rows that have no weights."""
    if not isinstance(layer, SynapseCounts) or layer.nonzero_weight_operations is None:
        return None
    kinds = ((layer.shared_weights, layer.shared_sums, layer.shared_kept),
             (layer.product_weights, layer.product_sums, layer.product_kept))  # fmt: skip
    return {
        **{name: _shared(*kind) for name, kind in zip(("quads", "product"), kinds, strict=True)},
        "nonzero_weight_operations": _total(layer.nonzero_weight_operations),
    }


def _shared(weights: Ints | None, sums: Ints | None, kept: Ints | None) -> dict[str, int] | None:
    if weights is None or sums is None or kept is None:
        return None
    return {
        "additions": _total(weights) + _total(sums),
        "weights_added": _total(weights),
        "sums_added": _total(sums),
        "sums_kept": _total(kept),
    }


def sharing_totals(counts: Counts) -> dict[str, Any]:
    """Return sums over the layers with weights: what those that read spikes share, and operations on nonzero weights.

    `sops` and `operations` are the same without sharing, and on all weights.
    """
    told = [(layer, sharing) for layer in counts.layers if (sharing := sharing_of(layer))]
    shared = [(layer, sharing) for layer, sharing in told if sharing["quads"]]
    nothing = _shared(*np.zeros((3, 1), np.int64)) or {}
    return {
        "sops": sum(_total(layer.sops) for layer, _ in shared),
        **{kind: {key: sum(each[kind][key] for _, each in shared) for key in nothing} for kind in ("quads", "product")},
        "operations": sum(_total(layer.sops) + _total(layer.macs) for layer, _ in told),
        "nonzero_weight_operations": sum(sharing["nonzero_weight_operations"] for _, sharing in told),
    }


def _total(values: Ints) -> int:
    return int(values.sum())
