"""Prepare the mall to run: tables, static files, and goods."""

import json
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from mall.models import Goods


class Command(BaseCommand):
    help = "Migrate, collect static files, and load the goods of MALL_GOODS if there are none."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        if not Goods.objects.exists():
            for each in json.loads(settings.GOODS_FILE.read_text("utf-8")):
                Goods.objects.create(
                    goods_id=each["goodsId"],
                    name=each["name"],
                    price=Decimal(each["price"]),
                    is_key=each.get("isKey", False),
                    picture=each.get("picture", f"/static/goods/{each['goodsId']}.svg"),
                )
        self.stdout.write(f"{Goods.objects.count()} goods are in place.")
