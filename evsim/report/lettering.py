"""Small letters for pictures, so that a picture needs no library of fonts: 5 x 7 pixels, enlarged without blur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEIGHT, ADVANCE = 7, 6

GLYPHS = {
    "0": "0e11191513110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    ".": "00000000000c0c", "-": "0000001f000000", " ": "00000000000000", "O": "0e11111111110e", "N": "11191513111111",
    "F": "1f10101e101010", "s": "00000f100e011e", "m": "00001a15151515", "x": "0000110a040a11", "y": "11110a04040404",
    "t": "08081c08080906", "o": "00000e1111110e", "u": "0000111111130d", "k": "10101214181412",
}  # fmt: skip
"""Character to seven rows of five bits."""


def width(text: str, scale: int) -> int:
    """Return the pixels that a text takes."""
    return max(0, len(text) * ADVANCE - 1) * scale


def write(sheet: NDArray[np.uint8], text: str, top: int, left: int, scale: int, colour: tuple[int, int, int]) -> None:
    """Write a text into a picture [H, W, 3]; what lies outside is left out, as are letters that are not known.

    Parameters
    ----------
    sheet
        The picture.
    text
        Letters of `GLYPHS`.
    top, left
        Where it begins.
    scale
        Pixels of a letter's pixel.
    colour
        Of the letters.
    """
    for place, letter in enumerate(text):
        rows = np.frombuffer(bytes.fromhex(GLYPHS.get(letter, GLYPHS[" "])), np.uint8)
        bits = np.unpackbits(rows[:, np.newaxis], axis=1)[:, 3:].astype(np.bool_)
        bits = bits.repeat(scale, axis=0).repeat(scale, axis=1)
        x = left + place * ADVANCE * scale
        if x < 0 or top < 0:
            continue
        under = sheet[top : top + bits.shape[0], x : x + bits.shape[1]]
        under[bits[: under.shape[0], : under.shape[1]]] = colour
