"""Counts times prices are joules: every published way to charge one count, and evsim's own."""

from evsim.energy.exact import ExactView, exact_view
from evsim.energy.models import BASELINES, MODELS, charge, charge_baseline
from evsim.energy.options import Options
from evsim.energy.paper import PaperRow, PaperView, paper_view
from evsim.energy.profile import Price, Profile, load_profile, profile_names
from evsim.energy.result import COSTS, KEYS, NO_LAYER, Breakdown, Energy, place
from evsim.energy.sensitivity import Sensitivity, sensitivity

__all__ = [
    "BASELINES",
    "COSTS",
    "KEYS",
    "MODELS",
    "NO_LAYER",
    "Breakdown",
    "Energy",
    "ExactView",
    "Options",
    "PaperRow",
    "PaperView",
    "Price",
    "Profile",
    "Sensitivity",
    "charge",
    "charge_baseline",
    "exact_view",
    "load_profile",
    "paper_view",
    "place",
    "profile_names",
    "sensitivity",
]
