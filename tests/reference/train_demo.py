"""Train the bundled demo: a small Spikingformer that reads handwritten digits from event recordings.

Run as ``python tests/reference/train_demo.py --out DIR`` (about half an hour on two cores). The weights are those
of the last epoch; held-out digits are looked at for the log only, never to choose anything.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numba
import numpy as np
import torch
from digits import CACHE, SENSOR, TIMESTEPS, frames, split
from fused_lif import FusedLIF
from models import SpikingTransformer, build
from parts import Config
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

CONFIG = Config(tokenizer="dvs", dim=64, depth=2, heads=8, timesteps=TIMESTEPS, classes=10, image_size=SENSOR)
MAX_SHIFT = 6


def shifted(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return frames [n, T, 2, H, W] moved by up to `MAX_SHIFT` pixels each way, empty pixels coming in."""
    out = np.zeros_like(batch)
    for source, target, (dy, dx) in zip(
        batch, out, rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, (len(batch), 2)), strict=True
    ):
        rows, columns = (slice(max(d, 0), SENSOR + min(d, 0)) for d in (dy, dx))
        from_rows, from_columns = (slice(max(-d, 0), SENSOR + min(-d, 0)) for d in (dy, dx))
        target[..., rows, columns] = source[..., from_rows, from_columns]
    return out


def as_input(batch: np.ndarray) -> Tensor:
    """Return [T, n, 2, H, W] float32 from [n, T, 2, H, W] counts."""
    return torch.from_numpy(batch.swapaxes(0, 1).astype(np.float32))


@torch.inference_mode()
def accuracy(model: SpikingTransformer, counts: np.ndarray, labels: np.ndarray, batch: int = 30) -> float:
    """Return the share of recordings that the model classifies as labelled."""
    model.eval()
    right = sum(
        int((model(as_input(counts[i : i + batch])).argmax(1).numpy() == labels[i : i + batch]).sum())
        for i in range(0, len(counts), batch)
    )
    return right / len(counts)


def save(path: Path, model: SpikingTransformer, epoch: int, metric: float) -> None:
    """Write a timm-style checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    args = argparse.Namespace(
        model="spikingformer",
        time_step=CONFIG.timesteps,
        T=CONFIG.timesteps,
        dim=CONFIG.dim,
        layer=CONFIG.depth,
        num_heads=CONFIG.heads,
        num_classes=CONFIG.classes,
        img_size=CONFIG.image_size,
        patch_size=CONFIG.patch_size,
        in_channels=CONFIG.in_channels,
        mlp_ratio=CONFIG.mlp_ratio,
    )
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    torch.save(
        {
            "epoch": epoch,
            "arch": "spikingformer",
            "state_dict": state,
            "version": 2,
            "args": args,
            "metric": 100 * metric,
        },
        path,
    )


def train(options: argparse.Namespace) -> None:
    """Train from scratch, log to standard output, save after every epoch."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    labels = load_digits().target
    train_indices, held_out = split()
    if options.subset:
        train_indices = rng.permutation(train_indices)[: options.subset]
    start = time.time()
    versions = [frames(train_indices, kind) for kind in ("default", "varied")]
    test_counts, test_labels = frames(held_out, "default"), labels[held_out]
    print(f"{len(train_indices)} + {len(held_out)} digits recorded, {time.time() - start:.0f} s", flush=True)

    model = SpikingTransformer(CONFIG, FusedLIF)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.05)
    steps = len(train_indices) // options.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, total_steps=options.epochs * steps, pct_start=0.2
    )
    for epoch in range(options.epochs):
        model.train()
        order, losses = rng.permutation(len(train_indices)), []
        for chosen in np.split(order[: steps * options.batch], steps):
            picked = np.stack([versions[rng.integers(2)][i] for i in chosen])
            target = torch.from_numpy(labels[train_indices[chosen]])
            loss = functional.cross_entropy(model(as_input(shifted(picked, rng))), target, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        last = epoch == options.epochs - 1
        metric = accuracy(model, test_counts, test_labels) if last or epoch % options.every == 0 else float("nan")
        print(
            f"epoch {epoch}: loss {np.mean(losses):.3f}, held out {metric:.4f}, {time.time() - start:.0f} s",
            flush=True,
        )
        save(options.out / "checkpoint.pth.tar", model, epoch, metric)
    finish(options.out / "checkpoint.pth.tar", held_out, test_labels)


def finish(path: Path, held_out: np.ndarray, test_labels: np.ndarray) -> None:
    """Load the checkpoint back into the reference model and print its accuracy on held-out recordings."""
    state = torch.load(path, weights_only=False)["state_dict"]
    model = build(CONFIG, state)
    for kind in ("default", "loop"):
        print(f"{kind} recorder settings: held out {accuracy(model, frames(held_out, kind), test_labels):.4f}")
    print(path)


def main() -> None:
    """Parse the options and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CACHE)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--subset", type=int, default=0, help="train on so many digits only")
    parser.add_argument("--every", type=int, default=3, help="epochs between looks at the held-out digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    numba.set_num_threads(min(options.threads, numba.config.NUMBA_NUM_THREADS))
    train(options)


if __name__ == "__main__":
    main()
