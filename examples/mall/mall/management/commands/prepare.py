"""Make the mall ready to run: tables, static files, and goods; for the demo also its keys."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from mall.keys import make_demo_keys
from mall.models import Goods


class Command(BaseCommand):
    help = "Migrate, collect static files, load the demo's goods where there are none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo-keys", metavar="DIR", help="make key pairs in this directory")

    def handle(self, *args: Any, demo_keys: str | None, **options: Any) -> None:
        if demo_keys:
            make_demo_keys(Path(demo_keys))
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        if not Goods.objects.exists():
            path = settings.BASE_DIR / "mall" / "goods.json"
            for each in json.loads(path.read_text("utf-8")):
                Goods.objects.create(
                    goods_id=each["goodsId"],
                    name=each["name"],
                    price=Decimal(each["price"]),
                    picture=f"{settings.PLATFORM_URL}/static/goods/{each['goodsId']}.svg",
                )
        self.stdout.write(f"{Goods.objects.count()} goods are there.")
