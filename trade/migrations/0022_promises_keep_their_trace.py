from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trade", "0021_forecasts")]

    operations = [
        migrations.AddField(
            "notifytask",
            "traceparent",
            models.CharField(db_default="", default="", editable=False, max_length=55),
        ),
    ]
