"""Sums, products and constants on values whose origin is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evsim.tracing.call import Call
from evsim.tracing.coordinates import LOST, ONCE, STATIC, Codes, locals_of, renamed, times_of
from evsim.tracing.drafts import Draft
from evsim.tracing.operations import entered
from evsim.tracing.reading import LostError, Refusal, channels, expect_known, per_channel, single, tokens
from evsim.tracing.recorder import Recorder


def _operands(rec: Recorder, call: Call) -> tuple[Any, Any]:
    """Return both operands in order; reflected forms have them the other way round."""
    given = call.bound("input", "other")
    left, right = given["input"], given["other"]
    if given.get("alpha") not in (None, 1):
        raise Refusal("alpha of an addition is no primitive")
    if call.name.startswith("__r"):
        left, right = right, left
    for each in (left, right):
        if isinstance(each, torch.Tensor) and (codes := rec.codes(each)) is not None and bool((codes == LOST).any()):
            raise LostError
    return left, right


def _is_followed(rec: Recorder, value: Any) -> bool:
    return isinstance(value, torch.Tensor) and rec.codes(value) is not None


def _finish(rec: Recorder, call: Call, result: torch.Tensor, codes: Codes | torch.Tensor) -> torch.Tensor:
    """Follow a result; in place, the codes are overwritten where they lie, so that views see it."""
    first = call.args[0]
    if result is first and isinstance(first, torch.Tensor) and rec.codes(first) is not None:
        new = codes if isinstance(codes, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(codes))
        rec.known(first).copy_(new)
    else:
        rec.follow(result, codes)
    return result


def _constant(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return np.broadcast_to(array.astype(np.float64), shape)


def affine(rec: Recorder, codes: Codes, scale: NDArray[np.float64], shift: NDArray[np.float64], suffix: str) -> Codes:
    """Return the codes of ``x * scale + shift``, constants that broadcast to the shape of `codes`."""
    draft, codes = single(rec, codes)
    arrays = {}
    for name, values in (("scale", scale), ("shift", shift)):
        found = per_channel(draft, codes, values)
        if found is None:
            found = _per_neuron(draft, codes, values)
        arrays[name] = found
    if all(not array.ndim for array in arrays.values()) and arrays["scale"] == 1.0 and arrays["shift"] == 0.0:
        return codes
    key = tuple((array.shape, array.tobytes()) for array in arrays.values())
    times = np.unique(times_of(codes))
    entered_draft = rec.enter("affine", [draft.number], draft.size, times, suffix=suffix, key=key, arrays=arrays)
    return renamed(codes, entered_draft.number)


def _per_neuron(draft: Draft, codes: Codes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a constant for each value of the map, [C, H * W]; the same at all timesteps."""
    places, flat = locals_of(codes).reshape(-1), np.broadcast_to(values, codes.shape).reshape(-1)
    found = np.zeros(draft.values)
    found[places] = flat
    if not (found[places] == flat).all():
        raise Refusal("a constant that differs between timesteps is no primitive")
    return found.reshape(draft.size[0], draft.positions)


@entered("add", "__add__", "__radd__", "__iadd__", "add_")
def _add(rec: Recorder, call: Call) -> Any:
    left, right = _operands(rec, call)
    if not (_is_followed(rec, left) and _is_followed(rec, right)):
        return _with_constant(rec, call, left, right)
    result = call.run()
    shape = tuple(result.shape)
    a, b = (np.broadcast_to(rec.array(each), shape) for each in (left, right))
    return _finish(rec, call, result, added(rec, a, b))


@entered("sub", "__sub__", "__isub__", "sub_", "subtract")
def _sub(rec: Recorder, call: Call) -> Any:
    left, right = _operands(rec, call)
    if not (_is_followed(rec, left) and _is_followed(rec, right)):
        return _with_constant(rec, call, left, right, minus=True)
    result = call.run()
    shape = tuple(result.shape)
    a, b = (np.broadcast_to(rec.array(each), shape) for each in (left, right))
    negative = affine(rec, b, _constant(-1.0, shape), _constant(0.0, shape), "negative")
    return _finish(rec, call, result, added(rec, a, negative))


