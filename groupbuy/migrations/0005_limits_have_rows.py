"""Every limit has a row, so that the console lists them all with their values."""

from django.db import migrations

DEFAULTS = {
    "rateLimiterSwitch": "open",
    "indexUserLimit": "30/10",
    "indexAddressLimit": "300/10",
    "tradeUserLimit": "60/10",
    "tradeChannelLimit": "2000/1",
    "holdLimit": "5",
}


def add_missing(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    for key, value in DEFAULTS.items():
        Switch.objects.get_or_create(key=key, defaults={"value": value})


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0004_limits")]
    operations = [migrations.RunPython(add_missing, migrations.RunPython.noop)]
