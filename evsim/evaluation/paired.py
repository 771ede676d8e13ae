"""Evaluations of several models on the same samples, held against the first: differences sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.energy import Profile
from evsim.energy.paper import NonSpike
from evsim.errors import OptionError
from evsim.evaluation.auditfile import AuditError
from evsim.evaluation.layout import RAN
from evsim.evaluation.outcome import Evaluation, load_evaluation
from evsim.evaluation.statistics import RESAMPLES, Share, mcnemar, resampled_means

Floats = NDArray[np.float64]

FIGURES = ("sops", "macs", "energy_mj", "paper_energy_mj")
SCHEMA = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Difference:
    """A figure of a model less that of the first, the mean over the samples, with its bootstrap interval.

    Attributes
    ----------
    mean, interval
        Of the difference.
    ratio, ratio_interval
        Of the means, this model's over the first's; None where the first's is 0.
    """

    mean: float
    interval: tuple[float, float]
    ratio: float | None
    ratio_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Answers:
    """How often a model and the first were right on the same samples.

    Attributes
    ----------
    difference, interval
        Of the shares that are right, this model's less the first's; None where no sample has a label.
    first_alone, this_alone
        Samples that one of the two alone got right.
    p_value
        McNemar's exact test of whether these are equally many.
    agreement
        Share of all samples for which both give one class.
    """

    difference: float | None
    interval: tuple[float, float] | None
    first_alone: int
    this_alone: int
    p_value: float
    agreement: float


@dataclass(frozen=True)
class Against:
    """One model held against the first."""

    answers: Answers
    figures: dict[str, Difference]


@dataclass(frozen=True, eq=False)
class Paired:
    """Several evaluations of the same samples.

    Attributes
    ----------
    files
        Where each was read from.
    models
        Name of each.
    data
        The data set's path, as the first has it.
    samples, left_out
        How many samples ran on all models, and how many did not on one or another.
    top1
        Of each, over these samples.
    means
        Name of the figure to its mean of each model.
    against
        Every model but the first, held against it.
    seed
        Of the bootstrap.
    """

    files: tuple[str, ...]
    models: tuple[str, ...]
    data: str
    samples: int
    left_out: int
    top1: tuple[Share, ...]
    means: dict[str, tuple[float, ...]]
    against: tuple[Against, ...]
    seed: int


def paired(
    paths: Sequence[str | Path], profile: Profile | None = None, nonspike: NonSpike = "binary-only", seed: int = 0
) -> Paired:
    """Hold evaluations against the first one.

    Parameters
    ----------
    paths
        Finished audit.h5 files, two or more, of one list of samples.
    profile, nonspike, seed
        As `Evaluation` has them.

    Raises
    ------
    OptionError
        If there are fewer than two, or more than there are letters.
    AuditError
        If one cannot be read, is not finished, is of another list of samples, or no sample ran on all models.
    """
    if not 2 <= len(paths) <= len(LETTERS):
        raise OptionError(
            f"two audits to {len(LETTERS)} can be held against each other, got {len(paths)}; give as many"
        )
    outcomes = [load_evaluation(path, profile, nonspike, seed) for path in paths]
    return held(paths, outcomes, seed)


def held(paths: Sequence[str | Path], outcomes: Sequence[Evaluation], seed: int = 0) -> Paired:
    """Hold evaluations against the first one.

    Parameters
    ----------
    paths
        What each is called: its file.
    outcomes
        Two or more, of one list of samples.
    seed
        Of the bootstrap.

    Raises
    ------
    AuditError
        If one is of another list of samples, or no sample ran on all models.
    """
    first = outcomes[0]
    for path, outcome in zip(paths, outcomes, strict=True):
        if outcome.audit.header.data_digest != first.audit.header.data_digest:
            raise AuditError(
                f"{path} is of another list of samples ({outcome.audit.header.data}) than {paths[0]} "
                f"({first.audit.header.data}); evaluate both on the same"
            )
    common = np.logical_and.reduce([outcome.audit.arrays["status"] == RAN for outcome in outcomes])
    if not common.any():
        raise AuditError(f"no sample ran on all of {', '.join(map(str, paths))}; look at what failed")
    return _held(paths, outcomes, common, seed)


def paired_document(outcome: Paired) -> dict[str, Any]:
    """Return a comparison as plain lists, dicts, numbers and texts; see docs: Whole data sets."""
    sides: dict[str, Any] = {}
    for i, letter in enumerate(LETTERS[: len(outcome.models)]):
        share = outcome.top1[i]
        sides[letter] = {
            "file": outcome.files[i],
            "model": outcome.models[i],
            "top1": share.value,
            "interval": list(share.interval) if share.interval else None,
            **{name: outcome.means[name][i] for name in FIGURES},
        }
        if i:
            sides[letter]["against_a"] = _told(outcome.against[i - 1])
    return {
        "schema": SCHEMA,
        "data": {"path": outcome.data, "samples": outcome.samples, "left_out": outcome.left_out},
        **sides,
        "bootstrap": {"seed": outcome.seed, "resamples": RESAMPLES},
    }


def _told(against: Against) -> dict[str, Any]:
    answers = against.answers
    return {
        "top1": {
            "difference": answers.difference,
            "interval": list(answers.interval) if answers.interval else None,
            "a_alone": answers.first_alone,
            "this_alone": answers.this_alone,
            "mcnemar_p": answers.p_value,
        },
        "agreement": answers.agreement,
        **{
            name: {
                "difference": figure.mean,
                "interval": list(figure.interval),
                "ratio": figure.ratio,
                "ratio_interval": list(figure.ratio_interval) if figure.ratio_interval else None,
            }
            for name, figure in against.figures.items()
        },
    }


def _held(paths: Sequence[str | Path], outcomes: Sequence[Evaluation], common: NDArray[np.bool_], seed: int) -> Paired:
    kept = [common[outcome.ran] for outcome in outcomes]
    figures = {
        name: np.stack([getattr(o, name)[k] for o, k in zip(outcomes, kept, strict=True)], axis=1).astype(np.float64)
        for name in FIGURES
    }
    classes = np.stack([o.predictions[k] for o, k in zip(outcomes, kept, strict=True)], axis=1)
    labels = outcomes[0].labels[kept[0]]
    known = labels >= 0
    right = (classes[known] == labels[known, np.newaxis]).astype(np.float64)
    drawn = resampled_means(np.hstack(list(figures.values())), seed)
    by_figure = dict(zip(figures, np.hsplit(drawn, len(figures)), strict=True))
    drawn_right = resampled_means(right, seed) if len(right) else right
    against = []
    for i in range(1, len(outcomes)):
        answers = _answers(right, drawn_right, i, float((classes[:, i] == classes[:, 0]).mean()))
        against.append(Against(answers, {n: _difference(v, by_figure[n], i) for n, v in figures.items()}))
    return Paired(
        tuple(map(str, paths)),
        tuple(outcome.audit.header.model for outcome in outcomes),
        outcomes[0].audit.header.data,
        int(common.sum()),
        int((~common).sum()),
        tuple(Share(int(right[:, i].sum()), len(right)) for i in range(len(outcomes))),
        {name: tuple(float(mean) for mean in values.mean(axis=0)) for name, values in figures.items()},
        tuple(against),
        seed,
    )


def _answers(right: Floats, drawn: Floats, which: int, agreement: float) -> Answers:
    if not len(right):
        return Answers(None, None, 0, 0, 1.0, agreement)
    first, this = right[:, 0] > 0, right[:, which] > 0
    alone = int((first & ~this).sum()), int((this & ~first).sum())
    difference = (alone[1] - alone[0]) / len(right)
    return Answers(difference, _interval(drawn[:, which] - drawn[:, 0]), *alone, mcnemar(*alone), agreement)


def _difference(values: Floats, drawn: Floats, which: int) -> Difference:
    first, this = float(values[:, 0].mean()), float(values[:, which].mean())
    mean = float((values[:, which] - values[:, 0]).mean())
    interval = _interval(drawn[:, which] - drawn[:, 0])
    if not first or not drawn[:, 0].all():
        return Difference(mean, interval, None, None)
    return Difference(mean, interval, this / first, _interval(drawn[:, which] / drawn[:, 0]))


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
