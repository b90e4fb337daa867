"""Import the database of the Java reference, group-buy-market; see docs/migration.md."""

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations
from django.db import IntegrityError
from django.utils import timezone

from trade.importing.report import Import
from trade.importing.run import run_import
from trade.importing.source import Source, SourceError


class Command(BaseCommand):
    help = (
        "Import activities, crowds, teams, orders and notifications of the Java reference from"
        " its MySQL database, which is only read. Without --write it only reports what it would"
        " do. Rows that are here already stay unchanged."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dsn", help="mysql://user:password@host:3306/group_buy_market")
        parser.add_argument("--write", action="store_true", help="carry out what the report lists")
        parser.add_argument(
            "--time-zone",
            default=settings.TIME_ZONE,
            help="of the times in the source; default: %(default)s",
        )

    @no_translations
    def handle(self, *args: Any, dsn: str, write: bool, time_zone: str, **options: Any) -> None:
        try:
            source = Source(dsn, _zone(time_zone))
            self.stdout.write(f"Source: {source.name}, times in {time_zone}")
            run = Import(self.stdout.write, writes=write, now=timezone.now())
            run_import(source, run, timezone.now)
        except SourceError as exc:
            raise CommandError(str(exc)) from exc
        except IntegrityError as exc:
            text = f"Somebody else has written the same rows: {exc}. Start the import again."
            raise CommandError(text) from exc
        run.print_sums()
        self.stdout.write("\nWritten." if write else "\nNothing is written. Add --write to import.")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise CommandError(f"--time-zone: there is no time zone {name!r}") from exc
