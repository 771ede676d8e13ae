"""Commands about recordings: record."""

from __future__ import annotations

from typing import Annotated

import typer


def record(
    image: Annotated[str, typer.Argument(help="image [H, W]: .npy, or PNG with the extra 'images'")],
    out: Annotated[str, typer.Argument(help="recording to write (AEDAT 2.0)")],
    motion: Annotated[str, typer.Option(help="saccade (three moves) or loop (closed diamond)")] = "saccade",
    threshold: Annotated[float, typer.Option(help="change of log intensity per event")] = 0.2,
    refractory: Annotated[int, typer.Option(help="silence after an event, in microseconds")] = 1000,
    noise: Annotated[float, typer.Option(help="spread of the threshold from pixel to pixel, as a share")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
) -> None:
    """Play an image before a simulated DVS128 event camera and write the recording."""
    from evsim.events.aedat2 import write
    from evsim.events.images import read_grey
    from evsim.events.recorder import RecorderSettings
    from evsim.events.recorder import record as play

    settings = RecorderSettings(motion, threshold, refractory, noise, seed)  # type: ignore[arg-type]
    recording = play(read_grey(image), settings)
    write(recording, out)
    typer.echo(f"wrote {out}: {len(recording):,} events in {int(recording.t[-1]) / 1000:.0f} ms")
