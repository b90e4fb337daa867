import groupbuy.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('groupbuy', '0005_limits_have_rows'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='page_secret',
            # Empty, not one secret for all channels; 0007 gives each its own.
            field=models.CharField(default='', max_length=128),
        ),
        migrations.AlterField(
            model_name='channel',
            name='page_secret',
            field=models.CharField(default=groupbuy.models.new_page_secret, help_text='The mall signs the links with it by which its shoppers come to the pages.', max_length=128, validators=[groupbuy.models.validate_page_secret], verbose_name='page secret'),
        ),
        migrations.AddField(
            model_name='channel',
            name='previous_page_secret',
            field=models.CharField(blank=True, default='', help_text='While a secret is being rotated, links signed with either are good.', max_length=128, validators=[groupbuy.models.validate_page_secret], verbose_name='previous page secret'),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name='channel',
            name='checkout_url',
            field=models.CharField(blank=True, help_text='Where the pages send a shopper who wants to buy, join or pay.', max_length=512, validators=[groupbuy.models.validate_http_url], verbose_name='checkout URL'),
        ),
    ]
