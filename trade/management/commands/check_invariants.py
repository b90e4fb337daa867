"""Check the invariants; print the rows that break one, and exit with 1 if there are any."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, no_translations
from django.utils import timezone

from trade import metrics
from trade.invariants import check_all


class Command(BaseCommand):
    help = "Check the invariants of teams, orders and promises; exits with 1 when one is broken."

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for sentence, rows in check_all(timezone.now()):
            broken += bool(rows)
            self.stdout.write(f"{'BROKEN' if rows else 'ok':6} {sentence}")
            for row in rows:
                self.stdout.write(f"         {row}")
        metrics.BROKEN.set(broken)
        if broken:
            sys.exit(1)
