"""Read after write on a Galera cluster, where a row reaches the other nodes a moment late.

What two nodes change at once, certification at COMMIT decides (rows.retry). A node that lacks a row
needs more: it would refuse what another node has just accepted.
"""

from django.conf import settings
from django.db import connection


def catch_up() -> None:
    """Wait until this node has what the cluster has committed so far. Not in a transaction.

    Does nothing without GALERA=true. Raises DatabaseError if it takes longer than an answer of
    the database may take.
    """
    if not settings.GALERA:
        return
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_sync_wait = 1")
        try:
            cursor.execute("SELECT 1")
        finally:
            cursor.execute("SET SESSION wsrep_sync_wait = 0")
