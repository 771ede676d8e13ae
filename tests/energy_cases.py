"""Counts made by hand for the energy tests: the worked layers C and F, published networks, random networks."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from evsim import api
from evsim.converters import ConvertOptions, convert
from evsim.counters import ROW_TYPES, Counts, SynapseCounts, Traffic
from evsim.sharedsums import ON_REQUEST, SHARED_SUMS
from evsim.workload import Geometry

FOLDERS = sorted((Path(__file__).parent / "data" / "golden").glob("spikingformer-*"))


@cache
def golden_run(folder):
    """Run a golden in float64, once for all tests."""
    variant = "cml" if folder.name.endswith("cml") else "standard"
    network = convert(folder / "checkpoint.pth.tar", ConvertOptions(variant=variant)).network
    return api.simulate(network, np.load(folder / "input.npy"), precision="float64", record_spikes=True)


def spread(total, steps):
    """Split a number over timesteps, unevenly."""
    parts = np.array([total * (t + 1) // (steps * (steps + 1) // 2) for t in range(steps)], np.int64)
    parts[-1] += total - parts.sum()
    return parts


def zeros(steps):
    """Return a counter that counted nothing."""
    return np.zeros(steps, np.int64)


def layer(name, kind, geometry, timesteps, **changes):
    """Return a row of that kind with zeros where nothing is said."""
    row, heads = ROW_TYPES[kind], (timesteps, geometry.heads)
    own = {"name", "kind", "geometry", "input_kind", "steps"}
    arrays = [f.name for f in fields(row) if f.default is f.default_factory is MISSING and f.name not in own]
    shapes = {"operand_nonzeros": (3, timesteps), "sops_per_head": heads, "sops_other_order_per_head": heads}
    given = {key: zeros(shapes.get(key, timesteps)) for key in arrays}
    given |= {"input_kind": "spikes", "steps": timesteps} | changes
    return row(name=name, kind=kind, geometry=geometry, **given)


SHARED_C = dict(
    zip(ON_REQUEST, (spread(number, 4) for number in (20000, 4000, 2500, 9000, 3000, 1000, 36000)), strict=True)
)
"""Layer C's shared sums: 20000 + 4000 additions where quads share, 9000 + 3000 by product sparsity."""


def layer_c(bias=True):
    """Layer C: conv 3x3, 4 -> 8 channels, 16x16, LIF, T = 4, 500 spikes in, 300 out, 36000 SOPs."""
    steps = 4
    conv = Geometry("Conv2d", 4, 8, 16, 16, 16, 16, (3, 3), (1, 1), (1, 1), bias=bias)
    spikes = spread(500, steps)
    each = np.ones(steps, np.int64)
    return Counts(
        steps,
        (
            layer(
                "conv", "conv", conv, steps, input_nonzeros=spikes, input_sum=spikes, input_size=1024 * each,
                sops=spikes * 72, bias_adds=each * (2048 if bias else 0), **SHARED_C,
                traffic=Traffic(
                    run_length_bits=3 * spikes, least_bits=3 * spikes, greatest_value=each, peak_events=200,
                    greatest_sum=20 * each, rows_touched=36 * each, rows_touched_once=36, neurons_touched=1500 * each,
                ),
            ),
            layer(
                "lif", "lif", Geometry("LIF", 8, 8, 16, 16, 16, 16, tau=2.0, v_threshold=1.0), steps,
                input_kind="real", input_size=2048 * each, spikes=spread(300, steps), neuron_updates=2048 * each,
                traffic=Traffic(
                    run_length_bits=5 * spread(300, steps), least_bits=5 * spread(300, steps), greatest_value=each,
                    peak_events=120, neurons_touched=1500 * each,
                ),
            ),
        ),
    )  # fmt: skip


def layer_f():
    """Layer F: linear 256 -> 64, bias, IF (no leak), T = 4, 100 spikes in, 40 out."""
    steps = 4
    each = np.ones(steps, np.int64)
    spikes = spread(100, steps)
    fc = Geometry("Linear", 256, 64, 1, 1, 1, 1, bias=True)
    return Counts(
        steps,
        (
            layer("fc", "linear", fc, steps, input_nonzeros=spikes, input_sum=spikes, input_size=256 * each,
                  sops=spikes * 64, bias_adds=64 * each),
            layer("if", "lif", Geometry("LIF", 64, 64, 1, 1, 1, 1, tau=0.0, v_threshold=1.0), steps, input_kind="real",
                  input_size=64 * each, spikes=spread(40, steps), neuron_updates=64 * each),
        ),
    )  # fmt: skip


