"""Models side by side on the same inputs: operations and energy by stage, and whether they predict the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

from evsim.api import Run, Sample, check_run, read, run_on
from evsim.audit.inputs import readable
from evsim.audit.residual import with_residual
from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy import Profile, exact, load_profile, paper
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.network import Network

RETRAINING = (
    "Predictions are not comparable: the same weights run with a residual that they were not trained with. What is "
    "compared is the cost of the residual at the activity that these weights give."
)


@dataclass(frozen=True)
class Totals:
    """Operations and energy of a stage or a whole model, mean over the samples.

    Attributes
    ----------
    sops, macs
        Exact counts: accumulates on spikes, multiply-accumulates on all else.
    acs_unrolled
        Accumulates, if every integer were that many spikes (event frames included), instead of the MACs on integers
        and of the accumulates of attention on integers.
    exact_mj
        Energy of `sops` and `macs`.
    paper_mj, paper_events_mj
        The paper's estimate with `binary-only` and with `integer-as-events`.
    """

    sops: float = 0.0
    macs: float = 0.0
    acs_unrolled: float = 0.0
    exact_mj: float = 0.0
    paper_mj: float = 0.0
    paper_events_mj: float = 0.0

    def plus(self, other: Totals, factor: float = 1.0) -> Totals:
        """Return the sum of this and `factor` times the other."""
        return Totals(*(getattr(self, f.name) + factor * getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Outcome of a comparison.

    Attributes
    ----------
    networks
        Two or more: A, B, C and so on.
    paths
        The inputs.
    predictions
        Class by each model, per input.
    stages
        Stage name to the totals of each model; None where one has no such stage.
    totals
        Of each model.
    note
        What limits the comparison; may be empty.
    skipped
        Files of the folder that are of no known format.
    notes
        What was said of the inputs as they were read, each behind its path.
    """

    networks: tuple[Network, ...]
    paths: tuple[str, ...]
    predictions: tuple[tuple[int, ...], ...]
    stages: Mapping[str, tuple[Totals | None, ...]]
    totals: tuple[Totals, ...]
    note: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def agreement(self) -> float:
        """Share of inputs for which all predict the same class."""
        return sum(len(set(classes)) == 1 for classes in self.predictions) / len(self.predictions)


class Bench:
    """A model with its simulator, which is built once: weights are packed for it.

    Parameters
    ----------
    network
        The model.
    threads, timesteps
        As `evsim.api.simulate` takes them.
    """

    def __init__(self, network: Network, threads: int | None, timesteps: int | None) -> None:
        self.network, self.threads, self.timesteps = network, threads, timesteps
        self._simulator: Simulator | None = None

    def run(self, sample: Sample, *, detail: bool) -> Run:
        """Run a sample; only one whose T is its own needs another simulator than the sample before."""
        timesteps = self.timesteps or sample.timesteps or self.network.spec.timesteps
        if self._simulator is None or self._simulator.timesteps != timesteps:
            self._simulator = None  # before the next is built, so that memory holds one
            self._simulator = Simulator(self.network, timesteps, threads=self.threads)
        return run_on(self._simulator, sample, detail=detail)


