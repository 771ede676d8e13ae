"""Bundled facts and files: the published per-layer figures, the demo's model and recordings."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def published(model: str) -> dict[str, Any]:
    """Return the published energy log of "spikingformer-8-512" or "spikingformer-8-768": layers, ssa, totals."""
    text = resources.files("evsim.data").joinpath("published.json").read_text(encoding="utf-8")
    figures: dict[str, Any] = json.loads(text)[model]
    return figures
