"""The limit of the pages has a row, so that the console lists it with its value."""

from django.db import migrations


def add_row(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    Switch.objects.get_or_create(key="pageAddressLimit", defaults={"value": "3000/10"})


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0008_page_limit")]
    operations = [migrations.RunPython(add_row, migrations.RunPython.noop)]
