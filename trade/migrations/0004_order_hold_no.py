from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0003_notification_indexes'),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='hold_no',
            field=models.PositiveSmallIntegerField(null=True, verbose_name='unpaid seat'),
        ),
    ]
