"""Send notifications again: those with these keys, or all of a time range or an endpoint."""

from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from trade.models import NotifyTask
from trade.notify import outbox
from trade.notify.replay import chosen_by_key, chosen_by_range


class Command(BaseCommand):
    help = (
        "Send notifications again. Workers send them at the next sweep. Each keeps its id, by which"
        " its receiver recognises the repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("keys", nargs="*", metavar="KEY", help="team_success-123…")
        parser.add_argument("--since", type=_moment, help="promised at or after, ISO-8601")
        parser.add_argument("--until", type=_moment, help="promised before, ISO-8601")
        parser.add_argument("--endpoint", default="", help="mall.example.com:https, or RabbitMQ")
        parser.add_argument(
            "--delivered", action="store_true", help="also those that were delivered"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        chosen = _chosen(**options)
        if dry_run:
            self.stdout.write(f"{chosen.count()} notifications would be sent again.")
        else:
            count = outbox.requeue(chosen, now=timezone.now())
            self.stdout.write(f"{count} notifications will be sent again.")


def _moment(text: str) -> datetime:
    """Read a moment; without an offset it is in the console's time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(
            f"{text!r} is not an ISO-8601 time such as 2026-01-31T08:00"
        ) from exc
    return moment if moment.tzinfo else timezone.make_aware(moment)


def _chosen(
    keys: list[str],
    since: datetime | None,
    until: datetime | None,
    endpoint: str,
    delivered: bool,
    **options: Any,
) -> QuerySet[NotifyTask]:
    by_range = bool(since or until or endpoint)
    if bool(keys) == by_range:
        raise CommandError("Name some keys, or a range by --since, --until or --endpoint.")
    if by_range:
        return chosen_by_range(endpoint=endpoint, since=since, until=until, delivered=delivered)
    try:
        return chosen_by_key(keys)
    except ValueError as exc:
        raise CommandError(f"There is no notification {exc}.") from exc
