"""The paper's energy table, recomputed from what is published layer by layer, and what the rest of it implies.

For Spikingformer-8-512 and -8-768 the authors published every layer's firing rate; from these and the sizes of the
layers the published energies follow. For Spikingformer-8-384 and Spikformer only totals are published: their dense
operations tell what the published energy implies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evsim.audit.published import Published, published_energies
from evsim.converters.registry import PRESETS
from evsim.data import published
from evsim.energy import Profile, load_profile
from evsim.energy.paper import attention_acs, energy_mj
from evsim.network import Network
from evsim.synthesis import skeleton
from evsim.workload import rows

PUBLISHED_MJ = {
    "spikingformer-8-384": 4.69,
    "spikingformer-8-512": 7.46,
    "spikingformer-8-768": 13.68,
    "spikformer-8-384": 12.43,
    "spikformer-8-512": 18.82,
    "spikformer-8-768": 32.07,
}
"""Energy per image in the paper's table (arXiv 2304.11954), ImageNet at 224 x 224, T = 4."""

PUBLISHED_GACS = {"spikingformer-8-384": 3.88, "spikingformer-8-512": 6.52, "spikingformer-8-768": 12.54}
"""The table's column of operations: the accumulates alone."""

HEADLINE = (7.463502601886196, 18.82)
"""Energies behind the headline: Spikingformer-8-512 from the log, Spikformer-8-512 from the table."""

GRADED = ("q_conv", "k_conv", "v_conv", "fc1_conv")
"""Layers of Spikformer that read its integer stream."""


@dataclass(frozen=True)
class Recomputed:
    """A model whose rates are published.

    Attributes
    ----------
    model, source
        Which, and where its rates are from.
    gacs, gmacs, energy_mj
        From the rates times the dense operations, with the attention of the log's number of heads.
    log_gacs, log_gmacs, log_mj
        What the authors' log says.
    own_heads, log_heads, own_heads_mj
        Heads of the model and of the log's formula; the energy with the model's own.
    table_mj
        The paper's table.
    log_difference, table_difference, own_heads_difference
        Relative: `energy_mj` from the log and from the table, `own_heads_mj` from the table.
    layers
        Layer to (dense operations, rate, our ACs or MACs, the log's).
    """

    model: str
    source: str
    gacs: float
    gmacs: float
    energy_mj: float
    log_gacs: float
    log_gmacs: float
    log_mj: float
    own_heads: int
    log_heads: int
    own_heads_mj: float
    table_mj: float
    log_difference: float
    table_difference: float
    own_heads_difference: float
    layers: Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Implied:
    """A model of which only the energy is published, and what follows.

    Attributes
    ----------
    model, table_mj
        Which, and its published energy.
    dense_gops
        Dense operations of all layers that accumulate, attention included.
    dense_gmacs
        MACs of the first convolution and the head.
    gacs
        Accumulates that the published energy leaves for the rest, if everything else is charged as accumulates.
    mean_rate
        `gacs` / `dense_gops`: for Spikingformer the mean firing rate, for Spikformer the mean value of what its layers
        read, integers counted as events.
    table_gacs
        The table's column of operations, where it has one.
    graded_gops, graded_mj
        Spikformer: dense operations of q, k, v and fc1 alone, and their energy if their integers are charged as dense
        MACs (`binary-only`).
    residual_rate
        Spikformer: rate at which `rpe_lif`, `proj_lif` and `fc2_lif` must fire for the published energy, if all other
        neurons fire as in the Spikingformer whose rates are published (8-512; for 8-768 its own).
    """

    model: str
    table_mj: float
    dense_gops: float
    dense_gmacs: float
    gacs: float
    mean_rate: float
    table_gacs: float | None
    graded_gops: float | None
    graded_mj: float | None
    residual_rate: float | None


@dataclass(frozen=True)
class PaperTable:
    """The whole table, and what other families publish.

    `saving` is the headline, `saving_if_binary_only` the least it would be in the other setting.
    """

    recomputed: tuple[Recomputed, ...]
    implied: tuple[Implied, ...]
    saving: float
    saving_if_binary_only: float
    published: tuple[Published, ...]


def paper_table(profile: Profile | None = None) -> PaperTable:
    """Recompute the published energies, by default at the paper's own prices (45 nm)."""
    profile = profile or load_profile()
    recomputed = tuple(_recompute(f"spikingformer-8-{dim}", profile) for dim in (512, 768))
    implied = tuple(
        _imply(model, profile)
        for model in ("spikingformer-8-384", "spikformer-8-384", "spikformer-8-512", "spikformer-8-768")
    )
    spikformer = next(entry for entry in implied if entry.model == "spikformer-8-512")
    assert spikformer.graded_mj is not None
    own, other = HEADLINE
    others = published_energies(profile, tuple(f"{model}-imagenet" for model in PUBLISHED_MJ))
    return PaperTable(recomputed, implied, 1.0 - own / other, 1.0 - own / spikformer.graded_mj, others)


