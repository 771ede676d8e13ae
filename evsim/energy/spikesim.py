"""M8, SpikeSim: convolution in memory, by crossbars of 64 x 64; as SpikingJelly renders it.

``E = ceil(Cin / X) ceil(Cout / X) T Hout Wout pe`` for conv and linear layers, whatever the activity. A crossbar holds
weights, so it cannot multiply spikes with spikes: a network with attention is refused.
"""

from __future__ import annotations

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.method import Method
from evsim.energy.operations import active
from evsim.energy.options import NoOptions
from evsim.energy.profile import Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError

CROSSBAR = 64
COLUMNS = CROSSBAR // 8
"""Column groups that share a converter: 8 columns each."""

TEMPORARY_ACCESSES = 16

TILE = (
    "e_htree_pj", "e_fetch_pj", "e_tile_buffer_pj", "e_temporary_pj", "e_digital_pj", "e_adc_pj", "e_mux_pj",
    "e_crossbar_pj", "e_lif_pj",
)  # fmt: skip
"""Prices of a tile."""


def energy(counts: Counts, profile: Profile, options: NoOptions) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge every cycle of the crossbars.

    Raises
    ------
    OptionError
        If the counts hold attention.
    """
    ledger = Ledger(counts, METHOD.name, profile)
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                _crossbars(ledger, layer, profile)
            case AttentionCounts():
                raise OptionError(
                    f"method spikesim cannot charge {layer.name}: attention multiplies spikes with spikes, a crossbar "
                    "holds weights; leave it out by `leave_out=attention`, or choose another `method` and `profile`"
                )
            case NeuronCounts():
                pass  # a tile's cycle holds its neurons
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _crossbars(ledger: Ledger, layer: SynapseCounts, profile: Profile) -> None:
    size = layer.geometry
    tiles = -(-size.in_channels // CROSSBAR) * -(-size.out_channels // CROSSBAR)
    cycles = tiles * size.out_positions * active(layer)
    taps = size.kernel[0] * size.kernel[1]
    ledger.charge(layer, "weights read", cycles * COLUMNS * taps, profile.price("e_crossbar_pj"))
    ledger.charge(layer, "AC", cycles, conversion(profile))
    ledger.charge(layer, "spikes moved", cycles, movement(profile))
    ledger.charge(layer, "neuron updates", cycles, profile.price("e_lif_pj"))


def conversion(profile: Profile) -> Price:
    """Return the energy per cycle of converters, multiplexers and the digital sum behind them."""
    parts = [(profile.price(key), COLUMNS**2) for key in ("e_adc_pj", "e_mux_pj")]
    return _sum([*parts, (profile.price("e_digital_pj"), COLUMNS)])


def movement(profile: Profile) -> Price:
    """Return the energy per cycle of H-tree, input fetch and buffers."""
    parts = [(profile.price(key), 1) for key in ("e_htree_pj", "e_fetch_pj", "e_tile_buffer_pj")]
    return _sum([*parts, (profile.price("e_temporary_pj"), COLUMNS * TEMPORARY_ACCESSES)])


def _sum(parts: list[tuple[Price, int]]) -> Price:
    return Price(sum(p.low * n for p, n in parts), sum(p.high * n for p, n in parts), parts[0][0].source)


METHOD = Method(
    "spikesim",
    "in-memory crossbars",
    needs="the prices of a tile; no attention",
    prices=(TILE,),
    profile="spikesim-rram",
    energy=energy,
)
