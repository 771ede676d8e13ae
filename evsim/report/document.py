"""A run as JSON: schema 1, documented in docs/json.md. Other tools rely on it."""

from __future__ import annotations

from typing import Any, get_args

from evsim.api import Run
from evsim.counters import LayerCounts
from evsim.energy import PaperRow, PaperView, Profile, load_profile
from evsim.energy.paper import NonSpike

SCHEMA = 1


def document(run: Run, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> dict[str, Any]:
    """Return the run as plain lists, dicts, numbers and texts; `nonspike` as in `evsim.energy.paper_view`."""
    profile = profile or load_profile()
    exact, paper, counts = run.exact(profile), run.paper(profile, nonspike), run.counts
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
            "paper": {**_paper_totals(paper), "nonspike": nonspike},
            "paper_by_nonspike": {
                setting: _paper_totals(run.paper(profile, setting)) for setting in get_args(NonSpike)
            },
            "other": {
                **{key: int(values.sum()) for key, values in counts.other.items()},
                "bias_adds": int(sum(layer.bias_adds.sum() for layer in counts.layers)),
                "neuron_updates": int(sum(layer.neuron_updates.sum() for layer in counts.layers)),
            },
        },
        "profile": {"name": profile.name, "e_ac_pj": profile.e_ac_pj, "e_mac_pj": profile.e_mac_pj},
    }


def _paper_totals(view: PaperView) -> dict[str, float]:
    return {"gacs": view.gacs, "gmacs": view.gmacs, "energy_mj": view.energy_mj}


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
