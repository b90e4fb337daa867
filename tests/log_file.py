"""The log of one test, in its own files."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groupbuy import logs


class LogFile:
    """Reads the lines of the log."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / logs.FILE

    def text(self) -> str:
        return self.path.read_text("utf-8") if self.path.exists() else ""

    def lines(self, **where: Any) -> list[dict[str, Any]]:
        """The lines with these values; gbm_order="t-1" means the field gbm.order."""
        fields = {name.replace("_", ".", 1): value for name, value in where.items()}
        found = [json.loads(line) for line in self.text().split("\n") if line]
        return [line for line in found if fields.items() <= line.items()]

    def messages(self, **where: Any) -> list[str]:
        return [line["message"] for line in self.lines(**where)]


@contextmanager
def kept(directory: Path) -> Iterator[LogFile]:
    handler = logs.SharedFile(str(directory / logs.FILE))
    handler.setFormatter(logs.EcsFormatter("7"))
    logging.getLogger().addHandler(handler)
    try:
        yield LogFile(directory)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
