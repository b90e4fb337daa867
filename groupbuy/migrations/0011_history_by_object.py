"""An index for the console's history of one row. The table is Django's own, so no model has it."""

from django.db import migrations

COLUMNS = {"mysql": "object_id(40), content_type_id", "sqlite": "object_id, content_type_id"}


def create(apps, editor):
    columns = COLUMNS[editor.connection.vendor]  # MySQL indexes the beginning of a text
    editor.execute(f"CREATE INDEX log_by_object ON django_admin_log ({columns})")


def drop(apps, editor):
    table = " ON django_admin_log" if editor.connection.vendor == "mysql" else ""
    editor.execute(f"DROP INDEX log_by_object{table}")


class Migration(migrations.Migration):
    dependencies = [
        ("groupbuy", "0010_plain_labels"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]
    atomic = False  # MySQL ends a transaction at each of these statements
    operations = [migrations.RunPython(create, drop, atomic=False)]
