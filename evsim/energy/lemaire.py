"""M3, Lemaire et al. 2022 (arXiv 2210.13107): operations, memory accesses and addressing of an SNN.

``E = E_mem + E_ops + E_addr``, equations as LEAT-EDGE/qualia-plugin-snn writes them (the paper itself was not read). A
layer of the model is a conv or linear layer with its neurons; evsim charges what comes with spikes to the former and
what comes with each neuron to the LIF, so their rows add up to the model's layer. Layers whose input is no spikes are
charged by the model's equations for dense networks, once per timestep.

Known to be weak: nominal taps, not those inside the image; potentials read and written at every event; no packing of
spikes; no attention, no residual additions. Each reading of the energy of a memory access charges Horowitz's energy of
a 64-bit word for one 32-bit access, and "piecewise" makes tiny memories nearly free. Reading "spikingjelly" is
"piecewise" with weights and biases in one memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.baseline import dense_ledger, once
from evsim.energy.method import Method
from evsim.energy.operations import active, leaks, refuse_integers, states
from evsim.energy.options import checked
from evsim.energy.profile import MissingPriceError, Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.workload import Geometry

FIFO_MESSAGES = 1000
"""Messages that the memories of input and output spikes hold."""

FIT = (1.09e-5, 13.2)
"""Reading "fit": slope per bit and offset of qualia-plugin-snn's line through Horowitz's points, in pJ per access."""

BLOCK_PJ, BLOCK_WORD = 10.0, 64
"""Reading "packed": every memory is made of 8 KiB blocks, 10 pJ per 64-bit word, shared by what fits into it."""


@dataclass(frozen=True)
class Options:
    """What the method leaves open: `sram`, the reading of the energy of a memory access."""

    sram: Literal["piecewise", "fit", "packed", "spikingjelly"] = "piecewise"

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge operations, memory accesses and addressing."""
    ledger = Ledger(counts, METHOD.name, profile)
    prices = _Prices(ledger, options)
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                if layer.input_kind == "spikes":
                    _spiking(ledger, layer, prices)
                    continue
                ledger.note("layers whose input is no spikes are charged as dense layers, once per timestep")
                dense(ledger, layer, prices, active(layer))
            case AttentionCounts():
                ledger.charge(layer, "AC", layer.sops_per_head, prices.add, heads=True)
                ledger.note("attention: its additions are charged, its memory is not part of the method")
            case NeuronCounts():
                refuse_integers(layer, METHOD.name)
                _neurons(ledger, layer, prices)
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def baseline(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge the dense network of the same shape, every layer once; attention by its multiply-accumulates alone."""
    ledger = dense_ledger(counts, profile)
    prices = _Prices(ledger, options)
    for layer in counts.layers:
        samples = max(1, layer.samples)
        match layer:
            case SynapseCounts():
                dense(ledger, layer, prices, np.int64(samples))
            case AttentionCounts():
                ledger.charge(layer, "MAC", once(ledger, layer) * samples, prices.mac)
                ledger.note("attention of the dense network: its two products are charged, its memory is not")
            case NeuronCounts():
                pass
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


class _Prices:
    """Prices of operations, and of one access to a memory of some words."""

    def __init__(self, ledger: Ledger, options: Options) -> None:
        self.ledger, self.profile, self.reading = ledger, ledger.profile, options.sram
        profile = self.profile
        self.add, multiply = profile.price("e_add_pj"), profile.price("e_mul_pj")
        self.mac = Price(self.add.low + multiply.low, self.add.high + multiply.high, multiply.source)
        if self.reading in ("piecewise", "spikingjelly") and profile.sram is None:
            raise MissingPriceError(
                f"{profile.path}: the profile has no [sram], which `sram={self.reading}` reads",
                "sram",
                "choose another `profile`, or `sram=fit`",
            )

    def parameters(self, size: Geometry) -> tuple[Price, Price]:
        """Return the energy of one access to a layer's weights and to its biases."""
        if self.reading == "spikingjelly":
            return (self.access(size.weights + size.out_channels),) * 2
        return self.access(size.weights), self.access(size.out_channels)

    def access(self, words: int) -> Price:
        """Return the price of one access to a memory of so many words."""
        bits = self.profile.operand_bits
        if self.reading == "fit":
            return _fixed(FIT[0] * words * bits + FIT[1])
        if self.reading == "packed":
            return _fixed(BLOCK_PJ / max(1, BLOCK_WORD // bits))
        assert self.profile.sram is not None
        self.ledger.memory(words * bits / 8)
        return self.profile.sram.access(words * bits / 8, origin=True)


def _fixed(picojoules: float) -> Price:
    return Price(picojoules, picojoules, "qualia-plugin-snn")


def _spiking(ledger: Ledger, layer: SynapseCounts, prices: _Prices) -> None:
    """Charge what a conv or linear layer does with its input spikes."""
    size, spikes = layer.geometry, layer.input_nonzeros
    neurons, taps = size.outputs, size.row * size.kernel[0] * size.kernel[1]
    reached = math.prod(-(-k // s) for k, s in zip(size.kernel, size.stride, strict=True)) * size.row
    ledger.charge(layer, "AC", spikes * reached, prices.add)
    if layer.kind == "conv":
        ledger.charge(layer, "addresses", 2 * spikes, prices.mac)
    ledger.charge(layer, "addresses", spikes * taps, prices.add)
    ledger.charge(layer, "spikes moved", spikes, prices.access(FIFO_MESSAGES))
    weight, bias = prices.parameters(size)
    ledger.charge(layer, "weights read", spikes * taps, weight)
    ledger.charge(layer, "potentials read and written", 2 * spikes * taps, prices.access(neurons))
    if size.shifted:
        ledger.charge(layer, "AC", active(layer) * neurons, prices.add)
        ledger.charge(layer, "weights read", active(layer) * neurons, bias)


def _neurons(ledger: Ledger, layer: NeuronCounts, prices: _Prices) -> None:
    """Charge what each neuron does at each timestep, and its spikes."""
    ledger.charge(layer, "neuron updates", layer.spikes, prices.add)
    if leaks(layer):
        ledger.charge(layer, "neuron updates", layer.neuron_updates, prices.mac)
    moved = 2 * states(ledger, layer) * layer.neuron_updates
    ledger.charge(layer, "potentials read and written", moved, prices.access(layer.geometry.outputs))
    ledger.charge(layer, "spikes moved", layer.spikes, prices.access(FIFO_MESSAGES))


def dense(ledger: Ledger, layer: SynapseCounts, prices: _Prices, times: np.int64 | np.ndarray) -> None:
    """Charge a conv or linear layer of a dense network, `times` over."""
    size, neurons = layer.geometry, layer.geometry.outputs
    inputs, macs = size.tokens * size.in_channels, size.dense_macs
    read = macs if layer.kind == "conv" else inputs
    taps = size.row * size.kernel[0] * size.kernel[1] if layer.kind == "conv" else 0
    ledger.charge(layer, "MAC", times * macs, prices.mac)
    ledger.charge(layer, "AC", times * neurons, prices.add)
    ledger.charge(layer, "addresses", times * (inputs + neurons + taps), prices.add)
    ledger.charge(layer, "spikes moved", times * read, prices.access(inputs))
    ledger.charge(layer, "spikes moved", times * neurons, prices.access(neurons))
    weight, bias = prices.parameters(size)
    ledger.charge(layer, "weights read", times * macs, weight)
    ledger.charge(layer, "weights read", times * neurons, bias)


METHOD = Method(
    "lemaire",
    "operations, accesses, addresses",
    needs="e_add_pj, e_mul_pj, [sram]",
    prices=(("e_add_pj", "e_mul_pj", "sram"),),
    profile="45nm",
    energy=energy,
    options=Options,
    baselines={"ann": baseline},
    variant="sram",
)
