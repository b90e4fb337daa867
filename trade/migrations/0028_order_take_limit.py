from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trade", "0027_proposals")]

    operations = [
        migrations.AddField(
            "order",
            "take_limit",
            models.PositiveSmallIntegerField(
                null=True, verbose_name="limit per person at that time"
            ),
        ),
    ]
