"""Migrations fit the release before, which still runs while they do, and lock no large table.

A column is added with a default in the database or NULL, and removed one release after the code has
stopped using it. The migrations in ACCEPTED are not checked.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.signals import pre_migrate

pytestmark = pytest.mark.django_db
APPS = ("groupbuy", "tag", "activity", "trade", "pages", "assistant")
REMOVES = (
    operations.RemoveField,
    operations.DeleteModel,
    operations.RenameField,
    operations.RenameModel,
    operations.AlterModelTable,
)
# No release ran before these, so none could break and no table was large.
BEFORE_THE_FIRST_RELEASE = {
    "activity.0002_cut_range",
    "activity.0004_sku_description",
    "activity.0005_sku_sold_out",
    "groupbuy.0003_switch_changes",
    "groupbuy.0006_channel_page_secret",
    "groupbuy.0014_channel_pays_outside_wechat",
    "tag.0002_crowd_versions",
    "tag.0005_members_of_parts",
    "tag.0009_parts_outlive_their_crowd",
    "trade.0002_events",
    "trade.0006_holds_are_numbered",
    "trade.0007_team_listing",
    "trade.0012_order_code_is_unique",
    "trade.0013_closed_orders_have_a_reason",
}
ACCEPTED = BEFORE_THE_FIRST_RELEASE


def problems(migration: Migration, state: ProjectState) -> Iterator[str]:
    """state: before the migration; it is changed to the one after."""
    created = set()
    for operation in migration.operations:
        before = state.clone()
        operation.state_forwards(migration.app_label, state)
        if isinstance(operation, operations.CreateModel):
            created.add(operation.name_lower)
        elif getattr(operation, "model_name_lower", "") not in created:
            yield from _problems(operation, migration.app_label, before, state)


def _problems(
    operation: Operation, app: str, before: ProjectState, after: ProjectState
) -> Iterator[str]:
    if isinstance(operation, REMOVES):
        yield f"{operation.describe()}: the release before still uses it"
    elif isinstance(operation, operations.AddConstraint):
        yield f"{operation.describe()}: the table is copied, and the release before may break it"
    elif isinstance(operation, operations.AddField):
        field = operation.field
        if not (field.null or field.many_to_many or field.has_db_default()):
            yield f"{operation.describe()}: the release before inserts rows without it"
    elif isinstance(operation, operations.AlterField):
        key, name = (app, operation.model_name_lower), operation.name
        old, new = (state.apps.get_model(*key)._meta.get_field(name) for state in (before, after))
        if (old.db_type(connection), old.null) != (new.db_type(connection), new.null):
            yield f"{operation.describe()}: the table is copied while nobody can write to it"


def found() -> dict[str, list[str]]:
    loader = MigrationLoader(None)
    result = {}
    for app, name in loader.graph.nodes:
        migration = loader.get_migration(app, name)
        if app in APPS and not migration.initial:
            before = loader.project_state(migration.dependencies or None, at_end=True)
            result[f"{app}.{name}"] = list(problems(migration, before))
    return result


def test_migrations_fit_the_release_before() -> None:
    refused = {name: reasons for name, reasons in found().items() if reasons}

    assert {name: refused[name] for name in refused.keys() - ACCEPTED} == {}
    assert refused.keys() >= ACCEPTED, "accepted, and there is nothing to accept"


@pytest.mark.parametrize(
    ("operation", "is_refused"),
    [
        (operations.RemoveField("team", name="listing"), True),
        (operations.RenameField("team", old_name="listing", new_name="listed"), True),
        (operations.DeleteModel("notifyattempt"), True),
        (operations.AddField("team", name="x", field=models.IntegerField(default=0)), True),
        (operations.AddField("team", name="x", field=models.IntegerField(db_default=0)), False),
        (operations.AddField("team", name="x", field=models.IntegerField(null=True)), False),
        (operations.AlterField("order", "user_id", models.CharField(max_length=64)), False),
        (operations.AlterField("order", "user_id", models.CharField(max_length=300)), True),
        (operations.AlterField("order", "code", models.CharField(max_length=10, null=True)), True),
        (operations.AddConstraint(
            "team", models.CheckConstraint(condition=models.Q(pk__gt=0), name="x")), True),
        (operations.AddIndex("team", models.Index(fields=["expires_at"], name="x")), False),
        (operations.CreateModel("new", [("id", models.BigAutoField(primary_key=True))]), False),
    ],
)  # fmt: skip
def test_what_is_refused(operation: Operation, is_refused: bool) -> None:
    next_one = type("Next", (Migration,), {"operations": [operation]})("next", "trade")
    state = MigrationLoader(None).project_state()

    assert bool(list(problems(next_one, state))) is is_refused


@pytest.mark.skipif(connection.vendor != "mysql", reason="a time limit of MariaDB's client")
@pytest.mark.django_db(transaction=True)
def test_a_migration_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a large table is changed, the change is not recorded, and no migrate succeeds again."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "read_timeout", 1)
    connection.close()
    waited = list[int]()

    def wait(**_signal: Any) -> None:
        if not waited:
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(3)")
                waited.extend(cursor.fetchone())

    pre_migrate.connect(wait)
    try:
        call_command("migrate", verbosity=0)
    finally:
        pre_migrate.disconnect(wait)

    assert waited == [0]
    assert connection.settings_dict["OPTIONS"]["read_timeout"] == 1
