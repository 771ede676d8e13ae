"""What each function of PyTorch does to values whose origin is known: it moves them, or it is a node of the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evsim.tracing.call import Call
from evsim.tracing.coordinates import CONSTANT, LOST, ZERO, Codes, encode
from evsim.tracing.drafts import Draft
from evsim.tracing.neurons.equation import constant
from evsim.tracing.reading import LostError, Refusal, features, ordered_maps, rows, stepped, unpadded
from evsim.tracing.recorder import Recorder

Handler = Callable[[Recorder, Call], Any]
OPERATIONS: dict[str, Handler] = {}
"""Name of a function or method of PyTorch to what it does."""

MOVES = [
    "reshape",
    "view",
    "flatten",
    "unflatten",
    "permute",
    "transpose",
    "transpose_",
    "movedim",
    "moveaxis",
    "swapaxes",
    "swapdims",
    "t",
    "squeeze",
    "unsqueeze",
    "squeeze_",
    "unsqueeze_",
    "expand",
    "expand_as",
    "repeat",
    "view_as",
    "reshape_as",
    "stack",
    "cat",
    "concat",
    "concatenate",
    "hstack",
    "vstack",
    "chunk",
    "split",
    "unbind",
    "select",
    "narrow",
    "index_select",
    "__getitem__",
    "flip",
    "roll",
    "repeat_interleave",
    "tile",
    "broadcast_to",
    "broadcast_tensors",
    "contiguous",
    "clone",
    "get_T",
    "get_mT",
    "get_H",
    "detach",
    "get_data",
    "unfold_",
    "tensor_split",
    "split_with_sizes",
    "permute_copy",
    "ravel",
    "__iter__",
    "atleast_2d",
]
"""What only moves values: codes move the same way."""

SAME = [
    "float",
    "double",
    "to",
    "type",
    "type_as",
    "cpu",
    "cuda",
    "requires_grad_",
    "detach_",
    "half",
    "bfloat16",
    "alias",
    "dequantize",
    "identity",
]
"""What leaves values where they are: numbers of another type stay float64 here, so that nothing is rounded."""

ASKS = [
    "size",
    "dim",
    "ndimension",
    "numel",
    "nelement",
    "stride",
    "is_contiguous",
    "element_size",
    "data_ptr",
    "storage_offset",
    "get_shape",
    "get_dtype",
    "get_device",
    "get_ndim",
    "get_requires_grad",
    "get_is_cuda",
    "get_is_sparse",
    "get_layout",
    "get_grad_fn",
    "get_is_leaf",
    "get_itemsize",
    "get_nbytes",
    "get_is_quantized",
    "get_is_meta",
    "__len__",
    "is_floating_point",
    "is_complex",
    "get_device",
    "get_names",
    "has_names",
    "get_is_nested",
    "is_tensor",
    "get_grad",
    "get_is_mps",
    "get_is_xpu",
    "zeros_like",
    "ones_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "empty_like",
    "full_like",
    "rand_like",
    "randn_like",
    "new_tensor",
    "register_hook",
    "get_output_nr",
    "get_real",
    "retain_grad",
    "__hash__",
    "get_is_cpu",
    "is_same_size",
    "get_device_index",
    "result_type",
    "can_cast",
    "get_version",
    "get__version",
    "dim_order",
]
"""What asks of a tensor and not of its values."""


def entered(*names: str) -> Callable[[Handler], Handler]:
    """Enter a function as what operations of these names do."""

    def enter(handler: Handler) -> Handler:
        OPERATIONS.update(dict.fromkeys(names, handler))
        return handler

    return enter


@entered(*MOVES)
def _move(rec: Recorder, call: Call) -> Any:
    """Move codes as the values move."""
    result = call.run()
    moved = Call(call.name, call.function, _codes_of(rec, call.args), _codes_of(rec, call.kwargs)).run()
    _follow_all(rec, result, moved)
    return result


def _codes_of(rec: Recorder, value: Any) -> Any:
    """Return arguments with codes in place of values; what indexes stays."""
    if isinstance(value, torch.Tensor):
        if rec.codes(value) is None and value.dtype in (torch.int64, torch.int32, torch.bool, torch.uint8):
            return value
        return rec.known(value)
    if isinstance(value, list | tuple):
        return type(value)(_codes_of(rec, each) for each in value)
    if isinstance(value, dict):
        return {name: _codes_of(rec, each) for name, each in value.items()}
    return value


def _follow_all(rec: Recorder, result: Any, codes: Any) -> None:
    if isinstance(result, torch.Tensor):
        rec.follow(result, codes)
    else:
        for each, own in zip(result, codes, strict=True):
            _follow_all(rec, each, own)


@entered("__setitem__", "copy_", "index_copy_", "fill_", "zero_")
def _set(rec: Recorder, call: Call) -> Any:
    """Overwrite part of a tensor: `out[t] = spikes`."""
    target = call.args[0]
    if rec.codes(target) is None:
        rec.follow(target, rec.known(target))
    result = call.run()
    codes = list(_codes_of(rec, call.args))
    for place, value in enumerate(call.args[1:], 1):
        if isinstance(value, int | float) and (call.name != "__setitem__" or place == 2):
            codes[place] = ZERO if value == 0 else CONSTANT
    if call.name == "zero_":
        rec.known(target).fill_(ZERO)
    else:
        Call(call.name, call.function, tuple(codes), {}).run()
    return result


@entered(*SAME)
def _same(rec: Recorder, call: Call) -> Any:  # noqa: ARG001 - all handlers take the same
    """Return the tensor itself."""
    return call.args[0]


@entered(*ASKS)
def _ask(rec: Recorder, call: Call) -> Any:  # noqa: ARG001 - all handlers take the same
    return call.run()


@entered("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "any", "all", "equal",
         "allclose", "is_nonzero", "nonzero")  # fmt: skip
def _decide(rec: Recorder, call: Call) -> Any:  # noqa: ARG001 - all handlers take the same
    raise Refusal(f"{call.name}: the code asks for values on the way, so what it does next depends on the sample")


@entered("ge", "gt", "le", "lt", "eq", "ne", "__ge__", "__gt__", "__le__", "__lt__", "heaviside", "greater",
         "greater_equal", "where", "clamp", "round", "floor", "sign")  # fmt: skip
def _compare(rec: Recorder, call: Call) -> Any:  # noqa: ARG001 - all handlers take the same
    raise Refusal(
        f"{call.name}: a threshold written by hand is not recognised; use neurons of SpikingJelly, snnTorch, Norse or "
        "sinabs"
    )


@entered("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "dropout_")
def _dropout(rec: Recorder, call: Call) -> Any:  # noqa: ARG001 - all handlers take the same
    given = call.bound("input", "p", "training", "inplace", p=0.5, training=True)
    if given["training"] and given["p"] > 0.0:
        raise Refusal("dropout is on, so that no two runs are alike; it is off in eval()")
    return given["input"]


@entered("pad")
def _pad(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "pad", "mode", "value", mode="constant", value=None)
    if given["mode"] != "constant" or given["value"] not in (None, 0, 0.0):
        raise Refusal(f"a border by mode {given['mode']} and value {given['value']} is no primitive; one of zeros is")
    result = call.run()
    rec.follow(result, torch.nn.functional.pad(rec.known(given["input"]), given["pad"], value=ZERO))
    return result


# -- layers with weights ---------------------------------------------------------------------------------------------


@entered("linear")
def _linear(rec: Recorder, call: Call) -> Any:
    given = call.bound("input", "weight", "bias")
    result, codes = call.run(), rec.array(_followed(rec, given, "input"))
    _expect_constants(rec, given, "weight", "bias")
    flat = codes.reshape(-1, codes.shape[-1])
    draft, times, position, order = features(rec, flat)
    weight = constant(given["weight"])
    arrays = {"weight": np.ascontiguousarray(weight[:, np.argsort(order)].T)}
    if given["bias"] is not None:
        arrays["bias"] = constant(given["bias"])
    outputs = weight.shape[0]
    size = (outputs, *draft.size[1:])
    layer = rec.enter(
        "linear", [draft.number], size, np.unique(times), suffix="linear", key=_identity(given), arrays=arrays,
    )  # fmt: skip
    places = np.arange(outputs) * draft.positions + position[:, np.newaxis]
    rec.follow(result, encode(layer.number, times[:, np.newaxis], places).reshape(tuple(result.shape)))
    return result


@entered("conv1d", "conv2d")
def _conv(rec: Recorder, call: Call) -> Any:
    given = call.bound(
        "input", "weight", "bias", "stride", "padding", "dilation", "groups", stride=1, padding=0, dilation=1, groups=1
    )
    result, codes = call.run(), rec.array(_followed(rec, given, "input"))
    _expect_constants(rec, given, "weight", "bias")
    flat = call.name == "conv1d"
    rank = 1 if flat else 2
    codes = codes if codes.ndim == rank + 2 else codes[np.newaxis]
    codes = codes[:, :, np.newaxis] if flat else codes
    codes, border = unpadded(codes)
    weight = constant(given["weight"])
    kernel = (1, *weight.shape[2:]) if flat else weight.shape[2:]
    stride, dilation = _pair(given["stride"], flat, 1), _pair(given["dilation"], flat, 1)
    padding = _padding(given["padding"], kernel, dilation, flat)
    if border != (0, 0):
        padding = tuple(a + b for a, b in zip(padding, border, strict=True))
    pointwise = kernel == (1, 1) and stride == (1, 1) and padding == (0, 0)
    draft, times, order = _read(rec, codes, pointwise)
    if not (order == np.arange(len(order))).all():
        if given["groups"] != 1:
            raise Refusal(f"it reads the channels of {draft.name} in another order, in groups")
        weight = weight[:, np.argsort(order)]
    shape = weight.reshape(weight.shape[0], weight.shape[1], *kernel).transpose(2, 3, 1, 0)
    arrays = {"weight": np.ascontiguousarray(shape)}
    if given["bias"] is not None:
        arrays["bias"] = constant(given["bias"])
    facts = {
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": given["groups"],
        "module": "Conv1d" if flat else "Conv2d",
    }  # fmt: skip
    out = tuple(result.shape) if result.ndim == rank + 2 else (1, *result.shape)
    size = (out[1], *draft.size[1:]) if pointwise else (out[1], 1 if flat else out[2], out[-1])
    layer = rec.enter(
        "conv", [draft.number], size, times, suffix=call.name, key=(_identity(given), *facts.values()), facts=facts,
        arrays=arrays,
    )  # fmt: skip
    places = np.arange(layer.values).reshape(1, -1)
    rec.follow(result, encode(layer.number, times[:, np.newaxis], places).reshape(tuple(result.shape)))
    return result


def _read(rec: Recorder, codes: Codes, pointwise: bool) -> tuple[Draft, Codes, NDArray[np.int64]]:
    """Return what a convolution reads: a map; of one position's kernel, positions in whatever shape."""
    if pointwise:
        draft, times, places = rows(rec, codes.reshape(len(codes), -1))
        if (places == np.arange(places.shape[1])).all() and draft.size[0] == codes.shape[1]:
            return draft, stepped(times), np.arange(codes.shape[1])
    return ordered_maps(rec, codes)


