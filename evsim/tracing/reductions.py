"""Means, sums and pools: over positions, over timesteps, over groups of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evsim.tracing.arithmetic import affine
from evsim.tracing.call import Call
from evsim.tracing.coordinates import ONCE, Codes, common, encode, locals_of, times_of
from evsim.tracing.drafts import Draft
from evsim.tracing.operations import entered
from evsim.tracing.reading import Refusal, channels, expect_known, maps, single, tokens, unpadded
from evsim.tracing.recorder import Recorder


@entered("mean", "sum")
def _reduce(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "dim", "keepdim", keepdim=False)
    value, dim = given["input"], given["dim"]
    result = call.run()
    if len(call.args) > 2 and not isinstance(call.args[1], int | tuple | list):
        raise Refusal(f"{call.name} with such arguments is no primitive")
    codes = rec.array(value)
    expect_known(codes)
    rank = codes.ndim
    axes = tuple(range(rank)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    axes = tuple(sorted(axis % rank for axis in axes))
    rest = tuple(axis for axis in range(rank) if axis not in axes)
    arranged = codes.transpose(*rest, *axes).reshape(*(codes.shape[axis] for axis in rest), -1)
    reduced = reduction(rec, arranged, mean=call.name == "mean")
    rec.follow(result, np.ascontiguousarray(reduced).reshape(tuple(result.shape)))
    return result


@entered("max", "amax")
def _maximum(rec: Recorder, call: Call) -> Any:
    """Take the maximum over time, a readout of potentials."""
    given = call.bound("input", "dim", "keepdim", keepdim=False)
    codes, axis = rec.array(given["input"]), given["dim"]
    expect_known(codes)
    if not isinstance(axis, int):
        raise Refusal("a maximum over all values, or of two maps, is no primitive")
    draft, codes = single(rec, np.moveaxis(codes, axis, -1))
    channel, token = common(channels(draft, codes), -1), common(tokens(draft, codes), -1)
    if channel is None or token is None:
        raise Refusal(f"a maximum over other axes of {draft.name} than time is no primitive")
    _expect_time(rec, draft, codes)
    result = call.run()
    value = result if isinstance(result, torch.Tensor) else result[0]
    largest = rec.enter("time_max", [draft.number], draft.size, [ONCE], suffix="time_max")
    places = channel * draft.positions + token
    rec.follow(value, encode(largest.number, ONCE, places).reshape(tuple(value.shape)))
    return result


@entered("softmax", "log_softmax")
def _softmax(rec: Recorder, call: Call) -> Any:
    """Leave a softmax over the classes to the end of the network, which does without: it changes no prediction."""
    given = call.bound("input", "dim", "_stacklevel", "dtype")
    codes, axis = rec.array(given["input"]), given["dim"]
    expect_known(codes)
    draft, codes = single(rec, codes)
    one_row = codes.size == draft.values == codes.shape[axis if isinstance(axis, int) else -1]
    if not one_row or (times_of(codes) != ONCE).any():
        raise Refusal(f"{call.name} is no operation that evsim has a primitive for, but at the model's end")
    result = call.run()
    ending = rec.enter("softmax", [draft.number], draft.size, [ONCE], suffix="softmax", facts={"form": call.name})
    rec.follow(result, encode(ending.number, ONCE, locals_of(codes)))
    return result


def reduction(rec: Recorder, codes: Codes, *, mean: bool) -> Codes:
    """Return the codes of the mean or sum over the last axis."""
    if codes.shape[-1] == 1:
        return codes[..., 0]
    draft, codes = single(rec, codes)
    time, channel, token = (
        common(times_of(codes), -1),
        common(channels(draft, codes), -1),
        common(tokens(draft, codes), -1),
    )
    count, factor = codes.shape[-1], 1.0
    if time is not None and channel is not None:
        _expect_all(tokens(draft, codes), draft.positions, f"the positions of {draft.name}")
        reduced, factor = _positions(rec, draft, time, channel, count), float(count)
    elif channel is not None and token is not None:
        _expect_time(rec, draft, codes)
        reduced = _time(rec, draft, channel * draft.positions + token)
        factor = float(count)
    elif channel is not None:
        # both: positions first, then time, whatever the order of values
        steps = len(np.unique(times_of(codes)))
        if count != steps * draft.positions:
            raise Refusal(f"it takes some of the positions and timesteps of {draft.name} alone")
        pooled = rec.enter(
            "token_mean", [draft.number], (draft.size[0], 1, 1), np.unique(times_of(codes)), suffix="token_mean"
        )
        reduced, factor = _time(rec, pooled, channel), float(count)
    elif time is not None and token is not None:
        return _channels(rec, draft, codes, time, token, mean=mean)
    else:
        raise Refusal(
            f"a mean or sum over these axes of {draft.name} mixes channels with others, which is no primitive"
        )
    if mean:
        return reduced
    return affine(rec, reduced, np.full(reduced.shape, factor), np.zeros(reduced.shape), "sum")


def _expect_all(places: Codes, number: int, what: str) -> None:
    if places.shape[-1] != number or not (np.sort(places, axis=-1) == np.arange(number)).all():
        raise Refusal(f"it takes some of {what} alone, or some several times")


def _expect_time(rec: Recorder, draft: Draft, codes: Codes) -> None:
    times = np.sort(times_of(codes), axis=-1)
    if not (times == np.arange(codes.shape[-1])).all():
        raise Refusal(f"it takes some of the timesteps of {draft.name} alone")
    rec.expect_steps(codes.shape[-1])


def _positions(rec: Recorder, draft: Draft, time: Codes, channel: Codes, count: int) -> Codes:  # noqa: ARG001
    pooled = rec.enter("token_mean", [draft.number], (draft.size[0], 1, 1), np.unique(time), suffix="token_mean")
    return encode(pooled.number, time, channel)


def _time(rec: Recorder, draft: Draft, places: Codes) -> Codes:
    averaged = rec.enter("time_mean", [draft.number], draft.size, [ONCE], suffix="time_mean")
    return encode(averaged.number, ONCE, places)


def _channels(rec: Recorder, draft: Draft, codes: Codes, time: Codes, token: Codes, *, mean: bool) -> Codes:
    """Return the sum of each group of neighbouring channels, or its mean."""
    channel = np.sort(channels(draft, codes), axis=-1)
    width = channel.shape[-1]
    group = channel[..., 0] // width
    if draft.size[0] % width or not (channel == group[..., np.newaxis] * width + np.arange(width)).all():
        raise Refusal(f"it adds channels of {draft.name} that are no group of neighbours")
    groups = draft.size[0] // width
    kind = "vote" if mean else "head_sum"
    summed = rec.enter(
        kind, [draft.number], (groups, *draft.size[1:]), np.unique(time), suffix=kind, key=groups,
        facts={"heads": groups, "voters": width},
    )  # fmt: skip
    return encode(summed.number, time, group * draft.positions + token)


def _pairs(value: Any, default: Any = None) -> tuple[int, int]:
    value = default if value is None or value == [] else value
    return (int(value[0]), int(value[-1])) if isinstance(value, list | tuple) else (int(value), int(value))


def _windowed(rec: Recorder, call: Call, kind: str, given: dict[str, Any]) -> Any:
    """Enter a pool that moves a window over the map."""
    kernel = _pairs(given["kernel_size"])
    stride, padding = _pairs(given["stride"], given["kernel_size"]), _pairs(given.get("padding", 0))
    codes = rec.array(given["input"])
    result = call.run()
    value = result[0] if isinstance(result, tuple) else result
    codes = codes if codes.ndim == 4 else codes[np.newaxis]
    if kind != "max_pool":
        codes, border = unpadded(codes)
        padding = (padding[0] + border[0], padding[1] + border[1])
    draft, times = maps(rec, codes)
    size = (draft.size[0], int(value.shape[-2]), int(value.shape[-1]))
    for inner, outer, k, s, p in zip(draft.size[1:], size[1:], kernel, stride, padding, strict=True):
        if (inner + 2 * p - k) // s + 1 != outer:
            raise Refusal("ceil_mode gives windows that hang over the border, which is no primitive")
    facts = {"kernel": kernel, "stride": stride, "padding": padding}
    pool = rec.enter(kind, [draft.number], size, times, suffix=kind, key=tuple(facts.values()), facts=facts)
    codes = encode(pool.number, times[:, np.newaxis], np.arange(pool.values)).reshape(tuple(value.shape))
    rec.follow(value, codes)
    return result


@entered("max_pool2d", "max_pool2d_with_indices", "boolean_dispatch")
def _max_pool(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", padding=0, dilation=1)
    if _pairs(given["dilation"]) != (1, 1):
        raise Refusal("max-pooling with dilation is no primitive")
    return _windowed(rec, call, "max_pool", given)


@entered("avg_pool2d")
def _average_pool(rec: Recorder, call: Call) -> Any:
    given = call.bound(
        "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override", padding=0,
        count_include_pad=True,
    )  # fmt: skip
    padded = _pairs(given["padding"]) != (0, 0)
    if given["divisor_override"] is not None or (padded and not given["count_include_pad"]):
        raise Refusal("average pooling that does not divide by the size of its window is no primitive")
    return _windowed(rec, call, "average_pool", given)


@entered("lp_pool2d")
def _sum_pool(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "norm_type", "kernel_size", "stride", "ceil_mode")
    if float(given["norm_type"]) != 1.0:
        raise Refusal(f"pooling by the norm {given['norm_type']} is no primitive; 1 is a sum")
    return _windowed(rec, call, "sum_pool", given)


@entered("avg_pool1d")
def _vote(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "kernel_size", "stride", "padding", padding=0)
    width, stride, padding = (
        _pairs(given[name], given["kernel_size"])[0] for name in ("kernel_size", "stride", "padding")
    )
    codes = rec.array(given["input"])
    if width != stride or (padding and given["padding"] not in (0, (0,), [0])) or codes.shape[-1] % width:
        raise Refusal("average pooling over windows that overlap, of one axis, is no primitive")
    result = call.run()
    reduced = reduction(rec, codes.reshape(*codes.shape[:-1], -1, width), mean=True)
    rec.follow(result, np.ascontiguousarray(reduced).reshape(tuple(result.shape)))
    return result


@entered("adaptive_avg_pool2d", "adaptive_avg_pool1d")
def _adaptive(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "output_size")
    value, wanted = given["input"], given["output_size"]
    codes, result = rec.array(value), call.run()
    rank = 1 if call.name.endswith("1d") else 2
    spatial = codes.shape[-rank:]
    outer = tuple(result.shape[-rank:])
    if outer == spatial:
        rec.follow(result, codes)
        return result
    if all(size == 1 for size in outer):
        reduced = reduction(rec, codes.reshape(*codes.shape[:-rank], -1), mean=True)
        rec.follow(result, np.ascontiguousarray(reduced).reshape(tuple(result.shape)))
        return result
    if rank == 1:
        raise Refusal(f"adaptive pooling to {wanted} of one axis is no primitive")
    draft, times = maps(rec, codes if codes.ndim == 4 else codes[np.newaxis])
    size = (draft.size[0], *outer)
    pool = rec.enter("adaptive_pool", [draft.number], size, times, suffix="adaptive_pool", key=outer)
    rec.follow(result, encode(pool.number, times[:, np.newaxis], np.arange(pool.values)).reshape(tuple(result.shape)))
    return result
