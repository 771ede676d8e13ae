"""Evaluate what train_small.py trained, hold every prediction against PyTorch's, write the tables of the document.

Run as ``make experiments``, which trains first what is not there. The figures go to tests/reference/experiments.json;
the tables in docs/experiments.md are made of that file alone (experiment_tables.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from experiment_tables import DOCUMENT, FIGURES, written
from small_data import NMNIST, write_held_out

import evsim
from evsim import modelfile
from evsim.audit.check import check
from evsim.converters import ConvertOptions, convert
from evsim.datasets import open_dataset
from evsim.evaluation.statistics import resampled_means, wilson
from evsim.network import Network

MODELS = ("spikingformer", "conv-spike-driven", "spikformer", "conv-sew")
SEEDS = (0, 1, 2)
PAIRS = (
    ("attention, spike-driven residual", "spikingformer", "conv-spike-driven"),
    ("attention, SEW residual", "spikformer", "conv-sew"),
    ("residual, with attention", "spikingformer", "spikformer"),
    ("residual, without attention", "conv-spike-driven", "conv-sew"),
)
"""What is asked, and the two models whose difference (first - second) answers it."""

BOOTSTRAP = 0
"""Seed of the intervals."""

CLOSE = 1e-9
"""By how much a logit may differ from PyTorch's in float64: sums are added in another order."""


def without_attention(network: Network) -> Network:
    """Return a network whose blocks lack their attention: ``x + attn(x)`` becomes ``x``."""
    past = {node.name: node.inputs[0] for node in network.nodes if node.name.endswith(".attn.add")}

    def source(name: str) -> str:
        while name in past:
            name = past[name]
        return name

    nodes = tuple(
        replace(node, inputs=tuple(map(source, node.inputs))) for node in network.nodes if ".attn." not in node.name
    )
    weights = {key: network.weights[key] for key in network.weights if ".attn." not in key}
    kind = "sew" if network.family == "spikformer" else "spike-driven"
    name = f"conv-{kind}-{network.name.partition('-')[2]}"
    return replace(network, name=name, family="conv", variant=kind, nodes=nodes, weights=weights)


def model_of(folder: Path, data: str, model: str, seed: int) -> Path:
    """Convert a checkpoint and return its model.h5."""
    family = "spikformer" if model in ("spikformer", "conv-sew") else "spikingformer"
    options = ConvertOptions(family=family, tau=2.0)
    network = convert(folder / f"{data}-{model}-{seed}.pth.tar", options).network
    if model.startswith("conv"):
        network = without_attention(network)
    path = folder / f"{data}-{model}-{seed}.h5"
    modelfile.save(network, path)
    return path


def held_out(folder: Path, data: str, labels: tuple[str, ...]):
    """Return the held-out samples of a data set, as `evsim eval` opens it."""
    if data == "digits":
        return open_dataset(write_held_out(folder), labels)
    return open_dataset(NMNIST / "test100.txt", labels, pattern="{id}.bs2")


def evaluated(folder: Path, data: str, model: str, seed: int, workers: int) -> dict[str, np.ndarray | object]:
    """Run the held-out samples in float64; every prediction must be PyTorch's. What ran before is not run again."""
    network = evsim.load(model_of(folder, data, model, seed))
    outcome = evsim.evaluate(
        network, held_out(folder, data, network.labels), precision="float64", workers=workers, threads=1,
        out=folder / f"{data}-{model}-{seed}.audit.h5", resume=True,
    )  # fmt: skip
    want = np.load(folder / f"{data}-{model}-{seed}.npy")
    assert not outcome.failed, outcome.failed[:1]
    assert outcome.logits.shape == want.shape, (outcome.logits.shape, want.shape)
    assert np.array_equal(outcome.predictions, want.argmax(axis=1)), f"{data} {model} {seed}: other predictions"
    apart = float(np.abs(outcome.logits - want).max())
    assert apart < CLOSE, f"{data} {model} {seed}: logits are {apart} apart"
    offending = {layer.name for layer in check(network).offenders}
    costs = zip(outcome.summaries["energy_mj"][:-1], outcome.audit.layout.first.layers, strict=True)
    return {
        "correct": (outcome.predictions == outcome.labels).astype(np.float64),
        "sops": outcome.sops.astype(np.float64),
        "macs": outcome.macs.astype(np.float64),
        "energy_mj": outcome.energy_mj,
        "paper_energy_mj": outcome.paper_energy_mj,
        "apart": apart,
        "anytime": [moment.top1.count for moment in outcome.anytime],
        "offending": sorted(offending),
        "offending_mj": sum(figure.mean for figure, layer in costs if layer.name in offending),
        "parameters": int(sum(network.weights[key].size for key in network.weights)),
        "timesteps": network.spec.timesteps,
        "classes": len(set(outcome.labels.tolist())),
    }


