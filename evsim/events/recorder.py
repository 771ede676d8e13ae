"""The recorder: an image moved before a simulated event camera becomes a recording.

The pixel model is the field's standard one (v2e, arXiv 2006.07722; ESIM, Rebecq et al. 2018): each pixel remembers the
log intensity at its last event and fires whenever the present one has moved by a threshold from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.types import Recording
from evsim.kernels.compiling import inner, kernel

SENSOR = 128
"""Pixels per side of a DVS128."""

LINEAR_BELOW = 20.0
"""Intensity (of 255) up to which the response is linear; above it is logarithmic."""

LEAST_THRESHOLD = 0.001
"""Change of log intensity that a pixel can tell; less would be millions of events per pixel."""

STEP_US = 1000
"""Time between two samples of the moving image, in microseconds."""


@dataclass(frozen=True)
class RecorderSettings:
    """How a recording is made.

    Attributes
    ----------
    motion
        "saccade": three straight moves of 100 ms each, as in N-MNIST; "loop": a closed diamond of four such moves, as
        in CIFAR10-DVS.
    threshold
        Change of log intensity per event (theta).
    refractory_us
        Time after an event during which a pixel stays silent, in microseconds.
    noise
        Standard deviation of the threshold from pixel to pixel, as a share of it.
    seed
        Seed of that noise.
    amplitude
        Length of the moves in pixels.
    extent
        Pixels per side that the image is enlarged to.
    darkest
        Intensity (of 255) of the image's darkest grey and of what surrounds it: no real scene is black.
    stretch
        Whether the image's contrast is stretched to `darkest` .. 255. If not, its values are the intensities, and its
        least value is also what surrounds it; `darkest` is not used.
    """

    motion: Literal["saccade", "loop"] = "saccade"
    threshold: float = 0.2
    refractory_us: int = 1000
    noise: float = 0.0
    seed: int = 0
    amplitude: float = 8.0
    extent: int = 96
    darkest: float = 64.0
    stretch: bool = True


def record(image: NDArray[np.generic], settings: RecorderSettings | None = None) -> Recording:
    """Play an image before a 128 x 128 event camera.

    Parameters
    ----------
    image
        [H, W], intensities from dark to bright: stretched from its least and greatest value, or 0 .. 255 as they are.
    settings
        Motion and pixel model.

    Returns
    -------
    Recording
        Sorted by time, then row, then column.

    Raises
    ------
    RecordingError
        If the image is not two-dimensional, not finite, of one brightness, or outside 0 .. 255 and not stretched.
    OptionError
        If a setting has no such value.
    """
    settings = settings or RecorderSettings()
    _check(settings)
    scene = _scene(image, settings)
    path = _path(settings)
    rng = np.random.default_rng(settings.seed)
    spread = rng.normal(1.0, settings.noise, scene.shape) if settings.noise else np.ones(scene.shape)
    theta = settings.threshold * np.clip(spread, 0.1, None)
    capacity = 1 << 16
    while True:
        t = np.empty(capacity, np.int64)
        x, y = np.empty(capacity, np.uint16), np.empty(capacity, np.uint16)
        p = np.empty(capacity, np.uint8)
        count = int(_play(scene, path, theta, settings.refractory_us, t, x, y, p))
        if count <= capacity:
            break
        capacity = count
    order = np.lexsort((x[:count], y[:count], t[:count]))
    return Recording(t[order], x[order], y[order], p[order], SENSOR, SENSOR, "the simulated DVS128", "recorder")


def _check(settings: RecorderSettings) -> None:
    if settings.motion not in ("saccade", "loop"):
        raise OptionError(f"`motion` must be saccade or loop, got {settings.motion}")
    if not LEAST_THRESHOLD <= settings.threshold < np.inf:
        raise OptionError(f"`threshold` must be at least {LEAST_THRESHOLD}, got {settings.threshold}")
    if not 0 <= settings.refractory_us < 1 << 40 or not 0.0 <= settings.noise < np.inf:
        raise OptionError("`refractory` and `noise` must be finite and not negative")
    if settings.seed < 0:
        raise OptionError(f"`seed` must not be negative, got {settings.seed}")
    if not 0.0 <= settings.darkest < 255.0:
        raise OptionError(f"`darkest` must lie in 0 to 254, got {settings.darkest}")
    if not 2 <= settings.extent <= SENSOR:
        raise OptionError(f"the image must fill 2 to {SENSOR} pixels of the sensor, got {settings.extent}")


def _scene(image: NDArray[np.generic], settings: RecorderSettings) -> NDArray[np.float64]:
    """Intensities 0 .. 255 on the sensor: the image enlarged, in the middle, on its darkest grey."""
    from scipy.ndimage import zoom

    if image.ndim != 2 or min(image.shape) < 2:
        raise RecordingError(f"the recorder takes an image [H, W] of at least 2 x 2, got shape {list(image.shape)}")
    values = np.array(image, np.float64)  # a copy, which is worked on in place: images may be large
    if not np.isfinite(values).all() or np.ptp(values) == 0.0:
        raise RecordingError("the image holds NaN or infinite values, or is of one brightness: nothing would move")
    darkest = settings.darkest
    if settings.stretch:
        spread = np.ptp(values)
        values -= values.min()
        values /= spread
        values *= 255.0 - darkest
        values += darkest
    elif values.min() < 0.0 or values.max() > 255.0:
        raise RecordingError(
            f"the image holds {values.min():g} to {values.max():g}; as they are, without stretching, intensities must "
            "lie in 0 to 255: scale the image, or let it be stretched"
        )
    else:
        darkest = float(values.min())
    values = np.pad(values, 1, constant_values=darkest)  # strokes at the edge end softly
    factor = settings.extent / max(values.shape)
    large = np.clip(zoom(values, factor, order=1, grid_mode=True, mode="nearest"), 0.0, 255.0)
    scene = np.full((SENSOR, SENSOR), darkest)
    top, left = ((SENSOR - size) // 2 for size in large.shape)
    scene[top : top + large.shape[0], left : left + large.shape[1]] = large
    return scene


def _path(settings: RecorderSettings) -> NDArray[np.float64]:
    """Displacement [samples, (y, x)] of the image over time, one sample per millisecond."""
    a = settings.amplitude / 2.0
    if settings.motion == "saccade":
        corners = np.array([(-a, -a), (a, 0.0), (-a, a), (-a, -a)])
    else:
        corners = np.array([(0.0, -a), (-a, 0.0), (0.0, a), (a, 0.0), (0.0, -a)])
    times = np.arange((len(corners) - 1) * 100 + 1) / 100.0
    return np.stack([np.interp(times, np.arange(len(corners)), corners[:, axis]) for axis in (0, 1)], axis=1)


@kernel
def _play(
    scene: NDArray[np.float64],
    path: NDArray[np.float64],
    theta: NDArray[np.float64],
    refractory: int,
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
) -> int:
    """Write the events that fit, pixel by pixel; return how many there are."""
    height, width = scene.shape
    count = 0
    for row in range(height):
        for column in range(width):
            before = _response(scene, row - path[0, 0], column - path[0, 1])
            reference = before
            silent_until = np.int64(-1)
            for i in range(1, len(path)):
                now = _response(scene, row - path[i, 0], column - path[i, 1])
                step = theta[row, column] if now > reference else -theta[row, column]
                for k in range(1, int(np.floor(np.abs(now - reference) / theta[row, column])) + 1):
                    level = reference + step * k
                    share = (level - before) / (now - before) if now != before else 1.0
                    when = np.int64((i - 1 + min(max(share, 0.0), 1.0)) * STEP_US)
                    if when < silent_until:
                        continue
                    silent_until = when + refractory
                    if count < len(t):
                        t[count], x[count], y[count], p[count] = when, column, row, step > 0.0
                    count += 1
                reference += step * np.floor(np.abs(now - reference) / theta[row, column])
                before = now
    return count


@inner
def _response(scene: NDArray[np.float64], row: float, column: float) -> float:
    """Lin-log intensity at a point of the scene, bilinear between pixels; outside goes on as in the corner."""
    top, left = int(np.floor(row)), int(np.floor(column))
    dy, dx = row - top, column - left
    value = 0.0
    for oy, wy in ((0, 1.0 - dy), (1, dy)):
        for ox, wx in ((0, 1.0 - dx), (1, dx)):
            yy, xx = top + oy, left + ox
            if 0 <= yy < scene.shape[0] and 0 <= xx < scene.shape[1]:
                value += wy * wx * scene[yy, xx]
            else:
                value += wy * wx * scene[0, 0]
    # below the knee a line that meets the logarithm there
    return float(value * np.log(LINEAR_BELOW) / LINEAR_BELOW if value <= LINEAR_BELOW else np.log(value))
