"""evsim's own method: memory traffic from what really happened, which no published method has.

Operations as counted, and for every memory the bits that really moved: weight rows that some spike needed, spikes in
the cheapest of three codes, potentials of all neurons or of those reached, attention's buffer at the width that its
greatest entry needs. A memory's size sets the price of its bits (SRAM, or DRAM above the greatest SRAM). Derived, with
a worked layer, in docs/energy-models.md.

Each layer has memories of its own: weights, potentials, input map. Sums into one output are held in a register. Not
charged: the traffic of the real-valued residual stream, control, routing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from evsim.counters import AttentionCounts, Counts, Ints, NeuronCounts, RowCounts, SynapseCounts, Traffic
from evsim.energy.baseline import dense_ledger, once
from evsim.energy.method import Method
from evsim.energy.operations import Floats, active, keeps, leaks, states
from evsim.energy.options import checked, choices
from evsim.energy.profile import GREATEST_WIDTH, MissingPriceError, Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError

WIDTHS = ("weight_bits", "potential_bits", "activation_bits")


@dataclass(frozen=True)
class Options:
    """What the method leaves open.

    Attributes
    ----------
    weights, potentials, order
        How often weights are fetched, which potentials are read, which product of attention comes first.
    weight_bits, potential_bits, activation_bits
        Widths in place of the profile's.
    on_chip_kib
        Memories up to this size are SRAM, greater ones DRAM; by default the greatest of the profile, whose price, with
        a note, is also that of a greater SRAM.
    weights_kib, potentials_kib, spikes_kib, attention_kib
        Sizes of a layer's memories, by default as large as what they hold; what does not fit is in DRAM.
    """

    weights: Literal["per-sop", "per-timestep", "once"] = "per-timestep"
    potentials: Literal["all", "touched"] = "all"
    order: Literal["declared", "other", "least"] = "declared"
    weight_bits: float | None = None
    potential_bits: float | None = None
    activation_bits: float | None = None
    on_chip_kib: float | None = None
    weights_kib: float | None = None
    potentials_kib: float | None = None
    spikes_kib: float | None = None
    attention_kib: float | None = None

    def __post_init__(self) -> None:
        checked(self)
        for key in WIDTHS:
            bits = getattr(self, key)
            if bits is not None and (not 1 <= bits <= GREATEST_WIDTH or bits != int(bits)):
                raise OptionError(f"{key} is a whole number of bits, 1 to {GREATEST_WIDTH}, got {bits:g}")


SCALED = "scale_multiplies"
"""Operations without a row that are products, where all others are additions or comparisons."""


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge operations and traffic.

    Raises
    ------
    OptionError
        If the counts were taken without traffic.
    MissingPriceError
        If the profile lacks a price.
    """
    ledger = Ledger(counts, METHOD.name, profile)
    prices = _Prices(ledger, options)
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                _synapses(ledger, layer, measured(layer), prices)
            case AttentionCounts() if layer.attention != "ssa":
                _sums(ledger, layer, measured(layer), prices)
            case AttentionCounts():
                _attention(ledger, layer, measured(layer), prices)
            case NeuronCounts():
                _neurons(ledger, layer, measured(layer), prices, counts.timesteps)
            case _:
                raise ledger.refusal(layer)
    if counts.other.get(SCALED, np.zeros(1)).any():
        ledger.charge(None, "MAC", counts.other[SCALED], profile.price("e_mac_pj"))
        ledger.note("(no layer): products of constant scales")
    additions = sum((v for key, v in counts.other.items() if key != SCALED), np.zeros(counts.timesteps, np.int64))
    if additions.any():
        ledger.charge(None, "AC", additions, profile.price("e_ac_pj"))
        ledger.note("(no layer): additions of the residual stream and of means, comparisons of max-pooling")
    return ledger.energy()


def measured(layer: RowCounts) -> Traffic:
    """Return what moved in a layer.

    Raises
    ------
    OptionError
        If the counts were taken without traffic.
    """
    if layer.traffic is None:
        raise OptionError(
            f"the counts of {layer.name} lack the traffic that method counted-memory needs; count "
            "again by a run with `detail=True`"
        )
    return layer.traffic


def bounds(counts: Counts, profile: Profile, options: Options) -> Iterator[tuple[str, Energy]]:
    """Yield the energy under every choice that the method leaves open, one changed at a time."""
    for key in ("weights", "potentials", "order"):
        for value in choices(Options, key):
            yield f"{key}={value}", energy(counts, profile, replace(options, **{key: value}))  # type: ignore[arg-type]


