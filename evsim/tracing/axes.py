"""Which axis of the example is time, batch, channel, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evsim.errors import OptionError
from evsim.inputspec import InputSpec
from evsim.tracing.coordinates import Codes
from evsim.tracing.drafts import Size

WORDS = {
    "t": "time", "time": "time", "timestep": "time", "timesteps": "time", "step": "time",
    "b": "batch", "n": "batch", "batch": "batch",
    "c": "channel", "channel": "channel", "channels": "channel", "feature": "channel", "features": "channel",
    "h": "height", "height": "height", "y": "height", "w": "width", "width": "width", "x": "width", "l": "width",
    "length": "width",
}  # fmt: skip
"""How axes may be named."""

USUAL = {
    1: ("channel",),
    2: ("batch", "channel"),
    3: ("time", "batch", "channel"),
    4: ("batch", "channel", "height", "width"),
    5: ("time", "batch", "channel", "height", "width"),
}
"""What axes are where nobody names them."""


@dataclass(frozen=True, eq=False)
class Example:
    """An example of one sample, with its axes named.

    Attributes
    ----------
    values
        float64, one sample.
    axes
        Name of each axis.
    timesteps
        T where it was given or an axis tells it.
    """

    values: torch.Tensor
    axes: tuple[str, ...]
    timesteps: int | None

    @property
    def time(self) -> int | None:
        """Which axis is time, if any."""
        return self.axes.index("time") if "time" in self.axes else None

    @property
    def steps(self) -> int | None:
        """T of the example itself."""
        return None if self.time is None else int(self.values.shape[self.time])

    @property
    def size(self) -> Size:
        """Channels, height and width."""
        sizes = dict(zip(self.axes, self.values.shape, strict=True))
        return int(sizes.get("channel", 1)), int(sizes.get("height", 1)), int(sizes.get("width", 1))

    @property
    def kind(self) -> Literal["image", "events", "frames"]:
        """What kind of input it is: counts on two channels or three, or on features without space, are events."""
        if self.time is None:
            return "image"
        counts = bool((self.values >= 0).all()) and bool((self.values == self.values.round()).all())
        channels, height, width = self.size
        recorded = channels > 1 if height * width == 1 else channels in (2, 3) and height > 1
        return "events" if counts and recorded else "frames"

    @property
    def said(self) -> str:
        """What the axes were taken for."""
        return f"the example's axes are {', '.join(self.axes)}"

    def pieces(self) -> list[torch.Tensor]:
        """Return the timesteps one by one."""
        assert self.time is not None
        return [piece.contiguous() for piece in self.values.unbind(self.time)]

    def laid(self, codes: Codes, piece: torch.Tensor) -> Codes:
        """Lay codes [T or 1, C * H * W] out as a tensor of these axes; without time, as one timestep of it."""
        axes = self.axes if piece.ndim == len(self.axes) else tuple(a for a in self.axes if a != "time")
        order = ("time", "batch", "channel", "height", "width")
        sizes = dict(zip(axes, piece.shape, strict=True))
        full = codes.reshape(*(sizes.get(axis, 1) for axis in order))
        kept = [axis for axis in order if axis in axes]
        dropped = tuple(place for place, axis in enumerate(order) if axis not in axes)
        return np.ascontiguousarray(full.squeeze(dropped).transpose([kept.index(axis) for axis in axes]))

    def spec(self, steps: int) -> InputSpec:
        """Return the input specification."""
        channels, height, width = self.size
        plain = ((0.0,) * channels, (1.0,) * channels) if self.kind == "image" else ((), ())
        return InputSpec(self.kind, channels, height, width, steps, *plain)

    def sample(self, steps: int) -> NDArray[np.float64]:
        """Return the example as a network takes it: image [C, H, W], or frames [T, C, H, W]."""
        del steps
        order = [axis for axis in ("time", "batch", "channel", "height", "width") if axis in self.axes]
        turned: NDArray[np.float64] = self.values.permute([self.axes.index(axis) for axis in order]).numpy()
        if self.time is None:
            return turned.reshape(self.size)
        return turned.reshape(self.steps or 1, *self.size)


def arrange(values: torch.Tensor, timesteps: int | None, names: Sequence[str] | str | None, *, merged: bool) -> Example:
    """Name the axes of an example and keep its first sample.

    Parameters
    ----------
    values
        The example.
    timesteps
        T, if given.
    names
        The axes' names, words or letters; None for the usual ones.
    merged
        Whether the model merges batch and time on the first axis.

    Raises
    ------
    OptionError
        If names do not fit the example, or it is no example of numbers.
    """
    if timesteps is not None and timesteps < 1:
        raise OptionError(f"`timesteps={timesteps}` must be at least 1")
    if not values.numel() or values.is_complex():
        raise OptionError(f"`example_input` {list(values.shape)} holds no real numbers; give a tensor of some")
    values = values.double()
    if not bool(values.isfinite().all()):
        raise OptionError("`example_input` holds NaN or infinite values; give another example")
    axes = _named(names, values) or _usual(values, timesteps, merged)
    if "batch" in axes:
        values = values.narrow(axes.index("batch"), 0, 1)
    example = Example(values.contiguous().clone(), axes, timesteps)
    if example.steps is not None and timesteps not in (None, example.steps):
        raise OptionError(f"`timesteps={timesteps}`, but the example's axis of time has {example.steps}; mend one")
    return Example(example.values, axes, example.steps or timesteps)


def _named(names: Sequence[str] | str | None, values: torch.Tensor) -> tuple[str, ...] | None:
    if not names:
        return None
    if isinstance(names, str):
        names = names.replace(",", " ").split() if any(c in names for c in ", ") else list(names)
    axes = tuple(WORDS.get(str(name).strip().lower(), "") for name in names)
    if len(axes) != values.ndim or "" in axes or len(set(axes)) < len(axes) or "channel" not in axes:
        raise OptionError(
            f"`names={','.join(map(str, names))}` does not name the {values.ndim} axes of the example "
            f"{list(values.shape)}; give each one of time, batch, channel, height and width"
        )
    return axes


def _usual(values: torch.Tensor, timesteps: int | None, merged: bool) -> tuple[str, ...]:
    axes = USUAL.get(values.ndim)
    if axes is None:
        raise OptionError(f"an example of {values.ndim} axes {list(values.shape)} is none of the usual; give `names`")
    shape = values.shape
    if merged and values.ndim in (2, 4):
        return ("time", *axes[1:])
    if axes[0] == "time":
        second = timesteps is not None and shape[0] != timesteps and shape[1] == timesteps
        if second or (timesteps is None and shape[0] == 1 and shape[1] > 1):
            return ("batch", "time", *axes[2:])
        if timesteps is not None and shape[0] != timesteps:
            raise OptionError(
                f"the example {list(shape)} has no axis of `timesteps={timesteps}`; name its axes by `names`"
            )
    return axes
