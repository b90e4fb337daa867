"""Sum all days again: the sums have a new figure, the one of each activity."""

from django.db import migrations


def open_all_days(apps, schema_editor):
    apps.get_model("trade", "SummedDay").objects.update(is_open=True)


class Migration(migrations.Migration):

    dependencies = [("trade", "0023_refused_locks")]

    operations = [migrations.RunPython(open_all_days, migrations.RunPython.noop)]
