"""Layers that neurons have of their own: for what they read, and for what they emitted a timestep before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evsim.tracing.coordinates import Codes, encode
from evsim.tracing.drafts import Draft, Size
from evsim.tracing.neurons.equation import Recurrence
from evsim.tracing.reading import Refusal, features

if TYPE_CHECKING:
    from evsim.tracing.recorder import Recorder


def weighted(rec: Recorder, weights: NDArray[np.floating], codes: Codes) -> Codes:
    """Enter the linear layer that neurons have of their own, and return the codes of what it gives them."""
    draft, times, _, order = features(rec, codes)
    arrays = {"weight": np.ascontiguousarray(weights[:, np.argsort(order)].T)}
    size = (len(weights), 1, 1)
    layer = rec.enter("linear", [draft.number], size, np.unique(times), suffix="input", arrays=arrays)
    return encode(layer.number, times[:, np.newaxis], np.arange(len(weights)))


def closing(
    rec: Recorder, back: Recurrence, draft: Draft, times: Codes, places: Codes, view: tuple[int, ...], module: int
) -> tuple[Draft, Draft]:
    """Enter what brings spikes back; return the sum that the neurons read, and the draft that is to read the neurons.

    Parameters
    ----------
    rec
        The recorder, while the module of neurons runs.
    back
        What the neurons read of themselves.
    draft, times, places
        What they read of others: the draft, its timesteps [T], and its values in the module's order [T, K].
    view
        Shape of a timestep of the module.
    module
        What tells the module from others.
    """
    if not (places == np.arange(places.shape[1])).all():
        raise Refusal(f"it is recurrent, and reads the values of {draft.name} in another order")
    if back.kind == "linear" and draft.positions > 1:
        size = (draft.values, 1, 1)
        draft = rec.enter("flatten", [draft.number], size, times, name=f"{draft.name}.flatten")
    kind, facts, arrays = _layer(back, draft.size, view)
    prefix = f"{rec.path}." if rec.path else ""

    def enter(kind: str, sources: list[int], name: str, **given: Any) -> Draft:
        return rec.enter(kind, sources, draft.size, times, name=prefix + name, key=module, **given)

    if back.behind:
        loop = enter(kind, [], back.name, facts=facts, arrays=arrays)
        returned = enter("delay", [loop.number], "delay")
    else:
        loop = enter("delay", [], "delay")
        returned = enter(kind, [loop.number], back.name, facts=facts, arrays=arrays)
    return enter("add", [draft.number, returned.number], "sum"), loop


def _layer(
    back: Recurrence, size: Size, view: tuple[int, ...]
) -> tuple[str, dict[str, Any], dict[str, NDArray[np.floating]]]:
    """Return kind, facts and parameters of the draft of a recurrence's layer; a refusal if it does not fit."""
    if back.kind == "scale":
        factors = np.broadcast_to(back.weight, view).reshape(size[0], -1)
        if (factors == factors[:, :1]).all():
            factors = factors[:, 0]
        if (factors == factors.flat[0]).all():
            factors = np.asarray(factors.flat[0])
        return "affine", {}, {"scale": factors, "shift": np.zeros(())}
    outputs, inputs = back.weight.shape[:2]
    arrays = {} if back.bias is None else {"bias": back.bias}
    if (inputs, outputs) != (size[0], size[0]):
        raise Refusal(f"its recurrence takes {inputs} and gives {outputs} channels, but it reads {list(size)}")
    if back.kind == "linear":
        return "linear", {}, {"weight": np.ascontiguousarray(back.weight.T), **arrays}
    kernel = back.weight.shape[2:]
    if view != size or any(2 * p + 1 != k for p, k in zip(back.padding, kernel, strict=True)):
        raise Refusal(f"its recurrence by a convolution of {list(kernel)} does not keep a map {list(size)}")
    facts = {
        "kernel": kernel, "stride": (1, 1), "padding": back.padding, "dilation": (1, 1), "groups": 1,
        "module": "Conv2d",
    }  # fmt: skip
    return "conv", facts, {"weight": np.ascontiguousarray(back.weight.transpose(2, 3, 1, 0)), **arrays}
