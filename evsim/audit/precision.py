"""The same run in float32 and float64: which spikes differ, where it began, and how near the threshold that was.

Rounding moves a membrane potential by some millionths. Where one lies that near its threshold, float32 and float64
may differ by a spike, and all that follows from it. The first spike that differs, in order of layers, then timesteps,
has the same inputs in both runs: its distance from the threshold, the margin, is rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evsim.api import Run, Sample, run_on
from evsim.audit.flips import Flips, FlipWatcher, KeptSpikes
from evsim.engine import Schedule, Simulator
from evsim.errors import OptionError
from evsim.layers.membrane import Neurons
from evsim.layers.neurons import IntegerNeurons
from evsim.network import Network
from evsim.workload import rows


@dataclass(frozen=True, eq=False)
class PrecisionComparison(Flips):
    """Outcome of a comparison.

    Attributes
    ----------
    single, double
        The runs in float32 and float64.
    """

    single: Run
    double: Run

    @property
    def same_prediction(self) -> bool:
        """Whether both predict the same class."""
        return self.single.prediction == self.double.prediction


def compare_precisions(
    network: Network,
    sample: Sample,
    *,
    timesteps: int | None = None,
    schedule: Schedule = "layer",
    threads: int | None = None,
    record_spikes: bool = False,
    detail: bool = False,
    sharing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PrecisionComparison:
    """Run a sample in float32 and in float64, and compare every spike.

    Parameters
    ----------
    network
        What runs.
    sample
        From `evsim.api.read`.
    timesteps, schedule, threads
        As `evsim.api.simulate` takes them.
    record_spikes, detail, sharing
        Of the run in float32, as `evsim.api.simulate` takes them.
    progress
        Called with the number of runs, and how many are over.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `evsim.api.simulate`; OptionError too if neurons emit integers, which are rounded, not compared with a
        threshold, or are of another equation than a LIF's.
    """
    neurons = [work.name for work, row in rows(network) if row.kind == "lif"]
    watcher = KeptSpikes(frozenset(neurons))
    steps = sample.timesteps if timesteps is None else timesteps
    exact = Simulator(network, steps, "float64", schedule, threads, apart=True)
    for stage in exact.stages:
        if isinstance(stage.layer, IntegerNeurons):
            raise OptionError(
                f"`precision=both` compares spikes, and {stage.name} emits integers; run each precision apart"
            )
        if isinstance(stage.layer, Neurons):
            raise OptionError(
                f"`precision=both` knows the potentials of LIF layers, and {stage.name} is a Neuron of another "
                "equation; run each precision apart"
            )
    single = run_on(
        Simulator(network, steps, "float32", schedule, threads),
        sample,
        record_spikes=record_spikes,
        detail=detail,
        sharing=sharing,
        observers=[watcher],
    )
    if progress:
        progress(2, 1)
    comparer = FlipWatcher(network, watcher)
    double = run_on(exact, sample, observers=[comparer])
    return PrecisionComparison(comparer.layers(), comparer.first, single, double)
