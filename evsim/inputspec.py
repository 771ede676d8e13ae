"""What a network takes in, as data: size, normalisation, and how events become frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from evsim.errors import NetworkError

LARGEST_TIMESTEPS = 65536
"""T beyond which no model was ever trained, and no memory suffices for the frames."""


INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
"""How a picture can be resized, as timm and Pillow name it; the first is the published models'."""

RESIZED = "bilinear"
"""How frames of events are resized where a model takes real ones: torchvision's Resize, which anti-aliases."""

CROP_PCT = 1.0
"""Share of the resized image that the published models keep: all of it."""


@dataclass(frozen=True)
class InputSpec:
    """How a recording or image becomes the network's input.

    Attributes
    ----------
    kind
        "image" (real [C, H, W], the same at every timestep), "events" (frames of event counts [T, C, H, W]) or
        "frames" (frames of real values [T, C, H, W], made of events).
    channels, height, width
        Size of one frame.
    timesteps
        T that the model was trained with.
    mean, std
        Per-channel normalisation of images in [0, 1]; empty for events.
    crop_pct
        Share of the resized image that the centre crop keeps (timm's evaluation transform).
    frames
        How events become T frames: "number" (equally many events each) or "time" (equally long).
    orientation
        Axis convention of DVS128 recordings that the model was trained on.
    interpolation
        How pictures are resized, one of `INTERPOLATIONS`; for "frames", `RESIZED` says that recordings become frames of
        the whole sensor first, which are resized then.
    """

    kind: Literal["image", "events", "frames"]
    channels: int
    height: int
    width: int
    timesteps: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop_pct: float = CROP_PCT
    frames: Literal["number", "time"] = "number"
    orientation: Literal["spikingjelly", "jaer", "raw"] = "spikingjelly"
    interpolation: str = INTERPOLATIONS[0]

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "timesteps"):
            if getattr(self, name) < 1:
                raise NetworkError(f"the input specification's {name} is below 1: {getattr(self, name)}")
        if self.timesteps > LARGEST_TIMESTEPS:
            raise NetworkError(f"timesteps must be at most {LARGEST_TIMESTEPS}, got {self.timesteps}")
        if self.kind == "image" and not len(self.mean) == len(self.std) == self.channels:
            raise NetworkError(
                f"an image model of {self.channels} channels needs {self.channels} values of mean and std; "
                "give them by `mean` and `std`"
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise NetworkError(f"mean must be finite, got {self.mean}; give it by `mean`")
        if not all(0.0 < value < math.inf for value in self.std):
            raise NetworkError(f"std must be positive and finite, got {self.std}; give it by `std`")
        if not 0.0 < self.crop_pct <= 1.0:
            raise NetworkError(f"crop_pct must be above 0 and at most 1, got {self.crop_pct}")
        if self.interpolation not in INTERPOLATIONS:
            raise NetworkError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")

    @property
    def reads_recordings(self) -> bool:
        """Whether its frames can be made of a recording of events."""
        return self.kind == "events" or (self.kind == "frames" and self.interpolation == RESIZED)

    @property
    def size(self) -> str:
        """Size of one frame, for messages."""
        return f"[{self.channels}, {self.height}, {self.width}]"
