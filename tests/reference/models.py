"""PyTorch references of Spikingformer and Spikformer: the oracle that evsim is held against.

Written from the published architectures (Spikingformer, arXiv 2304.11954, with its CML variant; Spikformer,
arXiv 2209.15425). Module names equal those of the public checkpoints, so their `state_dict` loads as it is.
Maps are [T, B, C, H, W], tokens [T, B, C, N], rows [T, B, N, C].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from parts import LIF, Config, NeuronFactory, SelfAttention, conv3x3, per_step, pool, widths
from torch import Tensor, nn


class SpikingTokenizer(nn.Module):
    """Spikingformer's tokenizer: conv, bn, then four times LIF, (pool), conv, bn; CML pools before the LIF."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        plain_names = config.tokenizer == "cifar" and config.variant == "standard"
        self.names = [f"block{i}" for i in range(5)] if plain_names else ["proj", *(f"proj{i}" for i in range(1, 5))]
        self.pooled = {3, 4} if config.tokenizer == "cifar" else {1, 2, 3, 4}
        self.cml = config.variant == "cml"
        sizes = widths(config)
        for index, name in enumerate(self.names):
            if index:
                self.add_module(f"{name}_lif", neuron(config.lif_tau, 1.0))
            self.add_module(f"{name}_conv", conv3x3(sizes[index], sizes[index + 1]))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(sizes[index + 1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return real-valued maps of D channels."""
        for index, name in enumerate(self.names):
            if self.cml and index in self.pooled:
                x = pool(x)
            if index:
                x = self.get_submodule(f"{name}_lif")(x)
            if not self.cml and index in self.pooled:
                x = pool(x)
            x = per_step(self.get_submodule(f"{name}_conv"), x)
            x = per_step(self.get_submodule(f"{name}_bn"), x)
        return x


class SpikingAttentionBlock(nn.Module):
    """Spikingformer's attention: reads the residual stream through a LIF, writes real values back."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        dim, tau = config.dim, config.lif_tau
        self.proj_lif = neuron(tau, 1.0)
        for name in "qkv":
            self.add_module(f"{name}_conv", nn.Conv1d(dim, dim, 1, bias=False))
            self.add_module(f"{name}_bn", nn.BatchNorm1d(dim))
            self.add_module(f"{name}_lif", neuron(tau, 1.0))
        self.ssa = SelfAttention(config, rows=False)
        self.attn_lif = neuron(tau, 0.5)
        self.proj_conv = nn.Conv1d(dim, dim, 1)
        self.proj_bn = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the addend to the residual stream, maps like `x`."""
        tokens = self.proj_lif(x).flatten(3)
        q, k, v = (
            self.get_submodule(f"{name}_lif")(
                per_step(self.get_submodule(f"{name}_bn"), per_step(self.get_submodule(f"{name}_conv"), tokens))
            )
            for name in "qkv"
        )
        out = self.attn_lif(self.ssa(q, k, v))
        return per_step(self.proj_bn, per_step(self.proj_conv, out)).view_as(x)


class SpikingMLP(nn.Module):
    """Spikingformer's MLP: twice LIF, 1x1 conv, bn."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.mlp1_lif = neuron(config.lif_tau, 1.0)
        self.mlp1_conv = nn.Conv2d(config.dim, hidden, 1)
        self.mlp1_bn = nn.BatchNorm2d(hidden)
        self.mlp2_lif = neuron(config.lif_tau, 1.0)
        self.mlp2_conv = nn.Conv2d(hidden, config.dim, 1)
        self.mlp2_bn = nn.BatchNorm2d(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the addend to the residual stream, maps like `x`."""
        x = per_step(self.mlp1_bn, per_step(self.mlp1_conv, self.mlp1_lif(x)))
        return per_step(self.mlp2_bn, per_step(self.mlp2_conv, self.mlp2_lif(x)))


class SpikformerTokenizer(nn.Module):
    """Spikformer's tokenizer: four times conv, bn, LIF, (pool of spikes); then spikes of `rpe` added to spikes."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        self.suffixes = ("", "1", "2", "3")
        self.pooled = {2, 3} if config.tokenizer == "cifar" else {0, 1, 2, 3}
        sizes = widths(config)
        for index, suffix in enumerate(self.suffixes):
            self.add_module(f"proj_conv{suffix}", conv3x3(sizes[index], sizes[index + 1]))
            self.add_module(f"proj_bn{suffix}", nn.BatchNorm2d(sizes[index + 1]))
            self.add_module(f"proj_lif{suffix}", neuron(config.lif_tau, 1.0))
        self.rpe_conv = conv3x3(config.dim, config.dim)
        self.rpe_bn = nn.BatchNorm2d(config.dim)
        self.rpe_lif = neuron(config.lif_tau, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of integers 0, 1, 2."""
        for index, suffix in enumerate(self.suffixes):
            x = per_step(self.get_submodule(f"proj_conv{suffix}"), x)
            x = per_step(self.get_submodule(f"proj_bn{suffix}"), x)
            x = self.get_submodule(f"proj_lif{suffix}")(x)
            if index in self.pooled:
                x = pool(x)
        return x + self.rpe_lif(per_step(self.rpe_bn, per_step(self.rpe_conv, x)))


def add_synapses(parent: nn.Module, name: str, synapses: nn.Module, neuron: nn.Module) -> None:
    """Give `parent` Spikformer's triple `<name>_conv|linear`, `<name>_bn`, `<name>_lif`."""
    kind = "linear" if isinstance(synapses, nn.Linear) else "conv"
    features = synapses.weight.shape[0]
    norm = nn.BatchNorm2d(features) if isinstance(synapses, nn.Conv2d) else nn.BatchNorm1d(features)
    parent.add_module(f"{name}_{kind}", synapses)
    parent.add_module(f"{name}_bn", norm)
    parent.add_module(f"{name}_lif", neuron)


def fire(parent: nn.Module, name: str, x: Tensor, *, as_maps: Tensor | None = None) -> Tensor:
    """Send `x` through the triple `name` of `parent`; reshape like `as_maps` before the LIF where given."""
    norm, lif = parent.get_submodule(f"{name}_bn"), parent.get_submodule(f"{name}_lif")
    if hasattr(parent, f"{name}_linear"):
        rows = per_step(parent.get_submodule(f"{name}_linear"), x)
        return lif(per_step(norm, rows.transpose(-1, -2)).transpose(-1, -2).contiguous())
    x = per_step(norm, per_step(parent.get_submodule(f"{name}_conv"), x))
    return lif(x if as_maps is None else x.view_as(as_maps))


class SpikformerAttention(nn.Module):
    """Spikformer's attention: q, k, v read integers; spikes of `proj_lif` go back to the residual."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        dim, tau, rows = config.dim, config.lif_tau, config.tokenizer == "cifar"
        for name in "qkv":
            synapses = nn.Linear(dim, dim) if rows else nn.Conv1d(dim, dim, 1, bias=False)
            add_synapses(self, name, synapses, neuron(tau, 1.0))
        self.ssa = SelfAttention(config, rows=rows)
        self.attn_lif = neuron(tau, 0.5)
        add_synapses(self, "proj", nn.Linear(dim, dim) if rows else nn.Conv1d(dim, dim, 1), neuron(tau, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes in the layout of `x`."""
        tokens = x.flatten(3)
        q, k, v = (fire(self, name, tokens) for name in "qkv")
        return fire(self, "proj", self.attn_lif(self.ssa(q, k, v)), as_maps=x)


class SpikformerMLP(nn.Module):
    """Spikformer's MLP: twice conv or linear, bn, LIF."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        dim, hidden = config.dim, config.dim * config.mlp_ratio
        for name, sizes in {"fc1": (dim, hidden), "fc2": (hidden, dim)}.items():
            synapses = {
                "imagenet": lambda sizes: nn.Conv2d(*sizes, 1),
                "dvs": lambda sizes: nn.Conv1d(*sizes, 1),
                "cifar": lambda sizes: nn.Linear(*sizes),
            }[config.tokenizer](sizes)
            add_synapses(self, name, synapses, neuron(config.lif_tau, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes in the layout of `x`."""
        return fire(self, "fc2", fire(self, "fc1", x))


class Block(nn.Module):
    """Residual block of either family: ``x = x + attn(x); x = x + mlp(x)``."""

    def __init__(self, config: Config, neuron: NeuronFactory):
        super().__init__()
        spiking = config.family == "spikingformer"
        self.attn = (SpikingAttentionBlock if spiking else SpikformerAttention)(config, neuron)
        self.mlp = (SpikingMLP if spiking else SpikformerMLP)(config, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class SpikingTransformer(nn.Module):
    """Tokenizer, blocks, mean over tokens and timesteps, linear head."""

    def __init__(self, config: Config, neuron: NeuronFactory = LIF):
        super().__init__()
        self.config = config
        spiking = config.family == "spikingformer"
        self.patch_embed = (SpikingTokenizer if spiking else SpikformerTokenizer)(config, neuron)
        self.block = nn.ModuleList(Block(config, neuron) for _ in range(config.depth))
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B, classes].

        Parameters
        ----------
        x
            Images [B, 3, H, W], repeated for every timestep, or frames [T, B, 2, H, W].
        """
        if x.ndim == 4:
            x = x.unsqueeze(0).expand(self.config.timesteps, *x.shape)
        x = self.patch_embed(x)
        if self.config.family == "spikformer" and self.config.tokenizer != "imagenet":
            x = x.flatten(3)
            if self.config.tokenizer == "cifar":
                x = x.transpose(-1, -2).contiguous()
        for block in self.block:
            x = block(x)
        tokens = x.mean(2) if self.block[0].attn.ssa.rows else x.flatten(3).mean(3)
        return self.head(tokens.mean(0))


def unused_keys(config: Config) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the parameters that public checkpoints hold and no forward pass reads."""
    names = [f"block.{i}.{norm}" for i in range(config.depth) for norm in ("norm1", "norm2")]
    keys: dict[str, tuple[int, ...]] = {}
    if config.family == "spikformer" and config.tokenizer == "dvs":
        keys["pos_embed"] = (1, config.tokens, config.dim)
        names.append("norm")
    for name in names:
        keys |= {f"{name}.weight": (config.dim,), f"{name}.bias": (config.dim,)}
    return keys


def build(
    config: Config,
    state: Mapping[str, Tensor] | None = None,
    *,
    neuron: NeuronFactory = LIF,
    dtype: torch.dtype | None = None,
) -> SpikingTransformer:
    """Return the reference model in evaluation mode.

    Parameters
    ----------
    config
        Family, tokenizer, sizes.
    state
        Weights to load; every key must be taken, but for those that the public code never reads.
    neuron
        Makes the LIF modules.
    dtype
        Converts the model (after loading), e.g. to ``torch.float64``.
    """
    model = SpikingTransformer(config, neuron).eval()
    if state is not None:
        unused = unused_keys(config)
        model.load_state_dict({name: value for name, value in state.items() if name not in unused})
    return model if dtype is None else model.to(dtype)
