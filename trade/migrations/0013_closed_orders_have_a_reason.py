from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0012_order_code_is_unique'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(('close_reason', ''), ('status__lt', 2)),
                    models.Q(('close_reason__gt', ''), ('status', 2)),
                    _connector='OR',
                ),
                name='order_has_a_reason_once_closed',
            ),
        ),
    ]
