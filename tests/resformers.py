"""SpikingResformer in plain NumPy: random state_dicts of any form, and the forward pass of the authors' code."""

from __future__ import annotations

from dataclasses import dataclass, field

import naive
import numpy as np


@dataclass
class Model:
    """A SpikingResformer as its constructor takes it; `state` is its state_dict, `spikes` what its neurons emitted."""

    layers: tuple[str, ...] = ("DG", "DG")
    planes: tuple[int, ...] = (8, 12)
    heads: tuple[int, ...] = (1, 3)
    patches: tuple[int, ...] = (2, 1)
    size: int = 32
    steps: int = 3
    wide: bool = True
    plif: bool = False
    channels: int = 3
    classes: int = 5
    group: int = 4
    ratio: int = 2
    convs: int = 1
    seed: int = 0
    state: dict[str, np.ndarray] = field(default_factory=dict)
    spikes: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        self.made = False
        shape = (self.steps, self.channels, self.size, self.size)
        self.forward(self.random.normal(size=shape))
        self.made = True

    def forward(self, frames):
        """Return the mean logits of frames [T, C, H, W]; the first call draws the weights as it meets them."""
        self.spikes = {}
        x = frames.transpose(0, 2, 3, 1)
        x = self._conv("prologue.0", "prologue.1", x, self.planes[0], *((7, 2, 3) if self.wide else (3, 1, 1)))
        side = self.size
        if self.wide:
            x, side = naive.max_pool(x, 3, 2, 1), side // 4
        for i, names in enumerate(self.layers):
            at = 0
            if i:
                p = f"layers.{i}.0"
                x = self._conv(f"{p}.conv", f"{p}.norm", self._fire(f"{p}.activation", x), self.planes[i], 3, 2, 1)
                at, side = 1, side // 2
            for j, name in enumerate(names, at):
                rows = (side // self.patches[i]) ** 2
                p = f"layers.{i}.{j}"
                x = self._dssa(p, x, self.heads[i], self.patches[i], rows) if name == "D" else self._gwffn(p, x)
        weight = self._draw("classifier.weight", (self.classes, self.planes[-1]))
        return (x.mean(axis=(1, 2)) @ weight.T.astype(np.float64)).mean(axis=0)

    def _dssa(self, p, x, heads, patch, rows):
        steps, height, width, channels = x.shape
        z = self._fire(f"{p}.activation_in", x)
        y = self._conv(f"{p}.W", f"{p}.norm", z, 2 * channels, patch, patch, 0)
        y = y.reshape(steps, -1, heads, 2, channels // heads)
        named = z.reshape(steps, -1, heads, channels // heads).astype(float)
        attn = np.einsum("tmhd,tnhd->tnhm", y[:, :, :, 0], named) / np.sqrt(
            self._rate(f"{p}.firing_rate_x", heads) * (channels // heads)
        )
        attn = self._fire(f"{p}.activation_attn", attn, (0, 2, 3, 1))
        out = np.einsum("tmhd,tnhm->tnhd", y[:, :, :, 1], attn.astype(float)) / np.sqrt(
            self._rate(f"{p}.firing_rate_attn", heads) * rows
        )
        out = self._fire(f"{p}.activation_out", out.reshape(steps, height, width, channels))
        return self._conv(f"{p}.Wproj", f"{p}.norm_proj", out, channels) + x

    def _gwffn(self, p, x):
        channels = x.shape[-1]
        inner = self.ratio * channels
        u = h = self._conv(f"{p}.up.1", f"{p}.up.2", self._fire(f"{p}.up.0", x), inner)
        for k in range(self.convs):
            c = f"{p}.conv.{k}"
            h = self._conv(f"{c}.1", f"{c}.2", self._fire(f"{c}.0", h), inner, 3, 1, 1, inner // self.group)
        return self._conv(f"{p}.down.1", f"{p}.down.2", self._fire(f"{p}.down.0", u + h), channels) + x

    def _conv(self, name, norm, x, outputs, kernel=1, stride=1, padding=0, groups=1):
        """Convolve, group by group, and normalise by the BatchNorm `norm`, whose statistics are measured first."""
        shape = (outputs, x.shape[-1] // groups, kernel, kernel)
        weight = self._draw(f"{name}.weight", shape).astype(np.float64).transpose(2, 3, 1, 0)
        parts = zip(np.split(x.astype(float), groups, axis=-1), np.split(weight, groups, axis=-1), strict=True)
        y = np.concatenate([naive.conv(a, b, (stride, stride), (padding, padding)) for a, b in parts], axis=-1)
        if not self.made:
            self.state |= {
                f"{norm}.bn.weight": self.random.uniform(0.7, 1.3, outputs).astype(np.float32),
                f"{norm}.bn.bias": self.random.uniform(0.2, 0.9, outputs).astype(np.float32),
                f"{norm}.bn.running_mean": y.mean(axis=(0, 1, 2)).astype(np.float32),
                f"{norm}.bn.running_var": (y.var(axis=(0, 1, 2)) + 0.05).astype(np.float32),
                f"{norm}.bn.num_batches_tracked": np.array(7),
            }
        gain, bias, mean, var = (
            self.state[f"{norm}.bn.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / np.sqrt(var + 1e-5) * gain + bias

    def _fire(self, name, currents, axes=(0, 3, 1, 2)):
        """Return the spikes of LIF or PLIF neurons; kept under their name with the axes of PyTorch's output."""
        rate = 0.5
        if self.plif:
            if not self.made:
                self.state[f"{name}.w"] = np.float32(self.random.uniform(-1.0, 1.0)).reshape(())
            rate = 1.0 / (1.0 + np.exp(-float(self.state[f"{name}.w"])))
        v, spikes = np.zeros_like(currents[0]), []
        for x in currents:
            v = v + (x - v) * rate
            spikes.append(v >= 1.0)
            v = np.where(spikes[-1], 0.0, v)
        fired = np.stack(spikes)
        self.spikes[name] = fired.transpose(axes)
        return fired

    def _rate(self, key, heads):
        if not self.made:
            self.state[key] = self.random.uniform(0.05, 0.3, (1, 1, heads, 1, 1)).astype(np.float32)
        return self.state[key].reshape(heads, 1).astype(np.float64)

    def _draw(self, key, shape):
        if not self.made:
            fan = np.prod(shape[1:])
            self.state[key] = (self.random.normal(size=shape) * np.sqrt(2.0 / fan)).astype(np.float32)
        return self.state[key]