def dense_operations_of(network: Network) -> dict[str, int]:
    """Return the dense operations of every layer over all timesteps, as the paper counts them.

    A bias counts once per output of a conv, once per timestep of a linear layer; attention
    ``2 * T * heads * N * dh^2``; the head, behind the mean over time, runs once.
    """
    steps = network.spec.timesteps
    works = [(work, row) for work, row in rows(network) if row.dense_operations]
    return {work.name: (1 if work.runs_once else steps) * row.dense_operations for work, row in works}


def _recompute(model: str, profile: Profile) -> Recomputed:
    log = published(model)
    network = skeleton(f"{model}-imagenet")
    dense = dense_operations_of(network)
    layers = {}
    acs = macs = 0.0
    synaptic = [work.name for work, row in rows(network) if row.synaptic]
    for name, entry in zip(synaptic, log["layers"], strict=True):
        charged = dense[name] * entry["rate"]
        # the log's mark of a layer whose input is no spikes
        real = entry["macs"] > 0
        acs, macs = acs + (0.0 if real else charged), macs + (charged if real else 0.0)
        layers[name] = (float(dense[name]), entry["rate"], charged, entry["acs"] + entry["macs"])
    heads = {"log": log["ssa"]["heads"], "own": PRESETS[f"{model}-imagenet"].heads}
    attention = {whose: _attention(log["ssa"], count) for whose, count in heads.items()}
    totals, table_mj = log["totals"], PUBLISHED_MJ[model]
    ours, own = (energy_mj(acs + attention[whose], macs, profile) for whose in ("log", "own"))
    return Recomputed(
        model, log["source"],
        (acs + attention["log"]) / 1e9, macs / 1e9, ours,
        totals["gacs"], totals["gmacs"], totals["energy_mj"],
        heads["own"], heads["log"], own, table_mj,
        ours / totals["energy_mj"] - 1.0, ours / table_mj - 1.0, own / table_mj - 1.0, layers,
    )  # fmt: skip


def _attention(ssa: Mapping[str, object], heads: int) -> float:
    dim, tokens, steps, rates = (ssa[key] for key in ("embed_dim", "tokens", "timesteps", "rates"))
    assert isinstance(dim, int)
    assert isinstance(tokens, int)
    assert isinstance(steps, int)
    assert isinstance(rates, list)
    return sum(attention_acs(steps, heads, tokens, dim // heads, (r["q"], r["k"], r["v"])) for r in rates)


def _imply(model: str, profile: Profile) -> Implied:
    network = skeleton(f"{model}-imagenet")
    dense = dense_operations_of(network)
    ends = dense["patch_embed.proj_conv"] + dense["head"]
    rest = sum(dense.values()) - ends
    acs = (PUBLISHED_MJ[model] - energy_mj(0.0, ends, profile)) / energy_mj(1.0, 0.0, profile)
    spikformer = network.family == "spikformer"
    graded = sum(count for name, count in dense.items() if name.rpartition(".")[2] in GRADED)
    return Implied(
        model,
        PUBLISHED_MJ[model],
        rest / 1e9,
        ends / 1e9,
        acs / 1e9,
        acs / rest,
        PUBLISHED_GACS.get(model),
        graded / 1e9 if spikformer else None,
        energy_mj(0.0, graded, profile) if spikformer else None,
        _residual_rate(network, dense, acs) if spikformer else None,
    )


def _residual_rate(network: Network, dense: Mapping[str, int], acs: float) -> float:
    """Return the rate of the residual neurons at which the accumulates are `acs`; see `Implied`."""
    log = published("spikingformer-8-768" if "768" in network.name else "spikingformer-8-512")
    rates = {entry["name"].replace("mlp.mlp", "mlp.fc"): entry["rate"] for entry in log["layers"]}
    first = [entry["rate"] for entry in log["layers"] if entry["name"].startswith("patch_embed.")]
    tokenizer = [name for name in dense if name.startswith("patch_embed.")]
    heads = next(row.geometry.heads for _, row in rows(network) if row.kind == "attention")
    fixed = sum(dense[name] * rate for name, rate in zip(tokenizer[1:], first[1:], strict=True))
    fixed += _attention(log["ssa"] | {"embed_dim": network.shapes["patch_embed.add"].channels}, heads)
    slope = 0.0
    for name, count in dense.items():
        _, _, layer = name.rpartition(".")
        if layer in GRADED:
            block = int(name.split(".")[1])
            fixed += count * first[-1]  # the stream starts with the spikes that the last convolution reads
            slope += count * (2 * block + (2 if layer == "fc1_conv" else 1))
        elif layer in ("proj_conv", "fc2_conv") and name.startswith("block."):
            fixed += count * rates[name]
    return float((acs - fixed) / slope)
