"""Constants of a map: one for all, one per channel, or one for each neuron."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from evsim.errors import NetworkError
from evsim.primitives.node import Node, Shape


@dataclass(frozen=True, kw_only=True)
class Constants(Node):
    """A node whose constants are fields, or arrays where maps need more than one number.

    A constant named in `by_channel` is the parameter of that name, [channels]; one named in `by_neuron` is the
    parameter [height, width, channels]. Its field then has no meaning and keeps its default. `channels`, `height` and
    `width` are the size of the map, told where there are such arrays.
    """

    channels: int = 0
    height: int = 0
    width: int = 0
    by_channel: tuple[str, ...] = ()
    by_neuron: tuple[str, ...] = ()
    constants: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are constants."""

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the constants that are arrays."""
        own = dict.fromkeys(self.by_channel, (self.channels,))
        return {**own, **dict.fromkeys(self.by_neuron, (self.height, self.width, self.channels))}

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the constants that are arrays."""
        return self.by_channel + self.by_neuron

    def _check_constants(self, source: Shape) -> None:
        """Refuse constants that are no numbers of float32, and arrays that do not fit the map."""
        defaults = {f.name: f.default for f in fields(self)}
        for name in self.arrays:
            if name not in self.constants:
                raise NetworkError(f"{self.name} has no constant {name}; it has {', '.join(self.constants)}")
            if self.arrays.count(name) > 1:
                raise NetworkError(f"{self.name} names the constant {name} twice in `by_channel` and `by_neuron`")
            if getattr(self, name) != defaults[name]:
                raise NetworkError(f"{self.name}: {name} is an array, so the number {getattr(self, name)} says nothing")
        for name in self.constants:
            value = float(getattr(self, name))
            if not abs(value) <= float(np.finfo(np.float32).max):
                raise NetworkError(f"{self.name}: {name} must be a number within float32, got {value}")
        self._at_least(0, channels=self.channels, height=self.height, width=self.width)
        if self.arrays:
            size = (self.channels, self.height, self.width) if self.by_neuron else (self.channels,)
            wanted = "constants for " + " x ".join(map(str, size)) + (" neurons" if self.by_neuron else " channels")
            self._expect(source.size[: len(size)] == size, source, wanted)
