import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('trade', '0019_roles'),
    ]

    operations = [
        migrations.CreateModel(
            name='SummedDay',
            fields=[
                ('day', models.DateField(primary_key=True, serialize=False)),
                ('is_open', models.BooleanField()),
                ('seen', models.PositiveBigIntegerField()),
                ('summed_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='DailySum',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('figure', models.CharField(max_length=16)),
                ('bucket', models.CharField(max_length=48)),
                ('count', models.PositiveBigIntegerField()),
                ('amount', models.DecimalField(decimal_places=2, max_digits=16)),
                ('day', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='trade.summedday')),
            ],
            options={
                'indexes': [models.Index(fields=['figure', 'bucket'], name='daily_sum_by_bucket')],
                'constraints': [models.UniqueConstraint(fields=('day', 'figure', 'bucket'), name='daily_sum_once')],
            },
        ),
    ]
