"""What a family of models tells of itself: one such object in one file, and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evsim.converters.facts import Facts
from evsim.converters.literature import Literature
from evsim.converters.parts import Builder
from evsim.converters.presets import Preset
from evsim.converters.table import Form, Match, Shapes
from evsim.network import Network


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models.

    Attributes
    ----------
    name, title
        As the option `family` takes it, and as its authors spell it.
    forms
        Its key tables.
    graph
        Builds the network from a checkpoint of one form (`Builder.form`, `Builder.sizes`) and the facts.
    sizes
        Name of the form and the sizes of its table that a preset stands for; OptionError if they make no sense.
    presets
        Its published models by name.
    models
        Names that the authors' PyTorch code has for it: values of a checkpoint's ``args.model``, in lower case, whose
        other arguments describe the model that was trained. True where the name decides the family if the keys do not.
    choices
        What the options of `facts.OWN` may be, an empty tuple for any value; one that stands not here means nothing to
        the family.
    unused
        Modules and parameters that some checkpoints hold and no forward pass reads, spelled as `Row.node`.
    fires_like
        For a LIF of its networks, the LIF of Spikingformer that has its published rate, or a rate; None if no rates
        are published for anything like it. `evsim.synthesis.rates` asks.
    residual_rate
        The rate among those that is no published one, for the report.
    plif
        Whether its networks may have neurons of a learned leak, whose ``w`` lies in the checkpoint.
    literature
        Where it is published, and what of its presets; `evsim families` lists it.
    """

    name: str
    title: str
    forms: tuple[Form, ...]
    graph: Callable[[Builder, Facts], Network]
    sizes: Callable[[Preset], tuple[str, Mapping[str, int]]]
    presets: Mapping[str, Preset] = field(default_factory=dict)
    models: Mapping[str, bool] = field(default_factory=dict)
    choices: Mapping[str, tuple[str | bool, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    fires_like: Callable[[str], str | float] | None = None
    residual_rate: float | None = None
    plif: bool = False
    literature: Literature = field(default_factory=Literature)

    def form(self, name: str) -> Form:
        """Return the form of that name; KeyError if there is none."""
        return {form.name: form for form in self.forms}[name]

    def fits(self, shapes: Shapes) -> bool:
        """Whether a checkpoint of these shapes can be the family's: the weight of every layer is there."""
        return any(form.fits(shapes) for form in self.forms)

    def match(self, shapes: Shapes) -> Match:
        """Return how the keys match the form that is nearest to them; of two whole ones, that with more layers."""
        matches = (form.match(shapes) for form in self.forms)
        return max(matches, key=lambda match: (match.complete, match.share, match.present))
