"""INSERT and UPDATE of one row, for the paths where the ORM's compiler is most of the cost.

The SQL is written once per model and set of fields; save() compiles it anew each time, which
costs about 0.2 ms of processor time a statement (docs/performance.md). No signals, no
defaults from the database, no inheritance: our models have none.
"""

from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models


def insert(row: models.Model) -> None:
    """INSERT this new row, whose primary key is set already. Raises IntegrityError."""
    sql, fields = _insert_sql(type(row))
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql, _values(row, fields, database))
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def update(row: models.Model, *names: str) -> None:
    """UPDATE these fields of a row that this transaction has locked."""
    sql, fields = _update_sql(type(row), names)
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql, [*_values(row, fields, database), row.pk])


def _values(row: models.Model, fields: list[Any], database: Any) -> list[Any]:
    return [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]


@lru_cache
def _insert_sql(model: type[models.Model]) -> tuple[str, list[Any]]:
    fields = list(model._meta.concrete_fields)
    columns = ", ".join(str(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({marks})", fields  # noqa: S608


@lru_cache
def _update_sql(model: type[models.Model], names: tuple[str, ...]) -> tuple[str, list[Any]]:
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    changes = ", ".join(f"{field.column} = %s" for field in fields)
    pk = model._meta.pk.column
    return f"UPDATE {model._meta.db_table} SET {changes} WHERE {pk} = %s", fields  # noqa: S608
