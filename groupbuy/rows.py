"""One row at a time, for the paths where the ORM's compiler is most of the cost.

The SQL is written once per model and set of fields; the ORM compiles it every time. Reading
a team costs 80 µs of processor time this way and 320 µs through objects.get(); see
docs/performance.md. It sends no signals and applies no database defaults: who changes
configuration calls changes.announce(). Names of tables, columns and fields come from the models,
never from callers.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections, models
from django.db.models.sql import UpdateQuery
from django.utils.functional import cached_property

from groupbuy import galera
from groupbuy.errors import ErrorCode, GroupBuyError

T = TypeVar("T")
Row = TypeVar("Row", bound=models.Model)
COLLISIONS = {1062, 1205, 1213}  # MySQL: duplicate key, lock wait timeout, deadlock
# Shutdown, killed, gone away, lost during a query, closed while idle; 1047: a Galera node without a
# majority.
LOST = {1047, 1053, 1927, 2006, 2013, 4031}
TRIES = 5  # of a transaction that may be retried
LATEST = 8  # seconds after which no try begins: one waits up to 5 s for a row, a proxy 15 s
RESTART = 3  # seconds that a transaction waits for its database to take connections again


class StaleRowError(DatabaseError):
    """Another transaction has changed the row since this one read it."""


def retry(run: Callable[[], T]) -> T:
    """Run a transaction, and run it again from the start if may_retry() allows that.

    The transaction must be safe to repeat: a COMMIT whose answer was lost may have been carried
    out. Raises TRY_AGAIN after TRIES, or after LATEST.
    """
    for _attempt in attempts():
        try:
            return run()
        except DatabaseError as exc:
            if not may_retry(exc):
                raise
    raise GroupBuyError(ErrorCode.TRY_AGAIN)


def attempts() -> Iterator[int]:
    """TRIES numbers, of which none comes after LATEST."""
    began = time.monotonic()
    return (number for number in range(TRIES) if time.monotonic() <= began + LATEST)


def settled(run: Callable[[], T], *, certain: tuple[type[GroupBuyError], ...] = ()) -> T:
    """Run a use case; on a Galera cluster, after a refusal, catch up and run it once more.

    The refusal may rest on a row that this node does not have yet. A refusal of one of the
    `certain` classes cannot, and is raised at once. The use case must be safe to repeat.
    """
    try:
        return run()
    except certain:
        raise
    except GroupBuyError:
        if not settings.GALERA:
            raise
    galera.catch_up()
    return run()


def may_retry(exc: DatabaseError) -> bool:
    """Whether it collided with another transaction, or lost a connection that is open again now."""
    return _reconnect() if _is_lost(exc) else is_collision(exc)


def _is_lost(exc: BaseException | None) -> bool:
    """Whether the connection died, or could not be opened again right after that.

    A transaction opens it again as it ends. A database that is away from the start is not waited
    for.
    """
    while exc:
        if isinstance(exc, DatabaseError) and exc.args and exc.args[0] in LOST:
            return True
        exc = exc.__context__
    return False


def _reconnect() -> bool:
    """Open the lost connection again; False if the database takes none for RESTART seconds."""
    database, began = connections[DEFAULT_DB_ALIAS], time.monotonic()
    database.close()
    while True:
        try:
            database.ensure_connection()
        except OperationalError:
            if time.monotonic() > began + RESTART:
                return False
            time.sleep(0.05)
        else:
            return True


def read(model: type[Row], **where: Any) -> Row | None:
    """The row with these values, which must identify it; None if there is none."""
    return _select(model, where, "")


def lock(model: type[Row], *, skip_locked: bool = False, **where: Any) -> Row | None:
    """read() the row and lock it until this transaction ends.

    With skip_locked, also None if another transaction has locked the row. SQLite has no row locks
    and needs none: its transactions are IMMEDIATE.
    """
    suffix = " FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE"
    can_lock = connections[DEFAULT_DB_ALIAS].features.has_select_for_update
    return _select(model, where, suffix if can_lock else "")


def share(model: type[Row], **where: Any) -> Row | None:
    """read() the row; until this transaction ends others may read and share it, but not change it.

    Unlike a row that is lock()ed, new rows may refer to it meanwhile.
    """
    can_lock = connections[DEFAULT_DB_ALIAS].features.has_select_for_update
    return _select(model, where, " LOCK IN SHARE MODE" if can_lock else "")


def is_collision(exc: DatabaseError) -> bool:
    """Whether two transactions collided, so that one of them can be tried again."""
    reason = exc.args[0] if exc.args else None
    text = str(reason)
    return (
        isinstance(exc, StaleRowError)
        or reason in COLLISIONS
        or text == "database is locked"
        or text.startswith("UNIQUE constraint failed")
    )


def insert(row: models.Model) -> None:
    """INSERT this new row and set an auto-increment key. Raises IntegrityError."""
    sql, fields = _insert_sql(type(row))
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql, _values(row, fields, database))
        if row.pk is None:
            row.pk = cursor.lastrowid
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def update(row: models.Model, *names: str, was: Mapping[str, Any] | None = None) -> None:
    """UPDATE these fields of a row that this transaction has locked.

    For a row that is not locked, `was` has the values of its state when it was read: the UPDATE is
    conditional on them. Raises StaleRowError if they have changed.
    """
    was = was or {}
    sql, fields = _update_sql(type(row), names, tuple(was))
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql, [*_values(row, fields, database), row.pk, *was.values()])
        if was and cursor.rowcount != 1:
            raise StaleRowError(f"{type(row).__name__} {row.pk} is no longer {dict(was)}")


class Param(models.Expression):
    """A value of a PreparedUpdate that is given by name at the call."""

    def __init__(self, name: str, output_field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", (self,)

    def bind(self, values: Mapping[str, Any], database: Any) -> Any:
        return self.output_field.get_db_prep_value(values[self.name], database)


class PreparedUpdate:
    """A conditional UPDATE written as a queryset, which the ORM compiles once instead of per call.

    Call it with the values of its Params; it returns how many rows it has changed.
    """

    def __init__(self, rows: models.QuerySet[Any], **changes: Any) -> None:
        self._rows = rows
        self._changes = changes

    def __call__(self, **values: Any) -> int:
        sql, parameters = self._compiled
        database = connections[DEFAULT_DB_ALIAS]
        bound = [
            each.bind(values, database) if isinstance(each, Param) else each for each in parameters
        ]
        with database.cursor() as cursor:
            cursor.execute(sql, bound)
            return int(cursor.rowcount)

    @cached_property
    def _compiled(self) -> tuple[str, tuple[Any, ...]]:
        query: Any = self._rows.query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        return query.get_compiler(DEFAULT_DB_ALIAS).as_sql()  # type: ignore[no-any-return]


def _select(model: type[Row], where: dict[str, Any], suffix: str) -> Row | None:
    if None in where.values():  # "= NULL" is true of no row
        raise ValueError(f"look-up of {model.__name__} by None: {where}")
    sql, names, converters = _select_sql(model, tuple(where))
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql + suffix, list(where.values()))
        values = cursor.fetchone()
    if values is None:
        return None
    values = list(values)
    for index, column, convert in converters:
        values[index] = convert(values[index], column, database)
    return model.from_db(DEFAULT_DB_ALIAS, names, values)


def _values(row: models.Model, fields: list[Any], database: Any) -> list[Any]:
    return [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]


@lru_cache
def _select_sql(
    model: type[models.Model], where: tuple[str, ...]
) -> tuple[str, list[str], list[tuple[int, Any, Any]]]:
    """The SQL, the names of its columns, and the converters that the ORM would apply."""
    fields: list[Any] = list(model._meta.concrete_fields)
    columns = ", ".join(_quote(field.column) for field in fields)
    conditions = " AND ".join(f"{_column(model, name)} = %s" for name in where)
    sql = f"SELECT {columns} FROM {_table(model)} WHERE {conditions}"  # noqa: S608
    database = connections.create_connection(DEFAULT_DB_ALIAS)  # never connects; has converters
    converters = [
        (index, field.cached_col, convert)
        for index, field in enumerate(fields)
        for convert in (
            *database.ops.get_db_converters(field.cached_col),
            *field.cached_col.get_db_converters(database),
        )
    ]
    return sql, [field.attname for field in fields], converters


@lru_cache
def _insert_sql(model: type[models.Model]) -> tuple[str, list[Any]]:
    concrete: list[Any] = list(model._meta.concrete_fields)
    made_by_database = (models.AutoField, models.GeneratedField)
    fields = [field for field in concrete if not isinstance(field, made_by_database)]
    columns = ", ".join(_quote(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {_table(model)} ({columns}) VALUES ({marks})", fields  # noqa: S608


@lru_cache
def _update_sql(
    model: type[models.Model], names: tuple[str, ...], conditions: tuple[str, ...]
) -> tuple[str, list[Any]]:
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    changes = ", ".join(f"{_quote(field.column)} = %s" for field in fields)
    where = " AND ".join(f"{_column(model, name)} = %s" for name in ("pk", *conditions))
    return f"UPDATE {_table(model)} SET {changes} WHERE {where}", fields  # noqa: S608


def _column(model: type[models.Model], name: str) -> str:
    field: Any = model._meta.pk if name == "pk" else model._meta.get_field(name)
    return _quote(field.column)


def _table(model: type[models.Model]) -> str:
    return _quote(model._meta.db_table)


def _quote(name: str) -> str:
    """Quote a name: a column may be called key, which MySQL reserves."""
    return connections[DEFAULT_DB_ALIAS].ops.quote_name(name)
