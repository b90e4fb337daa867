import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0014_order_by_state'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['channel', 'id'], name='order_list_of_channel'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['activity', 'id'], name='order_list_of_activity'),
        ),
        migrations.AddIndex(
            model_name='team',
            index=models.Index(fields=['channel', 'id'], name='team_list_of_channel'),
        ),
        migrations.AlterField(
            model_name='team',
            name='channel',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='groupbuy.channel', verbose_name='channel'),
        ),
        migrations.AddIndex(
            model_name='team',
            index=models.Index(fields=['activity', 'id'], name='team_list_of_activity'),
        ),
    ]
