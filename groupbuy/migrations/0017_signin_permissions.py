"""Administrators may see failed sign-ins and unlock them."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def grant(apps, schema_editor):
    config = apps.get_app_config("axes")
    config.models_module = True  # permissions are otherwise created after the last migration
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = (apps.get_model("auth", name) for name in ("Group", "Permission"))
    may = Permission.objects.filter(codename__in=["view_accessattempt", "delete_accessattempt"])
    for group in Group.objects.filter(name="administrator"):
        group.permissions.add(*may)


class Migration(migrations.Migration):
    dependencies = [
        ("groupbuy", "0016_plain_words"),
        ("axes", "0010_accessattemptexpiration"),
        ("trade", "0019_roles"),
    ]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
