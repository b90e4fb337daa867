"""Sum all days again: a team that an operator has ended has lived until then, not until its end."""

from django.db import migrations


def open_all_days(apps, schema_editor):
    apps.get_model("trade", "SummedDay").objects.update(is_open=True)


class Migration(migrations.Migration):

    dependencies = [("trade", "0028_order_take_limit")]

    operations = [migrations.RunPython(open_all_days, migrations.RunPython.noop)]
