"""Why the exact energy of a layer and the paper's differ, from its counts alone; docs/counting.md has the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALMOST = 0.9995
"""Share from which on the rounded one would be 100 %, though some are missing."""

NEAR = 1e-9
"""Relative distance below which two energies are the same."""


def reason(layer: Mapping[str, Any]) -> str:
    """Return why the two energies of a row of a run's JSON differ, in a sentence."""
    mine, theirs = layer["energy_mj"], layer["paper"]["energy_mj"]
    if abs(mine - theirs) <= NEAR * max(mine, theirs):
        return "the same: every spike is one accumulate per output in both"
    if layer["kind"] == "attention":
        return "the paper estimates which spikes meet from mean firing rates; exact counts those that do"
    density = _share(layer["input_nonzeros"], layer["input_size"])
    if layer["input_kind"] != "spikes" and layer["paper"]["acs"] > layer["paper"]["macs"]:
        return f"the paper takes these values for spikes, as they happen to be 0 and 1; {density} are not 0"
    padded = layer["input_nonzeros"] * layer["dense_macs"] != (layer["sops"] + layer["macs"]) * layer["input_size"]
    charged = max(layer["paper"]["macs"], layer["paper"]["acs"])
    biased = charged > layer["paper"]["firing_rate"] * layer["dense_macs"] * (1 + NEAR)
    if layer["input_kind"] != "spikes":
        only = f"only for the {density} that are not 0"
        if layer["input_nonzeros"] == layer["input_size"]:
            only = "does so too, as none is 0"
        more = " and the padding" * padded + ", and biases" * biased
        return f"the paper charges a MAC for every value{more}; exact {only}"
    if layer["paper"]["acs"] > layer["sops"]:
        more = ["taps that fall into the padding"] * padded + ["biases by the firing rate"] * biased
        return f"the paper also charges {', and '.join(more)}"
    return "the paper charges the mean rate at every position; spikes that reach more outputs cost more"


def _share(part: int, whole: int) -> str:
    """Return a share in percent, which is 100.0 % of all alone."""
    share = part / max(1, whole)
    return f"{share:.1%}" if part == whole or share < ALMOST else "more than 99.9%"
