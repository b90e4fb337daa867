"""Draws the poster that a member shares (海报), and the banner that a chat shows beside a link.

Both are PNGs made of finished texts and of files on this server; nothing is fetched. If a picture
of goods cannot be read, a block of colour with the first letter of the goods' name replaces it.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import segno
from PIL import Image, ImageColor, ImageDraw, ImageOps

from activity import pictures
from pages.lettering import OPENING, Type, Weight, fitting, plain, width, wrap, write

POSTER = 750, 1334
BANNER = 1200, 630  # chats with little room show only its middle square
QR = 300  # pixels, at least, without the quiet zone
QUIET = 4  # modules of quiet zone around the code

# With 256 colours the page is still dark enough to differ from the white sheet.
PAGE, CARD, INK, SOFT, RED = "#efebe4", "#ffffff", "#1c1f24", "#5b636e", "#c22a21"
PALE, BLOCK, BLOCK_INK = "#ffd9d4", "#e9e2d6", "#a3937a"
BOLD = Weight.BOLD
NAME, SMALL, TEXT = Type(44, BOLD), Type(26), Type(30)
STRONG = Type(38, BOLD)
STANDINGS = STRONG, Type(32, BOLD), Type(26, BOLD)
PRICES = Type(88, BOLD), Type(72, BOLD), Type(56, BOLD), Type(44, BOLD), Type(32, BOLD)
HEAD, LETTER = Type(34, BOLD), Type(200, BOLD)


@dataclass(frozen=True, slots=True)
class Goods:
    """The content of both pictures; texts may be empty."""

    shop: str
    name: str
    picture: str
    price: str
    alone: str  # the single price; "" if it equals price
    people: str  # such as "team of 3"
    standing: str  # such as "1 more person needed"
    until: str


@dataclass(frozen=True, slots=True)
class Poster:
    goods: Goods
    inviter: str  # masked; "" without one
    invitation: str
    call: str  # what to do with the QR code
    url: str


@dataclass(frozen=True, slots=True)
class Banner:
    goods: Goods


def draw(picture: Poster | Banner) -> bytes:
    """Return a PNG of 256 colours; it has a third of the size of one in full colour."""
    image = _poster(picture) if isinstance(picture, Poster) else _banner(picture.goods)
    out = BytesIO()
    image.quantize(256, Image.Quantize.FASTOCTREE).save(out, "PNG")
    return out.getvalue()


# --- The poster -------------------------------------------------------------------------------

EDGE, MARGIN = 40, 24  # pixels beside the text, and around the sheet
SHEET = 872  # y where the white sheet with the code begins


def _poster(poster: Poster) -> Image.Image:
    """Draw from the bottom up: sheet, standing, prices, name; the picture gets the rest."""
    image, goods = Image.new("RGB", POSTER, PAGE), poster.goods
    pen = ImageDraw.Draw(image)
    _sheet(image, poster)
    y = SHEET - 34
    if goods.standing:
        room = POSTER[0] - 2 * EDGE - 20 - width(goods.until, SMALL)
        x = write(pen, (EDGE, y), goods.standing, fitting(goods.standing, STANDINGS, room), INK)
        write(pen, (x + 20, y), goods.until, SMALL, SOFT)
        y -= 66
    _prices(pen, goods, EDGE, y, POSTER[0] - EDGE)
    lines = wrap(goods.name, NAME, POSTER[0] - 2 * EDGE, lines=2)
    y -= 104 + 58 * (len(lines) - 1)
    image.paste(_shown(goods, (POSTER[0], y - 68)))
    for number, line in enumerate(lines):
        write(pen, (EDGE - _hanging(line, NAME), y + 58 * number), line, NAME, INK)
    return image


def _hanging(line: str, kind: Type) -> float:
    """Pixels by which an opening Chinese bracket moves into the margin; half of it is blank."""
    return kind.size / 2 if line[:1] in "《「『【（" else 0


def _prices(pen: ImageDraw.ImageDraw, goods: Goods, x: float, y: int, right: float) -> None:
    """Draw the price, the single price crossed out, and on the right the size of the team."""
    if goods.people:
        left = right - width(goods.people, TEXT) - 44
        pen.rounded_rectangle((left, y - 48, right, y + 8), radius=28, outline=RED, width=2)
        write(pen, (left + 22, y - 9), goods.people, TEXT, RED)
        right = left
    kind = fitting(goods.price, PRICES, (right - x) * 0.65)
    x = write(pen, (x, y), goods.price, kind, RED) + 20
    _crossed_out(pen, (x, y), goods.alone, SOFT)


def _sheet(image: Image.Image, poster: Poster) -> None:
    """Draw the QR code, and beside it the shop, the inviter, and what to do with the code."""
    pen, (right, bottom) = ImageDraw.Draw(image), (POSTER[0] - MARGIN, POSTER[1] - MARGIN)
    pen.rounded_rectangle((MARGIN, SHEET, right, bottom), radius=32, fill=CARD)
    code = _code(poster.url)
    image.paste(code, (right - 12 - code.width, (SHEET + bottom - code.height) // 2))
    shop = Words(poster.goods.shop, *((SMALL, SOFT) if poster.inviter else (STRONG, INK)))
    inviting = [Words(poster.inviter, STRONG, INK, gap=8), Words(poster.invitation, TEXT, INK)]
    call = Words(poster.call, SMALL, SOFT, gap=22)
    lines = _lines([shop, *inviting, call], right - 12 - code.width - 64, each=3)
    _column(pen, (64, (SHEET + bottom - _height(lines)) // 2), lines)


def _code(url: str) -> Image.Image:
    """Return the QR code with its quiet zone; a module is a whole number of pixels wide."""
    rows = list(segno.make_qr(url, error="m").matrix_iter(border=QUIET))
    side = len(rows)
    code = Image.new("1", (side, side))
    code.putdata([not dark for row in rows for dark in row])
    scale = -(-QR // (side - 2 * QUIET))
    return code.resize((side * scale, side * scale), Image.Resampling.NEAREST)


# --- The banner -------------------------------------------------------------------------------

BAND = 510  # where the band with the price begins


def _banner(goods: Goods) -> Image.Image:
    """Draw the picture and the price in the middle square, and the texts on both sides of it."""
    image = Image.new("RGB", BANNER, PAGE)
    pen, side = ImageDraw.Draw(image), (BANNER[0] - BANNER[1]) // 2
    image.paste(_shown(goods, (BANNER[1], BAND)), (side, 0))
    _band(pen, goods, side, BANNER[0] - side)
    left = [Words(goods.shop, SMALL, SOFT), Words(goods.name, HEAD, INK, gap=20)]
    right = [Words(goods.standing, HEAD, INK), Words(goods.until, SMALL, SOFT, gap=20)]
    for x, words in ((32, left), (BANNER[0] - side + 32, right)):
        lines = _lines(words, side - 64, each=8)
        _column(pen, (x, (BAND - _height(lines)) // 2), lines)
    return image


def _band(pen: ImageDraw.ImageDraw, goods: Goods, left: int, right: int) -> None:
    pen.rectangle((0, BAND, *BANNER), fill=RED)
    people = right - 32 - width(goods.people, TEXT)
    room = people - left - 72 - width(goods.alone, TEXT)
    kind = fitting(goods.price, PRICES[1:], room)
    x = write(pen, (left + 32, BAND + 86), goods.price, kind, CARD) + 18
    _crossed_out(pen, (x, BAND + 86), goods.alone, PALE)
    write(pen, (people, BAND + 82), goods.people, TEXT, CARD)


def _crossed_out(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    end = write(pen, at, text, TEXT, colour)
    if text:
        pen.line((at[0], at[1] - 11, end, at[1] - 11), fill=colour, width=2)


# --- Columns of text --------------------------------------------------------------------------


class Words(NamedTuple):
    """A text of a column."""

    text: str
    kind: Type
    colour: str
    gap: int = 0  # pixels below the text above it


class Line(NamedTuple):
    """A line of a column."""

    y: int  # of its base line, in pixels from the top of the column
    text: str
    kind: Type
    colour: str


def _lines(column: list[Words], room: float, *, each: int) -> list[Line]:
    """Break the texts into lines; each text has at most `each` of them."""
    lines: list[Line] = []
    y = 0
    for words in column:
        y += words.gap if lines else 0
        for text in wrap(words.text, words.kind, room, lines=each):
            y += round(words.kind.size * 1.45)
            lines.append(Line(y - words.kind.size // 3, text, words.kind, words.colour))
    return lines


def _height(lines: list[Line]) -> int:
    return lines[-1].y + lines[-1].kind.size // 3 if lines else 0


def _column(pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: list[Line]) -> None:
    for line in lines:
        x = at[0] - _hanging(line.text, line.kind)
        write(pen, (x, at[1] + line.y), line.text, line.kind, line.colour)


# --- Pictures of goods ------------------------------------------------------------------------


def _shown(goods: Goods, size: tuple[int, int]) -> Image.Image:
    """The whole picture on a ground in the colour of its edge, or else the goods' first letter."""
    picture = _read(goods.picture, size)
    if picture is None:
        return _block(goods.name, size)
    block = Image.new("RGB", size, _ground(picture))
    at = (size[0] - picture.width) // 2, (size[1] - picture.height) // 2
    block.paste(picture, at, picture)
    return block


