"""Every switch has a row, so that the console lists them all with their values."""

from django.db import migrations

DEFAULTS = {
    "downgradeSwitch": "0",
    "cutRange": "100",
    "scBlacklist": "s02c02",
    "cacheSwitch": "0",
}


def add_missing(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    for key, value in DEFAULTS.items():
        Switch.objects.get_or_create(key=key, defaults={"value": value})


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0001_initial")]
    operations = [migrations.RunPython(add_missing, migrations.RunPython.noop)]
