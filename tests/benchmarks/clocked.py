"""Layers whose steps are timed, for benchmarks that tell where a run's time goes."""

from __future__ import annotations

import time


class Clocked:
    """A running layer that takes the time of its steps, to the end of the calls that wait.

    It is no layer whose calls wait for the next one's. `spent` is the time of the last run in seconds.
    """

    defers = False

    def __init__(self, layer, workers, clock=time.perf_counter) -> None:
        self._layer, self._workers, self._clock, self.spent = layer, workers, clock, 0.0

    def __getattr__(self, name):
        return getattr(self._layer, name)

    def reset(self) -> None:
        """Begin a new sample."""
        self.spent = 0.0
        self._layer.reset()

    def step(self, *packets):
        """Step and take the time."""
        begin = self._clock()
        output = self._layer.step(*packets)
        self._workers.finish()
        self.spent += self._clock() - begin
        return output
