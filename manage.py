#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupbuy.settings")
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except Error as exc:
        if reason := why_it_failed(exc):
            sys.exit(reason)
        raise


def why_it_failed(exc: Error) -> str:
    """Whether the database is away or has to be migrated; else it is a bug, and the answer ""."""
    try:
        connection.close()
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error:
        return f"The database does not answer: {exc}"
    return (
        f"{exc}. {len(pending)} migrations are not applied: run python manage.py migrate"
        if pending
        else ""
    )


if __name__ == "__main__":
    main()
