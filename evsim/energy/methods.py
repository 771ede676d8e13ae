"""The registry of energy methods: a line for each, whose file tells everything else."""

from __future__ import annotations

from collections.abc import Mapping

from evsim.energy import (
    affine,
    chip,
    counted_memory,
    exact,
    lemaire,
    memory_bytes,
    paper,
    qnn,
    sdt,
    sew,
    sharing,
    spikesim,
    spikingresformer,
)
from evsim.energy.method import Method

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        paper.METHOD,
        exact.METHOD,
        counted_memory.METHOD,
        memory_bytes.METHOD,
        lemaire.METHOD,
        chip.METHOD,
        affine.METHOD,
        qnn.METHOD,
        spikesim.METHOD,
        sdt.METHOD,
        sew.METHOD,
        spikingresformer.METHOD,
        sharing.METHOD,
    )
}
"""Every energy method by its name, in the order of tables."""

BASELINES: Mapping[str, tuple[str, ...]] = {
    against: tuple(name for name, method in METHODS.items() if against in method.baselines)
    for against in dict.fromkeys(key for method in METHODS.values() for key in method.baselines)
}
"""What a network can be held against, and the methods that can charge it."""
