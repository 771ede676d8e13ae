"""Train the small models of docs/experiments.md: with and without attention, under either residual, on two data sets.

Run as ``python tests/reference/train_small.py --out DIR`` (needs the extra `torch`). One checkpoint for each data set,
model and seed, and beside it what PyTorch answers on the held-out samples in float64; one that is there is left alone.
Held-out samples are looked at for that answer only, never to choose anything.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import torch
from fused_lif import FusedLIF
from models import SpikingTransformer
from parts import Config
from small_data import DATA, NMNIST, Small
from torch import Tensor, nn
from torch.nn import functional

MODELS = {
    "spikingformer": ("spikingformer", True),
    "spikformer": ("spikformer", True),
    "conv-spike-driven": ("spikingformer", False),
    "conv-sew": ("spikformer", False),
}
"""Model to the family whose layers it has, and whether it attends."""

SEEDS = (0, 1, 2)
CONFIGS = {
    "digits": Config(tokenizer="cifar", dim=64, depth=1, heads=8, timesteps=4, classes=10, image_size=32),
    "nmnist": Config(tokenizer="dvs", dim=64, depth=1, heads=8, timesteps=8, classes=10, image_size=34, tau=2.0),
}
"""Sizes by data set; tau is one for all. The scale of attention is the family's own."""


class Unattended(nn.Module):
    """A block without its attention: ``x = x + mlp(x)``.

    The weights of the attention stay, never read or trained, so that the checkpoint has the family's keys.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.attn, self.mlp = block.attn, block.mlp

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block."""
        return x + self.mlp(x)


def build(model: str, data: str, neuron=FusedLIF) -> SpikingTransformer:
    """Return a model with random weights."""
    family, attends = MODELS[model]
    net = SpikingTransformer(replace(CONFIGS[data], family=family), neuron)
    if not attends:
        net.block = nn.ModuleList(Unattended(block) for block in net.block)
    return net


def moved(batch: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return maps [n, ..., H, W] moved by up to so many pixels each way; what comes in is the corner's value."""
    out = np.empty_like(batch)
    side = batch.shape[-1]
    for source, target, (dy, dx) in zip(batch, out, rng.integers(-most, most + 1, (len(batch), 2)), strict=True):
        target[...] = source[..., :1, :1]
        rows, columns = (slice(max(d, 0), side + min(d, 0)) for d in (dy, dx))
        from_rows, from_columns = (slice(max(-d, 0), side + min(-d, 0)) for d in (dy, dx))
        target[..., rows, columns] = source[..., from_rows, from_columns]
    return out


def as_input(batch: np.ndarray) -> Tensor:
    """Return images [n, C, H, W], or frames [T, n, C, H, W] from [n, T, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(batch.swapaxes(0, 1) if batch.ndim == 5 else batch))


def train(model: str, data: Small, name: str, seed: int, epochs: int) -> SpikingTransformer:
    """Train one model and return it."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net, batch = build(model, name), 16
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    steps = len(data.train) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps, pct_start=0.25)
    start = time.process_time()
    for epoch in range(epochs):
        net.train()
        losses, right = [], 0
        for chosen in np.split(rng.permutation(len(data.train))[: steps * batch], steps):
            target = torch.from_numpy(data.train_labels[chosen])
            logits = net(as_input(moved(data.train[chosen], data.shift, rng)))
            loss = functional.cross_entropy(logits, target, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            right += int((logits.argmax(1) == target).sum())
        print(
            f"{name} {model} seed {seed} epoch {epoch}: loss {np.mean(losses):.3f}, right {right / steps / batch:.3f}, "
            f"{time.process_time() - start:.0f} s of CPU",
            flush=True,
        )
    return net.eval()


@torch.inference_mode()
def answers(net: SpikingTransformer, held_out: np.ndarray) -> np.ndarray:
    """Return the logits [samples, classes] in float64, one sample at a time, as evsim runs them."""
    net = net.double()
    return np.concatenate([net(as_input(sample[None].astype(np.float64))).numpy() for sample in held_out])


def save(path: Path, net: SpikingTransformer, model: str, name: str) -> None:
    """Write a timm-style checkpoint, which appears whole or not at all."""
    config = CONFIGS[name]
    args = argparse.Namespace(
        model=MODELS[model][0], time_step=config.timesteps, T=config.timesteps, dim=config.dim, layer=config.depth,
        num_heads=config.heads, num_classes=config.classes, img_size=config.image_size, patch_size=config.patch_size,
        in_channels=config.in_channels, mlp_ratio=config.mlp_ratio,
    )  # fmt: skip
    torch.save({"arch": MODELS[model][0], "state_dict": net.state_dict(), "args": args}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    """Train what is asked for and is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/experiments"))
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--epochs", type=int, help="of each training, if not the data set's own number")
    options = parser.parse_args()
    os.nice(5)
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.data.split(","):
        if name == "nmnist" and not NMNIST.exists():
            print(f"{NMNIST} is absent: nothing is trained on it", file=sys.stderr)
            continue
        data = DATA[name]()
        for seed in map(int, options.seeds.split(",")):
            for model in options.models.split(","):
                path = options.out / f"{name}-{model}-{seed}.pth.tar"
                if path.exists():
                    continue
                net = train(model, data, name, seed, options.epochs or data.epochs)
                state = {key: value.clone() for key, value in net.state_dict().items()}
                np.save(path.with_name(path.name.removesuffix(".pth.tar") + ".npy"), answers(net, data.held_out))
                net.float().load_state_dict(state)
                save(path, net, model, name)


if __name__ == "__main__":
    main()
