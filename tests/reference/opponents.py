"""Dense PyTorch forms of Spikingformer that evsim is timed against, from the public one to the best one known here.

`original` is the reference model on SpikingJelly's neurons, which is what the authors run; `eager` computes the same
with BatchNorm folded, channels last, timesteps in the batch and fused q, k, v; `compiled` is torch.compile of that.
``python tests/reference/opponents.py`` holds all three against the reference on the goldens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from models import build
from parts import Config
from torch import Tensor, nn
from torch.nn import functional

BN_EPS = 1e-5


class Original(nn.Module):
    """The reference model on `MultiStepLIFNode` of spikingjelly==0.0.0.0.12, torch backend."""

    def __init__(self, config: Config, state: Mapping[str, Tensor], dtype: torch.dtype):
        super().__init__()
        from spikingjelly.clock_driven import functional as clock_driven
        from spikingjelly.clock_driven.neuron import MultiStepLIFNode

        def neuron(tau: float, v_threshold: float) -> nn.Module:
            return MultiStepLIFNode(tau=tau, v_threshold=v_threshold, detach_reset=True, backend="torch")

        self.reset = clock_driven.reset_net
        self.model = build(config, state, neuron=neuron, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B, classes] of images [B, 3, H, W] or frames [T, B, 2, H, W]."""
        out = self.model(x)
        self.reset(self.model)
        return out


