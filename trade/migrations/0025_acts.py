"""Permissions for the acts of operators; the roles get them."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = {
    "refund_order": ("support", "operator", "administrator"),
    "end_team": ("operator", "administrator"),
}


def grant(apps, schema_editor):
    config = apps.get_app_config("trade")
    config.models_module = True  # permissions are otherwise created after the last migration
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = (apps.get_model("auth", name) for name in ("Group", "Permission"))
    for codename, roles in ROLES.items():
        permission = Permission.objects.get(content_type__app_label="trade", codename=codename)
        for group in Group.objects.filter(name__in=roles):
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("trade", "0024_sum_activities")]
    operations = [
        migrations.AlterModelOptions(
            name="order",
            options={
                "permissions": [("refund_order", "Can give orders back")],
                "verbose_name": "order",
                "verbose_name_plural": "orders",
            },
        ),
        migrations.AlterModelOptions(
            name="team",
            options={
                "permissions": [
                    ("check_team", "Can check the data"),
                    ("end_team", "Can complete teams and end them"),
                ],
                "verbose_name": "team",
                "verbose_name_plural": "teams",
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