def _read(picture: str, size: tuple[int, int]) -> Image.Image | None:
    """The picture, scaled to fit, or None if it cannot be read. An SVG has a WebP beside it."""
    if picture.endswith(".svg"):
        picture = f"{picture.removesuffix('.svg')}.webp"
    path = pictures.find(picture)
    try:
        image = Image.open(path, formats=pictures.FORMATS).convert("RGBA") if path else None
        return ImageOps.contain(image, size, Image.Resampling.LANCZOS) if image else None
    except (*pictures.BROKEN, *pictures.BOMB):
        return None


def _ground(picture: Image.Image) -> tuple[int, ...]:
    """The median colour of the picture's edge, which is that of most of it."""
    small = picture.resize((16, 16), Image.Resampling.BOX)
    points = [at for n in range(16) for at in ((n, 0), (n, 15), (0, n), (15, n))]
    edge: list[Any] = [small.getpixel(at) for at in points]
    opaque = [pixel for pixel in edge if pixel[3] > 250] or [ImageColor.getrgb(f"{BLOCK}ff")]
    middle = [sorted(channel)[len(opaque) // 2] for channel in zip(*opaque, strict=True)]
    return tuple(middle[:3])


def _block(name: str, size: tuple[int, int]) -> Image.Image:
    block = Image.new("RGB", size, BLOCK)
    letter = plain(name).lstrip(OPENING)[:1].upper()
    at = ((size[0] - width(letter, LETTER)) / 2, size[1] / 2 + LETTER.size * 0.36)
    write(ImageDraw.Draw(block), at, letter, LETTER, BLOCK_INK)
    return block
