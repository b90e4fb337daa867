"""Each switch of the retention has a row, so that the console lists it with its value."""

from django.db import migrations

DEFAULTS = {
    "keepSessions": "30",
    "keepNotifications": "400",
    "keepStoppedRuns": "30",
    "keepLogEntries": "400",
    "keepSwitchChanges": "400",
}


def add_missing(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    for key, value in DEFAULTS.items():
        Switch.objects.get_or_create(key=key, defaults={"value": value})


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0012_retention")]
    operations = [migrations.RunPython(add_missing, migrations.RunPython.noop)]
