"""Forecasts, and who may see and make them."""

import django.core.validators
import django.db.models.deletion
from decimal import Decimal
from django.contrib.auth.management import create_permissions
from django.db import migrations, models


ROLES = {
    "viewer": ["view"],
    "support": ["view"],
    "operator": ["view", "add", "delete"],
    "administrator": ["view", "add", "delete"],
}


def grant(apps, schema_editor):
    config = apps.get_app_config("trade")
    config.models_module = True  # permissions are otherwise created after the last migration
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = (apps.get_model("auth", name) for name in ("Group", "Permission"))
    for role, verbs in ROLES.items():
        names = [f"{verb}_forecast" for verb in verbs]
        for group in Group.objects.filter(name=role):
            group.permissions.add(*Permission.objects.filter(codename__in=names))


class Migration(migrations.Migration):

    dependencies = [
        ('activity', '0006_states_in_words'),
        ('trade', '0020_daily_sums'),
    ]

    operations = [
        migrations.CreateModel(
            name='Forecast',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(verbose_name='made at')),
                ('starts_at', models.DateTimeField(verbose_name='start')),
                ('days', models.PositiveSmallIntegerField(default=7, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(92)], verbose_name='days')),
                ('visitors', models.PositiveIntegerField(default=1000, help_text="Shoppers who come by themselves, not through a member's link.", verbose_name='visitors a day')),
                ('conversion', models.DecimalField(decimal_places=2, default=5, help_text='They open a team or join an open one.', max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='of them reserve a seat, %')),
                ('joins', models.DecimalField(decimal_places=2, default=30, help_text='The others open a team of their own.', max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='of these join a team of strangers, %')),
                ('spread', models.DecimalField(decimal_places=2, default=Decimal('0.8'), help_text='Friends who come to the team of a member who has paid, on average.', max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='friends each member brings')),
                ('friend_minutes', models.PositiveIntegerField(default=60, help_text='After the member has paid, on average.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(43200)], verbose_name='minutes until a friend comes')),
                ('pays', models.DecimalField(decimal_places=2, default=85, max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='reserved seats that are paid, %')),
                ('returns', models.DecimalField(decimal_places=2, default=3, help_text='By their buyers, after the team is complete.', max_digits=5, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='kept seats given back, %')),
                ('unit_cost', models.DecimalField(decimal_places=2, default=0, help_text='What you pay for the goods and their delivery, in yuan.', max_digits=12, validators=[django.core.validators.MinValueValidator(0)], verbose_name='cost of one piece')),
                ('fixed_cost', models.DecimalField(decimal_places=2, default=0, help_text='Advertising and the like, whatever is sold, in yuan.', max_digits=12, validators=[django.core.validators.MinValueValidator(0)], verbose_name='cost of the campaign')),
                ('seed', models.PositiveIntegerField(default=1, help_text='The same seed and guesses give the same forecast.', verbose_name='seed')),
                ('target_count', models.PositiveSmallIntegerField(verbose_name='people per team')),
                ('valid_minutes', models.PositiveIntegerField(verbose_name='minutes a team has')),
                ('hold_minutes', models.PositiveIntegerField(verbose_name='minutes to pay')),
                ('group_type', models.PositiveSmallIntegerField(choices=[(0, 'when its time is up, the platform completes the team'), (1, 'the target must be reached')], verbose_name='group type')),
                ('original_price', models.DecimalField(decimal_places=2, max_digits=12, verbose_name='original price')),
                ('pay_price', models.DecimalField(decimal_places=2, max_digits=12, verbose_name='team price')),
                ('figures', models.JSONField(verbose_name='forecast')),
                ('losing_runs', models.PositiveSmallIntegerField(verbose_name='simulations with a loss, %')),
                ('offer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='activity.offer', verbose_name='offer')),
            ],
            options={
                'verbose_name': 'forecast',
                'verbose_name_plural': 'forecasts',
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