def _pair(value: Any, flat: bool, neutral: int) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if flat:
        return neutral, int(values[0])
    return (int(values[0]), int(values[-1]))


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, int], flat: bool) -> tuple[int, ...]:
    if value == "valid":
        return 0, 0
    if value == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if any(t % 2 for t in total):
            raise Refusal(f"padding 'same' of a kernel {list(kernel)} is not the same on both sides")
        return tuple(t // 2 for t in total)
    return _pair(value, flat, 0)


def _followed(rec: Recorder, given: dict[str, Any], name: str) -> torch.Tensor:
    value: torch.Tensor = given[name]
    if rec.codes(value) is None:
        raise Refusal("its weights are computed from the sample, and no primitive multiplies so")
    return value


def _expect_constants(rec: Recorder, given: dict[str, Any], *names: str) -> None:
    for name in names:
        if given[name] is not None and (codes := rec.codes(given[name])) is not None:
            if bool((codes == LOST).any()):
                raise LostError
            raise Refusal(f"its {name} is computed from the sample, and no primitive multiplies so")


def _identity(given: dict[str, Any]) -> tuple[Any, ...]:
    """Tell layers apart by their parameters: by memory, or by value where code computes them anew at each timestep."""
    return tuple(
        each.data_ptr() if isinstance(each, torch.nn.Parameter) else (tuple(each.shape), _digest(each))
        for each in (given["weight"], given["bias"]) if each is not None
    )  # fmt: skip


def _digest(value: torch.Tensor) -> bytes:
    return hashlib.sha256(value.detach().contiguous().numpy().tobytes()).digest()
