"""Hold the PyTorch references against goldens of the public models, where those lie beside the checkout.

Run as ``python tests/reference/check_shared.py [FOLDER]``; exit code 0 if all agree. Spikes must be equal, logits
within 1e-9, counts equal to the integer, the paper's totals within 1e-6.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from models import build
from oracle import exact_counts, paper_estimate, record
from parts import Config

SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden"
CASES = {
    "spikingformer-imagenet-2-64": Config(),
    "spikingformer-dvs-2-64": Config(tokenizer="dvs"),
    "spikformer-imagenet-2-64": Config(family="spikformer"),
}


def unpack(dataset: h5py.Dataset) -> np.ndarray:
    """Return the boolean spikes [T, 1, ...] of a golden's dataset."""
    shape = tuple(dataset.attrs["shape"])
    return np.unpackbits(dataset[:], count=int(np.prod(shape))).reshape(shape).astype(bool)


def as_input(array: np.ndarray) -> torch.Tensor:
    """Return the model's float64 input of batch 1 from an image [C, H, W] or frames [T, C, H, W]."""
    batch = array[None] if array.ndim == 3 else array[:, None]
    return torch.from_numpy(batch).double()


def check(folder: Path, config: Config) -> list[str]:
    """Return what differs from the golden in `folder`; empty if nothing does."""
    args = torch.load(folder / "checkpoint.pth.tar", weights_only=False)["args"]
    state = torch.load(folder / "state_dict.pth")
    model = build(config.with_args(args), state, dtype=torch.float64)
    kept = record(model, as_input(np.load(folder / "input.npy")))
    faults = []
    with h5py.File(folder / "golden.h5") as golden:
        names = set(golden["spikes_float64"])
        if names != set(kept.spikes):
            faults.append(f"LIF layers differ: {sorted(names ^ set(kept.spikes))}")
        for name in sorted(names & set(kept.spikes)):
            flips = int((unpack(golden["spikes_float64"][name]) != kept.spikes[name].numpy()).sum())
            if flips:
                faults.append(f"{name}: {flips} spikes differ")
        error = np.abs(golden["logits_float64"][:] - kept.logits.numpy()).max()
        if not error <= 1e-9:
            faults.append(f"logits differ by {error:.3g}")
    counts = exact_counts(model, kept)
    for name, expected in json.loads((folder / "exact_counts.json").read_text()).items():
        got = counts[name]
        exact = {key: value for key, value in expected.items() if key != "input_max"}
        if exact != {key: got[key] for key in exact} or abs(got["input_max"] - expected["input_max"]) > 1e-6:
            faults.append(f"{name}: counts {got}, expected {expected}")
    return faults + check_paper(folder, paper_estimate(model, kept))


def check_paper(folder: Path, estimate: dict) -> list[str]:
    """Return what differs from the authors' energy tool by more than 1e-6."""
    published = json.loads((folder / "paper_tool.json").read_text())
    pairs = {key: (estimate[key], published[key]) for key in ("gmacs", "gacs", "energy_mJ")}
    for name, layer in published["per_layer"].items():
        if "_lif" not in name:
            got = estimate["per_layer"][name]
            pairs |= {f"{name} {key}": (got[key], layer[key]) for key in ("dense_ops", "acs", "macs")}
    return [
        f"paper {name}: {got}, expected {expected}"
        for name, (got, expected) in pairs.items()
        if abs(got - expected) > 1e-6 * abs(expected)
    ]


def main() -> int:
    """Check every case and print the outcome."""
    torch.set_num_threads(1)
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    failed = False
    for name, config in CASES.items():
        faults = check(root / name, config)
        failed |= bool(faults)
        print(f"{name}: {'equal' if not faults else ''}")
        print("\n".join(f"  {fault}" for fault in faults), end="\n" if faults else "")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
