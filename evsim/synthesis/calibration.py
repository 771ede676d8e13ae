"""Calibration of a synthetic network: BatchNorm set, layer by layer, so that every LIF fires at its target.

One walk through the network on one input, by evsim's own layers, in float64. Each BatchNorm first gets the mean and
variance that it meets, as training would give it, with a random gain and offset per channel. Then all its offsets are
shifted by one amount, found by bisection, so that the LIF behind it fires at its target over all timesteps. Last,
single channels are nudged until no membrane potential comes within `MARGIN` of its threshold: the spikes are then those
of float32 as well, in whatever order its sums are rounded.

All is the same to the bit everywhere: sums over spikes are exact (`model._draw` says why), so are the counts of spikes,
and the rest is single sums, products, quotients and square roots, which IEEE 754 rounds in one way alone.

No BatchNorm stands between attention and its `attn_lif`: how often that fires depends on how q, k and v coincide. So
q and k are given a common profile over the channels of a head, and v one of its own: the more q and k share channels,
the stronger the attention; the more v keeps to few channels, the fewer neurons it can reach. Each of the three keeps
its own rate all the while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.converters.parts import BATCH_NORM_EPS, Weights
from evsim.errors import NetworkError
from evsim.intake import Intake
from evsim.kernels.threads import Workers
from evsim.layers.attention import Attention
from evsim.layers.context import Context
from evsim.layers.grouped import Grouped
from evsim.layers.neurons import NeuronLayer
from evsim.layers.pool import Pool
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, Linear, Network, Node, SpikingSelfAttention
from evsim.spikes import Packet, RealMap, SpikeMap
from evsim.synthesis.graph import RUNNING, Graph, Progress, rate_of, running
from evsim.synthesis.moments import moments
from evsim.synthesis.philox import GRID, Philox, quantile
from evsim.synthesis.products import fitted_scale
from evsim.synthesis.rates import Rate

TOLERANCE = 1e-3
"""Relative error of a rate at which a bisection stops."""

OFFSET_SPREAD = 1.0
"""Standard deviation of BatchNorm's offsets over channels; the currents' own is about 1. Much less, and one flipped
spike of the tokenizer becomes thousands in the last block."""

RESIDUAL_GAIN = 0.5
"""Gain of the layers that write to a real-valued stream, so that it grows slowly with depth."""

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
"""Spreads of q's and k's profile over channels, in standard deviations of the currents, between which to search."""

VALUE_SPREAD = 0.25
"""Spread of v's profile over the channels that it keeps to."""

VALUE_SHARES = (1.0, 0.8, 0.65, 0.5, 0.42, 0.33, 0.2, 0.1)
"""Shares of the channels to which v keeps, tried in turn, from the most natural on."""

CLOSE = 5 * TOLERANCE
"""Relative error of q, k, v and attention at which the search for their profiles stops."""

FAR_BELOW = 0.5
"""Where attention stays below this share of its target, half of the heads are silenced at once, not one more."""

MARGIN = 2.0**-18
"""How near to its threshold no membrane potential comes; what float32 rounds is less."""

NUDGE, NUDGES = 2.0**-14, 64
"""Steps by which a channel's offset is moved where a potential comes too near, and how often at most."""

SILENCING = 20.0
"""How far a channel is pushed down that is to fire only if all others fire already."""


class Fit(NamedTuple):
    """A LIF fitted to its rate: the layer whose BatchNorm is before it, its offsets, the spikes, the rate."""

    lever: str
    offset: NDArray[np.floating]
    spikes: SpikeMap
    rate: float


def calibrate(
    network: Network,
    state: dict[str, NDArray[Any]],
    targets: Mapping[str, float],
    sample: NDArray[np.floating],
    random: Philox,
    progress: Progress | None = None,
) -> tuple[Rate, ...]:
    """Set every BatchNorm of `state`, from which the network reads its weights, and return the rates reached.

    Parameters
    ----------
    network
        As the converter built it from `state`.
    state
        Key to array; BatchNorm's arrays are replaced.
    targets
        LIF name to rate.
    sample
        Image [C, H, W] or event counts [T, 2, H, W].
    random
        Draws gains, offsets and profiles.
    progress
        Called with the number of nodes, and how many are done with.
    """
    return _Walk(network, state, targets, random).run(sample, progress)