def published_counts(entry, samples=10**6):
    """Return counts of that many samples, whose rates are a published log's; every map square, every stride 1."""
    steps = entry["ssa"]["timesteps"]
    rows = []
    for number, row in enumerate(entry["layers"]):
        side = round(row["out_positions"] ** 0.5)
        pad = row["kernel"][0] // 2
        size = Geometry(
            "Linear" if row["kind"] == "linear" else "Conv2d", row["in_channels"], row["out_channels"], side, side,
            side, side, tuple(row["kernel"]), (1, 1), (pad, pad), bias=row["bias"],
        )  # fmt: skip
        whole = side * side * row["in_channels"] * samples
        ran = np.arange(steps) >= steps - row["steps"]
        spikes = row["macs"] == 0
        nonzeros = ran * np.int64(round(whole * row["rate"]))
        rows.append(
            layer(
                row["name"], row["kind"], size, steps, input_kind="spikes" if spikes else "real", steps=row["steps"],
                input_nonzeros=nonzeros, input_size=ran * np.int64(whole), input_sum=nonzeros * spikes,
                sops=nonzeros * 0 if not spikes else nonzeros // samples * row["out_channels"] * samples,
                macs=nonzeros * (not spikes), samples=samples, reads_input=not number,
            )
        )  # fmt: skip
    ssa = entry["ssa"]
    dim = ssa["embed_dim"] // ssa["heads"]
    side = round(ssa["tokens"] ** 0.5)
    size = Geometry(
        "SpikingSelfAttention", ssa["embed_dim"], ssa["embed_dim"], side, side, side, side, heads=ssa["heads"],
        head_dim=dim, order="q(kv)",
    )  # fmt: skip
    whole = ssa["tokens"] * ssa["embed_dim"] * samples
    for block, rates in enumerate(ssa["rates"]):
        operands = np.array([[round(whole * rates[x])] * steps for x in "qkv"], np.int64)
        rows.append(
            layer(
                f"block.{block}.attn.ssa", "attention", size, steps, samples=samples, operand_nonzeros=operands,
                input_size=np.full(steps, 3 * whole, np.int64),
            )
        )  # fmt: skip
    return Counts(steps, tuple(rows), samples=samples)


@st.composite
def networks(draw):
    """Draw consistent counts: spikes, integers, real values, attention, LIF, of several samples, with traffic."""
    steps = draw(st.integers(1, 4))
    samples = draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))

    def numbers(low, high, *shape):
        return random.integers(low, high, shape).astype(np.int64)

    def traffic(**more):
        return Traffic(
            run_length_bits=numbers(1, 900, steps), least_bits=numbers(1, 800, steps),
            greatest_value=numbers(1, 9, steps), peak_events=int(numbers(1, 99, 1)[0]), **more,
        )  # fmt: skip

    rows = []
    for number, kind in enumerate(
        draw(st.lists(st.sampled_from(["spikes", "integers", "real"]), min_size=1, max_size=4))
    ):
        size = Geometry(
            "Conv2d", 3, 5, 6, 6, 3, 3, (3, 3), (2, 2), (1, 1), bias=bool(number % 2), batch_norm=number > 1
        )
        spikes = numbers(0, 100 * samples, steps)
        sops = spikes * 5
        own = ON_REQUEST if kind == "spikes" else ON_REQUEST[len(SHARED_SUMS) :]
        rows.append(
            layer(
                f"block.{number}.fc_conv", "conv" if number % 2 else "linear", size, steps, input_kind=kind,
                input_nonzeros=spikes, input_sum=spikes * 2, input_size=np.full(steps, 108 * samples, np.int64),
                sops=sops * (kind == "spikes"), macs=sops * (kind != "spikes"), bias_adds=numbers(0, 50, steps),
                acs_unrolled=sops * 2 if kind == "integers" else None, samples=samples,
                **{name: sops // (number + 2) for number, name in enumerate(own)},
                traffic=traffic(greatest_sum=numbers(0, 20, steps), rows_touched=numbers(0, 27, steps),
                                rows_touched_once=27, neurons_touched=numbers(0, 45, steps)),
            )
        )  # fmt: skip
        rows.append(
            layer(
                f"block.{number}.fc_lif", "lif",
                Geometry("LIF", 5, 5, 3, 3, 3, 3, tau=draw(st.sampled_from([2.0, 3.0]))), steps,
                input_kind="real", input_size=np.full(steps, 45 * samples, np.int64), samples=samples,
                spikes=numbers(0, 40, steps), neuron_updates=np.full(steps, 45 * samples, np.int64),
                traffic=traffic(neurons_touched=numbers(0, 45, steps)),
            )
        )  # fmt: skip
    if draw(st.booleans()):
        heads = draw(st.integers(1, 3))
        declared, other = numbers(0, 288, steps, heads), numbers(0, 288, steps, heads)
        operands = numbers(0, 50, 3, steps)
        rows.append(
            layer(
                "block.0.attn.ssa", "attention",
                Geometry("SpikingSelfAttention", 4 * heads, 4 * heads, 3, 3, 3, 3, heads=heads, head_dim=4,
                         order=draw(st.sampled_from(["q(kv)", "(qk)v"]))),
                steps, samples=samples, operand_nonzeros=operands, sops_per_head=declared,
                input_size=np.full(steps, 3 * 36 * heads * samples, np.int64),
                sops_other_order_per_head=other,
                traffic=traffic(greatest_sum=numbers(0, 20, steps), kv_coincidences=declared // 2,
                                qk_coincidences=other // 2, kv_greatest=numbers(0, 9, steps, heads),
                                qk_greatest=numbers(0, 9, steps, heads), qk_entries=numbers(0, 81, steps, heads)),
            )
        )  # fmt: skip
    return Counts(steps, tuple(rows), {"residual_adds": numbers(0, 99, steps)}, samples)


def without_traffic(counts):
    """Return counts as a run gives them that was asked for nothing more."""
    nothing = dict.fromkeys(ON_REQUEST)
    return replace(
        counts,
        layers=tuple(
            replace(row, traffic=None, **(nothing if isinstance(row, SynapseCounts) else {})) for row in counts.layers
        ),
    )
