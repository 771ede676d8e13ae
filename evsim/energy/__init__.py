"""Counts times prices are joules: every published way to charge one count, and evsim's own."""

from evsim.energy.charging import charge, charge_baseline, check_options
from evsim.energy.method import Method
from evsim.energy.methods import BASELINES, METHODS
from evsim.energy.options import Options
from evsim.energy.profile import Price, Profile
from evsim.energy.profilefile import load_profile, profile_names
from evsim.energy.result import COSTS, KEYS, NO_LAYER, Breakdown, Energy, place
from evsim.energy.sensitivity import Sensitivity, sensitivity

__all__ = [
    "BASELINES",
    "COSTS",
    "KEYS",
    "METHODS",
    "NO_LAYER",
    "Breakdown",
    "Energy",
    "Method",
    "Options",
    "Price",
    "Profile",
    "Sensitivity",
    "charge",
    "charge_baseline",
    "check_options",
    "load_profile",
    "place",
    "profile_names",
    "sensitivity",
]
