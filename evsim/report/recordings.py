"""A recording as text, JSON or a picture."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.events.summary import Activity, Summary

BARS = "▁▂▃▄▅▆▇█"
SHOWN_HOT = 5
ON_COLOUR, OFF_COLOUR = (200, 30, 30), (30, 60, 200)


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the facts as plain lists, dicts, numbers and texts; for the keys see docs: Recordings."""
    return {
        "format": summary.format,
        "width": summary.size.width,
        "height": summary.size.height,
        "count": summary.count,
        "first": None if summary.first is None else list(summary.first),
        "last": None if summary.last is None else list(summary.last),
        "on": summary.on,
        "off": summary.off,
        "t_min": summary.t_min,
        "t_max": summary.t_max,
        "sum_x": summary.sum_x,
        "sum_y": summary.sum_y,
        "backward_steps": summary.backward_steps,
        "skipped": dict(summary.skipped),
        "size_from": summary.size.source,
        "sha256_tx_y_p": summary.digest,
    }


def summary_report(summary: Summary, activity: Activity) -> str:
    """Return the facts of a recording for a terminal."""
    size = summary.size
    lines = [
        f"{summary.path}: {summary.format}",
        f"sensor  : {size.width} x {size.height} pixels, from: {size.source}",
        f"events  : {summary.count:,}" + (f" ({summary.on:,} ON, {summary.off:,} OFF)" if summary.count else ""),
    ]
    if summary.t_min is not None and summary.t_max is not None and summary.first and summary.last:
        span = summary.t_max - summary.t_min
        order = f"runs backward {summary.backward_steps:,} times" if summary.backward_steps else "never runs backward"
        lines += [
            f"duration: {span / 1e6:.6f} s, from {summary.t_min:,} to {summary.t_max:,} us; time {order}",
            f"first   : t {summary.first[0]}, x {summary.first[1]}, y {summary.first[2]}, p {summary.first[3]}",
            f"last    : t {summary.last[0]}, x {summary.last[1]}, y {summary.last[2]}, p {summary.last[3]}",
            *_rate_lines(activity, summary.count, span),
            f"pixels  : {_pixels(activity)}",
        ]
    skipped = ", ".join(f"{number:,} {kind}" for kind, number in summary.skipped.items())
    return "\n".join([*lines, f"skipped : {skipped or 'nothing'}", f"digest  : {summary.digest}"])


def sparkline(values: NDArray[np.integer]) -> str:
    """Return one bar per value, its height in proportion to the greatest; the lowest bar is 0 to an eighth of it."""
    top = int(values.max(initial=0))
    if not top:
        return BARS[0] * len(values)
    return "".join(BARS[min(int(value) * len(BARS) // top, len(BARS) - 1)] for value in values)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an RGB image [H, W, 3] as a PNG file, so that no extra is needed for it."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of each of R, G, B
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def coloured(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Return counts [2, H, W] as a picture: white, and the more events, the nearer to their prevailing polarity's."""
    total = frame.sum(axis=0)
    strength = np.minimum(total / max(1.0, np.percentile(total[total > 0], 95) if total.any() else 1.0), 1.0)
    strength = np.where(total > 0, 0.25 + 0.75 * strength, 0.0)[..., None]
    colour = np.where((frame[1] >= frame[0])[..., None], ON_COLOUR, OFF_COLOUR)
    return np.asarray(np.rint(255 + strength * (colour - 255.0)), np.uint8)


def _rate_lines(activity: Activity, count: int, span: int) -> list[str]:
    rates = activity.rate / (activity.slice_us / 1e6)
    mean = f"{count / (span / 1e6):,.0f} events/s on average, " if span else ""
    scale = f"{mean}bars from 0 to {rates.max():,.0f} in slices of {activity.slice_us / 1000:,.3f} ms"
    return [f"rate    : {sparkline(activity.rate)}", f"          {scale}"]


def _pixels(activity: Activity) -> str:
    if activity.active is None:
        return "not counted, the sensor is too large"
    if not activity.hot:
        return f"{activity.active:,} fire, none is hot"
    shown = ", ".join(f"({x}, {y}) {number:,}" for x, y, number in activity.hot[:SHOWN_HOT])
    more = f" and {len(activity.hot) - SHOWN_HOT} more" if len(activity.hot) > SHOWN_HOT else ""
    return f"{activity.active:,} fire; {len(activity.hot)} hot (more than 10 times the mean): {shown}{more}"
