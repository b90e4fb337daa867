"""List the orders that differ from the platform's, and mend them, after a restore."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from groupbuy_client import GroupBuyError
from mall import callbacks, comparing
from mall.comparing import Difference


class Command(BaseCommand):
    help = "Read all events again, then list the paid orders that differ from the platform's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=7, help="maximum age of the orders")
        parser.add_argument("--mend", action="store_true", help="also resolve the differences")

    def handle(self, *args: Any, days: int, mend: bool, **options: Any) -> None:
        now, left = timezone.now(), 0
        try:
            missed = callbacks.catch_up(now=now, again=True)
            self.stdout.write(f"{missed} missed notifications")
            for order, found in comparing.compare(since=now - timedelta(days=days)):
                self.stdout.write(f"{order}: {found.found}" + mend * f": {found.mended}")
                if mend:
                    comparing.mend(order, found, now=now)
                left += not mend or found is Difference.SENT
        except GroupBuyError as error:
            raise CommandError(f"The platform answers: {error}") from error
        if left:
            raise CommandError(f"{left} differences are left.")
