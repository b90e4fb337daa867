from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('activity', '0003_plain_help_texts'),
    ]

    operations = [
        migrations.AddField(
            model_name='sku',
            name='description',
            field=models.TextField(blank=True, default='', max_length=2000, verbose_name='description'),
            preserve_default=False,
        ),
    ]
