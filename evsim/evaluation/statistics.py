"""Intervals of shares, means and paired differences; what is drawn at random is drawn from a stated seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
Z = 1.959963984540054
"""Quantile of the normal distribution for `CONFIDENCE`."""

RESAMPLES = 1000
"""Samples drawn anew by the bootstrap: its intervals are good to some hundredths of their width."""

BLOCK_ENTRIES = 4_000_000
"""Draws that are in memory at a time."""


@dataclass(frozen=True)
class Share:
    """A share of a number, with its Wilson interval; None of nothing."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval: Wilson, JASA 22 (1927) 209."""
        return wilson(self.count, self.total) if self.total else None


@dataclass(frozen=True)
class Summary:
    """A figure over the samples: mean, its bootstrap interval, standard deviation, least and greatest."""

    mean: float
    interval: tuple[float, float]
    deviation: float
    least: float
    most: float

    def told(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "mean": self.mean,
            "interval": list(self.interval),
            "deviation": self.deviation,
            "least": self.least,
            "most": self.most,
        }


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `total`, which is at least 1."""
    share, squared = count / total, Z * Z
    middle = (share + squared / (2 * total)) / (1 + squared / total)
    half = Z / (1 + squared / total) * math.sqrt(share * (1 - share) / total + squared / (4 * total * total))
    return (0.0 if count == 0 else middle - half), (1.0 if count == total else middle + half)


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Return the two-sided exact p-value of McNemar's test: of the samples that one alone got right, half each."""
    from scipy.special import bdtr

    number = first_alone + second_alone
    if not number:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(first_alone, second_alone), number, 0.5)))


def resampled_means(values: Floats, seed: int) -> Floats:
    """Return the means of `RESAMPLES` samples drawn with repetition.

    Parameters
    ----------
    values
        float64 [samples, figures]; the same samples are drawn for all figures.
    seed
        Of NumPy's PCG64.

    Returns
    -------
    numpy.ndarray
        float64 [RESAMPLES, figures].
    """
    from scipy.sparse import csr_matrix

    number = len(values)
    means = np.empty((RESAMPLES, values.shape[1]))
    for first, drawn in _draws(number, seed):
        ends = np.arange(len(drawn) + 1) * number
        # sums in one order, whatever the number of threads: no BLAS
        weights = csr_matrix((np.ones(drawn.size), drawn.ravel(), ends), shape=(len(drawn), number))
        means[first : first + len(drawn)] = (weights @ values) / number
    return means


def summaries(values: Floats, seed: int) -> list[Summary]:
    """Return a summary of each figure [samples, figures]; there is at least one sample."""
    means = [math.fsum(column) / len(values) for column in values.T]
    low, high = np.percentile(resampled_means(values, seed), (2.5, 97.5), axis=0)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    least, most = values.min(axis=0), values.max(axis=0)
    return [
        Summary(mean, (float(low[i]), float(high[i])), float(spread[i]), float(least[i]), float(most[i]))
        for i, mean in enumerate(means)
    ]


def _draws(number: int, seed: int) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield the first resample of a block, and which samples are drawn [resamples, samples]."""
    random = np.random.Generator(np.random.PCG64(seed))
    block = max(1, BLOCK_ENTRIES // number)
    for first in range(0, RESAMPLES, block):
        size = (min(block, RESAMPLES - first), number)
        yield first, random.integers(0, number, size, dtype=np.int32)
