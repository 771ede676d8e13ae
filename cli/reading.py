"""The options that say how a recording is read. To add one: a line in RECORDING or FRAMES, and `parse_options`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evsim.cli.shared import READING, Shared, option, shared

if TYPE_CHECKING:
    from evsim.events import ReadOptions

AXES = "axes of jAER's recordings: spikingjelly, jaer or raw"
TIMES = "1500, 1.5ms, 2s"
SPLITS = "how events become frames: number, time, duration, duration-0.0.0.0.12 or bin"
FITS = "a sensor larger than the model's input: error, crop or bin"

RECORDING = (
    shared("orientation", str | None, option(f"{AXES} [default: spikingjelly]", READING, metavar="NAME")),
    shared(
        "layout",
        str | None,
        option("the camera, if an AEDAT 2.0 file does not name it: dvs128 or davis", READING, metavar="NAME"),
    ),
    shared("sensor", str | None, option("sensor size in pixels, e.g. 346x260", READING, metavar="WxH")),
    shared("start", str | None, option(f"first time ({TIMES}; as stored) or event (1000ev)", READING, metavar="TIME")),
    shared("stop", str | None, option("time or event before which to stop", READING, metavar="TIME")),
    shared("trial", int | None, option("which trial of a DVS128 Gesture recording to read, from 1", READING)),
    shared(
        "trials",
        str | None,
        option("table of the trials: class, start, end [default: RECORDING_labels.csv]", READING, metavar="FILE"),
    ),
    shared("allow_truncated", bool, option("read the whole events of a cut file", READING, "--allow-truncated"), False),
    shared(
        "honour_validity", bool, option("drop events of AEDAT 3.1 marked invalid", READING, "--honour-validity"), False
    ),
    shared(
        "time_unit",
        str | None,
        option("unit of times that the file does not fix: ns, us, ms or s", READING, metavar="UNIT"),
    ),
    shared("camera", str | None, option("which recording of a file of several, e.g. left", READING, metavar="NAME")),
    shared("crop", str | None, option("read a part of the sensor, e.g. 34x34+10+20", READING, metavar="WxH+X+Y")),
    shared("columns", str | None, option("the columns of a nameless table, e.g. xytp", READING, metavar="NAMES")),
)
"""What decides which events a recording holds, and where."""

FRAMES = (
    shared("split", str | None, option(f"{SPLITS} [default: the model's]", READING, metavar="RULE")),
    shared(
        "duration", str | None, option("length of a frame for --split duration, e.g. 100ms", READING, metavar="TIME")
    ),
    shared("bin", str | None, option("length of a timestep, from time 0 or --start on", READING, metavar="TIME")),
    shared(
        "polarity",
        str | None,
        option("where polarity stands, if pixels become channels: first, last or merged", READING, metavar="ORDER"),
    ),
    shared("sample", int | None, option("which sample of a file of spike trains, from 0", READING)),
    shared("fit", str | None, option(f"{FITS} [default: error]", READING, metavar="RULE")),
    shared("orientation", str | None, option(f"{AXES} [default: the model's]", READING, metavar="NAME")),
    shared("axis", str | None, option("first axis of an array of images: batch or time", READING, metavar="NAME")),
    shared("item", int | None, option("which image of a batch, from 0", READING)),
)
"""What decides how its events become a network's input; `orientation` has another default there."""


def read_options(**texts: Any) -> ReadOptions:
    """Return the `ReadOptions` of what was typed."""
    from evsim.events.options import parse_options

    return parse_options(**texts)


AS_IT_IS = Shared(RECORDING, read_options)
"""Of a recording that no network takes."""

AS_A_NETWORK_TAKES_IT = Shared((*FRAMES, *(p for p in RECORDING if p.name != "orientation")), read_options)
"""Of a recording that becomes a network's frames."""
