"""Every order gets an invitation code, a thousand orders at a time."""

from django.db import migrations

from groupbuy.ids import new_code

BATCH = 1000


def give_codes(apps, schema_editor):
    Order = apps.get_model("trade", "Order")
    without = Order.objects.filter(code=None).only("pk").order_by("pk")
    last = 0
    while orders := list(without.filter(pk__gt=last)[:BATCH]):
        for order in orders:
            order.code = new_code()
        Order.objects.bulk_update(orders, ["code"])
        last = orders[-1].pk


class Migration(migrations.Migration):
    dependencies = [("trade", "0010_order_code")]
    operations = [migrations.RunPython(give_codes, migrations.RunPython.noop)]
