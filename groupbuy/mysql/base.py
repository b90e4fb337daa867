"""Django's MySQL backend, minus two round trips per transaction and one per request.

A transaction is BEGIN … COMMIT in a session that stays in autocommit mode, instead of switching the
mode off and on. An idle connection that still works has nothing to read on its socket. Only if
there is something, such as the server's close, a ping tests the connection.
"""

import select

from django.db.backends.mysql import base
from django.db.backends.utils import debug_transaction


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN | select.POLLHUP)
        return not poll.poll(0) or super().is_usable()

    def _start_transaction_under_autocommit(self) -> None:
        """Called by Django in place of switching autocommit off."""
        with debug_transaction(self, "BEGIN"), self.wrap_database_errors:
            self.connection.query("BEGIN")

    def _set_autocommit(self, autocommit: bool) -> None:
        if self.connection.get_autocommit() != autocommit:
            with self.wrap_database_errors:
                self.connection.autocommit(autocommit)
