"""Additions under shared sums: what neighbours have in common is charged once, and the sums that are kept for it.

``E = e_ac (additions of layers on spikes + SOPs of attention) + e_mac MACs + e_bit bits of kept sums``. Additions are
those of quads or of product sparsity (`evsim.kernels.sharing`), counted from the spikes. Attention shares nothing, and
what reads integers or real values is multiplied, as in the exact view. By default kept sums stand in registers, whose
accesses, as all memory in the exact view, are not charged; where `kept_kib` is given, each is written once into a
memory of that size, and read whenever another sum or an output goes on from it. Finding what rows have in common (a
detector, in Prosperity's hardware) is not charged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evsim.counters import AttentionCounts, Counts, Ints, NeuronCounts, SynapseCounts
from evsim.energy import baseline
from evsim.energy.method import Method
from evsim.energy.options import checked
from evsim.energy.profile import MissingPriceError, Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError


@dataclass(frozen=True)
class Options:
    """What the method leaves open.

    Attributes
    ----------
    sums
        Which sums are shared: those of quads of neighbours, as evsim's kernels do, or by product sparsity.
    kept_kib
        Size of the memory in which a layer keeps its shared sums; 0 for registers, which are not charged.
    """

    sums: Literal["quads", "product"] = "quads"
    kept_kib: float = 0.0

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge additions under shared sums.

    Raises
    ------
    OptionError
        If the counts were taken without shared sums.
    MissingPriceError
        If the profile lacks a price.
    """
    ledger, e_ac = Ledger(counts, METHOD.name, profile), profile.price("e_ac_pj")
    access = _access(ledger, profile, options) if options.kept_kib else None
    for layer in counts.layers:
        match layer:
            case SynapseCounts() if layer.input_kind != "spikes":
                ledger.charge(layer, "MAC", layer.macs, profile.price("e_mac_pj"))
            case SynapseCounts():
                additions, accesses = _shared(layer, options)
                ledger.charge(layer, "AC", additions, e_ac)
                if access:
                    ledger.charge(layer, "kept sums", accesses, access)
            case AttentionCounts():
                ledger.charge(layer, "AC", layer.sops_per_head, e_ac, heads=True)
                ledger.note("attention: its operations are charged as counted, none is shared")
            case NeuronCounts():
                pass  # updates have no price in this view
            case _:
                raise ledger.refusal(layer)
    if access is None:
        ledger.note("kept sums stand in registers, which are not charged; `kept_kib` keeps them in a memory")
    return ledger.energy()


def _shared(layer: SynapseCounts, options: Options) -> tuple[Ints, Ints]:
    """Return a layer's additions, and how often a kept sum is written or read, both [T]."""
    additions = layer.shared_additions if options.sums == "quads" else layer.product_additions
    kept, sums = layer.shared_kept, layer.shared_sums
    if options.sums == "product":
        kept, sums = layer.product_kept, layer.product_sums
    if additions is None or kept is None or sums is None:
        raise OptionError(
            f"the counts of {layer.name} lack the shared sums that method sharing needs; count again by a run with "
            "`sharing=True`"
        )
    reads = sums + kept if options.sums == "quads" else sums  # a quad's own sums are begun by a load, see the kernels
    return additions, kept + reads


def _access(ledger: Ledger, profile: Profile, options: Options) -> Price:
    """Return the price of a kept sum that is written or read, as wide as a potential."""
    if profile.sram is None:
        raise MissingPriceError(f"{profile.path}: the profile has no [sram], which `kept_kib` reads", "sram")
    capacity = options.kept_kib * 1024
    ledger.memory(capacity)
    price, share = profile.sram.access(capacity), profile.potential_bits / profile.sram.word_bits
    return Price(price.low * share, price.high * share, price.source)


METHOD = Method(
    "sharing",
    "additions under shared sums",
    needs="e_ac_pj, e_mac_pj; counts with shared sums",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
    options=Options,
    baselines={"ann": baseline.macs},
    variant="sums",
)
