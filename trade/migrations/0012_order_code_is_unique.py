import groupbuy.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0011_give_codes'),
    ]

    operations = [
        migrations.AlterField(
            model_name='order',
            name='code',
            field=models.CharField(default=groupbuy.ids.new_code, max_length=10, unique=True, verbose_name='invitation code'),
        ),
    ]
