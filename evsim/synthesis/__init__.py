"""Models of random weights that fire at chosen rates; they predict nothing."""

from __future__ import annotations

from evsim.synthesis.model import TOLERANCE, Synthetic, skeleton, synthesize
from evsim.synthesis.rates import Rate
from evsim.synthesis.sample import make_sample, save_sample, save_state

__all__ = ["TOLERANCE", "Rate", "Synthetic", "make_sample", "save_sample", "save_state", "skeleton", "synthesize"]
