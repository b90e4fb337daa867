from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0009_fill_completed_teams'),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='code',
            field=models.CharField(max_length=10, null=True, verbose_name='invitation code'),
        ),
    ]
