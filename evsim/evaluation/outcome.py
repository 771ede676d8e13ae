"""What an evaluation brought out: every figure follows from the audit alone, in the order of its list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import countsfile
from evsim.counters import Counts
from evsim.energy import Energy, Options, Profile, charge, load_profile
from evsim.energy.paper import NonSpike, energy_mj
from evsim.errors import OptionError, RecordingError
from evsim.evaluation.auditfile import Audit, finished, origin_of, reason
from evsim.evaluation.estimates import Costs, costs
from evsim.evaluation.layout import FAILED, RAN, counts_of, summed
from evsim.evaluation.statistics import Share, Summary, summaries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """How often the label's class was the first, and among the first five, over the samples that have a label."""

    top1: Share
    top5: Share


@dataclass(frozen=True)
class Failed:
    """A sample that could not be read or run, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Moment:
    """What would have been answered after `timestep` timesteps, and for what: means over the samples."""

    timestep: int
    top1: Share
    sops: float
    macs: float
    energy_mj: float


@dataclass(frozen=True)
class ClassRow:
    """One class: how many of its samples were right, how many samples were taken for it, and what its samples cost."""

    index: int
    label: str
    accuracy: Share
    predicted: int
    sops: float
    energy_mj: float


@dataclass(frozen=True)
class Calibration:
    """The paper's estimate held against the exact energy, sample by sample.

    Attributes
    ----------
    ratio
        Estimate / exact.
    correlation
        Pearson's, over the samples; None where all are alike.
    slope, intercept_mj
        Of the line exact = intercept + slope x estimate, by least squares; None where there is none.
    """

    ratio: Summary | None
    correlation: float | None
    slope: float | None
    intercept_mj: float | None


@dataclass(frozen=True)
class Throughput:
    """Samples that ran in this process's time, seconds for them, seconds to get ready, and on how many workers."""

    samples: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0
    workers: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Accuracy, operations and energy of a data set.

    Arrays are by sample, in the order of the list, samples that failed left out.

    Attributes
    ----------
    audit
        What was counted.
    profile
        Prices.
    nonspike
        How the paper's estimate charges integers.
    seed
        Of the bootstrap.
    throughput
        How fast it went; nothing else depends on how it ran.
    notes
        What a person should know, one line each.
    """

    audit: Audit
    profile: Profile = field(default_factory=load_profile)
    nonspike: NonSpike = "binary-only"
    seed: int = 0
    throughput: Throughput = field(default_factory=Throughput)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.audit.missing:
            raise OptionError(f"the audit lacks {len(self.audit.missing)} chunks; finish it with `resume=True`")
        if not self.ran.any():
            first = self.failed[0]
            raise RecordingError(f"none of {len(self.failed)} samples could be read; {first.path}: {first.reason}")

    @cached_property
    def ran(self) -> NDArray[np.bool_]:
        """Which samples of the list ran, [list]."""
        return np.asarray(self.audit.arrays["status"] == RAN)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each sample."""
        return tuple(name for (name, _), ran in zip(self.audit.header.samples, self.ran, strict=True) if ran)

    @cached_property
    def labels(self) -> Ints:
        """Class index of each sample, -1 where nothing tells: int64 [samples]."""
        return np.array([label for _, label in self.audit.header.samples], np.int64)[self.ran]

    @property
    def logits(self) -> NDArray[np.floating]:
        """[samples, classes]."""
        return self._of("logits")

    @cached_property
    def predictions(self) -> Ints:
        """Class of the greatest logit: int64 [samples]."""
        return self._of("anytime/prediction")[:, -1].astype(np.int64)

    @cached_property
    def costs(self) -> Costs:
        """Operations by sample and layer."""
        arrays = self.audit.arrays
        if not self.ran.all():
            arrays = {name: values[self.ran] for name, values in arrays.items()}
        return costs(self.audit.layout, arrays, self.nonspike)

    @cached_property
    def sops(self) -> Ints:
        """Synaptic operations: int64 [samples]."""
        total: Ints = self.costs.sops.sum(axis=1)
        return total

    @cached_property
    def macs(self) -> Ints:
        """Multiply-accumulates: int64 [samples]."""
        total: Ints = self.costs.macs.sum(axis=1)
        return total

    @cached_property
    def energy_mj(self) -> Floats:
        """Exact energy: float64 [samples]."""
        return self.costs.exact_mj(self.profile)

    @cached_property
    def paper_energy_mj(self) -> Floats:
        """The paper's estimate: float64 [samples]."""
        return self.costs.paper_mj(self.profile)

    @cached_property
    def accuracy(self) -> Accuracy:
        """Top-1 and top-5."""
        ranks = self._of("anytime/rank")[:, -1]
        return Accuracy(_share(ranks, 1), _share(ranks, TOP))

    @cached_property
    def anytime(self) -> tuple[Moment, ...]:
        """Accuracy, operations and energy after each timestep."""
        ranks, sops, macs = (self._of(f"anytime/{name}") for name in ("rank", "sops", "macs"))
        number = len(self.names)
        moments = []
        for t in range(ranks.shape[1]):
            means = int(sops[:, t].sum()) / number, int(macs[:, t].sum()) / number
            energy = energy_mj(*means, self.profile)
            moments.append(Moment(t + 1, _share(ranks[:, t], 1), *means, energy))
        return tuple(moments)

    @cached_property
    def summaries(self) -> dict[str, list[Summary]]:
        """SOPs, MACs, exact and estimated energy and rates: a summary for each layer, the total the last."""
        exact, estimated = self.costs.layers_mj(self.profile)
        rates = np.hstack([self.costs.rates, np.zeros((len(self.names), 1))])
        blocks = {
            "sops": np.hstack([self.costs.sops, self.sops[:, np.newaxis]]).astype(np.float64),
            "macs": np.hstack([self.costs.macs, self.macs[:, np.newaxis]]).astype(np.float64),
            "energy_mj": np.hstack([exact, self.energy_mj[:, np.newaxis]]),
            "paper_energy_mj": np.hstack([estimated, self.paper_energy_mj[:, np.newaxis]]),
            "rate": rates,
        }
        every = summaries(np.hstack(list(blocks.values())), self.seed)
        width = rates.shape[1]
        return {name: every[i * width : (i + 1) * width] for i, name in enumerate(blocks)}

    @cached_property
    def classes(self) -> tuple[ClassRow, ...]:
        """A row for each class."""
        correct, energy = self.predictions == self.labels, self.energy_mj
        rows = []
        for index, label in enumerate(self.audit.header.classes):
            mine = self.labels == index
            number = int(mine.sum())
            sops = int(self.sops[mine].sum()) / number if number else 0.0
            mean = float(energy[mine].sum()) / number if number else 0.0
            share = Share(int(correct[mine].sum()), number)
            rows.append(ClassRow(index, label, share, int((self.predictions == index).sum()), sops, mean))
        return tuple(rows)

    @cached_property
    def confusion(self) -> tuple[tuple[int, int, int], ...]:
        """Label, prediction and number of samples, where there are any."""
        known = self.labels >= 0
        pairs = np.stack([self.labels[known], self.predictions[known]], axis=1)
        kinds, numbers = np.unique(pairs, axis=0, return_counts=True)
        return tuple((int(a), int(b), int(n)) for (a, b), n in zip(kinds, numbers, strict=True))

    @cached_property
    def calibration(self) -> Calibration:
        """The paper's estimate held against the exact energy."""
        exact, estimated = self.energy_mj, self.paper_energy_mj
        ratio = summaries((estimated / exact)[:, np.newaxis], self.seed)[0] if (exact > 0).all() else None
        x, y = estimated - estimated.mean(), exact - exact.mean()
        xx, yy, xy = (float((a * b).sum()) for a, b in ((x, x), (y, y), (x, y)))
        if not xx or not yy:
            return Calibration(ratio, None, None, None)
        slope = xy / xx
        return Calibration(
            ratio, xy / float(np.sqrt(xx * yy)), slope, float(exact.mean()) - slope * float(estimated.mean())
        )

    @cached_property
    def failed(self) -> tuple[Failed, ...]:
        """Samples that could not be read or run."""
        which = np.flatnonzero(self.audit.arrays["status"] == FAILED)
        return tuple(Failed(self.audit.header.samples[i][0], reason(self.audit, int(i))) for i in which)

    @cached_property
    def counts(self) -> Counts:
        """Counts of all samples, added up as `evsim.counters.merged` does."""
        return summed(self.audit.layout, self.audit.arrays, self.ran)

    def counts_of(self, sample: int) -> Counts:
        """Return the counts of one sample, by its place among those that ran; as its own run gives them."""
        return counts_of(self.audit.layout, self.audit.arrays, int(np.flatnonzero(self.ran)[sample]))

    def energy(
        self, method: str = "exact", profile: str | Profile | None = None, options: Options | None = None
    ) -> Energy:
        """Return the mean energy of a sample by any method, of the summed counts; else as `evsim.api.Run.energy`.

        The mean of `energies` is the same but for methods that are no sums, see docs: Whole data sets.
        """
        return charge(self.counts, method, profile, options)

    def energies(
        self, method: str = "exact", profile: str | Profile | None = None, options: Options | None = None
    ) -> Floats:
        """Return the energy of each sample in millijoules by any method, [samples]; likewise."""
        return np.array(
            [charge(self.counts_of(i), method, profile, options).energy_mj for i in range(len(self.names))], np.float64
        )

    def save_counts(self, path: str | Path) -> None:
        """Write the summed counts as counts.h5; OutputError if that place cannot be written to."""
        countsfile.save(path, self.counts, origin_of(self.audit))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists, dicts, numbers and texts, as `evsim eval` writes it."""
        from evsim.evaluation.document import document

        return document(self)

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return one row per sample, by column: what ``evsim eval --csv`` writes."""
        classes = self.audit.header.classes
        ranks = self._of("anytime/rank")[:, -1]
        return {
            "sample": self.names,
            "label": [int(label) if label >= 0 else None for label in self.labels],
            "label_name": [classes[label] if 0 <= label < len(classes) else "" for label in self.labels],
            "prediction": self.predictions.tolist(),
            "prediction_name": [classes[i] if i < len(classes) else "" for i in self.predictions],
            "correct": [bool(rank == 0) if rank >= 0 else None for rank in ranks],
            "rank": [int(rank) + 1 if rank >= 0 else None for rank in ranks],
            "sops": self.sops.tolist(),
            "macs": self.macs.tolist(),
            "energy_mj": self.energy_mj.tolist(),
            "paper_energy_mj": self.paper_energy_mj.tolist(),
        }

    def to_dataframe(self) -> Any:
        """Return `columns` as a pandas DataFrame; OptionError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise OptionError("a DataFrame needs pandas; install it: pip install pandas") from None
        return pd.DataFrame(self.columns())

    def to_xarray(self) -> Any:
        """Return an xarray Dataset by sample, layer and timestep; OptionError where xarray is not installed."""
        try:
            import xarray as xr
        except ImportError:
            raise OptionError("a Dataset needs xarray; install it: pip install xarray") from None
        layers = [layer.name for layer in self.audit.layout.first.layers]
        exact, estimated = self.costs.layers_mj(self.profile)
        by_layer = {
            "sops": self.costs.sops, "macs": self.costs.macs, "rate": self.costs.rates,
            "energy_mj": exact, "paper_energy_mj": estimated,
        }  # fmt: skip
        data: dict[str, Any] = {name: (("sample", "layer"), values) for name, values in by_layer.items()}
        data["logits"] = (("sample", "class"), self.logits)
        data["label"] = (("sample",), self.labels)
        for name in ("prediction", "sops", "macs"):
            data[f"anytime_{name}"] = (("sample", "timestep"), self._of(f"anytime/{name}"))
        steps = range(1, self.audit.header.timesteps + 1)
        return xr.Dataset(data, {"sample": list(self.names), "layer": layers, "timestep": list(steps)})

    def _of(self, name: str) -> NDArray[Any]:
        """Return a column of the samples that ran."""
        return np.asarray(self.audit.arrays[name][self.ran])


def load_evaluation(
    path: str | Path, profile: Profile | None = None, nonspike: NonSpike = "binary-only", seed: int = 0
) -> Evaluation:
    """Return what a finished audit.h5 holds.

    Parameters
    ----------
    path
        The file.
    profile, nonspike, seed
        As `Evaluation` has them.

    Raises
    ------
    AuditError
        If it is missing, damaged, not finished, or no audit.
    """
    return Evaluation(finished(path), profile or load_profile(), nonspike, seed)


def _share(ranks: NDArray[Any], first: int) -> Share:
    """Return the share of known ranks that are among the first."""
    known = ranks[ranks >= 0]
    return Share(int((known < first).sum()), len(known))
