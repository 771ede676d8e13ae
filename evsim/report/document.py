"""A run as JSON: schema 1, documented in docs/json.md. Other tools rely on it."""

from __future__ import annotations

from typing import Any

from evsim.api import Run
from evsim.counters import LayerCounts
from evsim.energy import PaperRow, Profile, load_profile

SCHEMA = 1


def document(run: Run, profile: Profile | None = None) -> dict[str, Any]:
    """Return the run as plain lists, dicts, numbers and texts."""
    profile = profile or load_profile()
    exact, paper, counts = run.exact(profile), run.paper(profile), run.counts
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
            "shape": list(run.sample.values.shape),
        },
        "prediction": {
            "class": run.prediction,
            "label": run.label(run.prediction),
            "logits": [float(v) for v in run.logits],
        },
        "layers": [_row(layer, paper.rows[layer.name], exact.rows[layer.name]) for layer in counts.layers],
        "totals": {
            "sops": counts.sops,
            "macs": counts.macs,
            "dense_macs": counts.dense_macs,
            "energy_mj": exact.energy_mj,
            "paper": {"gacs": paper.gacs, "gmacs": paper.gmacs, "energy_mj": paper.energy_mj},
            "other": {
                **{key: int(values.sum()) for key, values in counts.other.items()},
                "bias_adds": int(sum(layer.bias_adds.sum() for layer in counts.layers)),
                "neuron_updates": int(sum(layer.neuron_updates.sum() for layer in counts.layers)),
            },
        },
        "profile": {"name": profile.name, "e_ac_pj": profile.e_ac_pj, "e_mac_pj": profile.e_mac_pj},
    }


def _row(layer: LayerCounts, paper: PaperRow, energy_mj: float) -> dict[str, Any]:
    def total(values: Any) -> int | None:
        return None if values is None else int(values.sum())

    heads = layer.sops_per_head
    return {
        "name": layer.name,
        "kind": layer.kind,
        "input_kind": layer.input_kind,
        "input_nonzeros": total(layer.input_nonzeros),
        "input_size": total(layer.input_size),
        "sops": total(layer.sops),
        "sops_other_order": total(layer.sops_other_order),
        "macs": total(layer.macs),
        "acs_unrolled": total(layer.acs_unrolled),
        "dense_macs": layer.dense_macs,
        "spikes": total(layer.spikes),
        "per_timestep": {"sops": layer.sops.tolist(), "macs": layer.macs.tolist()},
        "per_head": None if heads is None else {"sops": heads.tolist()},
        "paper": {
            "acs": paper.acs,
            "macs": paper.macs,
            "firing_rate": paper.firing_rate,
            "energy_mj": paper.energy_mj,
        },
        "energy_mj": energy_mj,
    }
