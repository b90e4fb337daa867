"""Rows of an Excel workbook (.xlsx), which a process of its own reads (sheet.py).

For an old .xls and for a workbook with a password the error says which of the two it is.
"""

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

READER = [sys.executable, "-P", str(Path(__file__).with_name("sheet.py"))]
MEMORY, SECONDS = 256 * 1024 * 1024, 60  # of its processor's time; 200,000 rows take 100 MB, 10 s
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # how .xlsx and .xls begin
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # in a workbook with a password
FAULTS = {  # of a cell
    "formula": _("The cell has a formula: copy the column, paste it as values."),
    "rounded": _("Excel has rounded the number %(number)s: enter the ids as text."),
    "type": _("The cell is neither text nor a number."),
}
TOO_LARGE = _(
    "The workbook is larger than 32 MB unpacked: keep only the columns that are needed, or split"
    " it."
)
UNREADABLE = _("This is not a readable .xlsx workbook: copy what is needed into a new one.")


class Unreadable(str):
    """An error message in place of a cell's text."""

    __slots__ = ()


def is_workbook(content: bytes) -> bool:
    """True for every spreadsheet, also one that rows() refuses."""
    return content.startswith((ZIP, OLE))


def rows(content: bytes) -> Generator[list[str], None, None]:
    """The rows of the first sheet. Raises ValidationError, possibly after some of them."""
    if content.startswith(OLE):
        _refuse_old_format(content)
    command = [*READER, str(MEMORY), str(SECONDS)]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as reader:  # noqa: S603
        try:
            yield from _read(reader, content)
        finally:
            reader.kill()


def _refuse_old_format(content: bytes) -> None:
    if ENCRYPTED in content:
        raise ValidationError(_("The workbook has a password: save it without one."))
    raise ValidationError(_("The file is an old Excel workbook (.xls): save it as .xlsx."))


def _read(reader: Popen[bytes], content: bytes) -> Iterator[list[str]]:
    assert reader.stdin
    assert reader.stdout
    with suppress(BrokenPipeError), reader.stdin:  # its exit status says why it reads no more
        reader.stdin.write(content)  # it writes nothing before it has read everything
    for line in reader.stdout:
        if not line.endswith(b"\n"):
            break  # it was killed
        yield [_cell(each) for each in json.loads(line)]
    if status := reader.wait():
        raise ValidationError(TOO_LARGE if status == 3 else UNREADABLE)


def _cell(cell: str | list[str]) -> str:
    if isinstance(cell, str):
        return cell
    fault, number = cell
    return Unreadable(str(FAULTS[fault]) % {"number": number})
