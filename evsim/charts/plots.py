"""Charts of a run: what ``run.plot`` offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evsim.charts import layers, spikes, time
from evsim.charts.chart import Chart
from evsim.energy import Profile
from evsim.energy.paper import NonSpike
from evsim.errors import OptionError
from evsim.spikesfile import attentions

if TYPE_CHECKING:
    from evsim.api import Run


class Plots:
    """Charts of a run; each is shown by a notebook, and ``save`` writes it for a paper.

    Parameters
    ----------
    run
        Which.
    profile, nonspike
        Prices, and how the paper's estimate charges integers.
    """

    def __init__(self, run: Run, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> None:
        self._run = run
        self._document: dict[str, Any] = run.to_dict(profile, nonspike)

    def __call__(self, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> Plots:
        """Return the charts by other prices."""
        return Plots(self._run, profile, nonspike)

    @property
    def title(self) -> str:
        """Whose charts."""
        return self._run.network.name

    def energy(self) -> Chart:
        """Return energy per layer, as counted and by the paper."""
        return layers.energy(self._document["layers"], self.title)

    def rates(self) -> Chart:
        """Return the firing rate of every layer of neurons against depth."""
        return layers.rates(self._document["layers"], self.title)

    def operations(self) -> Chart:
        """Return the operations of every layer beside those of a dense network."""
        return layers.operations(self._document["layers"], self.title)

    def anytime(self) -> Chart:
        """Return the leading logits after each timestep; OptionError without ``simulate(..., anytime=True)``."""
        if "anytime" not in self._document:
            raise OptionError("the run kept no answers over time; simulate with `anytime=True`")
        return time.answers(self._document["anytime"], self._run.network.labels, self.title)

    def raster(self, names: Sequence[str] = ()) -> Chart:
        """Return which neurons fired when; OptionError without ``simulate(..., record_spikes=True)``.

        Parameters
        ----------
        names
            Which layers of neurons; by default up to twelve.
        """
        return spikes.raster(self._run.spikes, self.title, names)

    def attention(self) -> Chart:
        """Return where attention looks; OptionError without recorded spikes, or without attention between tokens."""
        recorded = [each for each in attentions(self._run.network) if {each.q, each.k} <= self._run.spikes.keys()]
        return spikes.attention(self._run.spikes, recorded, self.title)
