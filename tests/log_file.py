"""The log of a test, in files of its own."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groupbuy import logs


class LogFile:
    """Lines as they were written; those of a test that searches them with manage.py logs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / logs.FILE

    def text(self) -> str:
        return self.path.read_text("utf-8") if self.path.exists() else ""

    def lines(self, **where: Any) -> list[dict[str, Any]]:
        """Those with these values; gbm_order="t-1" means the field gbm.order."""
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
