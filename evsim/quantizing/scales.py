"""What the integers of a channel's weights count in: the multiplier M of each output channel.

All arrays of weights here are [K, C]: K that an output adds up, of C output channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATIOS = np.linspace(1.0, 0.3, 15)
"""Shares of the largest weight at which a channel may be clipped."""

FEW = 8
"""Weights that a grid is held against before all of them are."""

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid on which a layer's weights lie already, as those of quantisation-aware training do.

    Attributes
    ----------
    steps
        [C], the distance of its points, in the units of the weights.
    most
        [C], the largest magnitude of a weight, in steps.
    """

    steps: Floats
    most: Whole


def least_multipliers(weights: Floats, fraction: int, most: int) -> Whole:
    """Return the least multipliers under which no weight is clipped.

    Parameters
    ----------
    weights
        [K, C], BatchNorm folded.
    fraction
        F.
    most
        Largest magnitude of an integer weight.
    """
    return clipped_multipliers(weights, fraction, most, 1.0)


def clipped_multipliers(weights: Floats, fraction: int, most: int, ratio: float) -> Whole:
    """Return multipliers under which weights up to `ratio` of each channel's largest are not clipped."""
    largest = np.abs(weights).max(axis=0, initial=0.0)
    multipliers: Whole = np.maximum(np.ceil(np.ldexp(largest * ratio, fraction) / most), 1.0).astype(np.int64)
    return multipliers


def rounded(weights: Floats, multipliers: Whole, fraction: int, most: int) -> Floats:
    """Return weights as whole multiples of ``multipliers * 2^-fraction``, clipped to `most`."""
    steps = np.ldexp(weights, fraction) / multipliers
    np.rint(steps, out=steps)
    return np.clip(steps, -most, most, out=steps)


def best_multipliers(weights: Floats, rows: Floats, fraction: int, most: int) -> Whole:
    """Return the multipliers under which the currents of some inputs change least, in squares.

    Parameters
    ----------
    weights
        [K, C], BatchNorm folded.
    rows
        [R, K], what the layer read at some positions.
    fraction, most
        As of `least_multipliers`.
    """
    best = least_multipliers(weights, fraction, most)
    least = np.full(len(best), np.inf)
    exact = np.ldexp(weights, fraction)
    for ratio in RATIOS:
        multipliers = clipped_multipliers(weights, fraction, most, float(ratio))
        change = rounded(weights, multipliers, fraction, most) * multipliers - exact
        errors = np.square(rows @ change).sum(axis=0)
        better = errors < least
        best[better], least[better] = multipliers[better], errors[better]
    return best


def find_grid(weights: NDArray[np.floating], most: int) -> Grid | None:
    """Return the grid on which weights lie, one for each output channel; None if those of some lie on none.

    A channel's weights are ``step * k``, k whole and at most `most` in magnitude, up to the rounding of float32. The
    largest is one of them, so its k tells the step: the least k that fits all is taken.

    Parameters
    ----------
    weights
        [K, C], as the checkpoint has them: BatchNorm is not folded yet.
    most
        Largest magnitude of an integer weight.
    """
    magnitudes = np.abs(weights.astype(np.float64))
    tolerance = most * 2.0**-22  # float32 rounds the weight and the largest, each by 2^-24 of it
    candidates = np.arange(1, most + 1, dtype=np.float64)
    steps, greatest = np.ones(weights.shape[1]), np.zeros(weights.shape[1], np.int64)
    for channel, column in enumerate(magnitudes.T):
        own = np.unique(column)
        largest = own[-1]
        if largest == 0.0:
            continue
        few = own[:: max(1, len(own) // FEW)]
        likely = candidates[_off(few, largest, candidates) <= tolerance]
        least = next((float(k) for k in likely if _off(own, largest, np.array([k]))[0] <= tolerance), 0.0)
        if not least:
            return None
        steps[channel], greatest[channel] = largest / least, int(least)
    return Grid(steps, greatest)


def _off(values: Floats, largest: float, candidates: Floats) -> Floats:
    """Return how far values lie off the grid on which the largest is each candidate, in steps."""
    steps = np.outer(candidates, values / largest)
    off: Floats = np.abs(steps - np.rint(steps)).max(axis=1)
    return off


def grid_multipliers(steps: Floats, most: Whole, fraction: int) -> tuple[Whole, Floats, NDArray[np.bool_]]:
    """Return the multipliers that come nearest to a grid's steps, how far off they are, and which channels keep it.

    A channel keeps its grid if its largest weight moves by less than half a step, so that its integers stay.

    Parameters
    ----------
    steps
        [C], of the folded weights.
    most
        [C], as of the `Grid`.
    fraction
        F.
    """
    wanted = np.ldexp(steps, fraction)
    multipliers = np.maximum(np.rint(wanted), 1.0)
    off = np.abs(multipliers / np.where(wanted > 0.0, wanted, 1.0) - 1.0)
    off[(most == 0) | (wanted == 0.0)] = 0.0
    fits = multipliers < 2.0**31
    multipliers[~fits] = 1.0
    return multipliers.astype(np.int64), off, fits & (off * most < 0.5)
