"""Counts times prices are joules: the paper's estimate and the exact count, side by side."""

from evsim.energy.exact import ExactView, exact_view
from evsim.energy.paper import PaperRow, PaperView, paper_view
from evsim.energy.profile import Profile, load_profile

__all__ = ["ExactView", "PaperRow", "PaperView", "Profile", "exact_view", "load_profile", "paper_view"]
