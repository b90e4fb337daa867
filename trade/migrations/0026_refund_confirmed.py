from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trade", "0025_acts")]

    operations = [
        migrations.AddField(
            "order",
            "refund_amount",
            models.DecimalField(
                decimal_places=2, max_digits=12, null=True, verbose_name="refunded amount"
            ),
        ),
        migrations.AddField(
            "order",
            "refund_at",
            models.DateTimeField(null=True, verbose_name="refunded at"),
        ),
    ]
