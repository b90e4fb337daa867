"""Orders that hold a seat unpaid are numbered for each shopper and channel."""

from collections import Counter

from django.db import migrations


def number_holds(apps, schema_editor):
    Order = apps.get_model("trade", "Order")
    numbers = Counter()
    for order in Order.objects.filter(status=0).order_by("pk").iterator():
        shopper = order.user_id, order.channel_id
        numbers[shopper] += 1
        order.hold_no = numbers[shopper]
        order.save(update_fields=["hold_no"])


class Migration(migrations.Migration):
    dependencies = [("trade", "0004_order_hold_no")]
    operations = [migrations.RunPython(number_holds, migrations.RunPython.noop)]
