"""Commands about recordings: record, events."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.shared import INPUT, OUTPUT, argument, option

if TYPE_CHECKING:
    from evsim.events import ReadOptions

PANEL = "Recordings"
CAMERA = "Camera"
Aedat = Annotated[
    str | None,
    option("version of AEDAT to write: 2.0 or 3.1", OUTPUT, "--aedat", metavar="VERSION"),
]


@command(
    "evsim record digit.png digit.aedat",
    "evsim record digit.npy digit.aedat --motion loop --threshold 0.1 --aedat 3.1",
    panel=PANEL,
)
def record(
    image: Annotated[
        str,
        argument("IMAGE", "image [H, W]: .npy, or PNG and the like with the extra 'images'", INPUT),
    ],
    out: Annotated[str, argument("OUT", "recording to write (.aedat)", OUTPUT)],
    motion: Annotated[
        str, option("saccade (three moves) or loop (closed diamond)", CAMERA, metavar="PATH")
    ] = "saccade",
    threshold: Annotated[float, option("change of log intensity per event", CAMERA)] = 0.2,
    refractory: Annotated[int, option("silence after an event, in microseconds", CAMERA, metavar="US")] = 1000,
    noise: Annotated[float, option("spread of the threshold from pixel to pixel, as a share", CAMERA)] = 0.0,
    seed: Annotated[int, option("seed of the noise", CAMERA)] = 0,
    darkest: Annotated[
        float | None,
        option("intensity that the darkest grey is stretched to, and of the surround [default: 64]", CAMERA),
    ] = None,
    no_stretch: Annotated[
        bool,
        option("take intensities as they are, 0 to 255, on the image's darkest grey", CAMERA, "--no-stretch"),
    ] = False,
    aedat: Aedat = None,
) -> None:
    """Record an image with a simulated event camera.

    The image's contrast is stretched: its darkest grey becomes 64 (or --darkest), its brightest 255; else --no-stretch.
    """
    from evsim.errors import OptionError, RecordingError
    from evsim.events.convert import check_target, write
    from evsim.events.images import read_grey
    from evsim.events.recorder import RecorderSettings
    from evsim.events.recorder import record as play
    from evsim.files import check_place, refuse_same

    check_target(out, aedat)
    check_place(out)
    refuse_same(image, out)
    if no_stretch and darkest is not None:
        raise OptionError(
            "`darkest` is what the image is stretched to, which `no_stretch=True` rules out; give one of them"
        )
    settings = RecorderSettings(motion, threshold, refractory, noise, seed, stretch=not no_stretch)  # type: ignore[arg-type]
    if darkest is not None:
        settings = replace(settings, darkest=darkest)
    scene, notes = read_grey(image)
    output.notes(notes)
    try:
        recording = play(scene, settings)
    except RecordingError as error:
        raise RecordingError(f"{image}: {error}") from error
    if not len(recording):
        raise RecordingError(f"{image} gives no events with `threshold={threshold}`; give a lower one")
    kind = write(recording, out, aedat)
    seen = f"intensities {scene.min():g} to {scene.max():g} "
    seen += "as they are" if no_stretch else f"stretched to {settings.darkest:g} to 255"
    span = f"{len(recording):,} events in {int(recording.t[-1]) / 1000:.0f} ms"
    output.say(f"wrote {out} ({kind}): {span}; {seen}", kept=True)


@command(
    "evsim events recording.raw",
    "evsim events recording.aedat --start 1s --stop 2s --png frames.png",
    "evsim events recording.aedat --gif recording.gif",
    panel=PANEL,
)
def events(
    file: Annotated[str, argument("FILE", "recording of any format", INPUT)],
    png: Annotated[str | None, option("draw it, in eight slices of time (.png)", OUTPUT, metavar="FILE")] = None,
    gif: Annotated[str | None, option("play it (.gif); needs the extra 'images'", OUTPUT, metavar="FILE")] = None,
    webp: Annotated[str | None, option("play it (.webp), likewise", OUTPUT, metavar="FILE")] = None,
    to: Annotated[
        str | None,
        option("convert: write .aedat, .npz or .csv", OUTPUT, metavar="FILE"),
    ] = None,
    aedat: Aedat = None,
    *,
    recording: "ReadOptions",
    json_file: str | None,
) -> None:
    """Describe a recording, or convert it.

    Format, sensor, number of events, their rate over time, hot pixels, and what was skipped.
    """
    from evsim.cli.listing import list_recording

    list_recording(file, recording, json_file, png, {"gif": gif, "webp": webp}, to, aedat)
