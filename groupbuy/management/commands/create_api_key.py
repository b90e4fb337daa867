"""Create an API key and print it, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from groupbuy.models import ApiKey, Channel


class Command(BaseCommand):
    help = "create_api_key SOURCE CHANNEL for a mall; create_api_key --operator NAME for a person."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", nargs="?", help="the channel's source, such as s01")
        parser.add_argument("channel", nargs="?", help="the channel's channel, such as c01")
        parser.add_argument("--operator", metavar="NAME", help="an operator key, for this person")
        parser.add_argument("--name", default="", help="what the key is for")

    def handle(self, *args: Any, **options: Any) -> None:
        source, name, operator = options["source"], options["channel"], options["operator"]
        if bool(operator) == bool(source and name):
            raise CommandError("Give either SOURCE and CHANNEL, or --operator NAME.")
        channel = None
        if not operator:
            channel = Channel.objects.filter(source=source, channel=name).first()
            if channel is None:
                raise CommandError(
                    f"There is no channel {source}/{name}: add it in the console, or load the"
                    " demo's with seed_demo."
                )
        key, text = ApiKey.issue(channel=channel, name=operator or options["name"] or "key")
        key.save()
        self.stdout.write(text)