@entered("__rsub__", "rsub")
def _rsub(rec: Recorder, call: Call) -> Any:
    value, constant = call.args[0], call.args[1]
    if _is_followed(rec, constant):
        raise Refusal("this difference of two computed values is no primitive")
    result = call.run()
    shape = tuple(result.shape)
    codes = np.broadcast_to(rec.array(value), shape)
    return _finish(rec, call, result, affine(rec, codes, _constant(-1.0, shape), _constant(constant, shape), "rsub"))


@entered("neg", "__neg__", "negative")
def _neg(rec: Recorder, call: Call) -> Any:
    result = call.run()
    codes = rec.array(call.args[0])
    return _finish(
        rec, call, result, affine(rec, codes, _constant(-1.0, codes.shape), _constant(0.0, codes.shape), "neg")
    )


def _with_constant(rec: Recorder, call: Call, left: Any, right: Any, *, minus: bool = False) -> Any:
    result = call.run()
    shape = tuple(result.shape)
    value, constant = (left, right) if _is_followed(rec, left) else (right, left)
    codes = np.broadcast_to(rec.array(value), shape)
    shift = _constant(constant, shape)
    sign = 1.0
    if minus:
        sign, shift = (1.0, -shift) if value is left else (-1.0, shift)
    return _finish(rec, call, result, affine(rec, codes, _constant(sign, shape), shift, "add"))


def added(rec: Recorder, a: Codes, b: Codes) -> Codes:
    """Return the codes of a sum of computed values: of two maps, or of one over timesteps."""
    left, a = single(rec, a)
    right, b = single(rec, b)
    over_time = _over_time(rec, left, a, right, b)
    if over_time is not None:
        return over_time
    if not (locals_of(a) == locals_of(b)).all() or left.size != right.size:
        raise Refusal(
            f"it adds {left.name} {list(left.size)} and {right.name} {list(right.size)} in different order or shape"
        )
    times = _joint(times_of(a), times_of(b))
    total = rec.enter("add", [left.number, right.number], left.size, np.unique(times), suffix="add")
    newer = np.where(times_of(a) == STATIC, b, a)
    return renamed(newer, total.number)


def _joint(a: Codes, b: Codes) -> Codes:
    times = np.maximum(a, b)
    if not (((a == times) | (a == STATIC)) & ((b == times) | (b == STATIC))).all():
        raise Refusal("it joins values of different timesteps: a delay, which only neurons may keep")
    return times


def _over_time(rec: Recorder, left: Draft, a: Codes, right: Draft, b: Codes) -> Codes | None:
    """Return a running sum over timesteps: of one node at several of them; None where it is none."""
    if not (locals_of(a) == locals_of(b)).all():
        return None
    sources, steps = [], []
    for draft, codes in ((left, a), (right, b)):
        if draft.kind == "part":
            sources.append(draft.sources[0])
            steps.append(draft.facts["steps"])
        else:
            times = np.unique(times_of(codes))
            if len(times) > 1 or times[0] < 0:
                return None
            sources.append(draft.number)
            steps.append((int(times[0]),))
    if sources[0] != sources[1] or set(steps[0]) & set(steps[1]):
        return None
    together = tuple(sorted((*steps[0], *steps[1])))
    source = rec.drafts[sources[0]]
    part = rec.enter(
        "part", [source.number], source.size, [ONCE], suffix="sum", key=together, facts={"steps": together},
        name=f"{source.name}.sum",
    )  # fmt: skip
    shape = (np.int64(ONCE) + 2) << 31
    return renamed(locals_of(a) | shape, part.number)


@entered("mul", "__mul__", "__rmul__", "__imul__", "mul_", "multiply", "__and__", "logical_and", "bitwise_and")
def _mul(rec: Recorder, call: Call) -> Any:
    left, right = _operands(rec, call)
    result = call.run()
    shape = tuple(result.shape)
    if _is_followed(rec, left) and _is_followed(rec, right):
        a, b = (np.broadcast_to(rec.array(each), shape) for each in (left, right))
        return _finish(rec, call, result, multiplied(rec, a, b))
    value, constant = (left, right) if _is_followed(rec, left) else (right, left)
    codes = np.broadcast_to(rec.array(value), shape)
    scaled = affine(rec, codes, _constant(constant, shape), _constant(0.0, shape), "mul")
    return _finish(rec, call, result, scaled)


