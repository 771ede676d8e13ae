"""The energy models by name: what each charges, what it needs, and the way in, `charge`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from evsim.counters import Counts
from evsim.energy import (
    affine,
    baseline,
    chip,
    counted_memory,
    exact,
    lemaire,
    memory_bytes,
    paper,
    qnn,
    spikesim,
)
from evsim.energy.options import Options
from evsim.energy.profile import Profile, load_profile
from evsim.energy.result import Energy
from evsim.errors import OptionError

Charge = Callable[[Counts, Profile, Options], Energy]


@dataclass(frozen=True)
class Model:
    """One way to charge counts: its function, what it is in a line, what it needs, a profile that has that."""

    energy: Charge
    says: str
    needs: str
    profile: str


MODELS = {
    "paper": Model(paper.energy, "the paper's estimate from firing rates", "e_ac_pj, e_mac_pj", "45nm"),
    "exact": Model(exact.energy, "counted operations times prices", "e_ac_pj, e_mac_pj", "45nm"),
    "counted-memory": Model(
        counted_memory.energy,
        "counted operations and counted memory traffic",
        "e_ac_pj, e_mac_pj, [sram], e_dram_bit_pj; counts with traffic",
        "45nm",
    ),
    "bytes": Model(memory_bytes.energy, "operations and bytes (SpikingJelly)", "e_ac_pj, e_mac_pj, e_byte_pj", "45nm"),
    "lemaire": Model(lemaire.energy, "operations, accesses, addresses", "e_add_pj, e_mul_pj, [sram]", "45nm"),
    "chip": Model(
        chip.energy, "a chip's events or table", "e_sop_pj, e_neuron_active_pj, …; or e_synop_pj, e_neuron_pj", "loihi"
    ),
    "affine": Model(affine.energy, "power times time, and operations", "e_sop_pj; with powers --time-ms", "truenorth"),
    "qnn": Model(
        qnn.energy,
        "a reconstruction of Yan et al.",
        "e_ac_pj, e_compare_pj, e_reset_pj, e_event_bit_hop_pj",
        "22nm-yan",
    ),
    "spikesim": Model(spikesim.energy, "in-memory crossbars", "the prices of a tile; no attention", "spikesim-rram"),
}
"""Every energy model."""

BASELINES: dict[str, dict[str, Charge]] = {
    "ann": {
        "paper": baseline.macs,
        "exact": baseline.macs,
        "bytes": baseline.bytes_moved,
        "counted-memory": counted_memory.baseline,
        "lemaire": lemaire.baseline,
    },
    "qnn": {"qnn": qnn.baseline},
}
"""What a network can be held against, and the models that can charge it."""


def charge(
    counts: Counts, model: str = "exact", profile: str | Profile | None = None, options: Options | None = None
) -> Energy:
    """Charge counts by a model.

    Parameters
    ----------
    counts
        Of one sample or several; the energy is the mean per sample.
    model
        A name of `MODELS`.
    profile
        Bundled name, TOML file or `Profile`; by default one that the model can use.
    options
        What the model leaves open.

    Raises
    ------
    OptionError
        If there is no such model, or it cannot answer for these counts.
    ProfileError
        If the profile cannot be read or lacks a price.
    """
    chosen = known(model)
    options = options or Options()
    return chosen.energy(_kept(counts, options), _loaded(profile, chosen), options)


def charge_baseline(
    counts: Counts, against: str, model: str, profile: str | Profile | None = None, options: Options | None = None
) -> Energy:
    """Charge what the network is held against, "ann" or "qnn", as `charge` does; errors likewise."""
    chosen = known(model)
    if against not in BASELINES:
        raise OptionError(f"--against takes {' or '.join(BASELINES)}, got {against}")
    if model not in BASELINES[against]:
        able = ", ".join(BASELINES[against])
        raise OptionError(f"model {model} has no price for --against {against}; the models that have: {able}")
    options = options or Options()
    return BASELINES[against][model](_kept(counts, options), _loaded(profile, chosen), options)


def known(model: str) -> Model:
    """Return the model of that name.

    Raises
    ------
    OptionError
        If there is none.
    """
    if model not in MODELS:
        raise OptionError(f"no energy model is named {model}; known are {', '.join(MODELS)}")
    return MODELS[model]


def _loaded(profile: str | Profile | None, model: Model) -> Profile:
    return profile if isinstance(profile, Profile) else load_profile(profile or model.profile)


def _kept(counts: Counts, options: Options) -> Counts:
    if not options.leave_out:
        return counts
    return replace(counts, layers=tuple(layer for layer in counts.layers if layer.kind not in options.leave_out))
