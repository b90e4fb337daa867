"""Every role sees the changes that wait for a second person."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("viewer", "support", "operator", "administrator")


def grant(apps, schema_editor):
    config = apps.get_app_config("groupbuy")
    config.models_module = True  # permissions are otherwise created after the last migration
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = (apps.get_model("auth", name) for name in ("Group", "Permission"))
    permission = Permission.objects.get(
        content_type__app_label="groupbuy", codename="view_proposal"
    )
    for group in Group.objects.filter(name__in=ROLES):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("trade", "0026_refund_confirmed"), ("groupbuy", "0020_proposals")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
