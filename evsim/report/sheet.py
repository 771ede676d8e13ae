"""A recording as a picture with axes, times and a legend, and as a picture that moves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.frames import to_frames
from evsim.events.types import Recording
from evsim.files import write_whole
from evsim.report import lettering
from evsim.report.recordings import OFF_COLOUR, ON_COLOUR, coloured, png

PICTURE_FRAMES, PICTURE_COLUMNS, PICTURE_WIDTH = 8, 4, 1024
"""Frames of a picture, how many stand in a row, and the greatest width that small sensors are enlarged to."""

LARGEST_DRAWN = 1 << 21
"""Pixels of a sensor that is drawn: those of 1920 x 1080, and no more, or the picture takes gigabytes."""

LARGEST_SHEET = 1 << 24
"""Pixels up to which a picture is enlarged: a sensor of one column would become gigabytes."""

FRAME_MS = 40
"""Time that a frame of a moving picture shows, and for which it is shown; a long recording is played faster."""

MOST_FRAMES = 250
MOST_PLAYED = 1 << 27
"""Frames of a moving picture, and pixels of them all."""

PLAYED_WIDTH = 512
INK, EDGE = (60, 66, 72), (190, 196, 202)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Plan:
    """Sizes of a tile, in pixels: the frame, enlarged, with room for letters around it."""

    height: int
    width: int
    enlarged: int
    letters: int

    @property
    def line(self) -> int:
        """Height of a line of letters and the gap below it."""
        return (lettering.HEIGHT + 4) * self.letters

    @property
    def left(self) -> int:
        """Room for the numbers of rows."""
        return lettering.width(str(self.height - 1), self.letters) + 4 * self.letters

    @property
    def across(self) -> int:
        """Width of a tile."""
        widest = lettering.width("0000.0-0000.0 ms", self.letters)
        return self.left + max(self.width * self.enlarged, widest) + 6 * self.letters

    @property
    def down(self) -> int:
        """Height of a tile: time above, the frame, numbers of columns below."""
        return 2 * self.line + self.height * self.enlarged + 4 * self.letters


def draw(recording: Recording, path: str | Path) -> None:
    """Write a PNG of the recording cut into eight slices of equally many events: ON red, OFF blue.

    Each has its time above it, counted from the first event, and the numbers of rows and columns beside it.

    Raises
    ------
    RecordingError
        If there are no events, or the sensor is too large to draw.
    OutputError
        If the file cannot be written.
    """
    _check_size(recording)
    number = max(1, min(PICTURE_FRAMES, len(recording)))
    counts = to_frames(recording, number, "number", recording.height, recording.width).counts
    columns = min(number, PICTURE_COLUMNS)
    rows = -(-number // columns)
    plan = _plan(recording, columns, rows, PICTURE_WIDTH)
    sheet = np.full((rows * plan.down + plan.line + 4 * plan.letters, columns * plan.across, 3), 255, np.uint8)
    share = len(recording) // number
    for i in range(number):
        last = len(recording) if i == number - 1 else (i + 1) * share
        begin, end = (int(recording.t[at] - recording.t[0]) for at in (i * share, last - 1))
        _tile(sheet, counts[i], _span(begin, end), i // columns * plan.down, i % columns * plan.across, plan)
    _legend(sheet, rows * plan.down, plan)
    write_whole(path, png(sheet))


def play(recording: Recording, path: str | Path) -> str:
    """Write a GIF or WebP that plays the recording, and return what to say of it.

    Parameters
    ----------
    recording
        What is played: each frame shows 40 ms, or more of a recording that would have too many.
    path
        ``.gif`` or ``.webp``.

    Raises
    ------
    OptionError
        If the extra `images` is missing.
    RecordingError
        If there are no events, or the sensor is too large to draw.
    OutputError
        If the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise OptionError("moving pictures need Pillow, which is not installed: pip install pillow") from None
    _check_size(recording)
    if not len(recording):
        raise RecordingError(f"{recording.path} holds no events to play; choose another range")
    span = int(recording.t[-1] - recording.t[0]) + 1
    plan = _plan(recording, 1, 1, PLAYED_WIDTH)
    size = (plan.down + plan.line + 4 * plan.letters, plan.across)
    most = max(1, min(MOST_FRAMES, MOST_PLAYED // (size[0] * size[1])))
    number = min(most, max(1, -(-span // (FRAME_MS * 1000))))
    each = -(-span // number)
    steps = (np.asarray(recording.t) - recording.t[0]) // each
    edges = np.searchsorted(steps, np.arange(number + 1))
    images = []
    for i in range(number):
        sheet = np.full((*size, 3), 255, np.uint8)
        frame = _counted(recording, int(edges[i]), int(edges[i + 1]))
        _tile(sheet, frame, _span(i * each, min((i + 1) * each, span)), 0, 0, plan)
        _legend(sheet, plan.down, plan)
        images.append(Image.fromarray(sheet))
    buffer = io.BytesIO()
    kind = "WEBP" if Path(path).suffix.lower() == ".webp" else "GIF"
    extra = {"lossless": True} if kind == "WEBP" else {"optimize": False}
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0, **extra)
    write_whole(path, buffer.getbuffer())
    speed = each / (FRAME_MS * 1000)
    pace = f", {speed:.3g} times as fast as it was" if speed > 1.05 else ""
    return f"wrote {path}: {number} frames of {each / 1000:.3g} ms{pace}"


def _check_size(recording: Recording) -> None:
    width, height = recording.width, recording.height
    if width * height > LARGEST_DRAWN:
        raise RecordingError(f"{recording.path}: a sensor of {width} x {height} is too large to draw; give `sensor`")


def _plan(recording: Recording, columns: int, rows: int, widest: int) -> _Plan:
    """Return how much frames are enlarged, and letters with them."""
    height, width = recording.height, recording.width
    room = int((LARGEST_SHEET / (rows * columns * width * height)) ** 0.5)
    enlarged = max(1, min(widest // (columns * width), room))
    letters = max(1, min(width * enlarged // 128, 8))
    return _Plan(height, width, enlarged, letters)


def _tile(sheet: Pixels, frame: NDArray[np.integer], span: str, top: int, left: int, plan: _Plan) -> None:
    """Draw a frame with its time above, and the numbers of its rows and columns beside it."""
    tile = coloured(frame).repeat(plan.enlarged, axis=0).repeat(plan.enlarged, axis=1)
    scale, y, x = plan.letters, top + plan.line, left + plan.left
    high, wide = tile.shape[:2]
    lettering.write(sheet, span, top + 2 * scale, x, scale, INK)
    sheet[y : y + high + 2, x : x + wide + 2] = EDGE
    sheet[y + 1 : y + 1 + high, x + 1 : x + 1 + wide] = tile
    below = y + high + 2 + 2 * scale
    last = str(plan.width - 1)
    lettering.write(sheet, "0", below, x, scale, INK)
    lettering.write(sheet, "x", below, x + wide // 2, scale, INK)
    if wide > 6 * lettering.ADVANCE * scale:
        lettering.write(sheet, last, below, x + wide - lettering.width(last, scale), scale, INK)
    bottom = str(plan.height - 1)
    for text, at in (("0", y), ("y", y + high // 2), (bottom, y + high - lettering.HEIGHT * scale)):
        if high > 4 * lettering.HEIGHT * scale or text == "0":
            lettering.write(sheet, text, at, x - lettering.width(text, scale) - 2 * scale, scale, INK)


def _legend(sheet: Pixels, top: int, plan: _Plan) -> None:
    """Draw which colour is which polarity."""
    scale, left = plan.letters, plan.left
    for name, colour in (("ON", ON_COLOUR), ("OFF", OFF_COLOUR)):
        size = lettering.HEIGHT * scale
        sheet[top : top + size, left : left + size] = colour
        lettering.write(sheet, name, top, left + size + 3 * scale, scale, INK)
        left += size + lettering.width(name, scale) + 10 * scale


def _counted(recording: Recording, begin: int, end: int) -> NDArray[np.int64]:
    """Return events of a range as counts [2, H, W]: OFF, ON."""
    part = slice(begin, end)
    x, y, p = (np.asarray(each[part], np.int64) for each in (recording.x, recording.y, recording.p))
    size = recording.height * recording.width
    flat = np.bincount((p != 0) * size + y * recording.width + x, minlength=2 * size)
    return flat.reshape(2, recording.height, recording.width)


def _span(begin: int, end: int) -> str:
    """Return from when to when, microseconds from the first event, in a unit that fits."""
    unit, size = ("s", 1e6) if end >= 10_000_000 else ("ms", 1e3)
    return f"{begin / size:.1f}-{end / size:.1f} {unit}"
