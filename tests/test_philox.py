"""Random numbers and statistics of synthetic models: the same bits everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from evsim.synthesis.moments import moments
from evsim.synthesis.philox import CHUNK, GRID, Philox, philox, quantile, upper_quantiles

# kat_vectors of Random123 1.14: counter, key, block
PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    """Read hexadecimal words."""
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "block"), PUBLISHED)
def test_blocks_are_the_published_ones(counter, key, block):
    """Philox 4x32-10 gives the test vectors of its authors, also in the middle of others."""
    alone = philox(np.array([words(counter)], np.uint64).T, tuple(words(key)))
    among = philox(np.array([[1, 2, 3, 4], words(counter), [5, 6, 7, 8]], np.uint64).T, tuple(words(key)))
    assert alone[:, 0].tolist() == among[:, 1].tolist() == words(block)


def test_streams_are_blocks_in_turn():
    """A stream is the blocks of counters 0, 1, 2 ... under the seed as key, its halves lowest first."""
    seed, count = 0x123456789, 8 * CHUNK + 20
    drawn = Philox(seed).shorts(count)
    numbers = np.zeros((4, CHUNK + 3), np.uint64)
    numbers[0] = np.arange(CHUNK + 3)
    blocks = philox(numbers, (0x23456789, 0x1)).T.reshape(-1)
    halves = np.stack([blocks & np.uint64(0xFFFF), blocks >> np.uint64(16)], axis=1).reshape(-1)
    assert drawn.dtype == np.uint16
    np.testing.assert_array_equal(drawn, halves[:count])


def test_calls_go_on_where_the_last_one_stopped():
    """Whole blocks are taken by each call, and none twice."""
    stream, whole = Philox(7), Philox(7).shorts(32)
    np.testing.assert_array_equal(stream.shorts(3), whole[:3])
    np.testing.assert_array_equal(stream.shorts(9), whole[8:17])
    np.testing.assert_array_equal(stream.shorts(8), whole[24:])


def test_normals_are_normal_and_the_same_everywhere():
    """Of 65536 equal shares each has its own quantile: mean 0, deviation 1, kurtosis 3; the bits are pinned."""
    drawn = Philox(0).normal((1 << 18,)) / GRID
    assert abs(drawn.mean()) < 5 / 512
    assert drawn.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(drawn**4) == pytest.approx(3.0, abs=0.1)
    digest = hashlib.sha256(Philox(0).normal((1 << 18,)).astype("<i4").tobytes()).hexdigest()
    assert digest[:16] == "21169a6b0cd23c7e"


def test_no_quantile_is_rounded_by_a_last_digit():
    """Each lies farther from the middle between two steps than 10^6 times what a logarithm's last digit can do."""
    exact = np.array(upper_quantiles()) * GRID
    from_middle = np.abs(exact - np.floor(exact) - 0.5)
    assert from_middle.min() > 1e6 * np.spacing(exact.max())


def test_quantiles_are_those_of_the_normal_distribution():
    """They are whole steps, and none at all is minus infinity."""
    assert quantile(0.5) == 0.0
    assert quantile(0.975) == round(1.959963984540054 * GRID) / GRID
    assert quantile(0.0) == -np.inf


@pytest.mark.parametrize("count", [1, 2, 8, 1000])
def test_permutations_have_every_value_once(count):
    """All values are there, in an order that the stream alone decides."""
    values = np.arange(count)
    first, other = Philox(3).permutation(values), Philox(4).permutation(values)
    assert sorted(first) == list(values)
    np.testing.assert_array_equal(first, Philox(3).permutation(values))
    assert count < 8 or (first != other).any()


def test_moments_do_not_hang_on_the_order():
    """Mean and variance are NumPy's to six digits, and to the bit the same for the values in any order."""
    source = np.random.default_rng(5)
    values = source.normal([0.0, 3.0, -40.0], [1.0, 0.2, 9.0], (9000, 3))
    mean, variance = moments(values)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-4)
    for _ in range(3):
        again = moments(source.permutation(values))
        assert (again[0] == mean).all()
        assert (again[1] == variance).all()


def test_moments_of_constants():
    """A channel that never changes has variance 0, also where all are 0."""
    mean, variance = moments(np.zeros((5, 4, 2)))
    assert not mean.any()
    assert not variance.any()
    mean, variance = moments(np.full((5, 4, 2), -0.75))
    assert (mean == -0.75).all()
    assert not variance.any()
