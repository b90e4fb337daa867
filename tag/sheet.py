"""A program that reads the first sheet of an Excel workbook (.xlsx): a line of JSON for each row.

A small workbook may need much memory and time: 60 kB can unpack to a row of 15 million cells, which
take 5 GB. So workbooks.py reads it in a process of its own, with limits on both. The program
imports nothing of the project.

    sheet.py MEMORY SECONDS < members.xlsx

A cell becomes its text, or [fault, number] if its text would differ from what people see. A number
becomes the digits that Excel shows: 12345 and not 12345.0.
"""

import json
import resource
import sys
from io import BytesIO
from itertools import islice
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook

UNPACKED = 32 * 1024 * 1024  # bytes of all parts of a workbook
ROWS, COLUMNS, CHARACTERS = 2**20, 50, 2100  # Excel has no more rows; the rest is not read
EXACT = 10**15  # Excel keeps 15 digits of a number
TOO_LARGE = 3  # exit status, which workbooks.py knows


def main(memory: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    content = sys.stdin.buffer.read()
    with ZipFile(BytesIO(content)) as archive:  # reads no more of a part than the size listed
        if sum(part.file_size for part in archive.infolist()) > UNPACKED:
            sys.exit(TOO_LARGE)
    sheet: Any = load_workbook(BytesIO(content), read_only=True, keep_links=False).worksheets[0]
    sheet.reset_dimensions()  # the workbook may be wrong about them
    for row in islice(sheet.iter_rows(), ROWS):
        sys.stdout.write(json.dumps([_text(cell) for cell in row[:COLUMNS]]) + "\n")


def _text(cell: Any) -> str | list[str]:
    match cell.value:
        case None:
            return ""
        case _ if cell.data_type == "f":
            return ["formula", ""]
        case bool():
            return ["type", ""]
        case int() | float() as number:
            return _digits(number, cell.number_format)
        case str() as text if cell.data_type != "e":
            return text.strip()[:CHARACTERS]
        case _:  # a date, an error
            return ["type", ""]


def _digits(number: float, number_format: str) -> str | list[str]:
    """The number as its format shows it: 00000 shows 42 as 00042."""
    if abs(number) >= EXACT:
        return ["rounded", f"{number:g}"]
    if number != int(number):
        return str(number)
    width = len(number_format) if set(number_format) == {"0"} else 0
    return str(int(number)).zfill(width)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
