"""A network while it grows: the nodes so far, and what a next one can read; for random networks (`networks.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from evsim.network import Node, Shape
from evsim.primitives import LIF, AveragePool, Linear, MaxPool

WIDTHS = st.sampled_from([1, 2, 3, 4, 6, 8, 31, 32, 33, 48, 64, 65])
MOST_VALUES = 4000
"""Of a map: the oracle is slow."""


@dataclass
class Builder:
    """A network while it grows.

    Attributes
    ----------
    draw
        Of hypothesis.
    nodes, shapes
        The nodes so far, and what each emits.
    once
        Names of those that emit once, after the last timestep.
    images
        Names of those that see one image at all timesteps through pools alone, so that a layer may run once on them.
    plain
        Whether weights are multiples of a quarter: then sums are exact in any order, and ties with thresholds occur.
    """

    draw: object
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    plain: bool = True

    def add(self, kind, /, *sources, **fields):
        """Add a node and return its name."""
        node = kind(f"n{len(self.nodes)}_{kind.__name__.lower()}", sources, **fields)
        self.shapes[node.name] = node.infer(tuple(self.shapes[name] for name in sources))
        self.nodes.append(node)
        if node.once or self.once.intersection(sources):
            self.once.add(node.name)
        through = kind in (MaxPool, AveragePool) or getattr(node, "repeated", False)
        if through and self.images.issuperset(sources):
            self.images.add(node.name)
        return node.name

    def add_closing(self, kind, source, shape, /, **fields):
        """Add a node that reads one that comes later, whose shape is known, and return its name."""
        node = kind(f"n{len(self.nodes)}_{kind.__name__.lower()}", (source,), **fields)
        self.shapes[node.name] = shape
        self.nodes.append(node)
        return node.name

    def source(self, fits=lambda shape: True):  # noqa: ARG005 - any shape
        """Return the name of a node that emits what fits, the latest most often; None if there is none."""
        names = [name for name in self.shapes if fits(self.shapes[name])]
        if not names:
            return None
        return names[-1] if self.draw(st.integers(0, 2)) else self.draw(st.sampled_from(names))

    def alike(self, name, kind=None):
        """Return the names of all nodes that emit maps of the same size at the same timesteps."""
        one = self.shapes[name]
        return [
            other
            for other, shape in self.shapes.items()
            if (shape.channels, shape.height, shape.width) == (one.channels, one.height, one.width)
            and (other in self.once) == (name in self.once)
            and kind in (None, shape.kind)
        ]

    def together(self, name):
        """Return the name of a node of whatever size that emits at the same timesteps."""
        return self.draw(
            st.sampled_from([other for other in self.shapes if (other in self.once) == (name in self.once)])
        )

    def layer(self, name, width):
        """Add a linear layer, and return its name."""
        return self.add(Linear, name, in_channels=self.shapes[name].channels, out_channels=width, **self.flags())

    def fires(self, name):
        """Add neurons that fire now and then, and return their name."""
        return self.add(LIF, name, v_threshold=self.draw(st.sampled_from([0.25, 0.5, 1.0])))

    def spiking(self):
        """Return the name of a node that emits spikes: one that is there, or new neurons."""
        name = self.source(lambda shape: shape.kind == "spikes")
        return name if name and self.draw(st.integers(0, 3)) else self.fires(self.source())

    def spikes_like(self, name):
        """Return the name of a node that emits spikes of the same size at the same timesteps, perhaps a new one."""
        spiking = self.alike(name, "spikes")
        if spiking and self.draw(st.booleans()):
            return self.draw(st.sampled_from(spiking))
        return self.fires(self.layer(name, self.shapes[name].channels))

    def heads(self, channels):
        """Draw a number of heads."""
        return self.draw(st.sampled_from([n for n in range(1, min(channels, 66) + 1) if channels % n == 0]))

    def view(self, name):
        """Draw a shape of what a module emits per timestep, most often none."""
        shape = self.shapes[name]
        views = [(shape.channels * shape.positions,), (1, shape.height, shape.width, shape.channels)]
        return self.draw(st.sampled_from([(), (), *views]))

    def loose(self):
        """Return the names of all nodes that nobody behind them reads."""
        read = {name for node in self.nodes for name in node.inputs if self.nodes.index(node) > self._place(name)}
        return [node.name for node in self.nodes if node.name not in read]

    def _place(self, name):
        return [node.name for node in self.nodes].index(name)

    def flags(self):
        """Draw whether a layer has a bias, and BatchNorm."""
        return {"bias": self.draw(st.booleans()), "batch_norm": self.draw(st.booleans())}
