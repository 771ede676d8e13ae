"""The options that say how a recording is read, shared by the commands that take one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Orientation = Annotated[
    str | None, typer.Option(help="of jAER's recordings: spikingjelly, jaer or raw (default: the model's)")
]
Layout = Annotated[str | None, typer.Option(help="of AEDAT 2.0 that names no chip: dvs128 or davis")]
Sensor = Annotated[str | None, typer.Option(help="sensor size in pixels, e.g. 346x260")]
Start = Annotated[str | None, typer.Option(help="first time (1500, 1.5ms, 2s; as stored) or event (1000ev)")]
Stop = Annotated[str | None, typer.Option(help="time or event before which to stop")]
Trial = Annotated[int | None, typer.Option(help="trial of a DVS128 Gesture label csv, from 1")]
Trials = Annotated[str | None, typer.Option(help="that csv (default: RECORDING_labels.csv)")]
AllowTruncated = Annotated[bool, typer.Option("--allow-truncated", help="read the whole events of a cut file")]
HonourValidity = Annotated[bool, typer.Option("--honour-validity", help="drop events of AEDAT 3.1 marked invalid")]
Split = Annotated[
    str | None, typer.Option(help="how events become frames: number, time, duration or duration-0.0.0.0.12")
]
Duration = Annotated[str | None, typer.Option(help="length of a frame for --split duration, e.g. 100ms")]
Fit = Annotated[str | None, typer.Option(help="sensor larger than the model's input: error, crop or bin")]
TimeUnit = Annotated[str | None, typer.Option(help="unit of times that the file does not fix: ns, us, ms or s")]
Camera = Annotated[str | None, typer.Option(help="which recording of a file of several, e.g. left")]
Columns = Annotated[str | None, typer.Option(help="what the columns of a nameless table are, e.g. xytp")]
Axis = Annotated[str | None, typer.Option(help="first axis of an array of images: batch or time")]
Item = Annotated[int | None, typer.Option(help="which image of a batch, from 0")]


def read_options(**given: Any) -> Any:
    """Return the `ReadOptions` of what was typed."""
    from evsim.events.options import parse_options

    return parse_options(**given)
