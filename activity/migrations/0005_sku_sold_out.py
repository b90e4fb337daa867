from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('activity', '0004_sku_description'),
    ]

    operations = [
        migrations.AddField(
            model_name='sku',
            name='sold_out',
            field=models.BooleanField(default=False, help_text='Shown on the pages; the mall is what refuses orders.', verbose_name='sold out'),
        ),
    ]
