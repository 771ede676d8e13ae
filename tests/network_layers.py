"""How a random network gets layers, neurons and pools: functions of a `Builder`, for the table in `networks.py`."""

from __future__ import annotations

from math import gcd, prod

from growing import MOST_VALUES, WIDTHS
from hypothesis import strategies as st

from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    AveragePool,
    Conv2d,
    Flatten,
    MaxPool,
    MultiSpike,
    Pad,
    SumPool,
    Vote,
)


def conv(builder):
    """Add a convolution, grouped now and then, or one that runs once on an image."""
    draw = builder.draw
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (2, 3), (5, 1), (7, 7)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1)]))
    half, apart = draw(st.booleans()), draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 2), (3, 1)]))
    extents = tuple((size - 1) * step + 1 for size, step in zip(kernel, apart, strict=True))
    padding = tuple(size // 2 if half else draw(st.integers(0, size)) for size in extents)
    after = tuple(draw(st.integers(0, size)) for size in extents) if draw(st.integers(0, 4)) == 0 else ()
    pads = tuple(sum(pair) for pair in zip(padding, after or padding, strict=True))
    spans = lambda shape: zip((shape.height, shape.width), extents, pads, strict=True)  # noqa: E731
    fits = lambda shape: all(size + pad >= extent for size, extent, pad in spans(shape))  # noqa: E731
    images = sorted(name for name in builder.images if fits(builder.shapes[name]))
    name = draw(st.sampled_from(images)) if images and draw(st.booleans()) else builder.source(fits)
    if name is None:
        return
    shape, width = builder.shapes[name], draw(WIDTHS)
    values = width * prod((size + pad - extent) // step + 1
                          for (size, extent, pad), step in zip(spans(shape), stride, strict=True))  # fmt: skip
    width = width if values <= MOST_VALUES else 2
    fields = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": apart,
        "padding_after": after,
        **builder.flags(),
    }
    if draw(st.booleans()):
        if values <= MOST_VALUES and values // width * shape.channels <= MOST_VALUES:
            width = shape.channels  # so that it can be depthwise
        shared = gcd(width, shape.channels)
        fields["groups"] = draw(st.sampled_from([n for n in range(1, shared + 1) if shared % n == 0]))
    if name in builder.images:
        fields["repeated"] = draw(st.booleans())
    builder.add(Conv2d, name, in_channels=shape.channels, out_channels=width, **fields)


def linear(builder):
    """Add a linear layer."""
    name, width = builder.source(), builder.draw(WIDTHS)
    builder.layer(name, width if width * builder.shapes[name].positions <= MOST_VALUES else 2)


def lif(builder):
    """Add spiking neurons: as Spikingformer has them, or with any leak, reset, comparison and thresholds."""
    tau = builder.draw(st.sampled_from([2.0, 2.0, 2.0, 1.0, 4.0, 1.5, 3.0, 10.0]))
    threshold = builder.draw(st.sampled_from([1.0, 0.5, 0.25, 0.3, 2.0]))
    layout = builder.draw(st.sampled_from(["map", "tokens", "rows"]))
    name, kind = builder.source(), {}
    if builder.draw(st.booleans()):
        rests = builder.draw(st.sampled_from(["input decays", "decays", "w", "w, input decays"]))
        kind = {"decay_input": "input" in rests, "parametric": "w" in rests}
        kind["decay"] = builder.draw(st.sampled_from([1.0, 1.0, 0.5, 0.0, 0.25, 0.7])) if rests == "decays" else 0.0
        kind |= {"strict": builder.draw(st.booleans()), "soft_reset": builder.draw(st.booleans())}
        kind["channels"] = builder.shapes[name].channels if builder.draw(st.booleans()) else 0
        kind["view"] = builder.view(name)
    builder.add(LIF, name, tau=tau, v_threshold=threshold, layout=layout, **kind)


def multi_spike(builder):
    """Add integer neurons."""
    draw, name = builder.draw, builder.source()
    builder.add(
        MultiSpike, name,
        levels=draw(st.sampled_from([1, 2, 4, 8])), norm=draw(st.sampled_from([4.0, 4.0, 1.0, 8.0, 3.0])),
        rounding=draw(st.sampled_from(["half-even", "half-up"])), integrates=draw(st.booleans()),
        layout=draw(st.sampled_from(["map", "tokens", "rows"])), view=builder.view(name),
    )  # fmt: skip


def max_pool(builder):
    """Add a max-pool over space, or over the plane of each head."""
    if builder.draw(st.integers(0, 3)) == 0:
        return _pool_by_head(builder)
    kernel, stride = builder.draw(st.sampled_from([(3, 2), (2, 2), (2, 1), (3, 1), (1, 1), (1, 2), (4, 3)]))
    _pool(builder, MaxPool, kernel, stride)
    return None


def _pool(builder, kind, kernel, stride):
    """Add a pool of windows, which are not square now and then."""
    draw = builder.draw
    padding, columns = draw(st.integers(0, kernel // 2)), ()
    if draw(st.integers(0, 3)) == 0:
        wide = draw(st.integers(1, 4))
        columns = (wide, draw(st.integers(1, 3)), draw(st.integers(0, wide // 2)))
    across = columns or (kernel, stride, padding)
    name = builder.source(
        lambda shape: shape.height + 2 * padding >= kernel and shape.width + 2 * across[2] >= across[0]
    )
    if name is not None:
        builder.add(kind, name, kernel=kernel, stride=stride, padding=padding, columns=columns)


def _pool_by_head(builder):
    padding, name = builder.draw(st.integers(0, 2)), builder.source()
    heads = builder.heads(builder.shapes[name].channels)
    builder.add(MaxPool, name, kernel=2 * padding + 1, stride=1, padding=padding, heads=heads)


def window_pool(kind):
    """Return what adds a pool of that kind over windows."""

    def pool(builder):
        kernel, stride = builder.draw(st.sampled_from([(2, 2), (3, 2), (3, 1), (2, 1), (1, 1), (1, 2), (4, 3)]))
        _pool(builder, kind, kernel, stride)

    return pool


def adaptive_pool(builder):
    """Add a pool to a size; now and then it repeats whole rows and columns."""
    height, width = builder.draw(st.integers(1, 10)), builder.draw(st.integers(1, 10))
    name = builder.source(lambda shape: height * width * shape.channels <= MOST_VALUES)
    if name is not None:
        if builder.draw(st.booleans()):  # whole rows and columns are repeated
            shape = builder.shapes[name]
            taller, wider = shape.height * (1 + height % 2), shape.width * (1 + width % 3)
            if taller * wider * shape.channels <= MOST_VALUES:
                height, width = taller, wider
        builder.add(AdaptiveAveragePool, name, height=height, width=width)


def pad(builder):
    """Add a border."""
    padding = builder.draw(st.integers(1, 2))
    name = builder.source(
        lambda shape: (shape.height + 2 * padding) * (shape.width + 2 * padding) * shape.channels <= MOST_VALUES
    )
    if name is not None:
        builder.add(Pad, name, channels=builder.shapes[name].channels, padding=padding)


def flatten(builder):
    """Add what makes one position of a map."""
    builder.add(Flatten, builder.source())


def vote(builder):
    """Add a vote."""
    name = builder.source()
    builder.add(Vote, name, voters=builder.heads(builder.shapes[name].channels))


average_pool, sum_pool = window_pool(AveragePool), window_pool(SumPool)
