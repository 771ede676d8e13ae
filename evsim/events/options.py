"""How a recording is read and becomes frames: the options that people give, checked where they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

from evsim.errors import OptionError
from evsim.inputspec import LONGEST_BIN, Polarity

Orientation = Literal["spikingjelly", "jaer", "raw"]
Layout = Literal["dvs128", "davis"]
Split = Literal["number", "time", "duration", "duration-0.0.0.0.12", "bin"]
Fit = Literal["error", "crop", "bin"]
TimeUnit = Literal["ns", "us", "ms", "s"]
Axis = Literal["batch", "time"]

BY_DURATION = ("duration", "duration-0.0.0.0.12")
"""Splits into frames of a duration, whose number follows the recording."""

UNITS_US = {"us": 1, "ms": 1000, "s": 1_000_000}
"""Microseconds per unit of time."""


class Bound(NamedTuple):
    """One end of a range: a time in microseconds as stored in the file, or the number of an event from 0."""

    value: int
    unit: Literal["us", "event"]


@dataclass(frozen=True)
class ReadOptions:
    """How a recording is read and becomes frames.

    Attributes
    ----------
    orientation
        Axis convention of jAER's recordings (AEDAT 2.0): as SpikingJelly's CIFAR10-DVS loader turns them, as jAER
        shows them, or as they are stored. None: "spikingjelly", or the model's own. Other formats have one only.
    layout
        Address layout of an AEDAT 2.0 file whose header does not name its chip; an error if it is not that chip's.
    allow_truncated
        Whether to read the whole events of a file that ends within one.
    honour_validity
        Whether to leave out events of AEDAT 3.1 that their validity bit calls invalid; public readers keep them.
    sensor
        Width and height of the sensor; goes before what the file says, and a note names both.
    start, stop
        Keep events from `start` on and before `stop`.
    trial, trials
        Keep the events of this trial, counted from 1, of a DVS128 Gesture label csv; by default the one beside the
        recording, named as the data set does.
    split
        How events become frames; None: as the model was trained.
    duration_us
        Microseconds per frame, for split "duration".
    fit
        What becomes of a sensor larger than the model's input: an error, its middle, or sums of square blocks.
    time_unit
        Unit of the times in a file that does not fix it; None: see docs: Recordings, and a note where one was
        assumed.
    camera
        Which recording of a file that holds several: part of its place in HDF5, number of its stream in AEDAT 4.
    columns
        What the columns of a nameless table are, e.g. "xytp"; any other letter stands for one to pass over.
    axis
        What the first axis of an array [N, C, H, W] is, for a model of static images.
    item
        Which image of a batch, from 0.
    bin_us
        Microseconds of a timestep: split "bin", timesteps of equal length from time 0, or from `start`, on.
    polarity
        Where a network without space has the polarity of an event; None: as the model says.
    crop
        Width, height, left and top of the part of the sensor that is read.
    sample
        Which of the samples in a file of spike trains, from 0.

    Raises
    ------
    OptionError
        If a value is none of those, or two contradict each other.
    """

    orientation: Orientation | None = None
    layout: Layout | None = None
    allow_truncated: bool = False
    honour_validity: bool = False
    sensor: tuple[int, int] | None = None
    start: Bound | None = None
    stop: Bound | None = None
    trial: int | None = None
    trials: str | None = None
    split: Split | None = None
    duration_us: int | None = None
    fit: Fit = "error"
    time_unit: TimeUnit | None = None
    camera: str | None = None
    columns: str | None = None
    axis: Axis | None = None
    item: int | None = None
    bin_us: int | None = None
    polarity: Polarity | None = None
    crop: tuple[int, int, int, int] | None = None
    sample: int | None = None

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            value, known = getattr(self, name), get_args(choice)
            if value not in known and value is not None:
                raise OptionError(f"`{name}` must be one of {', '.join(known)}, got {value}")
        if self.sensor is not None and not all(1 <= size <= 1 << 16 for size in self.sensor):
            raise OptionError(f"`sensor` must be of 1 to 65536 pixels each way, got {self.sensor}")
        if self.split in BY_DURATION and self.duration_us is None:
            raise OptionError(f"`split={self.split}` needs the length of a frame; give `duration`, e.g. 100ms")
        if self.duration_us is not None and self.split not in BY_DURATION:
            raise OptionError("`duration` is the length of a frame for `split=duration`; give both or neither")
        if self.duration_us is not None and self.duration_us < 1:
            raise OptionError(f"`duration` must be at least 1 us, got {self.duration_us} us")
        if self.duration_us is not None and self.duration_us > 1 << 53:
            raise OptionError(f"`duration` is too long, got {self.duration_us} us")
        if self.trial is None and self.trials is not None:
            raise OptionError("`trials` names a label csv; choose one of its trials by `trial`")
        if self.trial is not None and (self.start or self.stop):
            raise OptionError("`trial` chooses a range of its own; leave out `start` and `stop`")
        if self.columns is not None and (missing := [key for key in "txyp" if self.columns.count(key) != 1]):
            raise OptionError(
                f"`columns` names t, x, y and p once each, in their order, e.g. xytp; {self.columns} has not one "
                f"{missing[0]}"
            )
        if self.split == "bin" and self.bin_us is None:
            raise OptionError("`split=bin` needs the length of a timestep; give `bin`, e.g. 1ms")
        if self.bin_us is not None and self.split not in (None, "bin"):
            raise OptionError(f"`bin` and `split={self.split}` both say how events become frames; give one of them")
        if self.bin_us is not None and not 1 <= self.bin_us <= LONGEST_BIN:
            raise OptionError(f"`bin` must last 1 to {LONGEST_BIN} us, got {self.bin_us} us")
        if self.crop is not None and not (min(self.crop) >= 0 and min(self.crop[:2]) >= 1 and max(self.crop) < 1 << 16):
            raise OptionError(f"`crop` must be of 1 to 65535 pixels each way within the sensor, got {self.crop}")
        if self.sample is not None and self.sample < 0:
            raise OptionError(f"`sample` is the number of a sample, from 0, got {self.sample}")
        if self.item is not None and (self.item < 0 or self.axis == "time"):
            raise OptionError("`item` is the number of an image of a batch, from 0, and none of timesteps")

    @property
    def chooses(self) -> bool:
        """Whether a part of the recording is asked for."""
        return bool(self.start or self.stop) or self.trial is not None


CHOICES = {
    "orientation": Orientation, "layout": Layout, "split": Split, "fit": Fit, "time_unit": TimeUnit, "axis": Axis,
    "polarity": Polarity,
}  # fmt: skip
"""Options of few values, each with these."""


def parse_options(**texts: Any) -> ReadOptions:
    """Return the options of texts as people type them; the names are those of `ReadOptions`, and `duration`.

    Raises
    ------
    OptionError
        If a text cannot be read.
    """
    start, stop, sensor, duration = (texts.pop(key, None) for key in ("start", "stop", "sensor", "duration"))
    bin_, crop = texts.pop("bin", None), texts.pop("crop", None)
    if texts.get("columns"):  # as people may type them: x,y,t,p
        texts["columns"] = "".join(letter for letter in texts["columns"].lower() if letter.isalnum())
    unknown = texts.keys() - {field.name for field in fields(ReadOptions)}
    assert not unknown, unknown
    return ReadOptions(
        **{key: value for key, value in texts.items() if value is not None},
        start=None if start is None else parse_bound(start, "`start`"),
        stop=None if stop is None else parse_bound(stop, "`stop`"),
        sensor=None if sensor is None else parse_sensor(sensor),
        duration_us=None if duration is None else _microseconds(duration, "`duration`"),
        bin_us=None if bin_ is None else _microseconds(bin_, "`bin`"),
        crop=None if crop is None else parse_crop(crop),
    )


def parse_bound(text: str, option: str) -> Bound:
    """Return the bound that a text such as ``1500``, ``1500us``, ``1.5ms``, ``2s`` or ``1000ev`` names."""
    if match := re.fullmatch(r"\s*(\d+)\s*(?:ev|events?)\s*", text):
        return Bound(_whole(match[1], option), "event")
    return Bound(_microseconds(text, option), "us")


def parse_sensor(text: str) -> tuple[int, int]:
    """Return width and height from a text such as ``346x260``."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX\u00d7]\s*(\d{1,5})\s*", text)
    if not match:
        raise OptionError(f"`sensor` takes width x height in pixels, e.g. 346x260, got {text}")
    return int(match[1]), int(match[2])


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """Return width, height, left and top from a text such as ``34x34+10+20``."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX\u00d7]\s*(\d{1,5})\s*\+\s*(\d{1,5})\s*\+\s*(\d{1,5})\s*", text)
    if not match:
        raise OptionError(f"`crop` takes width x height + left + top in pixels, e.g. 34x34+10+20, got {text}")
    width, height, left, top = map(int, match.groups())
    return width, height, left, top


def _microseconds(text: str, option: str) -> int:
    match = re.fullmatch(r"\s*(\d+)(\.\d+)?\s*(us|ms|s|)\s*", text)
    if not match:
        raise OptionError(f"{option} takes a time such as 1500 (us), 1.5ms or 2s, or for a range 1000ev; got {text}")
    unit = UNITS_US[match[3] or "us"]
    fraction = round(float(match[2]) * unit) if match[2] else 0
    return _whole(match[1], option) * unit + fraction


def _whole(digits: str, option: str) -> int:
    if len(digits) > 17:  # stays within int64 whatever the unit: 10^17 s would not, but 10^17 us is 3000 years
        raise OptionError(f"{option}: {digits} is too large")
    return int(digits)
