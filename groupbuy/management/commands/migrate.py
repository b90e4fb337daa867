"""Django's migrate, whose statements may take longer than those of requests.

MariaDB completes a change of a table that the time limit of a connection cuts off. It is then not
recorded, and every later migrate fails.
"""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

LIMITS = ("read_timeout", "write_timeout")


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        used = connection.settings_dict["OPTIONS"]
        limits = {name: used.pop(name) for name in LIMITS if name in used}
        if limits:
            connection.close()
        try:
            super().handle(*args, **options)
        finally:
            if limits:
                used.update(limits)
                connection.close()
