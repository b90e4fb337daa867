"""Search the log: manage.py logs --order 2036… --since 10m --level error."""

import re
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from groupbuy import log_search

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
SHOWN = ("gbm.order", "gbm.team", "gbm.channel", "gbm.notification", "gbm.info", "trace.id")


class Command(BaseCommand):
    help = "Search the log of this host, or Elasticsearch where ELASTICSEARCH_URL is set."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--trace", default="", help="trace.id of a line, or a traceparent")
        parser.add_argument("--order", default="", help="the mall's outTradeNo, or the orderId")
        parser.add_argument("--team", default="")
        parser.add_argument("--channel", default="", help="such as s01/c01")
        parser.add_argument("--notification", default="", help="team_success-123…")
        parser.add_argument("--shopper", default="", help="the userId")
        parser.add_argument("--level", default="", choices=log_search.LEVELS, help="or worse")
        parser.add_argument("--text", default="", help="in the message or the error")
        parser.add_argument("--since", type=moment, help="10m, 2h, 3d or ISO-8601")
        parser.add_argument("--until", type=moment, help="the same")
        parser.add_argument("--most", type=_most, default=200, help="lines, the newest ones")
        parser.add_argument("--json", action="store_true", help="the lines as they were written")

    def handle(self, *args: Any, **options: Any) -> None:
        names = log_search.Query.__dataclass_fields__
        query = log_search.Query(
            **{name: options[name] for name in names} | {"trace": _trace(options["trace"])}
        )
        try:
            lines = log_search.search(query)
        except log_search.SearchError as exc:
            raise CommandError(str(exc)) from exc
        for line in lines:
            self.stdout.write(orjson.dumps(line).decode() if options["json"] else _readable(line))
        if not lines:
            self.stderr.write("No line matches.")


def moment(text: str) -> datetime:
    """10m: ten minutes ago. A moment without an offset is in the console's time zone."""
    try:
        if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
            return timezone.now() - timedelta(**{UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as exc:  # OverflowError: before the year 1
        raise ArgumentTypeError(f"{text!r} is neither 10m nor 2036-01-31T08:00") from exc
    return found if found.tzinfo else timezone.make_aware(found)


def _most(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= log_search.MOST:
        raise ArgumentTypeError(f"expected a number from 1 to {log_search.MOST}")
    return int(text)


def _trace(text: str) -> str:
    return text.split("-")[1] if text.count("-") >= 3 else text


def _readable(line: log_search.Line) -> str:
    at = timezone.localtime(datetime.fromisoformat(line["@timestamp"]))
    fields = [f"{name.rpartition('.')[2] if name != 'trace.id' else 'trace'}={_value(line[name])}"
              for name in SHOWN if line.get(name)]  # fmt: skip
    error = f" {line['error.type']}: {line['error.message']}" if "error.type" in line else ""
    head = f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    message = " ".join(line["message"].splitlines())
    return f"{head} {line['log.level'].upper():7} {message}{error}  {' '.join(fields)}"


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