class _Walk:
    """One walk from the input to the mean over tokens."""

    def __init__(
        self,
        network: Network,
        state: dict[str, NDArray[Any]],
        targets: Mapping[str, float],
        random: Philox,
    ) -> None:
        assert isinstance(network.weights, Weights)
        self.network, self.state, self.targets, self.random = network, state, targets, random
        self.keys = network.weights.sources
        self.context = Context(np.dtype(np.float64), Workers(), streaming=False)
        self.graph = Graph(network)
        self.packets: dict[str, Packet] = {}
        self.levers: dict[str, str] = {}
        self.rates: dict[str, Rate] = {}

    def run(self, sample: NDArray[np.floating], progress: Progress | None) -> tuple[Rate, ...]:
        """Walk; rates come in the order of the nodes."""
        last_use = self.graph.last_uses()
        source, timesteps = self.network.input, self.network.spec.timesteps
        intake = Intake(self.network, timesteps, self.context.dtype, streaming=False)
        (self.packets[source.name],) = intake.packets(sample)
        for rank, node in enumerate(self.network.nodes[: self.graph.end]):
            if node is not source:
                self._visit(node)
            if progress:
                progress(self.graph.end, rank + 1)
            for name in [name for name in self.packets if last_use[name] <= rank]:
                del self.packets[name]
        return tuple(self.rates[name] for name in self.graph.neurons)

    def _visit(self, node: Node) -> None:
        if node.name in self.graph.free:
            layer = NeuronLayer(self.graph.free[node.name], self.network.shapes[node.name], self.context)
            self.packets[node.name] = layer.step(self.packets[node.inputs[0]])
        elif node.name in self.graph.attention:
            self._attention(self.graph.neurons[node.name])
        elif node.name in self.graph.products:
            self._product(self.graph.neurons[node.name])
        elif node.name in self.graph.neurons:
            self._neurons(self.graph.neurons[node.name])
        elif node in self.graph.products.values():
            return
        elif "weight" in node.parameters():
            self.packets[node.name] = self._normalised(node, self.packets[node.inputs[0]])  # type: ignore[arg-type]
            self.levers[node.name] = node.name if f"{node.name}.bn_shift" in self.keys else ""
        else:
            form = RUNNING.get(type(node))
            if form is None:
                raise NetworkError(f"{node.name}: calibration does not know a {type(node).__name__} before the readout")
            packet = form(node, self.network.shapes[node.name], self.context).step(
                *(self.packets[name] for name in node.inputs)
            )
            assert packet is not None
            self.packets[node.name] = packet
            # of a residual addition, what the block adds is the last input
            self.levers[node.name] = self.levers.get(node.inputs[-1], "")

    def _normalised(self, node: Conv2d | Linear, packet: Packet) -> RealMap:
        """Run a layer, and set its BatchNorm, if there is one, to the statistics of what comes out."""
        network, name = self.network, node.name
        weights = {key: network.weights[f"{name}.{key}"] for key in ("weight", *(("bias",) if node.bias else ()))}
        shapes = network.shapes[node.inputs[0]], network.shapes[name]
        kind: Any = Grouped if getattr(node, "groups", 1) > 1 else Synapses
        result = kind(node, *shapes, weights, self.context).step(packet)
        assert isinstance(result, RealMap)
        if f"{name}.bn_shift" not in self.keys:
            return result
        values = result.values[..., : node.out_channels]
        gain = self.random.uniform(0.7, 1.3, node.out_channels)
        if self.graph.writes_to_stream(name):
            gain *= RESIDUAL_GAIN
        offset = OFFSET_SPREAD / GRID * self.random.normal((node.out_channels,))
        mean, variance = moments(values)
        norm = self._norm(name)
        norm |= {
            "weight": gain.astype(np.float32),
            "bias": (0.0 * offset if self.graph.feeds_attention(name) else offset).astype(np.float32),
            "running_mean": mean.astype(np.float32),
            "running_var": np.maximum(variance, 1e-6).astype(np.float32),
        }
        self._store(name, norm)
        scale = norm["weight"].astype(np.float64) / np.sqrt(norm["running_var"].astype(np.float64) + BATCH_NORM_EPS)
        values *= scale
        values += norm["bias"] - norm["running_mean"] * scale
        return result

    def _neurons(self, node: LIF) -> None:
        """Shift the BatchNorm before a LIF until it fires at its target."""
        fit = self._cleared(node, self._fitted(node, np.zeros(self.network.shapes[node.name].channels)))
        source = node.inputs[0]
        currents = self.packets[source]
        assert isinstance(currents, RealMap)
        self.packets[source] = _plus(currents, fit.offset)
        self._keep(node, fit)

    def _fitted(self, node: LIF, profile: NDArray[np.floating]) -> Fit:
        """Find the shift, beside a profile over channels, at which a LIF fires at its target."""
        currents, lever = self.packets[node.inputs[0]], self.levers.get(node.inputs[0])
        if not lever:
            raise NetworkError(f"{node.name}: no BatchNorm stands before it, by which calibration could set its rate")
        assert isinstance(currents, RealMap)
        target = self.targets[node.name]
        bias = self._norm(lever)["bias"].astype(np.float64)
        at = self._firing(node, lever, currents)

        def fire(shift: float) -> Fit:
            return at(_stored(bias, profile + shift))

        low, high = -4.0, 4.0
        while fire(low).rate > target and low > -1e4:
            low *= 2.0
        while fire(high).rate < target and high < 1e4:
            high *= 2.0
        best = fire(low)
        for _ in range(24):
            shift = (low + high) / 2
            tried = fire(shift)
            if abs(tried.rate - target) < abs(best.rate - target):
                best = tried
            if abs(tried.rate - target) <= TOLERANCE * target:
                break
            low, high = (low, shift) if tried.rate > target else (shift, high)
        return best

    def _firing(self, node: LIF, lever: str, currents: RealMap) -> Callable[[NDArray[np.floating]], Fit]:
        """Return a function from the offsets of a LIF's currents to what it then fires."""
        layer = running(node, self.network, self.context)
        behind = self.graph.pools.get(node.name)
        pool = Pool(behind, self.network.shapes[behind.name], self.context) if behind else None

        def fire(offset: NDArray[np.floating]) -> Fit:
            layer.reset()
            spikes = layer.step(_plus(currents, offset))
            read = pool.step(spikes) if pool else spikes
            assert isinstance(read, SpikeMap)
            return Fit(lever, offset, spikes, rate_of(read))

        return fire

    def _cleared(self, node: LIF, fit: Fit) -> Fit:
        """Nudge the channels in which a membrane potential comes within `MARGIN` of the threshold.

        Where a higher threshold and a lower one give the same spikes, no potential lies between them, and sums that
        are rounded in float32, in whatever order, give these spikes too.
        """
        currents = self.packets[node.inputs[0]]
        assert isinstance(currents, RealMap)
        lower, higher = (
            self._firing(replace(node, v_threshold=node.v_threshold + margin), fit.lever, currents)
            for margin in (-MARGIN, MARGIN)
        )
        bias, offset = self._norm(fit.lever)["bias"].astype(np.float64), fit.offset
        for turn in range(NUDGES):
            apart = lower(offset).spikes.words ^ higher(offset).spikes.words
            near = _bits(np.bitwise_or.reduce(apart, axis=(0, 1)))[: len(offset)]
            if not near.any():
                break
            nudge = NUDGE * (turn // 2 + 1) * (-1) ** turn
            offset = np.where(near, _stored(bias, fit.offset + nudge), offset)
        return self._firing(node, fit.lever, currents)(offset)

    def _keep(self, node: LIF, fit: Fit) -> None:
        """Take a fit: spikes, rate, and the offsets of the BatchNorm before it."""
        if fit.lever:
            norm = self._norm(fit.lever)
            self._store(fit.lever, norm | {"bias": (norm["bias"] + fit.offset).astype(np.float32)})
        self.packets[node.name] = fit.spikes
        self.rates[node.name] = Rate(node.name, self.targets[node.name], fit.rate)

    def _product(self, node: LIF) -> None:
        """Set what scales a product of real rows so that the neurons behind it fire at their target."""
        read = tuple(self.packets[name] for name in self.graph.products[node.name].inputs)
        target = self.targets[node.name]
        fired = fitted_scale(self.network, node, read, self.state, target, TOLERANCE, self.context)
        self.packets[node.name], self.rates[node.name] = fired, Rate(node.name, target, rate_of(fired))

    def _attention(self, node: LIF) -> None:
        """Choose the profiles of q, k and v so that `attn_lif` fires at its target."""
        ssa = self.graph.attention[node.name]
        q, k, v = (self.graph.neurons[name] for name in ssa.inputs)
        width = self.network.shapes[ssa.name].channels // ssa.heads
        common, own = (self._profile(ssa.heads, width) for _ in range(2))
        turn = np.repeat(self.random.permutation(np.arange(ssa.heads)) + 1, width)
        neurons = running(node, self.network, self.context)
        target = self.targets[node.name]
        best: tuple[float, list[tuple[LIF, Fit]]] = (np.inf, [])

        def closer(strength: float, silent: NDArray[np.bool_], value: Fit) -> float:
            """Try a profile of q and k; return the rate, and keep it if it is the closest so far."""
            nonlocal best
            push = SILENCING * silent
            fits = [self._fitted(q, abs(strength) * common - push), self._fitted(k, strength * common - push), value]
            neurons.reset()
            fired = neurons.step(self._attend(ssa, [fit.spikes for fit in fits]))
            fits.append(Fit("", common, fired, rate_of(fired)))
            tried = list(zip((q, k, v, node), fits, strict=True))
            error = max(abs(fit.rate / self.targets[lif.name] - 1.0) for lif, fit in tried)
            if error < best[0]:
                best = (error, tried)
            return fits[-1].rate

        # few heads are needed where rates are so low that, spread evenly, nothing would ever coincide
        heads = ssa.heads
        while heads and best[0] > CLOSE:
            strongest = 0.0
            for share in VALUE_SHARES:
                if heads / ssa.heads * share < target:
                    continue
                silent = turn > heads
                value = self._fitted(v, VALUE_SPREAD * own - SILENCING * (silent | (own < quantile(1.0 - share))))
                highest = _approach(partial(closer, silent=silent, value=value), target)
                strongest = max(strongest, highest)
                if best[0] <= CLOSE:
                    break
            heads = heads - 1 if strongest >= FAR_BELOW * target else heads // 2
        *inputs, (_, last) = best[1]
        fits = [self._cleared(lif, fit) for lif, fit in inputs]
        fired = neurons.step(self._attend(ssa, [fit.spikes for fit in fits]))
        for lif, fit in zip((q, k, v, node), (*fits, last._replace(spikes=fired, rate=rate_of(fired))), strict=True):
            self._keep(lif, fit)

    def _attend(self, node: SpikingSelfAttention, inputs: list[SpikeMap]) -> RealMap:
        return Attention(node, self.network.shapes[node.name], self.context).step(*inputs)

    def _profile(self, heads: int, width: int) -> NDArray[np.floating]:
        """Return normal quantiles over the channels of every head, in random order, so that no head is left out."""
        quantiles = np.array([quantile((i + 0.5) / width) for i in range(width)])
        return np.concatenate([self.random.permutation(quantiles) for _ in range(heads)])

    def _norm(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a layer's BatchNorm by their short names."""
        return {key.rsplit(".", 1)[1]: self.state[key] for key in self.keys[f"{name}.bn_shift"]}

    def _store(self, name: str, norm: Mapping[str, NDArray[Any]]) -> None:
        for key in self.keys[f"{name}.bn_shift"]:
            self.state[key] = norm[key.rsplit(".", 1)[1]]


def _approach(rate_at: Callable[[float], float], target: float) -> float:
    """Call `rate_at` ever closer to where it is `target`; it rises with its argument, but for the strongest ones.

    Returns the highest rate met.
    """
    highest = start = rate_at(0.0)
    sign = 1.0 if start < target else -1.0
    inner = outer = 0.0
    for strength in STRENGTHS:
        outer = sign * strength
        rate = rate_at(outer)
        highest = max(highest, rate)
        if sign * (rate - target) >= 0.0:
            break
        inner = outer
    else:
        return highest
    for _ in range(10):
        middle = (inner + outer) / 2
        rate = rate_at(middle)
        if abs(rate - target) <= TOLERANCE * target:
            break
        inner, outer = (inner, middle) if sign * (rate - target) >= 0.0 else (middle, outer)
    return highest


def _stored(bias: NDArray[np.floating], offset: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the offset as the float32 of the state_dict will have it, so that a run in float64 repeats the spikes."""
    return (bias + offset).astype(np.float32).astype(np.float64) - bias


def _bits(words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return the bits of words, the lowest first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little").astype(bool)


def _plus(currents: RealMap, offset: NDArray[np.floating]) -> RealMap:
    """Return the map with an offset added to every channel; padded channels stay 0."""
    padded = np.zeros(currents.values.shape[-1], currents.values.dtype)
    padded[: currents.channels] = offset
    return replace(currents, values=currents.values + padded)
