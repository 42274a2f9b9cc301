"""How wide texts are: no font can be asked, since nobody knows which one a picture will be shown with.

The widths are those of DejaVu Sans, which is wider than Helvetica, Arial, Roboto, Inter and the like: what has room for
it has room for them.
"""

from __future__ import annotations

import math
import unicodedata

# Hundredths of the font's size, for the characters from space to tilde.
_REGULAR = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84,
    84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99, 69, 61,
    69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63, 59,
    82, 59, 59, 52, 64, 34, 64, 84,
)  # fmt: skip
_BOLD = (
    35, 46, 52, 84, 70, 100, 87, 31, 46, 46, 52, 84, 38, 42, 38, 37, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70, 40, 40, 84,
    84, 84, 58, 100, 77, 76, 73, 83, 68, 68, 82, 84, 37, 37, 77, 64, 100, 84, 85, 73, 85, 77, 72, 68, 81, 77, 110, 77,
    72, 73, 46, 37, 46, 84, 50, 50, 67, 72, 59, 72, 68, 44, 72, 71, 34, 34, 67, 34, 104, 71, 69, 72, 72, 49, 60, 48, 71,
    65, 92, 65, 65, 58, 71, 37, 71, 84,
)  # fmt: skip
_OTHER, _WIDE = 85, 105


def pixels(text: str, bold: bool, size: float) -> int:
    """How wide *text* is in a proportional font of that size; rounded up."""
    widths = _BOLD if bold else _REGULAR
    return math.ceil(sum(_width(character, widths) for character in text) * size / 100)


def cells(text: str) -> int:
    """How many cells of a terminal *text* takes."""
    return sum(0 if unicodedata.combining(each) else 2 if _is_wide(each) else 1 for each in text)


def cut(text: str, most: int, size: float, *, bold: bool = False) -> str:
    """*text*, or as much of its beginning as goes into so many pixels."""
    if pixels(text, bold, size) <= most:
        return text
    while text and pixels(text + "...", bold, size) > most:
        text = text[:-1]
    return text.rstrip() + "..."


def _width(character: str, widths: tuple[int, ...]) -> int:
    place = ord(character) - 32
    if 0 <= place < len(widths):
        return widths[place]
    return _WIDE if _is_wide(character) else _OTHER


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