def baseline(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge the dense network of the same shape: every layer once, its weights fetched once, its maps moved whole.

    Maps are of `activation_bits`; attention writes and reads q k^T, N x N per head; no neurons, no additions of biases.
    """
    ledger = dense_ledger(counts, profile)
    prices = _Prices(ledger, options)
    profile = prices.profile
    bits = profile.activation_bits
    mac = prices.multiply_add(profile.operand_bits, bits)
    for layer in counts.layers:
        size, samples = layer.geometry, max(1, layer.samples)
        ledger.charge(layer, "MAC", once(ledger, layer) * samples, mac)
        read, written = size.tokens * size.in_channels, size.outputs
        match layer:
            case SynapseCounts():
                stored = (size.weights + size.out_channels * size.shifted) * profile.weight_bits
                ledger.charge(layer, "weights read", stored * samples, prices.bit(stored, options.weights_kib))
            case AttentionCounts() if layer.attention != "ssa":
                if layer.attention == "dssa":
                    read += size.heads * size.head_dim * size.width
            case AttentionCounts():
                read = 2 * read + written
                buffer = size.heads * size.tokens**2 * bits
                ledger.charge(layer, "attention buffer", 2 * buffer * samples, prices.buffer_bit(buffer))
            case NeuronCounts():
                continue
            case _:
                raise ledger.refusal(layer)
        for values in (read, written):
            ledger.charge(layer, "spikes moved", values * bits * samples, prices.map_bit(values * bits))
    return ledger.energy()


class _Prices:
    """Prices of operations by operand width, and of a bit by the size of its memory."""

    def __init__(self, ledger: Ledger, options: Options) -> None:
        chosen = {key: getattr(options, key) for key in WIDTHS}
        widths: dict[str, Any] = {key: int(bits) for key, bits in chosen.items() if bits is not None}
        self.ledger, self.profile, self.options = ledger, replace(ledger.profile, **widths), options
        self.ac = self.profile.price("e_ac_pj")

    def mac(self) -> Price:
        """Return the price of a multiply-accumulate at the profile's widths."""
        return self.profile.price("e_mac_pj")

    def add(self, bits: int) -> Price:
        """Return the price of an addition of so many bits: of integers, proportional to them."""
        factor = bits / self.profile.operand_bits if self.profile.number == "int" else 1.0
        return _scaled(self.ac, factor)

    def multiply_add(self, bits: int, value_bits: int) -> Price:
        """Return the price of multiplying a weight by a value of so many bits and adding it into a sum of `bits`."""
        profile = self.profile
        if profile.number != "int":
            return self.mac()
        share = profile.weight_bits * value_bits / profile.operand_bits**2
        add, product = self.add(bits), profile.price("e_mul_pj")
        return Price(product.low * share + add.low, product.high * share + add.high, product.source)

    def bit(self, held_bits: float, size_kib: float | None = None, charged: bool = True) -> Price:
        """Return the price of a bit moved into or out of a memory that holds so many bits; its size, if given."""
        sram = self.profile.sram
        if sram is None:
            raise MissingPriceError(f"{self.profile.path}: the profile has no [sram]", "sram")
        greatest = sram.greatest_bytes if self.options.on_chip_kib is None else self.options.on_chip_kib * 1024
        capacity = held_bits / 8 if size_kib is None else size_kib * 1024
        if capacity > greatest or held_bits / 8 > capacity:
            return self.profile.price("e_dram_bit_pj")
        if charged:
            self.ledger.memory(capacity)
        return _scaled(sram.access(capacity), 1 / sram.word_bits)

    def map_bit(self, held_bits: float) -> Price:
        """Return the price of a bit of a map between layers."""
        return self.bit(held_bits, self.options.spikes_kib)

    def buffer_bit(self, held_bits: float, charged: bool = True) -> Price:
        """Return the price of a bit of attention's buffer; not `charged` where it is only weighed."""
        return self.bit(held_bits, self.options.attention_kib, charged)


def sum_bits(weight_bits: int, addends: int) -> int:
    """Return the width of an accumulator that holds a sum of so many weights: ``weight_bits + ceil(log2 addends)``."""
    return weight_bits + max(0, addends - 1).bit_length()


def _synapses(ledger: Ledger, layer: SynapseCounts, traffic: Traffic, prices: _Prices) -> None:
    """Charge a conv or linear layer: operations, weights fetched, its input map."""
    profile, size, ran = prices.profile, layer.geometry, active(layer)
    greatest = 0 if traffic.greatest_sum is None else int(traffic.greatest_sum.max())
    width = sum_bits(profile.weight_bits, greatest)
    inputs = size.tokens * size.in_channels
    value = int(traffic.greatest_value.max()).bit_length() if layer.input_kind == "integers" else 1
    ledger.charge(layer, "AC", layer.sops, prices.add(width))
    if layer.macs.any():
        value_bits = profile.activation_bits if layer.input_kind == "real" else value
        ledger.charge(layer, "MAC", layer.macs, prices.multiply_add(width, value_bits))
    ledger.charge(layer, "AC", layer.bias_adds, prices.add(width))
    stored = size.weights + size.out_channels * size.shifted
    weight_price = prices.bit(stored * profile.weight_bits, prices.options.weights_kib)
    ledger.charge(layer, "weights read", _weights(layer, traffic, prices.options) * profile.weight_bits, weight_price)
    if layer.input_kind == "real":
        bits = profile.activation_bits
        ledger.charge(layer, "spikes moved", ran * inputs * bits, prices.map_bit(inputs * bits))
    else:
        ledger.charge(layer, "spikes moved", traffic.least_bits, prices.map_bit(inputs * max(1, value)))


def _weights(layer: SynapseCounts, traffic: Traffic, options: Options) -> Floats:
    """Return how many weights and biases are fetched, [T], by one of the three bounds."""
    assert traffic.rows_touched is not None
    assert traffic.rows_touched_once is not None
    ran, out = active(layer), layer.geometry.row
    biases = layer.geometry.out_channels * layer.geometry.shifted
    if options.weights == "per-sop":
        return (layer.sops + layer.macs + layer.bias_adds).astype(np.float64)
    if options.weights == "per-timestep":
        return (traffic.rows_touched * out + ran * biases).astype(np.float64)
    share: Floats = ran / max(1, int(ran.sum()))
    return share * float(traffic.rows_touched_once * out + max(1, layer.samples) * biases)


def _neurons(ledger: Ledger, layer: NeuronCounts, traffic: Traffic, prices: _Prices, timesteps: int) -> None:
    """Charge a LIF layer: updates (subtract, add, compare; and a product, if tau is no power of 2), potentials, spikes.

    A potential that is passed over must know when it was last touched: ceil(log2 T) bits more.
    """
    profile, touched = prices.profile, prices.options.potentials == "touched"
    assert traffic.neurons_touched is not None
    updates = traffic.neurons_touched if touched else layer.neuron_updates
    bits = profile.potential_bits + ((timesteps - 1).bit_length() if touched else 0)
    potential_price = prices.bit(layer.geometry.outputs * bits, prices.options.potentials_kib)
    values = layer.geometry.levels.bit_length() or 1
    ledger.charge(layer, "spikes moved", traffic.least_bits, prices.map_bit(layer.geometry.outputs * values))
    if not keeps(layer):
        ledger.charge(layer, "neuron updates", 3 * updates, prices.add(profile.potential_bits))
        ledger.note("integer neurons: an update is two comparisons and an addition; without state, no potential moves")
        return
    multiplies = leaks(layer) and math.frexp(layer.geometry.tau)[0] != 0.5
    ledger.charge(layer, "neuron updates", (2 if multiplies else 3) * updates, prices.add(profile.potential_bits))
    if multiplies:
        price = prices.multiply_add(profile.potential_bits, profile.operand_bits)
        ledger.charge(layer, "neuron updates", updates, price)
    ledger.charge(layer, "potentials read and written", 2 * states(ledger, layer) * updates * bits, potential_price)


def _attention(ledger: Ledger, layer: AttentionCounts, traffic: Traffic, prices: _Prices) -> None:
    """Charge attention in the order that the options name: additions, the buffer between its products, q, k and v."""
    size = layer.geometry
    assert traffic.greatest_sum is not None
    width = max(1, int(traffic.greatest_sum.max()).bit_length())
    first, operations, moved, capacity = _ordered(layer, traffic, prices, width)
    ledger.charge(layer, "AC", operations, prices.add(width), heads=True)
    ledger.charge(layer, "attention buffer", moved, prices.buffer_bit(capacity), heads=True)
    ledger.charge(layer, "spikes moved", traffic.least_bits, prices.map_bit(size.tokens * size.in_channels))
    if first != size.order:
        ledger.note(f"attention is charged in the order {first}, which the model does not take")


def _sums(ledger: Ledger, layer: AttentionCounts, traffic: Traffic, prices: _Prices) -> None:
    """Charge attention that is no two products of spikes: its additions, its spikes, and real rows that it adds up.

    Sums of spikes are as wide as the greatest; sums of rows as wide as the greatest number of them asks.
    """
    size, profile = layer.geometry, prices.profile
    assert traffic.greatest_sum is not None
    greatest = int(traffic.greatest_sum.max())
    rows = layer.attention == "dssa"
    width = sum_bits(profile.activation_bits, greatest) if rows else max(1, greatest.bit_length())
    ledger.charge(layer, "AC", layer.sops_per_head, prices.add(width), heads=True)
    ledger.charge(layer, "spikes moved", traffic.least_bits, prices.map_bit(size.tokens * size.in_channels))
    if rows:
        held = size.heads * size.head_dim * size.width * profile.activation_bits
        ledger.charge(layer, "spikes moved", active(layer) * held, prices.map_bit(held))
        ledger.note("attention by real rows: its matrix of real values is moved whole, once per timestep")


def _ordered(layer: AttentionCounts, traffic: Traffic, prices: _Prices, width: int) -> tuple[str, Ints, Ints, int]:
    """Return order, operations [T, heads], bits moved [T, heads] and buffer capacity in bits of the order asked for."""
    declared = layer.geometry.order or "q(kv)"
    other = "(qk)v" if declared == "q(kv)" else "q(kv)"
    graded = layer.sops_unrolled_per_head is not None
    if graded:
        prices.ledger.note("attention on integers: a value k is charged as k accumulates, in the declared order")
    orders = {order: (order, *attention_traffic(layer, traffic, order)) for order in (declared, other)}
    if graded:
        return orders[declared]
    if prices.options.order == "least":
        add = prices.add(width).value
        return min(orders.values(), key=lambda f: f[1].sum() * add + f[2].sum() * prices.buffer_bit(f[3], False).value)
    return orders[declared if prices.options.order == "declared" else other]


def attention_traffic(layer: AttentionCounts, traffic: Traffic, order: str) -> tuple[Ints, Ints, int]:
    """Return operations [T, heads], buffer bits moved [T, heads], and the buffer's capacity in bits, of one order.

    Each coincidence reads and writes an entry; each entry that the second product takes is read: for k^T v once per
    operation of the second product, for q k^T once per nonzero entry. An entry is as wide as the greatest of its head.
    """
    size = layer.geometry
    assert traffic.kv_coincidences is not None
    assert traffic.qk_coincidences is not None
    assert traffic.kv_greatest is not None
    assert traffic.qk_greatest is not None
    assert traffic.qk_entries is not None
    operations = layer.sops_per_head if order == size.order else layer.sops_other_order_per_head
    assert operations is not None
    if order == size.order and layer.sops_unrolled_per_head is not None:
        operations = layer.sops_unrolled_per_head
    if order == "q(kv)":
        writes, greatest, entries = traffic.kv_coincidences, traffic.kv_greatest, size.head_dim * size.width
        reads = np.maximum(operations - writes, 0)
    else:
        writes, greatest, entries = traffic.qk_coincidences, traffic.qk_greatest, size.tokens**2
        reads = traffic.qk_entries
    widths = np.array([max(1, int(value).bit_length()) for value in greatest.max(axis=0)], np.int64)
    return operations, (2 * writes + reads) * widths, int(entries * widths.sum())


def _scaled(price: Price, factor: float) -> Price:
    return replace(price, low=price.low * factor, high=price.high * factor)


METHOD = Method(
    "counted-memory",
    "counted operations and memory traffic",
    needs="e_ac_pj, e_mac_pj (of integers e_mul_pj), [sram], e_dram_bit_pj; counts with traffic",
    prices=(("e_ac_pj", "e_mac_pj", "sram", "e_dram_bit_pj"),),
    profile="45nm",
    energy=energy,
    options=Options,
    baselines={"ann": baseline},
    variant="weights",
    bounds=bounds,
    integer_prices=(("e_ac_pj", "e_mul_pj", "sram", "e_dram_bit_pj"),),
)
