"""The families that evsim knows, and the figures of their published models side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evsim.api import Sample, check_run, run_on
from evsim.converters.family import Family
from evsim.converters.literature import Figures
from evsim.converters.registry import BUILT_IN, families_of_others, find_preset
from evsim.converters.table import Form
from evsim.energy import Profile, load_profile
from evsim.engine import Simulator
from evsim.errors import NetworkError, OptionError
from evsim.network import Network
from evsim.synthesis import skeleton, synthesize
from evsim.workload import rows, workload

TELLING = 2
"""Keys of a form that are listed: the first that no other family has."""

NOT_RUN = "not run"
"""Why there is no activity where none was asked for."""

NUMBER = re.compile(r"(?<![A-Za-z_])\d+(?=\.|$)")


@dataclass(frozen=True)
class FormKeys:
    """Keys that a form's checkpoints always have, N standing for the number of a block.

    Attributes
    ----------
    name
        Of the form.
    telling
        Keys of weights that no form of another family has, those first that none of its own others has; empty where
        the keys alone do not tell the family.
    keys
        All of them.
    shared
        Whose checkpoints have the same keys; "" if the keys tell.
    """

    name: str
    telling: tuple[str, ...]
    keys: tuple[str, ...]
    shared: str


@dataclass(frozen=True)
class Rates:
    """At which activity models run that are synthesized for a table.

    Attributes
    ----------
    rates, scale, seed
        As `evsim.synthesis.synthesize` takes them.
    threads
        As `evsim.api.simulate` takes it.
    """

    rates: str | float = "published"
    scale: float = 1.0
    seed: int = 0
    threads: int | None = None


@dataclass(frozen=True)
class Activity:
    """What a synthetic model of a preset's size did on the input that it was calibrated on.

    Attributes
    ----------
    rates
        Where its firing rates come from.
    sops, macs
        Exact counts: accumulates on spikes, multiply-accumulates on all else.
    macs_inside
        Those of `macs` behind the first layer and before the head: what is not spike-driven.
    exact_mj, paper_mj, paper_events_mj
        Energy of the counts; the paper's estimate with `binary-only` and with `integer-as-events`.
    rule_mj
        By the energy method of the family's own paper; None where it has none.
    worst_rate_error
        Greatest relative distance of a firing rate from its target.
    """

    rates: str
    sops: int
    macs: int
    macs_inside: int
    exact_mj: float
    paper_mj: float
    paper_events_mj: float
    rule_mj: float | None
    worst_rate_error: float


@dataclass(frozen=True)
class Row:
    """One published model.

    Attributes
    ----------
    preset, family, residual, rule
        Its name, its family, what the family's residual adds, and the energy method of its paper.
    timesteps, parameters
        T, and how many parameters run: of folded convolutions those of the one that they become.
    trained
        How many parameters the authors' model has.
    dense_operations
        Multiply-accumulates of a dense implementation over all timesteps, attention included.
    not_spike_driven
        Layers behind the first and before the head that read other values than spikes, numbers replaced by N, to how
        many there are.
    published
        What is published of it.
    activity
        Counts of a synthetic model; None where none ran.
    missing
        Why `activity` is missing; "" where it is there.
    """

    preset: str
    family: str
    residual: str
    rule: str
    timesteps: int
    parameters: int
    trained: int
    dense_operations: int
    not_spike_driven: Mapping[str, int]
    published: Figures = field(default_factory=Figures)
    activity: Activity | None = None
    missing: str = ""


def families(names: Sequence[str] = ()) -> tuple[Family, ...]:
    """Return the families of these names, in the order of the registry; all of them, other packages' too, for none.

    Raises
    ------
    OptionError
        If one is unknown.
    PluginError
        If a package that brings one is broken.
    """
    everyone = (*BUILT_IN.values(), *families_of_others())
    known = [family.name for family in everyone]
    for name in names:
        if name not in known:
            raise OptionError(f"no family is named {name}; known are {', '.join(known)}")
    return tuple(family for family in everyone if not names or family.name in names)


def form_keys(family: Family) -> tuple[FormKeys, ...]:
    """Return the keys of every form of a family, and which of them tell it from all others."""
    forms = [(other.name, form) for other in families() for form in other.forms]
    others = {_plain(key) for name, form in forms if name != family.name for key in form.kinds()}
    return tuple(_keys(form, family, others) for form in family.forms)


def figures(presets: Sequence[str], run: Rates | None = None, profile: Profile | None = None) -> Iterator[Row]:
    """Yield a row for every preset.

    Parameters
    ----------
    presets
        Names.
    run
        At which activity to run a synthetic model of each; None for none.
    profile
        Prices.

    Raises
    ------
    OptionError, PluginError
        Before the first row, if a preset is unknown or a package is broken.
    """
    if run:
        check_run(run.threads)
    for preset in presets:
        find_preset(preset, option=False)
    by_name = {family.name: family for family in families()}
    return (_row(name, by_name[find_preset(name).family], run, profile or load_profile()) for name in presets)


def _keys(form: Form, family: Family, others: set[str]) -> FormKeys:
    siblings = {_plain(key) for other in family.forms if other.name != form.name for key in other.kinds()}
    weights = dict.fromkeys(row.at("N").weight for row in form.rows)
    own = [] if form.shared else [key for key in weights if _plain(key) not in others]
    telling = sorted(own, key=lambda key: _plain(key) in siblings)  # those first that tell the form too
    return FormKeys(form.name, tuple(telling[:TELLING]), tuple(dict.fromkeys(form.kinds())), form.shared)


def _plain(key: str) -> str:
    """Return a key whose numbers are all N, so that those of a block and of its neighbour are one."""
    return NUMBER.sub("N", key)


def _row(name: str, family: Family, run: Rates | None, profile: Profile) -> Row:
    network, literature = skeleton(name), family.literature
    activity, missing = None, NOT_RUN
    if run:
        try:
            activity, missing = _activity(name, family, run, profile), ""
        except (NetworkError, OptionError) as error:
            missing = str(error)
    return Row(
        name, family.name, literature.residual, literature.rule, network.spec.timesteps,
        sum(work.parameters for work in workload(network).values()),
        _trained(name, family),
        sum((1 if work.runs_once else network.spec.timesteps) * row.dense_macs for work, row in rows(network)),
        Counter(_plain(layer) for layer in _inside(network)),
        literature.figures.get(name, Figures()), activity, missing,
    )  # fmt: skip


def _trained(name: str, family: Family) -> int:
    form, sizes = family.sizes(family.presets[name])
    return family.form(form).parameters(sizes)


def _inside(network: Network) -> tuple[str, ...]:
    """Return the layers behind the first and before the head that read other values than spikes."""
    return tuple(
        work.name
        for work, row in rows(network)
        if row.synaptic and work.role == "hidden" and work.input_kind != "spikes"
    )


def _activity(name: str, family: Family, run: Rates, profile: Profile) -> Activity:
    model = synthesize(name, run.rates, run.scale, run.seed)
    simulator = Simulator(model.network, threads=run.threads)
    outcome = run_on(simulator, Sample(model.sample, "synthetic", "npy"))
    inside = set(_inside(model.network))
    rule = family.literature.rule
    views = (outcome.exact(profile), outcome.paper(profile), outcome.paper(profile, "integer-as-events"))
    exact_mj, paper_mj, events_mj = (view.energy_mj for view in views)
    return Activity(
        model.network.provenance.get("rates", f"chosen: {run.rates}"),
        outcome.counts.sops,
        outcome.counts.macs,
        sum(int(layer.macs.sum()) for layer in outcome.counts.layers if layer.name in inside),
        exact_mj,
        paper_mj,
        events_mj,
        outcome.energy(method=rule).energy_mj if rule else None,
        max(abs(rate.error) for rate in model.rates_float32),
    )
