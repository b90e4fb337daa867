"""User ids from a file that an operator uploads (名单文件): text, CSV or an Excel workbook.

A text is UTF-8, UTF-16, GB18030 (as Excel in Chinese saves it; GBK is a part of it) or Big5, with
or without a byte order mark; commas, semicolons or tabs separate its columns. A workbook is .xlsx,
and its first sheet is read (workbooks.py). The ids are in the column whose first cell says user_id
or 用户ID, else in the first column. Empty cells and repeated ids are left out.

An unreadable file raises ValidationError, which names the row and what to do about it.
"""

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO

from charset_normalizer import from_bytes
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from tag import workbooks
from tag.models import CrowdFile
from tag.workbooks import Unreadable

LARGEST = 8_000_000  # bytes; MySQL's max_allowed_packet of 16 MB fits them with each byte escaped
KEPT = timedelta(hours=1)  # between upload and confirmation, at most
MOST_ROWS = 200_000  # more would hold up the console
HEADER = re.compile(r"user[ _-]?id|用户\s?(id|编号)?", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
SHORTENED = re.compile(r"\d(\.\d+)?E\+\d+")  # 123456789012, as Excel shows it in a narrow column
WORKBOOK = "xlsx"  # the "encoding" of a workbook
MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}
NO_TEXT = _("The file is neither text nor an Excel workbook. Save it as .xlsx, or as CSV in UTF-8.")
ALIKE = ("utf-8", "gb18030", "big5")  # the same bytes may be valid in each of these


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of a file."""

    encoding: str
    user_ids: dict[str, int]  # each with its first row, in the file's order
    repeated: int  # cells with an id that was in a row before


def check_size(size: int) -> None:
    """Refuse a file that is too large, before it is read into memory."""
    if size > LARGEST:
        raise ValidationError(_("The file is larger than 8 MB: split it."))


def read(content: bytes, encoding: str = "") -> Contents:
    """Read the user ids. A text is in `encoding` if that is one of ALIKE, else in the likeliest."""
    with table(content, encoding) as (found, rows):
        return _contents(found, rows)


@contextmanager
def table(
    content: bytes, encoding: str = ""
) -> Generator[tuple[str, Iterator[Sequence[str]]], None, None]:
    """The encoding of a file and its rows, which may raise ValidationError as they are read."""
    if workbooks.is_workbook(content):
        with closing(workbooks.rows(content)) as rows:
            yield WORKBOOK, rows
    else:
        encoding = encoding if encoding in ALIKE else _guess(content)
        yield encoding, _rows_of_text(_decode(content, encoding))


def other_readings(content: bytes, contents: Contents) -> Iterator[Contents]:
    """The same text in other encodings that can decode it and give other user ids."""
    if contents.encoding not in ALIKE or content.startswith(BOM_UTF8):
        return
    for encoding in ALIKE:
        try:
            other = read(content, encoding)
        except ValidationError:
            continue
        if other.user_ids != contents.user_ids:
            yield other


def find(file_id: int, *, by: str, now: datetime) -> CrowdFile | None:
    """A file that this operator uploaded less than an hour ago."""
    kept = CrowdFile.objects.filter(by=by, uploaded_at__gt=now - KEPT)
    return kept.select_related("tag").filter(pk=file_id).first()


def forget_old(now: datetime) -> None:
    """Delete uploaded files that nobody has confirmed in time."""
    CrowdFile.objects.filter(uploaded_at__lte=now - KEPT).delete()


def is_user_id(text: str) -> bool:
    return 0 < len(text) <= 64 and not CONTROLS.search(text)


def _guess(content: bytes) -> str:
    """The likeliest encoding: a text that is valid UTF-8 is hardly ever anything else."""
    if marked := next((name for mark, name in MARKS.items() if content.startswith(mark)), ""):
        return marked
    if b"\0" in content:
        best = from_bytes(content, cp_isolation=["utf_16_le", "utf_16_be"]).best()
        return best.encoding.replace("_", "-") if best else "utf-8"
    try:
        content.decode()
    except UnicodeDecodeError:
        found = [each.encoding for each in from_bytes(content, cp_isolation=["gb18030", "big5"])]
        return "big5" if found == ["big5"] else "gb18030"
    return "utf-8"


def _decode(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise ValidationError(NO_TEXT) from exc
    if "\0" in text:
        raise ValidationError(NO_TEXT)
    if text.lstrip().startswith("<"):
        raise ValidationError(
            _("The file is a web page or XML: open it in Excel and save it as .xlsx or as CSV.")
        )
    return text


def _rows_of_text(text: str) -> Iterator[Sequence[str]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = next((mark for mark in "\t,;" if mark in first), ",")
    try:
        yield from csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as exc:
        raise ValidationError(
            _("The file is not a CSV file: %(error)s."), params={"error": exc}
        ) from exc


def _contents(encoding: str, rows: Iterable[Sequence[str]]) -> Contents:
    user_ids: dict[str, int] = {}
    column: int | None = None
    repeated = 0
    for number, row in enumerate(rows, 1):
        if not any(row):
            continue
        if number > MOST_ROWS:
            raise ValidationError(_("The file has more than 200,000 rows: split it."))
        if column is None:
            header = _header(row)
            column = header or 0
            if header is not None:
                continue
        if user_id := _user_id(row, column, number):
            repeated += user_id in user_ids
            user_ids.setdefault(user_id, number)
    if not user_ids:
        raise ValidationError(_("The file has no user ids."))
    return Contents(encoding, user_ids, repeated)


def _header(row: Sequence[str]) -> int | None:
    """The index of the column with a header for user ids; None if the row is no header."""
    return next((n for n, cell in enumerate(row) if HEADER.fullmatch(cell.strip())), None)


def _user_id(row: Sequence[str], column: int, number: int) -> str:
    """The user id in this row, or "". Raises ValidationError for an unreadable cell."""
    cell = row[column] if column < len(row) else ""
    user_id = cell.strip()
    if fault := cell if isinstance(cell, Unreadable) else _fault(user_id):
        raise ValidationError(_("Row %(row)d: %(fault)s"), params={"row": number, "fault": fault})
    return user_id


def _fault(user_id: str) -> str:
    if SHORTENED.fullmatch(user_id):
        return gettext(
            "Excel has shortened a number to %(text)s. Format the column as numbers without"
            " decimals, or enter the ids as text, and save the file again."
        ) % {"text": user_id}
    if user_id and not is_user_id(user_id):
        text = gettext("“%(user_id)s…” is longer than 64 characters or has control characters.")
        return text % {"user_id": user_id[:20]}
    return ""
