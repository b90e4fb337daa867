"""A program that writes an Excel workbook (.xlsx) from lines of JSON, a row each.

    book.py LINES BOOK

It keeps one row in memory, and imports nothing of the project. It runs only while no other process
wants a processor. After every PIECE rows it sleeps REST times as long as they took, because it
evicts what other processes have in the processor's caches. A sheet holds ROWS rows; further rows go
to further sheets, each with the first row on top.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

ROWS = 2**20  # of a sheet, in Excel
CHARACTERS = 32_767  # of a cell
PIECE = 250
REST = 4


def main(lines: str, book: str) -> None:
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # on Linux: only while no other process wants a processor
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with Path(lines).open(encoding="utf-8") as source, Path(book).open("wb") as file:
        write((json.loads(line) for line in _at_leisure(source)), file)


def _at_leisure(lines: Iterable[str]) -> Iterator[str]:
    began = time.monotonic()
    for number, line in enumerate(lines, 1):
        yield line
        if number % PIECE == 0:
            time.sleep(REST * (time.monotonic() - began))
            began = time.monotonic()


def write(rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
    workbook = Workbook(write_only=True)
    sheet: Any = None
    head: Sequence[Any] = ()
    written = ROWS
    for row in rows:
        head = head or row
        if written == ROWS:
            sheet, written = workbook.create_sheet(), 0
            sheet.freeze_panes = "A2"
            if row is not head:
                sheet.append([_cell(sheet, each) for each in head])
                written = 1
        sheet.append([_cell(sheet, each) for each in row])
        written += 1
    if sheet is None:
        workbook.create_sheet()
    workbook.save(file)


def _cell(sheet: Any, value: Any) -> Any:
    """A text stays a text, whatever it begins with."""
    if not isinstance(value, str):
        return value
    text = ILLEGAL_CHARACTERS_RE.sub("", value)[:CHARACTERS]
    if not text.startswith(("=", "#")):  # openpyxl takes =… for a formula, #N/A for an error
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    return cell


if __name__ == "__main__":
    main(*sys.argv[1:])
