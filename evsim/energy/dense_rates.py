"""What the papers' rules share: a layer's dense operations, how often it fires, and its first convolution."""

from __future__ import annotations

from typing import Literal

from evsim.counters import SynapseCounts
from evsim.energy.profile import Profile
from evsim.energy.result import Ledger

First = Literal["once", "every-step"]
"""How often a first convolution is charged that sees a static image: the papers print its operations without a T."""


def charge_rate(ledger: Ledger, layer: SynapseCounts, profile: Profile, fired: int) -> None:
    """Charge ``T R FL`` accumulates: the dense operations of all timesteps, bias left out, times a rate.

    Parameters
    ----------
    ledger, layer, profile
        Where it is charged, a layer that reads spikes or integers, and whose prices.
    fired
        Sum of what its input is taken for, over all timesteps and samples; divided by the input's size it is the rate.
    """
    size = int(layer.input_size.sum())
    if size:
        dense = layer.dense_macs * max(1, layer.samples)
        ledger.charge(layer, "AC", dense * fired / size, profile.price("e_ac_pj"))


def charge_dense(ledger: Ledger, layer: SynapseCounts, profile: Profile) -> None:
    """Charge the dense operations of all timesteps as multiply-accumulates, bias left out, for an input of reals."""
    ledger.charge(layer, "MAC", layer.dense_macs * max(1, layer.samples), profile.price("e_mac_pj"))


def charge_first(ledger: Ledger, layer: SynapseCounts, profile: Profile, first: First) -> None:
    """Charge the first convolution as multiply-accumulates: of an image once or at every timestep, of frames each."""
    macs = layer.geometry.dense_macs
    once = first == "once" and layer.input_kind == "real"
    if once and layer.steps > 1:
        more = macs * (layer.steps - 1) * profile.price("e_mac_pj").low * 1e-9
        ledger.note(
            f"{layer.name} is charged once, as the rule is printed; at every timestep (`first=every-step`) it would be "
            f"{more:.6f} mJ more"
        )
    steps = 1 if once else layer.steps
    ledger.charge(layer, "MAC", macs * steps * max(1, layer.samples), profile.price("e_mac_pj"))
