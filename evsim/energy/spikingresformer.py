"""SpikingResformer's monitor of synaptic operations (arXiv 2403.14302; ``SOPMonitor`` in utils/utils.py of its code).

Counted, not estimated: each layer's input convolved with ones, so only taps inside the image; products of attention by
the rows that each spike adds; ``E_AC`` each. A layer that reads k counts k. The monitor skips the first convolution and
the classifier (``skip`` in models/spikingresformer.py): both read real values, and are charged nothing.
"""

from __future__ import annotations

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.method import Method
from evsim.energy.options import NoOptions
from evsim.energy.profile import Profile
from evsim.energy.result import PICO_TO_MILLI, Energy, Ledger
from evsim.errors import OptionError


def energy(counts: Counts, profile: Profile, options: NoOptions) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge what the monitor counts.

    Raises
    ------
    OptionError
        If a layer between the first and the classifier reads real values, which the monitor would add up as spikes.
    """
    ledger, e_ac = Ledger(counts, METHOD.name, profile), profile.price("e_ac_pj")
    classifier = _classifier(counts)
    for layer in counts.layers:
        match layer:
            case SynapseCounts() if layer.reads_input or layer is classifier:
                _skip(ledger, layer, profile)
            case SynapseCounts() if layer.input_kind == "real":
                raise OptionError(
                    f"method resformer cannot charge {layer.name}: it reads real values, which the monitor "
                    "would add up as if they were spikes; choose another `method`"
                )
            case SynapseCounts():
                ledger.charge(layer, "AC", layer.sops if layer.acs_unrolled is None else layer.acs_unrolled, e_ac)
            case AttentionCounts():
                unrolled = layer.sops_unrolled_per_head
                ledger.charge(layer, "AC", layer.sops_per_head if unrolled is None else unrolled, e_ac, heads=True)
            case NeuronCounts():
                pass  # not monitored
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _classifier(counts: Counts) -> SynapseCounts | None:
    """Return the linear layer behind which no other layer has weights."""
    last = next((layer for layer in reversed(counts.layers) if isinstance(layer, SynapseCounts)), None)
    return last if last is not None and last.kind == "linear" else None


def _skip(ledger: Ledger, layer: SynapseCounts, profile: Profile) -> None:
    """Say what is charged nothing, and what it would be."""
    samples = max(1, layer.samples)
    macs, sops = int(layer.macs.sum()) / samples, int(layer.sops.sum()) / samples
    left_out = macs * profile.price("e_mac_pj").low + sops * profile.price("e_ac_pj").low
    ledger.note(f"{layer.name} is charged nothing, as by the monitor; counted, it is {left_out * PICO_TO_MILLI:.6f} mJ")


METHOD = Method(
    "resformer",
    "SpikingResformer's monitor",
    needs="e_ac_pj, e_mac_pj; no reals inside",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
)
