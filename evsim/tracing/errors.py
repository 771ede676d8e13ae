"""What goes wrong on the way from a module to a network, as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evsim.errors import NetworkError
from evsim.tracing.drafts import Spot


@dataclass(frozen=True)
class Fault:
    """What cannot be mapped: where, and why."""

    spot: Spot
    reason: str

    def __str__(self) -> str:
        return f"{self.spot}: {self.reason}"


class TracingError(NetworkError):
    """A module of PyTorch that is no network of evsim's, or not the one that it was taken for.

    Attributes
    ----------
    faults
        What cannot be mapped, all of it.
    """

    def __init__(self, model: str, faults: Sequence[Fault], *, hint: str = "") -> None:
        self.faults = tuple(faults)
        number = f"{len(self.faults)} operations" if len(self.faults) > 1 else "one operation"
        listed = "; ".join(
            f"({i}) {fault}" if len(self.faults) > 1 else str(fault) for i, fault in enumerate(faults, 1)
        )
        super().__init__(f"{model} cannot be mapped for {number}: {listed}{hint and '; '}{hint}")


class ProofError(NetworkError):
    """A network that does not compute what the module computes; it names the first layer that differs."""
