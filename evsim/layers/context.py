"""What all running layers of one simulator share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.threads import Workers
from evsim.kernels.vector import BLOCK
from evsim.quantized import Quantization
from evsim.spikes import Packet


@dataclass(frozen=True)
class Context:
    """Precision, threads, and whether the timesteps come one by one (state is kept between packets).

    Attributes
    ----------
    dtype
        float32 or float64: weights, sums and membrane potentials. int32 in an integer network: real values and
        potentials, in units of 2^-F.
    workers
        Threads that share a layer's work.
    streaming
        Whether a packet carries one timestep of several, so that potentials must outlive it.
    quantization
        The integers of the network, where it runs in integers.
    """

    dtype: np.dtype[Any]
    workers: Workers
    streaming: bool
    quantization: Quantization | None = None

    @property
    def block(self) -> int:
        """Lanes of a full block of output channels."""
        return BLOCK[self.dtype]

    @property
    def fraction(self) -> int:
        """F of an integer network."""
        return self.quantization.fraction if self.quantization else 0

    def empty(self) -> NDArray[Any]:
        """Return an array of size 0, for kernel arguments that are not used."""
        return np.empty(0, self.dtype)


def remedy(dtype: np.dtype[np.floating]) -> str:
    """Say what to do where numbers overflow in a precision, for messages."""
    return "run it with `precision=float64`" if dtype == np.float32 else "use sound weights"


class Layer(Protocol):
    """The running form of a primitive, or of two that are fused: state, and one step.

    One with an attribute `defers` that is true posts its calls (`Workers.post`): its step looks at no value of a packet
    before `Workers.finish`, and what it returns is there only then.
    """

    def reset(self) -> None:
        """Forget all state: the next packet begins a new sample."""

    def step(self, *packets: Packet) -> Packet | None:
        """Take one packet per input, of the same timesteps; return the output, or None while still gathering."""