@entered("div", "__truediv__", "true_divide", "div_", "__itruediv__", "divide")
def _div(rec: Recorder, call: Call) -> Any:
    left, right = _operands(rec, call)
    if _is_followed(rec, right) or call.kwargs.get("rounding_mode"):
        raise Refusal("a division by computed values, or to integers, is no primitive")
    result = call.run()
    shape = tuple(result.shape)
    codes = np.broadcast_to(rec.array(left), shape)
    scaled = affine(rec, codes, 1.0 / _constant(right, shape), _constant(0.0, shape), "div")
    return _finish(rec, call, result, scaled)


def multiplied(rec: Recorder, a: Codes, b: Codes) -> Codes:
    """Return the codes of a product of two computed maps: spikes that let spikes through."""
    left, a = single(rec, a)
    right, b = single(rec, b)
    if left.values < right.values:
        left, a, right, b = right, b, left, a
    times = _joint(times_of(a), times_of(b))
    steps = np.unique(times)
    if left.size == right.size:
        if not (locals_of(a) == locals_of(b)).all():
            raise Refusal(f"it multiplies {left.name} and {right.name} in different order")
        gate = rec.enter("gate", [left.number, right.number], left.size, steps, suffix="mul")
    else:
        by_channel = right.positions == 1 and (channels(left, a) == locals_of(b)).all()
        group = max(left.size[0] // right.size[0], 1)
        heads = channels(right, b) == channels(left, a) // group
        by_token = right.positions == left.positions and (tokens(left, a) == tokens(right, b)).all() and heads.all()
        if not (by_channel or by_token):
            raise Refusal(
                f"it multiplies {left.name} {list(left.size)} by {right.name} {list(right.size)}, which is neither "
                "a mask by channel nor one by token and head"
            )
        gate = rec.enter("mask", [left.number, right.number], left.size, steps, suffix="mul")
    return renamed(np.where(times_of(a) == STATIC, b, a) if left.size == right.size else a, gate.number)


@entered("relu", "relu_", "abs")
def _relu(rec: Recorder, call: Call) -> Any:
    """Pass on what is never negative: spikes, and what pools and sums make of them."""
    codes = rec.array(call.args[0])
    draft, _ = single(rec, codes)
    if not _never_negative(rec, draft):
        raise Refusal(f"{call.name} of real values is no operation that evsim has a primitive for")
    return _finish(rec, call, call.run(), codes.copy())


def _never_negative(rec: Recorder, draft: Draft) -> bool:
    if draft.kind == "neuron":
        return bool(getattr(draft.facts["neuron"].node, "emits", "spikes") == "spikes")
    if draft.kind in ("gate", "mask"):
        return True
    passed = (
        "max_pool",
        "average_pool",
        "sum_pool",
        "adaptive_pool",
        "token_mean",
        "concat",
        "slice",
        "flatten",
        "add",
    )
    return draft.kind in passed and all(_never_negative(rec, rec.drafts[source]) for source in draft.sources)


@entered("batch_norm")
def _batch_norm(rec: Recorder, call: Call) -> Any:
    given = call.bound(
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
        training=False, momentum=0.1, eps=1e-5,
    )  # fmt: skip
    if given["training"] or given["running_mean"] is None:
        raise Refusal("BatchNorm takes its statistics from the sample; it has its own in eval()")
    result, codes = call.run(), rec.array(given["input"])
    expect_known(codes)
    variance = given["running_var"].detach().numpy().astype(np.float64)
    scale = 1.0 / np.sqrt(variance + given["eps"])
    if given["weight"] is not None:
        scale = given["weight"].detach().numpy() * scale
    shift = -given["running_mean"].detach().numpy() * scale
    if given["bias"] is not None:
        shift = shift + given["bias"].detach().numpy()
    broad = (1, -1) + (1,) * (codes.ndim - 2)
    shape = codes.shape
    spread = [np.broadcast_to(each.reshape(broad), shape) for each in (scale, shift)]
    rec.follow(result, affine(rec, codes, spread[0], spread[1], "batch_norm"))
    return result
