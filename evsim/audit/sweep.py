"""How depth and width drive energy: synthetic models of many sizes, each run once on its own input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from evsim.api import Run, Sample, check_run, run_on
from evsim.converters.presets import Preset
from evsim.converters.registry import PRESETS
from evsim.energy import Profile, load_profile
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.synthesis import synthesize


@dataclass(frozen=True)
class SweepRow:
    """One size.

    Attributes
    ----------
    model, depth, dim, heads
        Which.
    parameters
        Trainable parameters: weights, biases, BatchNorm.
    dense_macs, sops, macs
        Of one input: dense multiply-accumulates of conv and linear layers; exact synaptic operations; exact MACs.
    exact_mj, paper_mj, paper_events_mj
        Energy: exact, and the paper's estimate with `binary-only` and with `integer-as-events`.
    milliseconds
        Wall time of one run with counting, the second of two on one simulator, whose building is not in it.
    worst_rate_error
        Greatest relative distance of a firing rate from its target.
    """

    model: str
    depth: int
    dim: int
    heads: int
    parameters: int
    dense_macs: int
    sops: int
    macs: int
    exact_mj: float
    paper_mj: float
    paper_events_mj: float
    milliseconds: float
    worst_rate_error: float


@dataclass(frozen=True)
class SweepOptions:
    """What all sizes of a sweep share.

    Attributes
    ----------
    preset
        The model whose depth and dimension are varied.
    rates, scale, seed
        As `evsim.synthesis.synthesize` takes them.
    heads
        Attention heads, if not the preset's.
    threads
        As `evsim.api.simulate` takes them.
    """

    preset: str = "spikingformer-8-512-imagenet"
    rates: str | float = "published"
    scale: float = 1.0
    seed: int = 0
    heads: int | None = None
    threads: int | None = None


def sweep(
    depths: Sequence[int],
    dims: Sequence[int],
    options: SweepOptions | None = None,
    profile: Profile | None = None,
    keep: Callable[[Run], None] | None = None,
) -> Iterator[SweepRow]:
    """Yield a row for every depth and dimension, depth by depth.

    Parameters
    ----------
    depths, dims
        Numbers of blocks and embedding dimensions.
    options
        What all sizes share.
    profile
        Prices.
    keep
        Called with each size's run, counted in detail for it alone.

    Raises
    ------
    OptionError
        Before the first row, if the preset is unknown or a size makes no sense.
    """
    options = options or SweepOptions()
    if options.preset not in PRESETS:
        raise OptionError(f"`preset={options.preset}` is unknown; known are {', '.join(sorted(PRESETS))}")
    check_run(options.threads)
    base = PRESETS[options.preset]
    heads = base.heads if options.heads is None else options.heads
    for value, option, divisor in (*((d, "`depths`", 1) for d in depths), *((d, "`dims`", 8) for d in dims)):
        if value < 1:
            raise OptionError(f"{option} must be at least 1, got {value}")
        if value % divisor:
            raise OptionError(f"{option} must be a multiple of {divisor}, got {value}")
    headless = base.heads == 0 and options.heads is None
    if not headless and (bad := [dim for dim in dims if heads < 1 or dim % heads]):
        raise OptionError(f"`dims={bad[0]}` does not divide into {heads} heads; give others by `heads`")
    sizes = [replace(base, depth=depth, dim=dim, heads=heads) for depth in depths for dim in dims]
    return (_row(size, options, profile or load_profile(), keep) for size in sizes)


def _row(size: Preset, options: SweepOptions, profile: Profile, keep: Callable[[Run], None] | None) -> SweepRow:
    model = synthesize(size, options.rates, options.scale, options.seed)
    network, sample = model.network, Sample(model.sample, "synthetic", "npy")
    simulator = Simulator(network, threads=options.threads)
    first = run_on(simulator, sample, detail=keep is not None)
    if keep:
        keep(first)
    begin = time.perf_counter()
    run = run_on(simulator, sample)
    elapsed = time.perf_counter() - begin
    return SweepRow(
        network.name,
        size.depth,
        size.dim,
        size.heads,
        sum(prod(shape) for node in network.nodes for shape in node.parameters().values()),
        run.counts.dense_macs,
        run.counts.sops,
        run.counts.macs,
        run.exact(profile).energy_mj,
        run.paper(profile).energy_mj,
        run.paper(profile, "integer-as-events").energy_mj,
        elapsed * 1e3,
        max(abs(rate.error) for rate in model.rates_float32),
    )
