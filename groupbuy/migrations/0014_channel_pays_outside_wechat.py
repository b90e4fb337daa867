from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('groupbuy', '0013_retention_has_rows'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='pays_outside_wechat',
            field=models.BooleanField(default=False, help_text='Alipay, for example, does not open inside WeChat. The pages then show WeChat users how to go on in their browser.', verbose_name='payment needs a browser outside WeChat'),
        ),
    ]
