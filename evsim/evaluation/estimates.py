"""What each layer of each sample costs: exact operations, the paper's estimate, rates; for all samples at once.

The estimates are those of `evsim.energy.paper`, in the same order of operations, so that each sample's figures equal
its own run's to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, LayerCounts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy.paper import NonSpike, attention_acs
from evsim.energy.profile import Profile
from evsim.energy.result import PICO_TO_MILLI
from evsim.evaluation.layout import Arrays, Layout, binary_nonzeros
from evsim.workload import dense_operations

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Costs:
    """Operations of every layer on every sample.

    Attributes
    ----------
    sops, macs
        int64 [samples, layers], exact.
    acs, paper_macs
        float64 [samples, layers], the paper's estimate.
    rates
        float64 [samples, layers]: of neurons, spikes per neuron and timestep; of other layers, the nonzero share of
        their inputs.
    """

    sops: Ints
    macs: Ints
    acs: Floats
    paper_macs: Floats
    rates: Floats

    def exact_mj(self, profile: Profile) -> Floats:
        """Return the energy of each sample in millijoules, [samples]."""
        return energy_mj(self.sops.sum(axis=1), self.macs.sum(axis=1), profile)

    def paper_mj(self, profile: Profile) -> Floats:
        """Return the paper's estimate of each sample in millijoules, [samples]."""
        return energy_mj(_in_order(self.acs), _in_order(self.paper_macs), profile)

    def layers_mj(self, profile: Profile) -> tuple[Floats, Floats]:
        """Return the exact and estimated energy [samples, layers] in millijoules."""
        return energy_mj(self.sops, self.macs, profile), energy_mj(self.acs, self.paper_macs, profile)


def costs(layout: Layout, arrays: Arrays, nonspike: NonSpike = "binary-only") -> Costs:
    """Return the costs of all samples in `arrays`.

    Parameters
    ----------
    layout
        The columns.
    arrays
        Name to [samples, ...].
    nonspike
        How the estimate charges integers, see `evsim.energy.paper.Options`.
    """
    table = _Table(layout, arrays)
    number, layers = len(arrays["status"]), layout.first.layers
    whole = Costs(
        np.zeros((number, len(layers)), np.int64),
        np.zeros((number, len(layers)), np.int64),
        np.zeros((number, len(layers))),
        np.zeros((number, len(layers))),
        np.zeros((number, len(layers))),
    )
    for i, layer in enumerate(layers):
        whole.sops[:, i], whole.macs[:, i] = table.exact(i, layer)
        size = float(layer.input_size.sum())
        if size == 0:
            continue
        whole.rates[:, i] = table.active(i, layer) / size
        whole.acs[:, i], whole.paper_macs[:, i] = table.estimate(i, layer, size, nonspike)
    return whole


def energy_mj(acs: Ints | Floats, macs: Ints | Floats, profile: Profile) -> Floats:
    """Return ``E_AC * acs + E_MAC * macs`` in millijoules, as `evsim.energy.paper.energy_mj`."""
    total: Floats = (profile.e_ac_pj * acs + profile.e_mac_pj * macs) * PICO_TO_MILLI
    return total


