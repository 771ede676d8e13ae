"""Intervals: published examples, and what must hold of any sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evsim.evaluation.statistics import RESAMPLES, Share, mcnemar, resampled_means, summaries, wilson


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 20), (15, 148), (1072, 1100), (49_999, 50_000)])
def test_wilson_is_that_of_scipy(count, total):
    """Another implementation of the same formula gives the same interval."""
    expected = stats.binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_newcombe():
    """Newcombe (Stat. Med. 17, 1998, 857), method 3: 81 of 263 and 0 of 20."""
    assert [round(x, 4) for x in wilson(81, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in wilson(0, 20)] == [0.0000, 0.1611]


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (10, 10), (3, 15), (200, 150)])
def test_mcnemar_is_a_sign_test(a, b):
    """The exact p-value is the binomial test's of half."""
    expected = stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)
    assert mcnemar(a, b) == mcnemar(b, a)


def test_resamples_are_drawn_from_the_seed():
    """The same seed draws the same samples for every figure; figures together or apart give the same bits."""
    values = np.random.default_rng(3).standard_normal((40, 5))
    together = resampled_means(values, 7)
    assert together.shape == (RESAMPLES, 5)
    for i in range(5):
        assert np.array_equal(together[:, i], resampled_means(values[:, [i]].copy(), 7)[:, 0])
    assert not np.array_equal(together, resampled_means(values, 8))
    random = np.random.Generator(np.random.PCG64(7))
    drawn = random.integers(0, 40, (RESAMPLES, 40), dtype=np.int32)
    np.testing.assert_allclose(together, values[drawn].mean(axis=1), rtol=1e-12, atol=1e-12)


def test_resamples_in_blocks_are_the_same(monkeypatch):
    """How many draws are in memory at a time decides nothing."""
    values = np.random.default_rng(3).standard_normal((40, 2))
    whole = resampled_means(values, 0)
    monkeypatch.setattr("evsim.evaluation.statistics.BLOCK_ENTRIES", 100)
    assert np.array_equal(resampled_means(values, 0), whole)


def test_intervals_cover_the_mean():
    """Of 200 samples of a known mean, the interval covers it about 95 times of 100."""
    rng = np.random.default_rng(0)
    values = rng.exponential(2.0, (200, 200))
    inside = sum(each.interval[0] <= 2.0 <= each.interval[1] for each in summaries(values, 0))
    assert 175 <= inside <= 199


def test_one_sample_has_no_width():
    """Mean, interval, least and greatest are the sample itself; it spreads by nothing."""
    (figure,) = summaries(np.array([[3.5]]), 0)
    assert (figure.mean, figure.interval, figure.deviation, figure.least, figure.most) == (
        3.5,
        (3.5, 3.5),
        0.0,
        3.5,
        3.5,
    )


def test_a_share_of_nothing_is_none():
    """No value, no interval."""
    assert Share(0, 0).value is None
    assert Share(0, 0).interval is None
    assert math.isclose(Share(1, 4).value, 0.25)
