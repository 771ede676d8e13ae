"""What the PyTorch references share: configuration, neuron, attention, and small helpers.

Maps are [T, B, C, H, W], tokens [T, B, C, N], rows [T, B, N, C].
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

NeuronFactory = Callable[[float, float], nn.Module]
"""Makes a multi-step neuron from (tau, v_threshold); [T, ...] in, spikes of the same shape out."""


@dataclass(frozen=True)
class Config:
    """What a checkpoint's keys cannot say, and its sizes. None means the constant of family and tokenizer."""

    family: Literal["spikingformer", "spikformer"] = "spikingformer"
    tokenizer: Literal["imagenet", "cifar", "dvs"] = "imagenet"
    variant: Literal["standard", "cml"] = "standard"
    dim: int = 512
    depth: int = 8
    heads: int = 8
    timesteps: int = 4
    classes: int = 1000
    image_size: int = 224
    mlp_ratio: int = 4
    tau: float | None = None
    scale: float | None = None
    order: Literal["q(kv)", "(qk)v"] | None = None

    @property
    def in_channels(self) -> int:
        """Channels of the input: red, green, blue or OFF, ON."""
        return 2 if self.tokenizer == "dvs" else 3

    @property
    def lif_tau(self) -> float:
        """Membrane time constant of every LIF."""
        if self.tau is not None:
            return self.tau
        if self.family == "spikingformer" and self.tokenizer == "dvs":
            return 1.75 if self.variant == "cml" else 1.5
        return 2.0

    @property
    def attention_scale(self) -> float:
        """Factor on q k^T v, whatever the head size."""
        if self.scale is not None:
            return self.scale
        return 0.25 if self.family == "spikformer" and self.tokenizer == "dvs" else 0.125

    @property
    def attention_order(self) -> str:
        """Which product the public code forms first."""
        return self.order or ("q(kv)" if self.tokenizer == "imagenet" else "(qk)v")

    @property
    def patch_size(self) -> int:
        """Side of the image patch that becomes one token."""
        return 4 if self.tokenizer == "cifar" else 16

    @property
    def tokens(self) -> int:
        """Number of tokens N of the attention."""
        return (self.image_size // self.patch_size) ** 2

    def with_args(self, args: argparse.Namespace) -> Config:
        """Return a copy with the sizes that a timm checkpoint's `args` gives."""
        return Config(
            family=self.family,
            tokenizer=self.tokenizer,
            variant=self.variant,
            dim=args.dim,
            depth=args.layer,
            heads=args.num_heads,
            timesteps=args.time_step,
            classes=args.num_classes,
            image_size=args.img_size,
        )


class Spike(torch.autograd.Function):
    """Heaviside step (1 at 0) forward, derivative of a sigmoid of slope `ALPHA` backward."""

    ALPHA = 4.0

    @staticmethod
    def forward(ctx, over: Tensor) -> Tensor:
        """Return 1 where the membrane is at or over its threshold."""
        ctx.save_for_backward(over)
        return (over >= 0).to(over)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Return the surrogate gradient."""
        (over,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(Spike.ALPHA * over)
        return grad * Spike.ALPHA * sigmoid * (1 - sigmoid)


class LIF(nn.Module):
    """Leaky integrate-and-fire over T steps, from v = 0: v += (x - v) / tau; spike where v >= threshold; hard reset.

    The reset is detached from the gradient, as in the public training code.
    """

    def __init__(self, tau: float = 2.0, v_threshold: float = 1.0):
        super().__init__()
        self.tau = tau
        self.v_threshold = v_threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of all timesteps, [T, ...] like `x`."""
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            v = v + (current - v) / self.tau
            spike = Spike.apply(v - self.v_threshold)
            v = v.masked_fill(spike.detach() > 0, 0.0)
            spikes.append(spike)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """Show the constants."""
        return f"tau={self.tau}, v_threshold={self.v_threshold}"


class SelfAttention(nn.Module):
    """Product of q, k, v per head, without softmax; a module of its own so that hooks can see what enters."""

    def __init__(self, config: Config, *, rows: bool):
        super().__init__()
        self.heads = config.heads
        self.scale = config.attention_scale
        self.order = config.attention_order
        self.rows = rows

    def split(self, x: Tensor) -> Tensor:
        """Return [T, B, heads, N, dh]; channel c belongs to head c // dh."""
        rows = x if self.rows else x.transpose(-1, -2)
        return rows.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return ``scale * q k^T v`` in the layout of the inputs."""
        q, k, v = self.split(q), self.split(k), self.split(v)
        out = q @ (k.transpose(-1, -2) @ v) if self.order == "q(kv)" else (q @ k.transpose(-1, -2)) @ v
        rows = (out * self.scale).transpose(-2, -3).flatten(-2)
        return rows if self.rows else rows.transpose(-1, -2)


def per_step(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a stateless module to every timestep and sample of `x` [T, B, ...]."""
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def pool(x: Tensor) -> Tensor:
    """Max-pool 3x3 with stride 2 of maps [T, B, C, H, W]."""
    return functional.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return the tokenizers' convolution."""
    return nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False)


def widths(config: Config) -> list[int]:
    """Return input channels and the widths of the five tokenizer convolutions."""
    return [config.in_channels, config.dim // 8, config.dim // 4, config.dim // 2, config.dim, config.dim]
