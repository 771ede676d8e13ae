"""NIR graphs (Neuromorphic Intermediate Representation) become networks, and networks NIR graphs; see docs/nir.md."""

from __future__ import annotations
