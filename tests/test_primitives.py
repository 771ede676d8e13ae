"""Every primitive against its slow and obvious twin: in networks, in both schedules, with what it counts."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim import api
from evsim.errors import NetworkError, RecordingError
from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Conv2d,
    Delay,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Pad,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TokenMean,
    TokenSum,
    Vote,
)
from evsim.spikes import IntegerMap, SpikeMap

T, H, W = 3, 4, 5


class Outputs:
    """Observer that keeps what each stage emitted, as numbers [T, H, W, C]."""

    def __init__(self):
        self.parts = {}

    def observe(self, stage, inputs, output):  # noqa: ARG002
        """Keep a packet."""
        if output is not None:
            self.parts.setdefault(stage.name, []).append(output)

    def __getitem__(self, name):
        maps = []
        for packet in self.parts[name]:
            if isinstance(packet, SpikeMap):
                values = packet.dense().astype(np.float64)
            else:
                unit = packet.unit if isinstance(packet, IntegerMap) else 1.0
                values = packet.values[..., : packet.channels].astype(np.float64) * unit
            if len(values) < packet.steps:
                values = np.repeat(values, packet.steps, axis=0)
            maps.append(values.reshape(len(values), packet.height, packet.width, -1))
        return np.concatenate(maps)


def network(nodes, channels, weights=(), kind="frames"):
    """Return a network of these nodes on real frames [T, channels, H, W], with a readout of the last of them."""
    source = Input("input", (), channels, H, W, {"events": "integers"}.get(kind, "real"))
    spec = InputSpec(kind, channels, H, W, T, *(((0.5,) * channels,) * 2 if kind == "image" else ((), ())))
    made = (source, *nodes, TokenMean("tokens", (nodes[-1].name,)), TimeMean("time", ("tokens",)))
    return Network("n", "f", "v", spec, made, dict(weights))


def run(net, x, **options):
    """Run in float64 through both schedules; return what the nodes emitted and the run, once both are equal."""
    frames = x if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    seen = {}
    for schedule in ("layer", "time"):
        outputs = Outputs()
        result = api.simulate(net, frames, precision="float64", schedule=schedule, observers=[outputs], **options)
        seen[schedule] = outputs, result
    one, other = (seen[schedule][1].counts for schedule in ("layer", "time"))
    for left, right in zip(one.layers, other.layers, strict=True):
        for name in ("sops", "macs", "input_nonzeros", "bias_adds", "neuron_updates", "input_size"):
            assert getattr(left, name).tolist() == getattr(right, name).tolist(), (left.name, name)
    assert one.other.keys() == other.other.keys()
    assert all((one.other[key] == other.other[key]).all() for key in one.other)
    assert (seen["layer"][1].logits == seen["time"][1].logits).all()
    return seen["time"]


def spikes(rng, channels, rate=0.4):
    """Return random 0/1 maps."""
    return (rng.random((T, H, W, channels)) < rate).astype(np.float64)


def firing(name, source="input"):
    """Return neurons without memory that fire where the input is 1."""
    return LIF(name, (source,), v_threshold=0.5, decay_input=False, decay=0.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32), strict=st.booleans(), soft=st.booleans(), channels=st.sampled_from([1, 3, 33, 70]),
    decay=st.sampled_from([None, 0.0, 0.25, 0.5, 0.7, 1.0]), own=st.booleans(), fused=st.booleans(),
)  # fmt: skip
def test_neurons_of_every_kind(seed, strict, soft, channels, decay, own, fused):
    """Each combination of leak, comparison, reset and thresholds fires as its twin does, exact ties among them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 5, (T, H, W, channels)) / 4
    w = rng.normal()
    thresholds = rng.integers(1, 5, channels) / 4
    weights = {"n.w": np.array([w])} if decay is None else {}
    weights |= {"n.v_threshold": thresholds} if own else {}
    nodes, source = [], "input"
    if fused:
        nodes, source = [Conv2d("c", ("input",), channels, channels, batch_norm=False)], "c"
        weights["c.weight"] = np.eye(channels, dtype=np.float32)[np.newaxis, np.newaxis]
    node = LIF(
        "n", (source,), 2.0, 0.75, decay_input=decay is None, decay=decay or 0.0, parametric=decay is None,
        strict=strict, soft_reset=soft, channels=channels if own else 0,
    )  # fmt: skip
    outputs, _ = run(network([*nodes, node], channels, weights), x)
    rate = 1 / (1 + np.exp(-w)) if decay is None else None
    wanted = naive.neurons(x, thresholds if own else 0.75, decay=decay, rate=rate, strict=strict, soft=soft)
    assert np.array_equal(outputs["n"], wanted)
    assert node.neuron == ("plif" if decay is None else "if" if decay == 1.0 else "lif")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32), up=st.booleans(), integrates=st.booleans(), levels=st.sampled_from([1, 4, 8]),
    channels=st.sampled_from([1, 5, 65]),
)  # fmt: skip
def test_integer_neurons(seed, up, integrates, levels, channels):
    """Halves round to even or up, values are clamped, potentials lose what was emitted; values carry their unit."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 4 * levels, (T, H, W, channels)) / 2
    node = MultiSpike("n", ("input",), levels, 4.0, "half-up" if up else "half-even", integrates)
    outputs, result = run(network([node], channels), x, record_spikes=True)
    wanted = naive.integers(x, levels, up, integrates)
    assert np.array_equal(outputs["n"], wanted / 4)
    row = result.counts.layer("n")
    assert (row.spikes == wanted.sum(axis=(1, 2, 3))).all()
    assert (row.nonzeros == (wanted > 0).sum(axis=(1, 2, 3))).all()
    packed, shape = result.spikes.packed["n"]
    assert shape == (T * levels, channels, H, W)
    train = np.unpackbits(packed, count=np.prod(shape)).reshape(T, levels, channels, H, W)
    for d in range(levels):
        assert np.array_equal(train[:, d], (wanted > d).transpose(0, 3, 1, 2))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32), groups=st.sampled_from([1, 2, 3, 6]), kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2), reads=st.sampled_from(["spikes", "integers", "real"]),
)  # fmt: skip
def test_grouped_convolutions(seed, groups, kernel, stride, reads):
    """A group sees its own channels alone; operations are those of spikes or values within reach of its outputs."""
    rng = np.random.default_rng(seed)
    inner, outer, pad = 6, 12, kernel // 2
    x = spikes(rng, inner)
    weight = rng.normal(size=(kernel, kernel, inner // groups, outer)).astype(np.float32)
    if reads == "spikes":
        first = [firing("x")]
    elif reads == "integers":
        x, first = x * rng.integers(1, 4, x.shape), [MultiSpike("x", ("input",), 4, 4.0)]
    else:
        x, first = x * rng.normal(size=x.shape), [Pad("x", ("input",), inner, 1)]
    node = Conv2d("c", ("x",), inner, outer, (kernel,) * 2, (stride,) * 2, (pad,) * 2, batch_norm=False, groups=groups)
    weights = {"c.weight": weight, "x.border": np.zeros(inner)}
    if reads != "real":
        del weights["x.border"]
    outputs, result = run(network([*first, node], inner, weights), x)
    seen = outputs["x"]
    parts = [
        naive.conv(
            seen[..., g * (inner // groups) : (g + 1) * (inner // groups)],
            weight[..., g * (outer // groups) : (g + 1) * (outer // groups)].astype(np.float64),
            (stride,) * 2, (pad,) * 2,
        )
        for g in range(groups)
    ]  # fmt: skip
    np.testing.assert_allclose(outputs["c"], np.concatenate(parts, axis=3), rtol=1e-12, atol=1e-12)
    row = result.counts.layer("c")
    reached = [
        sum(naive.reached(seen[t, :, :, c] != 0, (kernel,) * 2, (stride,) * 2, (pad,) * 2) for c in range(inner))
        * (outer // groups)
        for t in range(T)
    ]
    assert (row.sops if reads == "spikes" else row.macs).tolist() == reached
    assert row.dense_macs == T * outputs["c"][0].size * (inner // groups) * kernel**2


def test_gates_masks_and_sums():
    """And, IAnd, both masks and both sums of spikes; sums own a row that counts each spike and what it is told to."""
    rng = np.random.default_rng(1)
    x = spikes(rng, 12)
    half = Conv2d("half", ("input",), 12, 6, batch_norm=False)
    other = Conv2d("other", ("input",), 12, 6, batch_norm=False)
    first, second = (np.eye(12, 6, k=k, dtype=np.float32)[np.newaxis, np.newaxis] for k in (0, -6))
    nodes = [
        half, other, firing("a", "half"), firing("b", "other"), And("and", ("a", "b")), IAnd("iand", ("a", "b")),
        HeadSum("heads", ("a",), 3, (("mask_spikes", "gate"), ("masked", "by_head"))), firing("gate", "heads"),
        Mask("by_head", ("b", "gate")), TokenSum("tokens_sum", ("and",), 3), firing("channels", "tokens_sum"),
        Mask("by_channel", ("b", "channels")),
        Add("sum1", ("iand", "by_head")), Add("sum2", ("sum1", "by_channel")),
    ]  # fmt: skip
    outputs, result = run(network(nodes, 12, {"half.weight": first, "other.weight": second}), x)
    a, b = x[..., :6], x[..., 6:]
    assert np.array_equal(outputs["and"], a * b)
    assert np.array_equal(outputs["iand"], a * (1 - b))
    heads = a.reshape(T, H, W, 3, 2).sum(axis=4)
    assert np.array_equal(outputs["heads"], heads)
    assert np.array_equal(outputs["by_head"], b * np.repeat(heads > 0, 2, axis=3))
    total = (a * b).sum(axis=(1, 2), keepdims=True)
    assert np.array_equal(outputs["tokens_sum"], total)
    assert np.array_equal(outputs["by_channel"], b * (total > 0))
    row = result.counts.layer("heads")
    assert (row.kind, row.attention, row.input_kind) == ("attention", "token-qk", "spikes")
    assert np.array_equal(row.sops_per_head, heads.sum(axis=(1, 2)))
    assert np.array_equal(row.operations["mask_spikes"], (heads > 0).sum(axis=(1, 2, 3)))
    assert np.array_equal(row.operations["masked"], outputs["by_head"].sum(axis=(1, 2, 3)))
    row = result.counts.layer("tokens_sum")
    assert row.attention == "sdsa"
    assert np.array_equal(row.sops_per_head, total.reshape(T, 3, 2).sum(axis=2))
    assert (result.counts.other["spike_gates"] == 4 * H * W * 6).all()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_what_comes_later_is_counted_later(steps):
    """Sums of spikes that count a delay count what it emits, when it does, though its input was counted before."""
    rng = np.random.default_rng(steps)
    x = rng.poisson(1.0, (T, H, W, 4))
    watched = tuple((name, name) for name in ("late", "a", "late_a"))
    nodes = [
        Conv2d("first", ("input",), 4, 4, batch_norm=False), firing("a", "first"), HeadSum("sums", ("a",), 2, watched),
        Delay("late", ("input",), steps), Delay("late_a", ("a",), steps),
        Conv2d("conv", ("late",), 4, 4, batch_norm=False), Conv2d("conv_a", ("late_a",), 4, 4, batch_norm=False),
        Add("both", ("conv", "conv_a")), firing("b", "both"), HeadSum("more", ("b",), 2),
        Add("last", ("sums", "more")),
    ]  # fmt: skip
    weights = {f"{name}.weight": rng.standard_normal((4, 4)).astype(np.float32) for name in ("conv", "conv_a")}
    weights["first.weight"] = np.eye(4, dtype=np.float32)
    for schedule in ("layer", "time"):
        net = network(nodes, 4, {key: value[np.newaxis, np.newaxis] for key, value in weights.items()}, kind="events")
        counts = api.simulate(net, x.transpose(0, 3, 1, 2), schedule=schedule, precision="float64").counts
        operations = counts.layer("sums").operations
        assert operations["a"].tolist() == (x > 0).sum(axis=(1, 2, 3)).tolist(), schedule
        for name, values in (("late", x), ("late_a", x > 0)):
            late = np.concatenate([np.zeros_like(x), values])[T - min(steps, T) :][:T]
            assert operations[name].tolist() == late.sum(axis=(1, 2, 3)).tolist(), (schedule, name)


@pytest.mark.parametrize("reads", ["spikes", "integers", "real"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 1, 0)])
def test_pools_over_windows(reads, kernel, stride, padding):
    """Average and sum of spikes, integers and real values: sums of the first two stay integers."""
    rng = np.random.default_rng(2)
    x = spikes(rng, 5) * (1 if reads == "spikes" else rng.integers(1, 5, (T, H, W, 5)))
    first = {"spikes": firing("x"), "integers": MultiSpike("x", ("input",), 4, 4.0)}.get(reads)
    source = "x" if first else "input"
    window = (kernel, stride, padding)
    nodes = [SumPool("sum", (source,), *window), AveragePool("mean", (source,), *window), Add("add", ("sum", "mean"))]
    net = network([first, *nodes] if first else nodes, 5)
    outputs, result = run(net, x)
    sums = naive.window_sums(outputs["x"] if first else x, *window)
    np.testing.assert_allclose(outputs["sum"], sums, rtol=1e-12)
    np.testing.assert_allclose(outputs["mean"], sums / kernel**2, rtol=1e-12)
    assert net.shapes["sum"].kind == ("real" if reads == "real" else "integers")
    taps = naive.window_sums(np.ones((1, H, W, 1)), *window)
    assert (result.counts.other["pool_adds"] == 2 * 5 * (taps.sum() - taps.size)).all()


def test_adaptive_pooling_averages_or_copies():
    """Windows follow PyTorch's rule; where each holds one position, spikes stay spikes."""
    rng = np.random.default_rng(3)
    x = spikes(rng, 3)
    nodes = [firing("x"), AdaptiveAveragePool("down", ("x",), 3, 2), AdaptiveAveragePool("up", ("x",), 8, 10)]
    net = network([*nodes, AdaptiveAveragePool("same", ("up",), 3, 2), Add("sum", ("down", "same"))], 3)
    outputs, _ = run(net, x)
    for i in range(3):
        for j in range(2):
            rows = slice(i * H // 3, -(-(i + 1) * H // 3))
            columns = slice(j * W // 2, -(-(j + 1) * W // 2))
            np.testing.assert_allclose(outputs["down"][:, i, j], x[:, rows, columns].mean(axis=(1, 2)), rtol=1e-12)
    assert (net.shapes["down"].kind, net.shapes["up"].kind) == ("real", "spikes")
    assert np.array_equal(outputs["up"], x.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("reads", ["spikes", "integers", "real"])
def test_max_pool_over_the_plane_of_a_head(reads):
    """The plane is [tokens, channels of the head], tokens row by row; other heads do not show."""
    rng = np.random.default_rng(4)
    x = spikes(rng, 6, 0.1) * (1 if reads == "spikes" else rng.integers(1, 5, (T, H, W, 6)))
    first = {"spikes": [firing("x")], "integers": [MultiSpike("x", ("input",), 4, 4.0)]}.get(reads, [])
    node = MaxPool("erode", (first[0].name if first else "input",), 3, 1, 1, 2)
    outputs, _ = run(network([*first, node], 6), x)
    seen = outputs["x"] if first else x
    planes = seen.reshape(T, H * W, 2, 3).transpose(2, 0, 1, 3)
    wanted = np.stack([naive.max_pool(plane[..., np.newaxis], 3, 1, 1)[..., 0] for plane in planes])
    assert np.array_equal(outputs["erode"], wanted.transpose(1, 2, 0, 3).reshape(T, H, W, 6))


def test_flatten_is_channels_first_and_votes_are_means():
    """Weights of a checkpoint, which sees maps channels-first, fit behind Flatten; Vote averages neighbours."""
    rng = np.random.default_rng(5)
    x = spikes(rng, 3)
    weight = rng.normal(size=(3 * H * W, 20)).astype(np.float32)
    nodes = [firing("x"), Flatten("flat", ("x",)), Linear("fc", ("flat",), 3 * H * W, 20, False), Vote("vote", ("fc",))]
    outputs, result = run(network(nodes, 3, {"fc.weight": weight}), x)
    wanted = x.transpose(0, 3, 1, 2).reshape(T, -1) @ weight.astype(np.float64)
    np.testing.assert_allclose(outputs["fc"].reshape(T, -1), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(outputs["vote"].reshape(T, 2), wanted.reshape(T, 2, 10).mean(axis=2), atol=1e-12)
    assert (result.counts.layer("fc").sops == x.sum(axis=(1, 2, 3)) * 20).all()


def test_pad_has_a_border_of_each_channel():
    """The border holds a channel's own value, the map lies inside."""
    x = np.random.default_rng(6).normal(size=(T, H, W, 3))
    border = np.array([1.0, -2.0, 0.5])
    outputs, _ = run(network([Pad("p", ("input",), 3, 2)], 3, {"p.border": border}), x)
    wanted = np.broadcast_to(border, (T, H + 4, W + 4, 3)).copy()
    wanted[:, 2:-2, 2:-2] = x
    assert np.array_equal(outputs["p"], wanted)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32), wide=st.sampled_from([1, 2, 3]), graded=st.booleans(),
    order=st.sampled_from(["q(kv)", "(qk)v"]),
)  # fmt: skip
def test_attention_on_integers_and_of_another_width(seed, wide, graded, order):
    """Values as of dense products; nonzero pairs count as spikes do, and values by their size beside them."""
    if not graded and wide == 1:
        return
    rng = np.random.default_rng(seed)
    heads, size = 2, 4
    widths = (heads * size, heads * size, heads * size * wide)
    x = spikes(rng, sum(widths), 0.2) * (rng.integers(1, 5, (T, H, W, sum(widths))) if graded else 1)
    nodes, weights, begin = [], {}, 0
    for name, width in zip("qkv", widths, strict=True):
        nodes.append(Conv2d(f"c{name}", ("input",), sum(widths), width, batch_norm=False))
        weights[f"c{name}.weight"] = np.eye(sum(widths), width, k=-begin, dtype=np.float32)[np.newaxis, np.newaxis]
        nodes.append(MultiSpike(name, (f"c{name}",), 4, 2.0) if graded else firing(name, f"c{name}"))
        begin += width
    ssa = SpikingSelfAttention("ssa", ("q", "k", "v"), heads, 0.25, order)
    outputs, result = run(network([*nodes, ssa], sum(widths), weights), x, detail=True)
    unit = 2.0 if graded else 1.0
    q, k, v = ((outputs[n] * unit).reshape(T, H * W, heads, -1).transpose(0, 2, 1, 3) for n in "qkv")
    product = np.einsum("thni,thmi,thmj->thnj", q, k, v)
    wanted = product.transpose(0, 2, 1, 3).reshape(T, H, W, -1) * 0.25 / unit**3
    np.testing.assert_allclose(outputs["ssa"], wanted, rtol=1e-12)
    row = result.counts.layer("ssa")
    for t in range(T):
        for h in range(heads):
            parts = [(n[t, h] > 0).astype(int) for n in (q, k, v)]
            kv, qk = parts[1].T @ parts[2], parts[0] @ parts[1].T
            counts = {"q(kv)": kv.sum() + (parts[0] @ (kv > 0)).sum(), "(qk)v": qk.sum() + ((qk > 0) @ parts[2]).sum()}
            other = "(qk)v" if order == "q(kv)" else "q(kv)"
            assert (row.sops_per_head[t, h], row.sops_other_order_per_head[t, h]) == (counts[order], counts[other])
    first = np.einsum("thni,thmi->th", q, k) if order == "(qk)v" else np.einsum("thni,thnj->th", k, v)
    assert (row.sops_unrolled_per_head is None) == (not graded)
    if graded:
        assert np.array_equal(row.sops_unrolled_per_head, first + product.sum(axis=(2, 3)))
        assert int(row.acs_unrolled.sum()) == int(first.sum() + product.sum())


@pytest.mark.parametrize("rows", ["channels", "tokens"])
def test_real_rows_added_up_by_spikes(rows):
    """Each spike adds its row, times its head's scale; operations are spikes times the length of a row."""
    rng = np.random.default_rng(7)
    heads, size, tokens = 2, 3, H * W
    inner = size if rows == "channels" else tokens
    z = spikes(rng, heads * inner)
    x = np.concatenate([z, rng.normal(size=(T, H, W, heads * 2 * size))], axis=3)
    total, scale = x.shape[3], np.array([0.5, 2.0])
    eye = np.eye(total, dtype=np.float32)[np.newaxis, np.newaxis]
    nodes = [
        Conv2d("cz", ("input",), total, heads * inner, batch_norm=False), firing("z", "cz"),
        Conv2d("y", ("input",), total, heads * 2 * size, batch_norm=False),
        HeadProduct("product", ("z", "y"), heads, rows, 1),
    ]  # fmt: skip
    cut = heads * inner
    weights = {"cz.weight": eye[..., :cut], "y.weight": eye[..., cut:], "product.scale": scale}
    outputs, result = run(network(nodes, total, weights), x, detail=True)
    y = x[..., cut:].reshape(T, tokens, heads, 2, size)[:, :, :, 1]
    named = z.reshape(T, tokens, heads, inner)
    how = "tnhk,tmhk->tnhm" if rows == "channels" else "tnhm,tmhk->tnhk"
    wanted = np.einsum(how, named, y) * scale[:, np.newaxis]
    np.testing.assert_allclose(outputs["product"], wanted.reshape(T, H, W, -1), rtol=1e-12, atol=1e-12)
    row = result.counts.layer("product")
    length = tokens if rows == "channels" else size
    assert (row.attention, row.sops_other_order_per_head) == ("dssa", None)
    assert np.array_equal(row.sops_per_head, named.sum(axis=(1, 3)) * length)
    assert row.dense_macs == T * heads * tokens * inner * length


def test_a_layer_that_runs_once_is_counted_once():
    """Its values are repeated, its operations stand in the first timestep; frames over time are refused."""
    rng = np.random.default_rng(8)
    image = rng.normal(size=(3, H, W))
    weight = {"c.weight": rng.normal(size=(3, 3, 3, 4)).astype(np.float32)}
    nodes = [Conv2d("c", ("input",), 3, 4, (3, 3), (1, 1), (1, 1), batch_norm=False, repeated=True)]
    nodes.append(LIF("n", ("c",), decay_input=False, decay=1.0))
    once = network(nodes, 3, weight, "image")
    outputs, result = run(once, image)
    row = result.counts.layer("c")
    assert row.macs.tolist()[1:] == [0] * (T - 1)
    assert (row.steps, row.input_size.tolist()) == (1, [image.size] + [0] * (T - 1))
    each = api.simulate(network([Conv2d(**{**vars(nodes[0]), "repeated": False}), nodes[1]], 3, weight, "image"), image)
    assert each.counts.layer("c").macs.tolist() == [row.macs[0]] * T
    current = naive.conv(image.transpose(1, 2, 0)[np.newaxis], weight["c.weight"].astype(float), (1, 1), (1, 1))
    wanted = naive.neurons(np.repeat(current, T, axis=0), 1.0, decay=1.0)
    assert np.array_equal(outputs["n"], wanted)
    with pytest.raises(RecordingError, match="c runs once for all timesteps, so the model takes an image"):
        api.simulate(once, np.zeros((T, 3, H, W)))
    with pytest.raises(NetworkError, match="c runs once for all timesteps, but reads more than one image"):
        network(nodes, 3, weight)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (Conv2d("n", ("x",), 6, 4, groups=4), "do not divide into 4 groups"),
        (LIF("n", ("x",), decay_input=False, decay=1.5), "decay must be from 0 to 1"),
        (LIF("n", ("x",), decay=0.5), "decay 0.5 has no meaning"),
        (LIF("n", ("x",), channels=4), "wants 4 channels with a threshold each"),
        (LIF("n", ("x",), view=(5,)), "does not hold the values"),
        (MultiSpike("n", ("x",), 0), "levels must be at least 1"),
        (MaxPool("n", ("x",), 3, 2, 1, 2), "stride must be 1"),
        (MaxPool("n", ("x",), 3, 1, 1, 4), "do not divide into 4 heads"),
        (Mask("n", ("x", "y")), "wants a mask by channel, or by token and head"),
        (And("n", ("x", "y")), "joins maps of different shape"),
        (HeadSum("n", ("x",), 4), "do not divide into 4 heads"),
        (HeadSum("n", ("x",), 3, (("a", "nobody"),)), "n counts nobody, which are no nodes"),
        (TokenSum("n", ("x",), 3, (("a/b", "x"),)), "operations must have names of their own"),
        (TokenSum("n", ("input",)), "wants spikes"),
        (Vote("n", ("x",), 4), "wants channels in groups of 4"),
        (HeadProduct("n", ("x", "input"), 1, "tokens", 2), "part 2 is none of 2 parts"),
        (HeadProduct("n", ("x", "input"), 1, "tokens"), "wants 20 channels in each of 1 heads"),
    ],
)
def test_what_does_not_fit_is_said(node, says):
    """One line names the node, what is wrong and what it got."""
    parameters = {f"{node.name}.{key}": np.zeros(shape) for key, shape in node.parameters().items()}
    small = [Conv2d("c", ("input",), 6, 4, batch_norm=False), firing("y", "c")] if "y" in node.inputs else []
    weights = parameters | ({"c.weight": np.zeros((1, 1, 6, 4))} if small else {})
    with pytest.raises(NetworkError, match=says):
        network([firing("x"), *small, node], 6, weights)
