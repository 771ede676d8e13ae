"""What a network takes in, as data: size, normalisation, and how events become frames."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evsim.errors import NetworkError

LARGEST_TIMESTEPS = 65536
"""T beyond which no model was ever trained, and no memory suffices for the frames."""


INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
"""How a picture can be resized, as timm and Pillow name it; the first is the published models'."""

RESIZED = "bilinear"
"""How frames of events are resized where a model takes real ones: torchvision's Resize, which anti-aliases."""

LONGEST_BIN = 1 << 40
"""Microseconds of a timestep; twelve days."""

CROP_PCT = 1.0
"""Share of the resized image that the published models keep: all of it."""


Polarity = Literal["first", "last", "merged"]
"""Where the polarity of an event stands among channels: [p, y, x], [y, x, p], or nowhere: OFF and ON are added up."""

LATER = ("bin_us", "polarity", "sensor", "crop", "open_time")
"""Fields that are left out of files and digests where they hold their defaults."""


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
        How events become T frames: "number" (equally many events each), "time" (equally long) or "bin" (`bin_us` long,
        from time 0 on).
    orientation
        Axis convention of DVS128 recordings that the model was trained on.
    interpolation
        How pictures are resized, one of `INTERPOLATIONS`; for "frames", `RESIZED` says that recordings become frames of
        the whole sensor first, which are resized then.
    bin_us
        Microseconds of a timestep, for frames "bin".
    polarity
        Where a network without space, which reads a sensor's pixels as channels, has the polarity of an event.
    sensor
        Width and height of the sensor whose pixels such a network reads; empty where the recording is to tell.
    crop
        Width, height, left and top of the part of the sensor that is read; empty for all of it.
    open_time
        Whether T follows the input; `timesteps` is then what sizes are told for.
    """

    kind: Literal["image", "events", "frames"]
    channels: int
    height: int
    width: int
    timesteps: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop_pct: float = CROP_PCT
    frames: Literal["number", "time", "bin"] = "number"
    orientation: Literal["spikingjelly", "jaer", "raw"] = "spikingjelly"
    interpolation: str = INTERPOLATIONS[0]
    bin_us: int = 0
    polarity: Polarity = "first"
    sensor: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    open_time: bool = False

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
        if not 0 <= self.bin_us <= LONGEST_BIN or (self.frames == "bin" and not self.bin_us):
            raise NetworkError(f"a bin must last 1 to {LONGEST_BIN} us, got {self.bin_us}; give it by `timestep`")
        if self.sensor and (len(self.sensor) != 2 or not all(1 <= size <= 1 << 16 for size in self.sensor)):
            raise NetworkError(f"the input specification's sensor is no width and height: {self.sensor}")
        if self.crop and (len(self.crop) != 4 or min(self.crop) < 0 or min(self.crop[:2]) < 1):
            raise NetworkError(f"the input specification's crop is no width, height, left and top: {self.crop}")
        if self.interpolation not in INTERPOLATIONS:
            raise NetworkError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")

    @property
    def reads_recordings(self) -> bool:
        """Whether its frames can be made of a recording of events."""
        return self.kind == "events" or (self.kind == "frames" and self.interpolation == RESIZED)

    @property
    def flat(self) -> bool:
        """Whether it is of one position: a network without space."""
        return self.height * self.width == 1

    def told(self) -> dict[str, Any]:
        """Return its fields as files have them, without those of `LATER` that hold their defaults."""
        values = asdict(self)
        defaults = {name: type(self).__dataclass_fields__[name].default for name in LATER}
        return {name: value for name, value in values.items() if name not in LATER or value != defaults[name]}

    @property
    def size(self) -> str:
        """Size of one frame, for messages."""
        return f"[{self.channels}, {self.height}, {self.width}]"