class _Table:
    """The counters by layer."""

    def __init__(self, layout: Layout, arrays: Arrays) -> None:
        self._layout, self._arrays = layout, arrays
        self._number = len(arrays["status"])
        self._binary = "binary" in layout.columns
        self._binary_nonzeros = binary_nonzeros(layout, arrays) if self._binary else None

    def sum(self, name: str, row: int) -> Ints:
        """Return a counter of a layer, summed over all but the samples; zeros where it has none."""
        column = self._layout.columns.get(f"counters/{name}")
        if column is None or row not in column.rows:
            return np.zeros(self._number, np.int64)
        values = self._arrays[column.name][:, column.rows.index(row)]
        total: Ints = values.sum(axis=tuple(range(1, values.ndim)), dtype=np.int64)
        return total

    def operands(self, row: int) -> Ints:
        """Return the nonzeros of q, k and v, [samples, 3]."""
        column = self._layout.columns["counters/operand_nonzeros"]
        total: Ints = self._arrays[column.name][:, column.rows.index(row)].sum(axis=-1, dtype=np.int64)
        return total

    def binary(self, row: int) -> tuple[Ints, Ints]:
        """Return whether all inputs of a layer were 0/1, and the nonzero ones if so."""
        place = self._layout.columns["binary"].rows.index(row)
        assert self._binary_nonzeros is not None
        return self._arrays["binary"][:, place].astype(np.int64), self._binary_nonzeros[:, place]

    def exact(self, row: int, layer: LayerCounts) -> tuple[Ints, Ints]:
        """Return synaptic operations and multiply-accumulates."""
        match layer:
            case SynapseCounts():
                return self.sum("sops", row), self.sum("macs", row)
            case AttentionCounts():
                return self.sum("sops_per_head", row), np.zeros(self._number, np.int64)
            case NeuronCounts():
                zeros = np.zeros(self._number, np.int64)
                return zeros, zeros
        raise unknown_row(layer, "an audit", "evaluate another network")

    def active(self, row: int, layer: LayerCounts) -> Ints:
        """Return what fires: spikes of neurons, nonzero inputs of other layers."""
        match layer:
            case SynapseCounts():
                return self.sum("input_nonzeros", row)
            case AttentionCounts():
                return self.sum("operand_nonzeros", row)
            case NeuronCounts():
                return self.sum("spikes", row)
        raise unknown_row(layer, "an audit", "evaluate another network")

    def estimate(self, row: int, layer: LayerCounts, size: float, nonspike: NonSpike) -> tuple[Floats, Floats]:
        """Return the paper's ACs and MACs."""
        nothing = np.zeros(self._number)
        match layer:
            case SynapseCounts():
                return self._synapses(row, layer, size, nonspike)
            case AttentionCounts():
                return self._attention(row, layer, nonspike)
            case NeuronCounts():
                return nothing, nothing
        raise unknown_row(layer, "method paper", "choose another `method`")

    def _synapses(self, row: int, layer: SynapseCounts, size: float, nonspike: NonSpike) -> tuple[Floats, Floats]:
        dense, nothing = layer.steps * dense_operations(layer.kind, layer.geometry), np.zeros(self._number)
        if nonspike == "integer-as-events" and layer.input_kind == "integers" and not layer.reads_input:
            return dense * (self.sum("input_sum", row) / size), nothing
        if layer.input_kind == "spikes":
            return dense * (self.sum("input_nonzeros", row) / size), nothing
        binary, nonzeros = self.binary(row)
        return dense * nonzeros / size, (dense * (1 - binary)).astype(np.float64)

    def _attention(self, row: int, layer: AttentionCounts, nonspike: NonSpike) -> tuple[Floats, Floats]:
        shape, nothing = layer.geometry, np.zeros(self._number)
        if layer.attention != "ssa":
            return self.sum("sops_per_head", row).astype(np.float64), nothing
        if layer.acs_unrolled is not None:
            if nonspike == "integer-as-events":
                return self.sum("sops_unrolled_per_head", row).astype(np.float64), nothing
            return nothing, nothing + layer.steps * dense_operations(layer.kind, shape)
        each = layer.steps * shape.tokens * shape.heads
        q, k, v = self.operands(row).T
        rates = zip(q / (each * shape.head_dim), k / (each * shape.head_dim), v / (each * shape.width), strict=True)
        acs = [
            attention_acs(layer.steps, shape.heads, shape.tokens, shape.head_dim, (fr_q, fr_k, fr_v), shape.width)
            for fr_q, fr_k, fr_v in rates
        ]
        return np.asarray(acs, np.float64), nothing


def _in_order(values: Floats) -> Floats:
    """Return sums over the layers, added in their order as a run's own totals are."""
    total = np.zeros(len(values))
    for column in values.T:
        total = total + column
    return total