def compare(
    networks: Sequence[Network],
    source: str | Path,
    *,
    profile: Profile | None = None,
    threads: int | None = None,
    timesteps: int | None = None,
    keep: Callable[[int, Run], None] | None = None,
    options: ReadOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run models on the same inputs.

    Parameters
    ----------
    networks
        The models, of any families: A, B and so on.
    source
        A file, or a folder whose files (and those of its subfolders) are all read, and before the first run.
    profile
        Prices.
    threads, timesteps
        As `evsim.api.simulate` takes them.
    keep
        Called with the model's number, from 0, and each run, counted in detail, such as
        `evsim.report.files.CountsFolder.add`.
    options
        How recordings are read and become frames, as `evsim.api.read` takes them.
    progress
        Called with the number of runs, and how many are over.

    Raises
    ------
    RecordingError, NetworkError, OptionError
        If an input cannot be read by all models, or there is none.
    """
    profile = profile or load_profile()
    check_run(threads, timesteps)
    benches = [Bench(network, threads, timesteps) for network in networks]
    paths, skipped = readable(source, networks, timesteps, options)
    sums: list[dict[str, Totals]] = [{} for _ in networks]
    predictions: list[tuple[int, ...]] = []
    notes: dict[str, None] = {}
    for path in paths:
        classes = []
        for which, (bench, stages) in enumerate(zip(benches, sums, strict=True)):
            sample = read(path, bench.network, timesteps, options)
            notes |= dict.fromkeys(f"{path}: {note}" for note in sample.notes)
            run = bench.run(sample, detail=keep is not None)
            if keep:
                keep(which, run)
            for stage, totals in stage_totals(run.counts, profile).items():
                stages[stage] = stages.get(stage, Totals()).plus(totals, 1.0 / len(paths))
            classes.append(run.prediction)
            if progress:
                progress(len(paths) * len(networks), len(predictions) * len(networks) + which + 1)
        predictions.append(tuple(classes))
    stages_of_all, totals_of_all = side_by_side(sums)
    return Comparison(
        tuple(networks),
        tuple(map(str, paths)),
        tuple(predictions),
        stages_of_all,
        totals_of_all,
        skipped=tuple(map(str, skipped)),
        notes=tuple(notes),
    )


def compare_residuals(
    network: Network,
    residual: str,
    source: str | Path,
    *,
    profile: Profile | None = None,
    threads: int | None = None,
    timesteps: int | None = None,
    keep: Callable[[int, Run], None] | None = None,
    options: ReadOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run one model as it is, and the same weights with its residual placed otherwise; parameters as `compare`.

    Raises
    ------
    RecordingError, NetworkError, OptionError
        As `compare`, and if the model's residual is already so, or is neither.
    """
    other = with_residual(network, residual)  # type: ignore[arg-type]
    if other is network:
        instead = "sew" if residual == "spike-driven" else "spike-driven"
        raise OptionError(f"{network.name} already has a {residual} residual; give `residual={instead}`")
    comparison = compare(
        (network, other),
        source,
        profile=profile,
        threads=threads,
        timesteps=timesteps,
        keep=keep,
        options=options,
        progress=progress,
    )
    return replace(comparison, note=RETRAINING)


def side_by_side(
    models: Sequence[Mapping[str, Totals]],
) -> tuple[dict[str, tuple[Totals | None, ...]], tuple[Totals, ...]]:
    """Return stages and totals of models side by side, whatever counted them.

    Parameters
    ----------
    models
        For each model, stage to totals, in order of execution, as `stage_totals` has them.

    Returns
    -------
    stages, totals
        Stage to the totals of each model, the head last, None where one has no such stage; the totals of each model.
    """
    names = sorted(dict.fromkeys(name for stages in models for name in stages), key=lambda name: name == "head")
    together = {name: tuple(stages.get(name) for stages in models) for name in names}
    return together, tuple(_total(list(stages.values())) for stages in models)


def stage_totals(counts: Counts, profile: Profile) -> dict[str, Totals]:
    """Return the totals of counts by stage, means over their samples: tokenizer, each block's attention, MLP, head."""
    mine = exact.layers_mj(counts, profile)
    binary, events = (paper.layers_mj(counts, profile, setting) for setting in get_args(paper.NonSpike))
    stages: dict[str, Totals] = {}
    for layer in counts.layers:
        if isinstance(layer, NeuronCounts):
            continue
        unrolled = layer.acs_unrolled if isinstance(layer, SynapseCounts | AttentionCounts) else None
        sums = (int(layer.sops.sum()), int(layer.macs.sum()), 0 if unrolled is None else int(unrolled.sum()))
        sops, macs, acs_unrolled = (count / max(1, layer.samples) for count in sums)
        totals = Totals(sops, macs, acs_unrolled, mine[layer.name], binary[layer.name], events[layer.name])
        stage = stage_of(layer.name)
        stages[stage] = stages.get(stage, Totals()).plus(totals)
    return stages


def stage_of(name: str) -> str:
    """Return the stage that a layer belongs to, by its PyTorch name."""
    parent, _, _ = name.rpartition(".")
    return "tokenizer" if parent == "patch_embed" else parent or name


def letter(which: int) -> str:
    """Return what a model is called by its number from 0: a to z, then aa, ab and so on."""
    first, last = divmod(which, 26)
    return (letter(first - 1) if first else "") + chr(ord("a") + last)


def ratios(a: Totals | None, b: Totals | None) -> dict[str, float | None]:
    """Return B / A of operations and energies; None where A has none, or a model lacks the stage."""
    return {
        f.name: getattr(b, f.name) / getattr(a, f.name) if a and b and getattr(a, f.name) else None
        for f in fields(Totals)
    }


def _total(stages: Sequence[Totals]) -> Totals:
    total = Totals()
    for stage in stages:
        total = total.plus(stage)
    return total
