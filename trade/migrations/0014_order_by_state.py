from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0013_closed_orders_have_a_reason'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['status', 'close_reason', 'pay_deadline'], name='order_by_state'),
        ),
        migrations.RemoveIndex(
            model_name='order',
            name='order_by_deadline',
        ),
    ]