MEASURES = ("correct", "sops", "macs", "energy_mj", "paper_energy_mj")


def of_sample(runs: list[dict]) -> np.ndarray:
    """Return each sample's measures, the mean over the seeds, [samples, measures]."""
    return np.stack([np.mean([run[name] for run in runs], axis=0) for name in MEASURES], axis=1)


def intervals(values: np.ndarray) -> dict[str, list[float]]:
    """Return mean, low and high of each measure: 95 % by bootstrap over the samples."""
    bounds = np.percentile(resampled_means(values, BOOTSTRAP), (2.5, 97.5), axis=0)
    return {
        name: [float(values[:, i].mean()), float(bounds[0, i]), float(bounds[1, i])] for i, name in enumerate(MEASURES)
    }


def figures_of(folder: Path, data: str, workers: int) -> dict:
    """Return all figures of a data set, of the seeds of which every model is trained."""
    seeds = [s for s in SEEDS if all((folder / f"{data}-{model}-{s}.pth.tar").exists() for model in MODELS)]
    if not seeds:
        raise SystemExit(f"{folder} lacks models of {data}; train them by train_small.py")
    runs = {model: [evaluated(folder, data, model, seed, workers) for seed in seeds] for model in MODELS}
    samples = len(runs[MODELS[0]][0]["correct"])
    rows = {}
    for model, each in runs.items():
        right = [int(run["correct"].sum()) for run in each]
        rows[model] = {
            "parameters": each[0]["parameters"],
            "right": right,
            "wilson": [list(wilson(number, samples)) for number in right],
            "means": intervals(of_sample(each)),
            "sops_by_seed": [float(run["sops"].mean()) for run in each],
            "energy_mj_by_seed": [float(run["energy_mj"].mean()) for run in each],
            "offending": each[0]["offending"],
            "offending_share": float(np.mean([run["offending_mj"] / run["energy_mj"].mean() for run in each])),
            "anytime": np.mean([run["anytime"] for run in each], axis=0).tolist(),
            "apart": max(run["apart"] for run in each),
        }
    pairs = [
        {"asked": asked, "first": first, "second": second,
         "difference": intervals(of_sample(runs[first]) - of_sample(runs[second]))}
        for asked, first, second in PAIRS
    ]  # fmt: skip
    return {
        "samples": samples,
        "seeds": seeds,
        "timesteps": runs[MODELS[0]][0]["timesteps"],
        "models": rows,
        "pairs": pairs,
    }


def main() -> None:
    """Evaluate, and print or keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/experiments"))
    parser.add_argument("--data", default="digits,nmnist")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="keep the figures, and write the document's tables")
    options = parser.parse_args()
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for data in options.data.split(","):
        if data == "nmnist" and not NMNIST.exists():
            print(f"{NMNIST} is absent: its figures are those that were kept", file=sys.stderr)
            continue
        known[data] = figures_of(options.folder, data, options.workers)
    if options.write:
        FIGURES.write_text(json.dumps(known, indent=1) + "\n")
        DOCUMENT.write_text(written(DOCUMENT.read_text(), known))
    print(written("<!-- digits -->\n<!-- end -->\n<!-- nmnist -->\n<!-- end -->\n", known))


if __name__ == "__main__":
    main()
