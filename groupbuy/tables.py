"""Tables as files: CSV for any program, Excel workbooks (.xlsx); no cell becomes a formula.

Excel runs a text that begins with = + - or @ as a formula when it opens a CSV file, so such texts
begin with an apostrophe there. In a workbook the type of a cell says that it is text. A workbook is
written by a process of its own (book.py): a million rows keep a processor busy for a minute.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Protocol

from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

Row = Sequence[Any]
MARK = "\ufeff"  # at the beginning of a CSV file: Excel reads it as UTF-8
ACTIVE = ("=", "+", "-", "@", "\t", "\r")
EXACT = 10**15  # Excel keeps 15 digits of a number, and ids have more
WRITER = [sys.executable, "-P", str(Path(__file__).with_name("book.py"))]
SECONDS = 3600  # that a workbook may take; it gives way to all other processes
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class Writer(Protocol):
    def __call__(self, rows: Iterable[Row]) -> bytes: ...


def plain(value: Any) -> Any:
    """The value as a cell of a file: text or a number; None is an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < EXACT else str(value)
    return strip_tags(value) if isinstance(value, SafeString) else str(value)


def inert(value: Any) -> Any:
    """The value; a text gets an apostrophe in front if a program could run it as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(ACTIVE) else value


def as_csv(rows: Iterable[Row]) -> bytes:
    """Lines of CSV, without the mark at the beginning of a file."""
    text = StringIO(newline="")
    csv.writer(text).writerows([inert(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def as_lines(rows: Iterable[Row]) -> bytes:
    """Lines of JSON, which book.py reads."""
    lines = (json.dumps(list(row), default=float, ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def write_book(lines: Path, book: Path) -> None:
    """Make a workbook of lines of JSON. Raises OSError."""
    try:
        subprocess.run([*WRITER, str(lines), str(book)], check=True, timeout=SECONDS)  # noqa: S603
    except subprocess.SubprocessError as exc:
        raise OSError(0, f"no workbook: {exc}") from exc


def small_book(rows: Iterable[Row]) -> bytes:
    from groupbuy import book  # noqa: PLC0415  openpyxl takes 10 MB, and few processes need it

    file = BytesIO()
    book.write(rows, file)
    return file.getvalue()


ENCODERS: dict[str, Writer] = {"csv": as_csv, "xlsx": as_lines}


def file_of(kind: str, rows: Iterable[Row]) -> bytes:
    """The content of a small file, made in this process."""
    return MARK.encode() + as_csv(rows) if kind == "csv" else small_book(rows)
