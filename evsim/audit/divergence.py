"""An integer network held against float64: which spikes differ, where it began, what became of logits and answers.

Two things part an integer network from the one that it was made of: its weights are rounded, and so are its leaks and
means. Held against its own weights in float64 ("dequantized"), the second alone is left; held against the original,
both are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evsim.api import Run, Sample, run_on
from evsim.audit.flips import Flips, FlipWatcher, KeptSpikes
from evsim.engine import Schedule, Simulator
from evsim.errors import OptionError
from evsim.network import Network
from evsim.workload import rows

Reference = Literal["dequantized", "original"]


@dataclass(frozen=True, eq=False)
class Divergence(Flips):
    """An integer run held against one in float64.

    Attributes
    ----------
    reference
        What the run in float64 is of: the integer network's own weights, or its original.
    integers, floats
        The runs.
    """

    reference: Reference
    integers: Run
    floats: Run

    @property
    def same_prediction(self) -> bool:
        """Whether both predict the same class."""
        return self.integers.prediction == self.floats.prediction


def diverge(
    network: Network,
    sample: Sample,
    original: Network | None = None,
    *,
    timesteps: int | None = None,
    schedule: Schedule = "layer",
    threads: int | None = None,
    record_spikes: bool = False,
    detail: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Divergence, ...]:
    """Run a sample in integers and in float64, and compare every spike.

    Parameters
    ----------
    network
        An integer network.
    sample
        From `evsim.api.read`.
    original
        The network that it was made of; if it is given, a second comparison is held against it.
    timesteps, schedule, threads
        As `evsim.api.simulate` takes them.
    record_spikes, detail
        Of the runs in float64, as `evsim.api.simulate` takes them.
    progress
        Called with the number of runs, and how many are over.

    Returns
    -------
    tuple of Divergence
        Against the dequantized weights, then against the original.

    Raises
    ------
    OptionError
        If the network is not quantized, or the original's neurons are not those of the network.
    RecordingError, NetworkError
        As `evsim.api.simulate`.
    """
    if network.quantization is None:
        raise OptionError(f"{network.name} is not quantized; make it by: evsim quantize MODEL OUT.h5")
    if original is not None:
        check_original(network, original)
    steps = sample.timesteps if timesteps is None else timesteps
    references: list[tuple[Reference, Network]] = [("dequantized", network)]
    if original is not None:
        references.append(("original", original))
    watcher = KeptSpikes(frozenset(_neurons(network)))
    integers = run_on(Simulator(network, steps, None, schedule, threads), sample, observers=[watcher])
    outcomes = []
    for i, (reference, floats) in enumerate(references):
        if progress:
            progress(1 + len(references), 1 + i)
        comparer = FlipWatcher(floats, watcher)
        simulator = Simulator(floats, steps, "float64", schedule, threads, apart=True)
        run = run_on(simulator, sample, record_spikes=record_spikes, detail=detail, observers=[comparer])
        outcomes.append(Divergence(comparer.layers(), comparer.first, reference, integers, run))
    if progress:
        progress(1 + len(references), 1 + len(references))
    return tuple(outcomes)


def check_original(network: Network, original: Network) -> None:
    """Refuse an original that is quantized too, or of other neurons or input than the integer network.

    Raises
    ------
    OptionError
        If it is.
    """
    if original.quantization is not None:
        raise OptionError(f"`against` is {original.name}, which is quantized too; give the model that it was made of")
    ours, theirs = ({name: each.shapes[name] for name in _neurons(each)} for each in (network, original))
    if ours != theirs or network.spec.size != original.spec.size:
        raise OptionError(
            f"`against` is {original.name}, whose neurons are not those of {network.name}; give its original"
        )


def _neurons(network: Network) -> list[str]:
    return [work.name for work, row in rows(network) if row.kind == "lif"]
