"""Commands about recordings: record, events."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from evsim.cli import reading

Aedat = Annotated[str | None, typer.Option("--aedat", help="version of AEDAT to write: 2.0 or 3.1")]


def record(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="image [H, W]: .npy, or PNG and the like with the extra 'images'")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="recording to write (.aedat)")],
    motion: Annotated[str, typer.Option(help="saccade (three moves) or loop (closed diamond)")] = "saccade",
    threshold: Annotated[float, typer.Option(help="change of log intensity per event")] = 0.2,
    refractory: Annotated[int, typer.Option(help="silence after an event, in microseconds")] = 1000,
    noise: Annotated[float, typer.Option(help="spread of the threshold from pixel to pixel, as a share")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
    darkest: Annotated[
        float | None, typer.Option(help="intensity that the darkest grey is stretched to, and of the surround (64)")
    ] = None,
    no_stretch: Annotated[
        bool, typer.Option("--no-stretch", help="take intensities as they are, 0 to 255, on the image's darkest grey")
    ] = False,
    aedat: Aedat = None,
) -> None:
    """Play an image before a simulated event camera.

    The image's contrast is stretched: its darkest grey becomes 64 (or --darkest), its brightest 255; else --no-stretch.
    """
    from evsim.errors import OptionError, RecordingError
    from evsim.events.convert import write
    from evsim.events.images import read_grey
    from evsim.events.recorder import RecorderSettings
    from evsim.events.recorder import record as play

    if no_stretch and darkest is not None:
        raise OptionError(
            "`darkest` is what the image is stretched to, which `no_stretch=True` rules out; give one of them"
        )
    settings = RecorderSettings(motion, threshold, refractory, noise, seed, stretch=not no_stretch)  # type: ignore[arg-type]
    if darkest is not None:
        settings = replace(settings, darkest=darkest)
    scene, notes = read_grey(image)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    try:
        recording = play(scene, settings)
    except RecordingError as error:
        raise RecordingError(f"{image}: {error}") from error
    if not len(recording):
        raise RecordingError(f"{image} gives no events with `threshold={threshold}`; give a lower one")
    kind = write(recording, out, aedat)
    seen = f"intensities {scene.min():g} to {scene.max():g} "
    seen += "as they are" if no_stretch else f"stretched to {settings.darkest:g} to 255"
    typer.echo(f"wrote {out} ({kind}): {len(recording):,} events in {int(recording.t[-1]) / 1000:.0f} ms; {seen}")


def events(
    file: Annotated[str, typer.Argument(metavar="FILE", help="recording of any format")],
    json_file: Annotated[str | None, typer.Option("--json", help="write the facts as JSON; - for stdout alone")] = None,
    png: Annotated[str | None, typer.Option(help="draw the first frames (.png)")] = None,
    to: Annotated[str | None, typer.Option(help="convert: write .aedat, .npz or .csv")] = None,
    aedat: Aedat = None,
    orientation: reading.Orientation = None,
    layout: reading.Layout = None,
    sensor: reading.Sensor = None,
    start: reading.Start = None,
    stop: reading.Stop = None,
    trial: reading.Trial = None,
    trials: reading.Trials = None,
    allow_truncated: reading.AllowTruncated = False,
    honour_validity: reading.HonourValidity = False,
    time_unit: reading.TimeUnit = None,
    camera: reading.Camera = None,
    columns: reading.Columns = None,
) -> None:
    """Tell what is in a recording, or convert it.

    Format, sensor, number of events, their rate over time, hot pixels, and what was skipped.
    """
    from evsim.cli.listing import list_recording

    options = reading.read_options(
        orientation=orientation, layout=layout, sensor=sensor, start=start, stop=stop, trial=trial, trials=trials,
        allow_truncated=allow_truncated, honour_validity=honour_validity,
        time_unit=time_unit, camera=camera, columns=columns,
    )  # fmt: skip
    list_recording(file, options, json_file, png, to, aedat)