def fold(state: Mapping[str, Tensor], synapses: str, norm: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a conv with the BatchNorm behind it folded in, in float64, then rounded."""
    weight = state[f"{synapses}.weight"].double()
    bias = state.get(f"{synapses}.bias", torch.zeros(weight.shape[0])).double()
    gamma, beta, mean, var = (
        state[f"{norm}.{key}"].double() for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / torch.sqrt(var + BN_EPS)
    shape = (-1, *[1] * (weight.ndim - 1))
    return (weight * scale.view(shape)).to(dtype), ((bias - mean) * scale + beta).to(dtype)


class Eager(nn.Module):
    """Spikingformer for inference: maps are [T * B, H, W, C] in memory, 1x1 convolutions are matrix products.

    `seen`, if set to a dict, receives the spikes of every LIF by name, in the layout of the reference; `clock`
    likewise the seconds that each conv, linear and LIF took, q, k and v as ``qkv``.
    """

    def __init__(self, config: Config, state: Mapping[str, Tensor], dtype: torch.dtype):
        super().__init__()
        self.config = config
        self.seen: dict[str, Tensor] | None = None
        self.clock: dict[str, float] | None = None
        plain = config.tokenizer == "cifar" and config.variant == "standard"
        self.stages = [f"block{i}" for i in range(5)] if plain else ["proj", *(f"proj{i}" for i in range(1, 5))]
        self.pooled = {3, 4} if config.tokenizer == "cifar" else {1, 2, 3, 4}
        self.weights: dict[str, tuple[Tensor, Tensor]] = {}
        for stage in self.stages:
            weight, bias = fold(state, f"patch_embed.{stage}_conv", f"patch_embed.{stage}_bn", dtype)
            self.weights[stage] = weight.contiguous(memory_format=torch.channels_last), bias
        for index in range(config.depth):
            self._take_block(state, f"block.{index}", dtype)
        self.weights["head"] = state["head.weight"].to(dtype), state["head.bias"].to(dtype)

    def _take_block(self, state: Mapping[str, Tensor], block: str, dtype: torch.dtype) -> None:
        qkv = [fold(state, f"{block}.attn.{name}_conv", f"{block}.attn.{name}_bn", dtype) for name in "qkv"]
        weights = {"attn.qkv": (torch.cat([w for w, _ in qkv]), torch.cat([b for _, b in qkv]))}
        for name in ("attn.proj", "mlp.mlp1", "mlp.mlp2"):
            weights[name] = fold(state, f"{block}.{name}_conv", f"{block}.{name}_bn", dtype)
        for name, (weight, bias) in weights.items():
            self.weights[f"{block}.{name}"] = weight.flatten(1).contiguous(), bias

    def timed(self, name: str, function, *arguments) -> Tensor:
        """Call a function and note the time that it took, if there is a clock."""
        if self.clock is None:
            return function(*arguments)
        begin = time.perf_counter()
        out = function(*arguments)
        self.clock[name] = self.clock.get(name, 0.0) + time.perf_counter() - begin
        return out

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Apply a 1x1 convolution to rows of channels."""
        return self.timed(f"{name}_conv", functional.linear, x, *self.weights[name])

    def lif(self, name: str, x: Tensor, v_threshold: float = 1.0) -> Tensor:
        """Return the spikes of the LIF of that name."""
        return self.timed(f"{name}_lif", self.fire, x, v_threshold)

    def fire(self, x: Tensor, v_threshold: float) -> Tensor:
        """Return the spikes of [T, ...]; the first step needs no leak because v starts at 0."""
        tau = self.config.lif_tau
        if torch.compiler.is_compiling():
            return self.fire_apart(x, v_threshold)
        spikes = torch.empty(x.shape, dtype=x.dtype)
        v = x[0] / tau
        for step in range(len(x)):  # in place: three times as fast as with new memory for each result
            if step:
                v.lerp_(x[step], 0.5) if tau == 2.0 else v.add_((x[step] - v) / tau)
            torch.ge(v, v_threshold, out=spikes[step])
            if step < len(x) - 1:
                v.mul_(1.0 - spikes[step])
        return spikes

    def fire_apart(self, x: Tensor, v_threshold: float) -> Tensor:
        """Return the same, nothing written in place: the compiler finds its own memory."""
        tau, spikes = self.config.lif_tau, []
        v = x[0] / tau
        for step in range(len(x)):
            if step:
                v = torch.lerp(v, x[step], 0.5) if tau == 2.0 else v + (x[step] - v) / tau
            fired = v >= v_threshold
            spikes.append(fired)
            if step < len(x) - 1:
                v = v.masked_fill(fired, 0.0)
        return torch.stack(spikes).to(x.dtype)

    def see(self, name: str, spikes: Tensor, *, maps: bool) -> None:
        """Keep spikes [T, B, H, W, C] as the reference's [T, B, C, H, W] or [T, B, C, N]."""
        if self.seen is not None:
            channels_first = spikes.movedim(-1, 2)
            self.seen[name] = (channels_first if maps else channels_first.flatten(3)).bool()

    def tokenize(self, x: Tensor) -> Tensor:
        """Return the residual stream [T, B, H, W, D]; a still image is convolved once for all timesteps."""
        timesteps = x.shape[0]
        still = self.config.tokenizer != "dvs"
        cml = self.config.variant == "cml"
        x = x[:1] if still else x
        for index, stage in enumerate(self.stages):
            if index:
                if cml and index in self.pooled:
                    x = self.pool(x)
                if index == 1 and still:
                    x = x.expand(timesteps, *x.shape[1:])
                x = self.lif(f"patch_embed.{stage}", x)
                self.see(f"patch_embed.{stage}_lif", x, maps=True)
                if not cml and index in self.pooled:
                    x = self.pool(x)
            x = self.timed(f"patch_embed.{stage}_conv", self.convolve, x, stage)
        return x

    def convolve(self, x: Tensor, stage: str) -> Tensor:
        """Convolve [T, B, H, W, C]."""
        return self.over_maps(x, lambda maps: functional.conv2d(maps, *self.weights[stage], padding=1))

    def pool(self, x: Tensor) -> Tensor:
        """Max-pool of [T, B, H, W, C]."""
        return self.over_maps(x, lambda maps: functional.max_pool2d(maps, 3, 2, 1))

    @staticmethod
    def over_maps(x: Tensor, function) -> Tensor:
        """Apply a function of channels-last [N, C, H, W] to [T, B, H, W, C]."""
        return function(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])

    def attention(self, x: Tensor, block: str) -> Tensor:
        """Return the attention's addend to the residual stream."""
        config = self.config
        spikes = self.lif(f"{block}.attn.proj", x)
        self.see(f"{block}.attn.proj_lif", spikes, maps=True)
        qkv = self.lif(f"{block}.attn.qkv", self.linear(f"{block}.attn.qkv", spikes))
        for name, part in zip("qkv", qkv.chunk(3, -1), strict=True):
            self.see(f"{block}.attn.{name}_lif", part, maps=False)
        heads = qkv.flatten(2, 3).unflatten(-1, (3, config.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = heads
        keys = k.transpose(-1, -2)
        out = q @ (keys @ v) if config.attention_order == "q(kv)" else (q @ keys) @ v
        rows = (out * config.attention_scale).transpose(-2, -3).reshape(x.shape)
        spikes = self.lif(f"{block}.attn.attn", rows, 0.5)
        self.see(f"{block}.attn.attn_lif", spikes, maps=False)
        return self.linear(f"{block}.attn.proj", spikes)

    def mlp(self, x: Tensor, block: str) -> Tensor:
        """Return the MLP's addend to the residual stream."""
        for name in ("mlp1", "mlp2"):
            spikes = self.lif(f"{block}.mlp.{name}", x)
            self.see(f"{block}.mlp.{name}_lif", spikes, maps=True)
            x = self.linear(f"{block}.mlp.{name}", spikes)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B, classes] of images [B, 3, H, W] or frames [T, B, 2, H, W]."""
        if x.ndim == 4:
            x = x.unsqueeze(0).expand(self.config.timesteps, *x.shape)
        x = self.tokenize(x.permute(0, 1, 3, 4, 2).contiguous())
        for index in range(self.config.depth):
            block = f"block.{index}"
            x = x + self.attention(x, block)
            x = x + self.mlp(x, block)
        return functional.linear(x.mean((0, 2, 3)), *self.weights["head"])


def opponents(
    config: Config, state: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32, compile_too: bool = True
) -> dict[str, nn.Module]:
    """Build the dense forms that can be had here, by name; call them under ``torch.inference_mode()``.

    Parameters
    ----------
    config, state
        A Spikingformer and its weights.
    dtype
        Precision of weights and input.
    compile_too
        Also `compiled`, whose first call compiles for a minute or more.
    """
    built: dict[str, nn.Module] = {}
    try:
        built["original"] = Original(config, state, dtype)
    except ImportError:
        print("original: not built, spikingjelly==0.0.0.0.12 is not installed")
    built["eager"] = Eager(config, state, dtype).eval()
    if compile_too:
        built["compiled"] = torch.compile(Eager(config, state, dtype).eval(), dynamic=False)
    return built


def check(name: str) -> bool:
    """Hold the opponents against the reference on one golden, in float64; print and return whether all agree."""
    import numpy as np
    from make_goldens import CASES, GOLDEN, as_batch
    from oracle import record

    config, folder = CASES[name].config, GOLDEN / name
    state = torch.load(folder / "checkpoint.pth.tar", weights_only=False)["state_dict"]
    x = as_batch(np.load(folder / "input.npy")).double()
    kept = record(build(config, state, dtype=torch.float64), x)
    built = opponents(config, state, dtype=torch.float64)
    built["eager"].seen = {}
    good = True
    for form, model in built.items():
        with torch.inference_mode():
            error = (model(x) - kept.logits).abs().max().item()
        good &= error < 1e-9
        print(f"{name} {form}: logits differ by {error:.1e}")
    seen = built["eager"].seen
    flips = sum(int((spikes != seen[lif]).sum()) for lif, spikes in kept.spikes.items())
    print(f"{name} eager: {flips} spikes of {len(seen)} layers differ")
    return good and flips == 0 and seen.keys() == kept.spikes.keys()


def main() -> int:
    """Check every Spikingformer golden; exit code 0 if all agree."""
    from make_goldens import CASES

    torch.set_num_threads(1)
    return int(not all(check(name) for name, case in CASES.items() if case.config.family == "spikingformer"))


if __name__ == "__main__":
    raise SystemExit(main())
