"""Text on pictures: fonts, widths, and lines that are broken by Chinese rules (避头尾).

The two Noto Sans SC files (OFL, pages/fonts/) have ASCII and 7,300 Chinese characters. Other
characters come from Debian's Noto Sans CJK if it is installed; without it they are boxes.
"""

import re
import unicodedata
from enum import Enum
from functools import lru_cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

FONTS = Path(__file__).parent / "fonts"
# No line starts with a closing mark, and none ends with an opening one.
CLOSING = "，。、；：！？）》」』】〕〉”’…—·～％々ー!),.:;?]}%"
OPENING = "（《「『【〔〈“‘([{¥￥"
WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_closing, _opening = re.escape(CLOSING), re.escape(OPENING)
# A word or one Chinese character, with the punctuation that stays beside it.
UNIT = re.compile(rf"\s*[{_opening}]*(?:[^\s{WIDE}]+|\S)(?:\s*[{_closing}])*")
SPACED = re.compile(rf"\s+(?=[{_closing}])")  # before punctuation that starts no line
MISSING = "\uffff"  # in no font


class Weight(Enum):
    """A weight of the font: the committed file, and Debian's file of the same weight."""

    REGULAR = "noto-sans-sc-chinese-simplified-400-normal.woff2", "NotoSansCJK-Regular.ttc"
    BOLD = "noto-sans-sc-chinese-simplified-700-normal.woff2", "NotoSansCJK-Bold.ttc"


class Type(NamedTuple):
    size: int  # pixels
    weight: Weight = Weight.REGULAR


def plain(text: str) -> str:
    """The text on one line, without control characters and direction marks."""
    kept = [" " if each.isspace() else each for each in text]
    kept = [each for each in kept if unicodedata.category(each)[0] != "C"]
    return " ".join("".join(kept).split())


def width(text: str, kind: Type) -> float:
    return sum(font.getlength(run) for run, font in _runs(text, kind))


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, kind: Type, fill: str
) -> float:
    """Write from `at`, the left end of the base line; return the x at which the text ends."""
    x, y = at
    for run, font in _runs(text, kind):
        draw.text((x, y), run, font=font, fill=fill, anchor="ls")
        x += font.getlength(run)
    return x


def fitting(text: str, kinds: tuple[Type, ...], room: float) -> Type:
    """The first of the kinds in which the text fits into the room, or else the last."""
    return next((kind for kind in kinds if width(text, kind) <= room), kinds[-1])


def wrap(text: str, kind: Type, room: float, *, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of similar width; an ellipsis ends a cut text."""
    pieces = _pieces(plain(text), kind, room)
    widths = [width(piece, kind) for piece in pieces]
    ends = _ends(widths, room)
    if len(ends) > lines:
        first = ends[lines - 2] if lines > 1 else 0
        pieces[first:] = [_cut("".join(pieces[first:]).strip(), kind, room)]
        ends[lines - 1 :] = [len(pieces)]
    else:
        ends = _balanced(widths, room, ends)
    return ["".join(pieces[a:b]).strip() for a, b in pairwise([0, *ends])]


def _pieces(text: str, kind: Type, room: float) -> list[str]:
    """The units of the text. A unit that is wider than the room is split into parts that fit."""
    pieces: list[str] = []
    for unit in UNIT.findall(text):
        if width(unit, kind) <= room:
            pieces.append(unit)
        else:
            pieces += _broken(unit, kind, room)
    return pieces


def _broken(unit: str, kind: Type, room: float) -> list[str]:
    parts, part = [], ""
    for character in SPACED.sub("", unit):
        if part and width(f"{part}{character}", kind) > room:
            together = character in CLOSING and part[-1] not in CLOSING and len(part) > 1
            end = len(part) - together
            parts.append(part[:end])
            part = part[end:]
        part += character
    return [*parts, part]


def _ends(widths: list[float], room: float) -> list[int]:
    """Indexes of pieces at which lines end when each line is as full as it can be."""
    ends, line = [], 0.0
    for number, each in enumerate(widths):
        if line and line + each > room:
            ends.append(number)
            line = 0
        line += each
    return [*ends, len(widths)] if widths else []


def _balanced(widths: list[float], room: float, ends: list[int]) -> list[int]:
    """Ends of as many lines in the narrowest room, so that the last line is not short."""
    for narrower in range(int(room), int(room / 2), -8):
        tried = _ends(widths, narrower)
        if len(tried) > len(ends):
            break
        ends = tried
    return ends


def _cut(text: str, kind: Type, room: float) -> str:
    while text and width(f"{text}…", kind) > room:
        text = text[:-1]
    return f"{text.rstrip(f'{OPENING}{CLOSING} ')}…"


def _runs(text: str, kind: Type) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """The text in parts, each with the font that has its characters."""
    runs = groupby(text, lambda each: has(kind.weight, each))
    return [("".join(run), _font(kind) if ours else _spare(kind)) for ours, run in runs]


@lru_cache(maxsize=16)  # 2 MB each
def _font(kind: Type) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        FONTS / kind.weight.value[0], kind.size, layout_engine=ImageFont.Layout.BASIC
    )


@lru_cache(maxsize=16)
def _spare(kind: Type) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(
            kind.weight.value[1], kind.size, index=2, layout_engine=ImageFont.Layout.BASIC
        )
    except OSError:
        return _font(kind)


@lru_cache(maxsize=10_000)
def has(weight: Weight, character: str) -> bool:
    """Does the committed font have this character?"""
    font = _font(Type(20, weight))
    return bytes(font.getmask(character)) != bytes(font.getmask(MISSING))
