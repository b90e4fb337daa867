"""Read after write on a Galera cluster, where a row reaches the other nodes a moment late.

If two nodes change a row at once, certification at COMMIT refuses one of them (rows.retry). A node
that lacks a row has to catch up first, or it would refuse an order that another node has accepted.
"""

from django.conf import settings
from django.db import connection


def catch_up() -> None:
    """Wait until this node has everything that the cluster has committed. Not in a transaction.

    Does nothing without GALERA=true. Raises DatabaseError if the wait exceeds the database's
    read_timeout.
    """
    if not settings.GALERA:
        return
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_sync_wait = 1")
        try:
            cursor.execute("SELECT 1")
        finally:
            cursor.execute("SET SESSION wsrep_sync_wait = 0")
