"""Calibration of a synthetic network: BatchNorm set, layer by layer, so that all neurons fire at their target.

One walk through the network on one input, by evsim's own layers, in float64. Each BatchNorm first gets the mean and
variance that it meets, as training would give it, with a random gain and offset per channel. Then all its offsets are
shifted by one amount, found by bisection, so that the LIF behind it fires at its target over all timesteps. Last,
single channels are nudged until no membrane potential comes within `MARGIN` of its threshold: the spikes are then those
of float32 as well, in whatever order its sums are rounded. Where there is no BatchNorm, the bias is moved, or the
weights (`levers`).

All is the same to the bit everywhere: sums over spikes are exact (`model._draw` says why), so are the counts of spikes,
and the rest is single sums, products, quotients and square roots, which IEEE 754 rounds in one way alone.

No BatchNorm stands between attention and its `attn_lif`: how often that fires depends on how q, k and v coincide. So
q and k are given a common profile over the channels of a head, and v one of its own: the more q and k share channels,
the stronger the attention; the more v keeps to few channels, the fewer neurons it can reach. Each of the three keeps
its own rate all the while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evsim.converters.parts import BATCH_NORM_EPS, Weights
from evsim.errors import NetworkError
from evsim.intake import Intake
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.network import Conv2d, Linear, Network, Node
from evsim.spikes import Packet, RealMap
from evsim.synthesis.fitting import TOLERANCE, Amount, Drive, Fit, Fitter, by_offset
from evsim.synthesis.graph import Fired, Graph, Neurons, Progress, rate_of, running
from evsim.synthesis.levers import Lever, grown, lever_of
from evsim.synthesis.moments import moments
from evsim.synthesis.philox import GRID, Philox, quantile
from evsim.synthesis.products import fitted_scale
from evsim.synthesis.rates import Rate

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

GROWTH = 40.0
"""Powers of two by which weights grow or shrink at most."""

SILENCING = 20.0
"""How far a channel is pushed down that is to fire only if all others fire already."""


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
        self.levers: dict[str, Lever | None] = {}
        self.fitter = Fitter(network, self.graph, self.context, dict(targets))
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
        if node.name in self.graph.attention:
            self._attention(self.graph.neurons[node.name])
        elif node.name in self.graph.products:
            self._product(self.graph.neurons[node.name])
        elif node.name in self.graph.neurons:
            self._neurons(self.graph.neurons[node.name])
        elif node in self.graph.products.values():
            return
        elif "weight" in node.parameters():
            self.packets[node.name] = self._normalised(node, self.packets[node.inputs[0]])  # type: ignore[arg-type]
            self.levers[node.name] = lever_of(node.name, self.keys, self.state)
        else:
            packet = running(node, self.network, self.context).step(*(self.packets[name] for name in node.inputs))
            assert packet is not None
            self.packets[node.name] = packet
            # of a residual addition, what the block adds is the last input
            self.levers[node.name] = self.levers.get(node.inputs[-1])

    def _normalised(self, node: Conv2d | Linear, packet: Packet) -> RealMap:
        """Run a layer, and set its BatchNorm, if there is one, to the statistics of what comes out."""
        name = node.name
        result = self._currents(node, packet)
        if f"{name}.bn_shift" not in self.keys:
            return self._spread(node, packet, result)
        values = result.values[..., : node.out_channels]
        gain = self.random.uniform(0.7, 1.3, node.out_channels)
        if self.graph.writes_to_stream(name):
            gain *= RESIDUAL_GAIN
        offset = OFFSET_SPREAD / GRID * self.random.normal((node.out_channels,))
        mean, variance = moments(values)
        norm = {
            "weight": gain.astype(np.float32),
            "bias": (0.0 * offset if self.graph.feeds_attention(name) else offset).astype(np.float32),
            "running_mean": mean.astype(np.float32),
            "running_var": np.maximum(variance, 1e-6).astype(np.float32),
        }
        for key in self.keys[f"{name}.bn_shift"]:
            # a factor behind the BatchNorm stays as it is
            self.state[key] = norm.get(key.rpartition(".")[2], self.state[key])
        scale = norm["weight"].astype(np.float64) / np.sqrt(norm["running_var"].astype(np.float64) + BATCH_NORM_EPS)
        values *= scale
        values += norm["bias"] - norm["running_mean"] * scale
        return result

    def _currents(self, node: Conv2d | Linear, packet: Packet) -> RealMap:
        """Run a layer without its BatchNorm."""
        plain = replace(node, batch_norm=False)
        result = running(plain, self.network, self.context).step(packet)
        assert isinstance(result, RealMap)
        return result

    def _spread(self, node: Conv2d | Linear, packet: Packet, result: RealMap) -> RealMap:
        """Give a layer without a BatchNorm that drives neurons currents of a spread near 1, by a power of two."""
        lever = lever_of(node.name, self.keys, self.state)
        if lever is None or lever.kind != "bias" or not self.graph.drives_neurons(node.name):
            return result
        _, variance = moments(result.values[..., : node.out_channels])
        (key,) = self.keys[f"{node.name}.weight"]
        power = int(np.frexp(np.sqrt(max(float(variance.mean()), 1e-12)))[1])
        self.state[key] = np.ldexp(self.state[key], -power).astype(np.float32)
        return self._currents(node, packet)

    def _drive(self, node: Neurons) -> Drive:
        """Return the lever before neurons, and what currents it gives."""
        source = node.inputs[0]
        lever, currents = self.levers.get(source), self.packets[source]
        if lever is None or (lever.kind == "weight" and lever.name != source):
            raise NetworkError(
                f"{node.name}: no layer with a BatchNorm, a bias or weights of its own stands before it, by which "
                "calibration could set its rate"
            )
        assert isinstance(currents, RealMap)
        if lever.kind != "weight":
            return by_offset(lever, currents)
        layer, weight = self.network.node(source), lever.weight
        packet = self.packets[layer.inputs[0]]

        def at(amount: Amount) -> RealMap:
            lever.put(grown(weight, np.exp2(np.clip(amount, -GROWTH, GROWTH))))
            return self._currents(layer, packet)  # type: ignore[arg-type]

        def near(amount: Amount) -> RealMap:
            factors = np.ones(currents.values.shape[-1])
            factors[: len(amount)] = np.exp2(np.clip(amount, -GROWTH, GROWTH))
            return replace(currents, values=currents.values * factors)

        return Drive(lever, at, near=near)

    def _neurons(self, node: Neurons) -> None:
        """Move the lever before neurons until they fire at their target."""
        drive = self._drive(node)
        rest = np.zeros(self.network.shapes[node.name].channels)
        fit = self.fitter.cleared(node, drive, self.fitter.fitted(node, drive, rest))
        self.packets[node.inputs[0]] = drive.at(fit.amount)
        self._keep(node, fit)

    def _keep(self, node: Neurons, fit: Fit) -> None:
        """Take a fit: what is fired, the rate, and the lever as it was moved."""
        if fit.lever and fit.lever.kind != "weight":  # which a drive moves by itself
            fit.lever.move(fit.amount)
        self.packets[node.name] = fit.fired
        self.rates[node.name] = Rate(node.name, self.targets[node.name], fit.rate)

    def _product(self, node: Neurons) -> None:
        """Set what scales a product of real rows so that the neurons behind it fire at their target."""
        read = tuple(self.packets[name] for name in self.graph.products[node.name].inputs)
        target = self.targets[node.name]
        fired = fitted_scale(self.network, node, read, self.state, target, TOLERANCE, self.context)
        self.packets[node.name], self.rates[node.name] = fired, Rate(node.name, target, rate_of(fired, node))

    def _attention(self, node: Neurons) -> None:
        """Choose the profiles of q, k and v so that `attn_lif` fires at its target."""
        ssa = self.graph.attention[node.name]
        q, k, v = (self.graph.neurons[name] for name in ssa.inputs)
        drives = {each.name: self._drive(each) for each in (q, k, v)}
        attend, neurons = (running(each, self.network, self.context) for each in (ssa, node))
        wide, width = (self.network.shapes[each.name].channels // ssa.heads for each in (q, v))
        common, own = self._profile(ssa.heads, wide), self._profile(ssa.heads, width)
        turn = self.random.permutation(np.arange(ssa.heads))
        target = self.targets[node.name]
        best: tuple[float, list[tuple[Neurons, Fit]]] = (np.inf, [])

        def fitted(each: Neurons, profile: Amount) -> Fit:
            return self.fitter.fitted(each, drives[each.name], profile)

        def attended(fits: Sequence[Fit]) -> Fit:
            """Return what the neurons behind attention emit."""
            neurons.reset()
            sums = attend.step(*(fit.fired for fit in fits))
            assert sums is not None
            fired = cast("Fired", neurons.step(sums))
            return Fit(None, common, fired, rate_of(fired, node))

        def closer(strength: float, silent: NDArray[np.bool_], value: Fit) -> float:
            """Try a profile of q and k; return the rate, and keep it if it is the closest so far."""
            nonlocal best
            push = SILENCING * np.repeat(silent, wide)
            fits = [fitted(q, abs(strength) * common - push), fitted(k, strength * common - push), value]
            fits.append(attended(fits))
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
                silent: NDArray[np.bool_] = turn >= heads  # type: ignore[operator]
                value = fitted(
                    v, VALUE_SPREAD * own - SILENCING * (np.repeat(silent, width) | (own < quantile(1.0 - share)))
                )
                highest = _approach(partial(closer, silent=silent, value=value), target)
                strongest = max(strongest, highest)
                if best[0] <= CLOSE:
                    break
            heads = heads - 1 if strongest >= FAR_BELOW * target else heads // 2
        fits = [self.fitter.cleared(each, drives[each.name], fit) for each, fit in best[1][:3]]
        for each, fit in zip((q, k, v), fits, strict=True):
            drives[each.name].at(fit.amount)
        for each, fit in zip((q, k, v, node), (*fits, attended(fits)), strict=True):
            self._keep(each, fit)

    def _profile(self, heads: int, width: int) -> NDArray[np.floating]:
        """Return normal quantiles over the channels of every head, in random order, so that no head is left out."""
        quantiles = np.array([quantile((i + 0.5) / width) for i in range(width)])
        return np.concatenate([self.random.permutation(quantiles) for _ in range(heads)])


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
